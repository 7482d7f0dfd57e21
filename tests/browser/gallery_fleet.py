"""The fleet for the gallery: workers, GPUs, deployments and replicas in every state, few, many, and with odd names.

Written straight into the tables, as ``gallery_seed`` does: names and texts that services refuse may still stand in a database. Every engine
and every GPU here is made up. Who is heard "now" is heard in a day, so that nobody falls silent while pictures are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from django.utils import timezone

from apps.contracts.fleet_facts import EngineMetrics, GpuFacts, ReplicaReport
from apps.contracts.identifiers import uuid7

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.fleet.models import Deployment, Gpu, Replica, Worker
    from apps.ownership.models import Team

GB = 1_000_000_000
CARDS = (
    ("NVIDIA H100 80GB HBM3", 80 * GB, 700.0), ("NVIDIA A100-SXM4-80GB", 80 * GB, 400.0), ("NVIDIA L40S", 48 * GB, 350.0),
    ("NVIDIA L4", 24 * GB, 72.0),
)  # fmt: skip
STATES = (
    "ready",
    "ready",
    "ready",
    "failed",
    "loading",
    "ready",
    "pending",
    "downloading",
    "starting",
    "warming",
    "draining",
    "stopping",
    "",
)
"""Of replicas, in turn."""
WORKER_STATES = (
    "ready", "ready", "ready", "draining", "ready", "cordoned", "lost", "ready", "maintenance", "preempted", "skewed", "joining",
)  # fmt: skip
REASONS = ("out_of_memory", "artifact_missing", "crashed", "serves_errors", "never_ready", "stalled")
LINES = [
    "INFO 10:02:11 [loader.py:417] Loading safetensors checkpoint shards: 71% Completed | 5/7",
    "INFO 10:02:19 [gpu_model_runner.py:1892] Model loading took 14.96 GiB",
    "ERROR 10:02:20 [core.py:586] EngineCore failed to start.",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.02 GiB. GPU 0 has a capacity of 79.10 GiB, 640.81 MiB of it free.",
]
WHY = "Tried to allocate 1.02 GiB on GPU 0, 640.81 MiB free: lower max-model-len or give it a larger GPU."


@dataclass
class Fleet:
    """What was made for one organisation."""

    organisation: Organisation
    names: Sequence[str]
    hosts: Sequence[str]
    now: datetime
    workers: list[Worker] = field(default_factory=list)
    gpus: dict[Any, list[Gpu]] = field(default_factory=dict)
    deployments: list[Deployment] = field(default_factory=list)
    reports: dict[Any, list[dict[str, Any]]] = field(default_factory=dict)
    claims: list[Any] = field(default_factory=list)
    replicas: list[Replica] = field(default_factory=list)

    def name(self, at: int, most: int) -> str:
        """A name that differs from its neighbours even where it is cut."""
        return _cut(self.names, at, most)

    def host(self, at: int) -> str:
        return _cut(self.hosts, at, 63)


def _cut(names: Sequence[str], at: int, most: int) -> str:
    return f"{names[at % len(names)][: most - 4]}{f'-{at // len(names)}' if at >= len(names) else ''}"


def fleet_seed(
    organisation: Organisation, names: Sequence[str], hosts: Sequence[str], *, workers: int, gpus: int, deployments: int, replicas: int
) -> None:
    """names: of deployments and in texts; hosts: of workers; both go on with numbers. gpus: of each worker but every seventh, which has
    none. replicas: of the first deployment; the others have up to three."""
    from apps.fleet.models import FleetClock

    made = Fleet(organisation, names, hosts, timezone.now().replace(microsecond=0))
    FleetClock.objects.update_or_create(
        id=1, defaults={"epoch": 1, "heard_at": made.now + timedelta(days=1), "listening_since": made.now - timedelta(days=1)}
    )
    _workers(made, workers, gpus)
    _deployments(made, deployments, replicas)
    _replicas(made)
    _facts(made)
    _tokens(made)
    _story(made)
    _hours(made)


def _workers(made: Fleet, count: int, gpus: int) -> None:
    from apps.fleet.models import Gpu, Worker

    now = made.now
    for at in range(count):
        state = WORKER_STATES[at % len(WORKER_STATES)]
        heard = {"lost": now - timedelta(minutes=17), "joining": None}.get(state, now + timedelta(days=1))
        modes = ("draining", "cordoned", "maintenance")
        worker = Worker(
            organisation=made.organisation, name=made.host(at), mode=state if state in modes else "active",
            mode_reason=f"new driver, {made.name(at, 200)}" if state in modes else "", state=state, digest=uuid7().hex * 2, digest_at=now,
            desired_epoch=1, desired_sequence=40 + at, applied_epoch=1, applied_sequence=40 + at - at % 2, last_seen_at=heard,
            preempted_at=now + timedelta(hours=2) if state == "preempted" else None, preempted_source="the cloud's notice",
            skew_ms=94_000 if state == "skewed" else 12, agent_version="0.1.0", address=f"10.0.{at // 250}.{at % 250 + 1}",
            region=("eu-west", "us-east", "")[at % 3], pool=("default", "default", "batch")[at % 3], spot=at % 9 == 4,
            labels={"zone": "ab"[at % 2], "rack": made.name(at, 60)} if at % 2 else {}, memory_total=512 * GB,
            engines=["simulated", "vllm"] if at % 4 else None,
            host={
                "hostname": made.host(at), "system": "Linux 6.12", "architecture": "x86_64", "cpus": 64,
                "gpu_problem": "the driver does not answer: nvidia-smi says why" if at % 12 == 7 else "",
            },
        )  # fmt: skip
        made.workers.append(worker)
        if at % 7 != 6:
            name, capacity, _ = CARDS[at % len(CARDS)]
            made.gpus[worker.pk] = [
                Gpu(
                    worker=worker, uuid=f"GPU-{worker.pk.hex[-8:]}-{index}", index=index, name=name, capacity=capacity, vendor="simulated",
                    gone_at=now if at % 12 == 7 and index == gpus - 1 else None,
                )
                for index in range(gpus)
            ]  # fmt: skip
    Worker.objects.bulk_create(made.workers)
    rows = [gpu for of in made.gpus.values() for gpu in of]
    for gpu, kept in zip(rows, Gpu.objects.bulk_create(rows), strict=True):
        gpu.pk = kept.pk


def _deployments(made: Fleet, count: int, replicas: int) -> None:
    from apps.contracts.fleet import PROVIDER_PREFIX, REPLICAS_URL
    from apps.fleet.models import Deployment
    from apps.ownership.models import Team
    from apps.providers.models import Endpoint, Provider

    teams: list[Team] = list(Team.objects.filter(organisation=made.organisation).order_by("name")[:5])
    for at in range(count):
        name = made.name(at, 63)
        provider = Provider.objects.create(
            organisation=made.organisation, name=(PROVIDER_PREFIX + name)[: Provider._meta.get_field("name").max_length], kind="openai",
            simulated=True,
        )  # fmt: skip
        Endpoint.objects.create(provider=provider, name="replicas", base_url=REPLICAS_URL, position=0)
        wanted = replicas if not at else (2, 0, 3, 1)[at % 4]
        made.deployments.append(
            Deployment(
                organisation=made.organisation, name=name, provider=provider, owner=teams[at % len(teams)] if teams and at % 3 else None,
                enabled=at % 9 != 5, engine="simulated", model=made.name(at, 200),
                artifact={"source": "path", "location": f"/models/{made.name(at, 300)}", "revision": "main"} if at % 2 else {},
                tasks=["chat", "completions"],
                arguments={"ttft_ms": "200", "itl_ms": "20", "frozen": None} if at % 2 else {}, gpus=(1, 2, 0, 1)[at % 4],
                memory=(14, 60, 4, 20)[at % 4] * GB, exclusive=at % 4 == 1, region=("", "eu-west", "", "mars")[at % 4],
                pool=("default", "default", "default", "batch")[at % 4], labels={"zone": "a"} if at % 5 == 3 else {}, priority=at % 3,
                spot_allowed=at % 2 == 0, least=min(wanted, 1), most=max(wanted, 4), wanted=wanted, revision=1 + at % 3,
                scaling_mode=("dry_run", "off", "on")[at % 3],
                scaling={"tokens_each": 20_000, "ttft_target": 2.0, "down_after": 300.0} if at % 3 != 1 else {},
            )
        )  # fmt: skip
    Deployment.objects.bulk_create(made.deployments)


def _replicas(made: Fleet) -> None:
    from apps.fleet.models import Claim, Gpu, Replica

    turn = 0
    for deployment in made.deployments:
        last = deployment is made.deployments[-1] and len(made.deployments) > 2
        for ordinal in range(deployment.wanted if deployment.enabled and not last else 0):
            worker = made.workers[turn % len(made.workers)]
            turn += 1
            state = STATES[turn % len(STATES)] if deployment.wanted > 2 or turn % 5 == 0 else "ready"
            made.replicas.append(_replica(made, deployment, worker, ordinal, state))
        for ordinal in range(4 if deployment is made.deployments[0] else 0):
            gone = _replica(made, deployment, made.workers[ordinal % len(made.workers)], ordinal, "stopped")
            gone.ended_at, gone.ending = made.now - timedelta(minutes=9 * ordinal + 1), ("gave_up", "lost", "stopped", "missing")[ordinal]
            gone.message = WHY if ordinal == 0 else ""
            made.replicas.append(gone)
        if last:
            deployment.unplaced = {
                "text": "No worker can take it: is in the region eu-west, needs mars (30); is draining (4); is silent (3).",
                "judged": [], "workers": len(made.workers), "survivors": 0, "at": made.now.isoformat(),
            }  # fmt: skip
            deployment.wanted = max(1, deployment.wanted)
            deployment.save(update_fields=["unplaced", "wanted", "changed_at"])
    for replica in made.replicas:
        _claim(made, replica)
    Replica.objects.bulk_create(made.replicas)
    Gpu.objects.bulk_update([gpu for of in made.gpus.values() for gpu in of], ["claimed"])
    Claim.objects.bulk_create(made.claims)


def _replica(made: Fleet, deployment: Deployment, worker: Worker, ordinal: int, state: str) -> Replica:
    from apps.fleet.models import Replica

    failed = state == "failed"
    reason = REASONS[ordinal % len(REASONS)] if failed else {"pending": "waits_for_memory"}.get(state, "")
    phases = {"downloading": 41.5, "starting": 3.2, "loading": 22.75, "warming": 1.4}
    reached = {"downloading": 0, "starting": 1, "loading": 2, "warming": 3, "": 0, "pending": 0}.get(state, 4)
    begun = made.now - timedelta(minutes=ordinal % 50 + 1)
    return Replica(
        deployment=deployment, worker=worker, ordinal=ordinal, revision=max(1, deployment.revision - (ordinal % 7 == 6)), spec={},
        want="drain" if state in ("draining", "stopping") else "serve", state=state, since=begun if state else None, reason=reason,
        leaves=f"{worker.name} is draining" if state == "draining" else "", message=f"{WHY} {made.name(ordinal, 200)}" if failed else "",
        starts=3 if failed else 1, exit_code=1 if failed else None, retry_at=made.now + timedelta(hours=1) if failed else None,
        phases=dict(list(phases.items())[:reached]), url=f"http://{worker.address}:30001" if state == "ready" else "",
        lines=[*LINES, made.name(ordinal, 500)] if failed or ordinal % 3 == 0 else [], lines_at=begun, placed_at=begun,
        ready_at=made.now if state == "ready" else None, engine_version="1.0",
        placement={
            "text": "31 of 42 workers can take it.", "workers": 42, "survivors": 31,
            "judged": [
                {
                    "worker": str(worker.pk), "name": worker.name, "reasons": [], "score": 138.5,
                    "parts": [["apart from its siblings", 100.0], ["tight fit", 28.5], ["calm machine", 10.0]], "devices": [], "claims": [],
                },
                *(
                    {"worker": str(one.pk), "name": one.name, "reasons": ["6.1 GB free on its best GPU, needs 14.0"], "score": 0.0,
                     "parts": [], "devices": [], "claims": []}
                    for one in made.workers[:5] if one is not worker
                ),
            ],
        },
    )  # fmt: skip


def _claim(made: Fleet, replica: Replica) -> None:
    """Promises of GPUs that have room, and what its worker says of its load."""
    from apps.fleet.models import Claim

    if replica.ended_at is not None:
        return
    wanted = replica.deployment.memory
    for _ in range(replica.deployment.gpus):
        gpu = next((one for one in made.gpus.get(replica.worker_id, ()) if one.capacity - one.claimed >= wanted), None)
        if gpu is not None:
            gpu.claimed += wanted
            made.claims.append(Claim(replica=replica, gpu=gpu, bytes=wanted))
    if replica.state in ("ready", "draining"):
        kv = None if replica.ordinal % 5 == 4 else replica.ordinal % 10 / 10
        metrics = EngineMetrics(at_ms=0, running=replica.ordinal % 30, waiting=replica.ordinal % 4, kv_used=kv)
        report = ReplicaReport(replica=str(replica.pk), deployment="chat", state="ready", since_ms=0, metrics=metrics)
        made.reports.setdefault(replica.worker_id, []).append(msgspec.to_builtins(report))


def _facts(made: Fleet) -> None:
    """What workers say of their GPUs, now that it is known what is promised."""
    from apps.fleet.models import Worker

    for at, worker in enumerate(made.workers):
        worker.reports = made.reports.get(worker.pk, [])
        if at % 12 != 11:
            worker.gpu_facts = [
                msgspec.to_builtins(
                    GpuFacts(
                        uuid=gpu.uuid, index=gpu.index, name=gpu.name, memory_total=gpu.capacity,
                        memory_used=None if gpu.index == 5 and at % 5 == 0 else min(gpu.capacity, gpu.claimed * 9 // 10 + GB),
                        utilisation=None if gpu.index == 5 and at % 5 == 0 else (gpu.index * 13 + at * 7) % 101 / 100,
                        power=CARDS[at % len(CARDS)][2] * (0.3 + 0.07 * gpu.index), power_limit=CARDS[at % len(CARDS)][2],
                        temperature=38.0 + 5 * gpu.index,
                        ecc_uncorrected=2 if gpu.index == 3 and at % 8 == 2 else 0, xids=[79] if gpu.index == 1 and at % 8 == 4 else [],
                        driver_version="580.65.06", cuda_version="13.0", simulated=True,
                    )
                )
                for gpu in made.gpus.get(worker.pk, ())
                if gpu.gone_at is None
            ]  # fmt: skip
    Worker.objects.bulk_update(made.workers, ["reports", "gpu_facts"])


def _tokens(made: Fleet) -> None:
    from apps.fleet.models import JoinToken

    now = made.now
    for at, (used, ended, revoked) in enumerate(((None, 55, None), (5, 55, None), (None, -5, None), (None, 40, 2))):
        JoinToken.objects.create(
            organisation=made.organisation, digest=uuid7().hex * 2, hint=f"tk{at}x", made_by=made.name(at, 200),
            expires_at=now + timedelta(minutes=ended), used_at=now - timedelta(minutes=used) if used else None,
            worker=made.workers[0] if used else None, revoked_at=now - timedelta(minutes=revoked) if revoked else None,
        )  # fmt: skip


def _story(made: Fleet) -> None:
    """Events of every kind, and decisions of the autoscaler: applied, and what it would have done."""
    from apps.audit.registry import event_record
    from apps.fleet import choices
    from apps.fleet.history import DEPLOYMENT, REPLICA, WORKER
    from apps.fleet.models import ScaleDecision

    at = made.now - timedelta(hours=3)
    for worker in made.workers[:3]:
        for what in WORKER:
            at += timedelta(minutes=1)
            event_record(
                kind=choices.WORKER_EVENT, subject_kind="worker", subject_id=worker.pk, subject_name=worker.name, at=at,
                data={"what": what, "by": "Ada", "why": made.names[0][:300]},
            )  # fmt: skip
    for deployment in made.deployments[:2]:
        for what in DEPLOYMENT:
            at += timedelta(minutes=1)
            event_record(
                kind=choices.DEPLOYMENT_EVENT, subject_kind="deployment", subject_id=deployment.pk, subject_name=deployment.name, at=at,
                data={"what": what, "by": "autoscaler", "from": "2", "to": "4", "why": "12 waiting, 4 are well for a replica"},
            )  # fmt: skip
        for turn, what in enumerate(REPLICA):
            at += timedelta(minutes=1)
            worker = made.workers[turn % len(made.workers)]
            event_record(
                kind=choices.REPLICA_EVENT, subject_kind="deployment", subject_id=deployment.pk, subject_name=deployment.name, at=at,
                data={
                    "what": what, "ordinal": turn, "worker": worker.name, "worker_id": str(worker.pk), "replica": str(uuid7()),
                    "reason": "out_of_memory" if what == "failed" else "",
                },
            )  # fmt: skip
    ScaleDecision.objects.bulk_create(
        ScaleDecision(
            deployment=deployment, at=made.now - timedelta(minutes=7 * turn), before=2 + turn % 3, after=2 + (turn + 1) % 3,
            applied=deployment.scaling_mode == "on", reason="12 waiting, 4 are well for a replica; KV caches 91% full, 80% wanted",
            facts={
                "need": 4, "dry_run": deployment.scaling_mode != "on", "guarded": False,
                "signals": [
                    {"name": "waiting", "value": 12, "target": 4, "need": 4, "words": "12 waiting"},
                    {"name": "kv", "value": 0.91, "target": 0.8, "need": 3, "words": "KV caches 91% full"},
                ],
            },
        )
        for deployment in made.deployments[:4] if deployment.scaling_mode != "off"
        for turn in range(min(30, 4 * len(made.workers)))
    )  # fmt: skip


def _hours(made: Fleet) -> None:
    """Of GPUs by state, since the month began."""
    from apps.fleet.models import GpuTime

    end = made.now.replace(minute=0, second=0)
    hour, rows = end.replace(day=1, hour=0), []
    while hour <= end:
        for at, deployment in enumerate(made.deployments):
            busy = 0.5 if 8 <= hour.hour < 18 else 0.0
            for state, share in (("serving", busy), ("idle", 0.95 - busy), ("loading", 0.04), ("failed", 0.01)):
                if share:
                    spent = 3600 * share * (1 + at % 3)
                    worker = made.workers[at % len(made.workers)]
                    rows.append(GpuTime(hour=hour, deployment=deployment, worker=worker, state=state, seconds=spent, gpu_seconds=spent))
        hour += timedelta(hours=4)
    GpuTime.objects.bulk_create(rows, batch_size=2_000)
