"""The autoscaler at work: every second, each deployment that is not scaled by hand is looked at, and a decision made and recorded.

What it looks at: proxies' heartbeats (requests held, running, tokens outstanding, by deployment) and agents' (queue, KV use and time to the
first token of each ready replica; power, memory and utilisation of its GPUs). Both are sent before their time when what they say has moved
(``apps.contracts.early``). What it decides is ``scaling.decide``; what it orders is ``deployment_scale``, compare-and-set, so that a person
who scales at the same moment wins.

Between two looks it remembers recent samples and needs in Redis. Without that memory (Redis was emptied) the present number counts as
needed from now on: nothing goes down before ``down_after`` has passed again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
import redis
from django.db import DatabaseError
from django.utils import timezone

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.contracts.reports import DeploymentReport
from apps.fleet.lifecycle import SILENT_AFTER
from apps.fleet.machines import Told, machines_event
from apps.fleet.models import Deployment, Replica
from apps.fleet.proxies import proxies_heard
from apps.fleet.scaling import Decision, Guards, Memory, PolicyError, Sample, decide
from apps.fleet.scaling_document import policy_read
from apps.fleet.services import decision_record, deployment_scale
from controlplane.away import database_away

log = logging.getLogger("bulkhead.fleet")

ACTOR = "autoscaler"
KEPT_SAMPLES = 600
KEPT_SECONDS = 3600
KEY_PREFIX = "bulkhead:scaling:"
REPEAT_SECONDS = 600.0
"""A dry run's same "would have" is recorded again after so long."""


class Past(msgspec.Struct, kw_only=True):
    """What one look leaves to the next. said: what was recorded last, as (desired, when)."""

    samples: list[Sample] = []
    memory: Memory = Memory()
    asked: dict[str, int] = {}
    machines: Told = Told()
    said: tuple[int, float] | None = None


class Keeper(Protocol):
    """Keeps what is remembered, by deployment. ``None``: nothing is known."""

    def load(self, deployment: UUID) -> Past | None: ...

    def save(self, deployment: UUID, past: Past) -> None: ...


class Kept:
    """The fake: in memory."""

    def __init__(self) -> None:
        self._found: dict[UUID, bytes] = {}

    def load(self, deployment: UUID) -> Past | None:
        found = self._found.get(deployment)
        return past_read(found) if found is not None else None

    def save(self, deployment: UUID, past: Past) -> None:
        self._found[deployment] = msgspec.json.encode(past)


class RedisKept:
    """In Redis, for an hour. Where it does not answer, nothing is decided: RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def load(self, deployment: UUID) -> Past | None:
        found = self._client.get(f"{KEY_PREFIX}{deployment}")
        return past_read(found) if isinstance(found, bytes) else None

    def save(self, deployment: UUID, past: Past) -> None:
        self._client.set(f"{KEY_PREFIX}{deployment}", msgspec.json.encode(past), ex=KEPT_SECONDS)


def past_read(data: bytes) -> Past | None:
    """None where it cannot be read: an older or newer version wrote it."""
    try:
        return msgspec.json.decode(data, type=Past)
    except msgspec.MsgspecError:
        return None


@dataclass(frozen=True, slots=True)
class Heard:
    """What one deployment's proxies and workers said last."""

    sample: Sample
    guards: Guards
    asked: dict[str, int]


def fleet_scale(keeper: Keeper, *, send: Callable[[dict[str, Any]], None], now: datetime | None = None) -> list[Decision]:
    """One look at every deployment. send: takes an event that asks for machines or gives them back.

    One deployment's trouble is logged and the others go on. Raises where the database is away: so it is for the others."""
    now = now or timezone.now()
    wanted = list(Deployment.objects.exclude(scaling_mode="off").filter(enabled=True).select_related("organisation").order_by("pk"))
    if not wanted:
        return []
    told, silent = proxies_heard()
    found = []
    for deployment in wanted:
        try:
            found.append(_one(deployment, keeper, told, silent, send, now))
        except (PolicyError, ServiceError) as error:
            log.warning("deployment %s is not scaled: %s", deployment.name, error)
        except DatabaseError as error:
            if database_away(error):
                raise
            log.warning("deployment %s could not be scaled this time", deployment.name, exc_info=True)
    return found


def heard(
    deployment: Deployment,
    replicas: Iterable[Replica],
    told: Mapping[tuple[str, str], Mapping[str, DeploymentReport]] | None,
    before: Mapping[str, int],
    now: datetime,
    *,
    silent: bool = False,
) -> Heard:
    """One sample. What nobody said is None, never 0; a proxy or a worker that is ``silent`` may have more."""
    reports: list[Mapping[str, Any]] = []
    gpus: dict[str, list[float]] = {"power": [], "memory": [], "utilisation": []}
    unheard = False
    for replica in replicas:
        worker = replica.worker
        if replica.state != "ready" or replica.want != "serve":
            continue
        if worker.last_seen_at is None or now - worker.last_seen_at > SILENT_AFTER:
            unheard = True
            continue
        own = next((one for one in worker.reports if isinstance(one, dict) and one.get("replica") == str(replica.pk)), {})
        reports.append(own.get("metrics") or {})
        used = set(replica.spec.get("gpus", []))
        for gpu in worker.gpu_facts:
            if isinstance(gpu, dict) and gpu.get("uuid") in used:
                for name, share in _shares(gpu).items():
                    gpus[name].append(share)
    waiting, kv, ttft = (_known(reports, name) for name in ("waiting", "kv_used", "ttft_p95"))
    proxies = told.get((str(deployment.organisation_id), deployment.name), {}) if told is not None else None
    asked = {boot: report.asked for boot, report in (proxies or {}).items()}
    requests: float | None = None
    held, tokens = 0, None
    if proxies is not None:
        held = sum(report.held for report in proxies.values())
        tokens = float(sum(report.tokens for report in proxies.values()))
        requests = float(sum(max(0, count - before.get(boot, count if before else 0)) for boot, count in asked.items()))
    in_line = None if proxies is None and waiting is None else held + sum(waiting or ())
    sample = Sample(
        at=now.timestamp(),
        ready=len(reports) + unheard,
        waiting=None if unheard and in_line == 0 else in_line,
        held=0 if reports else held,
        tokens=tokens,
        kv=sum(kv) / len(kv) if kv and not unheard else None,
        ttft=max(ttft) if ttft else None,
        requests=requests,
        **{name: max(shares) for name, shares in gpus.items() if shares},
    )
    unsure = "a proxy is silent" if silent else "a replica's worker is silent" if unheard else ""
    return Heard(sample, Guards(unsure=unsure), asked)


def _known(reports: Iterable[Mapping[str, Any]], name: str) -> list[float] | None:
    found = [float(report[name]) for report in reports if report.get(name) is not None]
    return found or None


def _shares(gpu: Mapping[str, Any]) -> dict[str, float]:
    """What a GPU does of what it could; what it does not tell is left out."""
    found = {}
    for name, part, whole in (("power", "power", "power_limit"), ("memory", "memory_used", "memory_total")):
        if gpu.get(part) is not None and gpu.get(whole):
            found[name] = float(gpu[part]) / float(gpu[whole])
    if gpu.get("utilisation") is not None:
        found["utilisation"] = float(gpu["utilisation"])
    return found


def _one(
    deployment: Deployment,
    keeper: Keeper,
    told: Mapping[tuple[str, str], Mapping[str, DeploymentReport]] | None,
    silent: bool,
    send: Callable[[dict[str, Any]], None],
    now: datetime,
) -> Decision:
    policy = policy_read(
        deployment.scaling, least=deployment.least, most=deployment.most, gpus=deployment.gpus, dry_run=deployment.scaling_mode != "on"
    )
    replicas = list(deployment.replicas.filter(ended_at=None).select_related("worker"))
    past = keeper.load(deployment.pk) or Past(memory=Memory(needs=((now.timestamp() - 0.001, deployment.wanted),)))
    found = heard(deployment, replicas, told, past.asked, now, silent=silent)
    recent = [sample for sample in past.samples if now.timestamp() - sample.at < policy.look_back]
    samples = [*recent, found.sample][-KEPT_SAMPLES:]
    decision = decide(policy, samples, past.memory, standing=deployment.wanted, now=now.timestamp(), guards=found.guards)
    said = past.said
    if decision.changes:
        facts = facts_of(decision)
        if not policy.dry_run:
            deployment_scale(
                actor=Actor.system(ACTOR),
                deployment=deployment,
                wanted=decision.desired,
                expected=decision.before,
                reason=decision.because,
                facts=facts,
            )
            said = (decision.desired, now.timestamp())
        elif said is None or said[0] != decision.desired or now.timestamp() - said[1] >= REPEAT_SECONDS:
            decision_record(deployment=deployment, before=decision.before, after=decision.desired, reason=decision.because, facts=facts)
            said = (decision.desired, now.timestamp())
    elif policy.dry_run:
        said = None
    standing = sum(1 for replica in replicas if replica.want == "serve")
    missing = max(0, deployment.wanted - standing) if deployment.unplaced else 0
    event, machines = machines_event(deployment, past.machines, missing=missing, decision=decision, now=now)
    if event is not None:
        send(event)
    keeper.save(deployment.pk, Past(samples=samples, memory=decision.memory, asked=found.asked, machines=machines, said=said))
    return decision


def facts_of(decision: Decision) -> dict[str, Any]:
    """What is kept with a decision."""
    return {
        "sentence": decision.sentence(),
        "need": decision.need,
        "dry_run": decision.dry_run,
        "guarded": decision.guarded,
        "guards": {name: value for name, value in asdict(decision.guards).items() if value not in (None, "")},
        "signals": [asdict(signal) for signal in decision.signals],
    }
