"""Replicas come and go: placed with their promises of memory, drained, ended. All writes of their rows but for what workers report.

Invariants, kept by constraints as well: a place (deployment, ordinal) holds at most one replica that has not ended; a GPU never has more
promised than it has; a replica's promises are given back exactly once, when it ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Prefetch, Q
from django.utils import timezone

from apps.audit.registry import event_record
from apps.contracts.fleet import Artifact, HealthPolicy, ReplicaSpec, WarmUp
from apps.contracts.fleet_facts import GpuFacts
from apps.contracts.identifiers import uuid7
from apps.fleet import choices
from apps.fleet.bearers import bearer_made
from apps.fleet.endpoints import endpoint_of
from apps.fleet.facts import facts_set
from apps.fleet.inventory import trouble_of
from apps.fleet.lifecycle import CLOSED, Pulse, Seen, worker_state
from apps.fleet.models import Claim, Deployment, FleetClock, Gpu, Replica, Worker
from apps.fleet.orders import order_touch, workers_lock
from apps.fleet.placement import Candidate, Device, Judged, Need, Placement, place

AVOIDED = timedelta(minutes=10)
"""So long a worker on which a revision could not be started is not tried for it again."""
DOUBTED = timedelta(minutes=2)
"""So long a worker comes last from which a replica was replaced because proxies could not reach it. Not longer: replicas that should stand
apart would stand together; where it is still cut off, the next one finds that out."""
DASHED = frozenset({"vllm", "command"})
"""Engines whose arguments are those of a command line."""
EXPLAINED = 40
"""Workers whose verdicts are kept with a placement."""


def need_of(deployment: Deployment) -> Need:
    """What one replica of a deployment takes."""
    return Need(
        gpus=deployment.gpus,
        memory=deployment.memory,
        exclusive=deployment.exclusive and deployment.gpus > 0,
        engine=deployment.engine,
        region=deployment.region,
        pool=deployment.pool,
        labels=deployment.labels,
        vendor=deployment.vendor,
        spot_allowed=deployment.spot_allowed,
    )


def pulse_now() -> Pulse:
    """When the control plane heard anybody, as stored."""
    row = FleetClock.objects.values_list("heard_at", "listening_since").first()
    return Pulse(*row) if row else Pulse()


def seen_of(worker: Worker) -> Seen:
    """A worker's row as its state is judged by."""
    return Seen(
        mode=worker.mode,
        last_seen=worker.last_seen_at,
        joined=worker.joined_at,
        preempted_at=worker.preempted_at,
        revoked=worker.revoked_at is not None,
        skew_ms=worker.skew_ms,
    )


def candidates_of(deployment: Deployment, *, now: datetime, pulse: Pulse) -> list[Candidate]:
    """Every worker of the organisation as placement sees it now: four queries, however many there are."""
    rows = (
        Worker.objects.filter(organisation_id=deployment.organisation_id, revoked_at=None)
        .annotate(
            replicas_now=Count("replicas", filter=Q(replicas__ended_at=None), distinct=True),
            siblings=Count("replicas", filter=Q(replicas__ended_at=None, replicas__deployment=deployment), distinct=True),
            had=Count("replicas", filter=Q(replicas__deployment=deployment, replicas__ready_at__isnull=False), distinct=True),
            cut_off=Count("replicas", filter=Q(replicas__ended_at=None, replicas__unreached_since__isnull=False), distinct=True),
            doubted=Count(
                "replicas", filter=Q(replicas__ended_at__gt=now - DOUBTED, replicas__unreached_since__isnull=False), distinct=True
            ),
        )
        .prefetch_related(Prefetch("gpus", queryset=Gpu.objects.filter(gone_at=None)))
    )
    failed: dict[UUID, str] = dict(
        Replica.objects.filter(
            deployment=deployment, revision=deployment.revision, ending="gave_up", ended_at__gt=now - AVOIDED
        ).values_list("worker_id", "reason")
    )
    resident = _resident(deployment.organisation_id)
    return [_candidate(row, failed.get(row.pk), resident, now=now, pulse=pulse) for row in rows]


def _resident(organisation: UUID) -> dict[UUID, set[str]]:
    """Worker -> its replicas that have not ended: what they hold of a GPU is ours, and promised already."""
    found: dict[UUID, set[str]] = defaultdict(set)
    rows = Replica.objects.filter(worker__organisation_id=organisation, ended_at=None).values_list("worker_id", "pk")
    for worker, replica in rows:
        found[worker].add(str(replica))
    return found


def _candidate(row: Any, failed: str | None, resident: dict[UUID, set[str]], *, now: datetime, pulse: Pulse) -> Candidate:
    closed = CLOSED.get(worker_state(seen_of(row), pulse, now), "")
    if not closed and failed is not None:
        words = choices.REASONS.get(failed, "it failed").rstrip(".")
        closed = f"could not start this revision a moment ago: {words[0].lower()}{words[1:]}"
    facts = {fact.uuid: fact for fact in gpu_facts_of(row)}
    ours = resident.get(row.pk, set())
    return Candidate(
        id=str(row.pk),
        name=row.name,
        closed=closed,
        region=row.region,
        pool=row.pool,
        labels=row.labels,
        spot=row.spot,
        memory_total=row.memory_total,
        memory_promised=row.memory_claimed,
        engines=None if row.engines is None else frozenset(row.engines),
        devices=tuple(_device(gpu, facts.get(gpu.uuid), ours) for gpu in row.gpus.all()),
        replicas=row.replicas_now,
        siblings=row.siblings,
        warm=row.had > 0,
        cut_off=row.cut_off > 0,
        doubted=row.doubted > 0,
    )


def gpu_facts_of(worker: Worker) -> list[GpuFacts]:
    """What its agent said of its GPUs last."""
    return msgspec.convert(worker.gpu_facts, list[GpuFacts]) if worker.gpu_facts else []


def _device(gpu: Gpu, fact: GpuFacts | None, ours: set[str]) -> Device:
    used = fact.memory_used if fact else None
    if fact is not None and fact.processes is not None:
        held = sum(process.memory or 0 for process in fact.processes if process.replica in ours)
    else:  # it does not say who holds what: promises of ours are taken to be used up, so that nothing is counted twice
        held = min(used or 0, gpu.claimed)
    return Device(
        uuid=gpu.uuid,
        name=gpu.name,
        vendor=gpu.vendor,
        total=gpu.capacity or None,
        used=used,
        promised=gpu.claimed,
        resident=held,
        unhealthy=trouble_of(fact) if fact else "",
    )


def spec_made(deployment: Deployment, replica: UUID, judged: Judged) -> ReplicaSpec:
    """The order of a new replica, as its deployment is now."""
    return ReplicaSpec(
        replica=str(replica),
        deployment=deployment.name,
        engine=deployment.engine,
        model=deployment.model,
        revision=deployment.revision,
        recipe=deployment.recipe,
        engine_version=deployment.engine_version,
        artifact=msgspec.convert(deployment.artifact, Artifact),
        arguments=_arguments(deployment),
        tasks=deployment.tasks or ["chat"],
        gpus=list(judged.devices),
        gpu_memory=None if deployment.exclusive or not deployment.gpus else deployment.memory,
        host_memory=deployment.memory if not deployment.gpus and deployment.memory else None,
        environment=deployment.environment,
        priority=deployment.priority,
        max_waiting=deployment.max_waiting,
        drain_seconds=float(deployment.drain_seconds),
        warm_up=msgspec.convert(deployment.warm_up, WarmUp),
        health=msgspec.convert(deployment.health, HealthPolicy),
    )


def _arguments(deployment: Deployment) -> dict[str, str | None]:
    """As the engine's list of arguments names them: programs' own with their dashes, which people leave out."""
    dashes = "--" if deployment.engine in DASHED else ""
    return {f"{dashes}{name}": value for name, value in deployment.arguments.items()}


@transaction.atomic
def replica_place(deployment: Deployment, *, now: datetime, pulse: Pulse) -> Replica | Placement:
    """One more replica on the best worker, or why there is none for it. The deployment's row is locked by the caller.

    Promises are taken by compare-and-set: where another placement was quicker on the same worker, it is judged anew.
    Raises VaultError where no token can be kept for it.
    """
    need = need_of(deployment)
    judged = place(need, candidates_of(deployment, now=now, pulse=pulse))
    for _ in range(5):
        best = judged.best
        if best is None:
            return judged
        try:
            with transaction.atomic():
                return _place(deployment, judged, best, now)
        except _TakenError:
            judged = place(need, candidates_of(deployment, now=now, pulse=pulse))
        except IntegrityError:  # its place was given, or its memory promised, in the meantime
            judged = place(need, candidates_of(deployment, now=now, pulse=pulse))
    return judged


class _TakenError(Exception):
    """Somebody else was quicker."""


def _place(deployment: Deployment, judged: Placement, best: Judged, now: datetime) -> Replica:
    worker = Worker.objects.select_for_update(no_key=True).get(pk=best.worker)
    if worker.revoked_at is not None or worker.mode != "active":
        raise _TakenError
    taken = set(deployment.replicas.filter(ended_at=None).values_list("ordinal", flat=True))
    ordinal = next(number for number in range(len(taken) + 1) if number not in taken)
    pk = uuid7()
    memory = 0 if deployment.gpus else deployment.memory
    replica = Replica(
        pk=pk,
        deployment=deployment,
        worker=worker,
        ordinal=ordinal,
        revision=deployment.revision,
        spec=spec_made(deployment, pk, best).plain(),
        bearer=bearer_made(deployment, worker),
        host_memory=memory,
        order_epoch=worker.desired_epoch,
        order_sequence=worker.desired_sequence + 1,
        placement=_explained(judged),
        since=now,
    )
    replica.save(force_insert=True)
    if memory:
        room = Q(memory_total=None) | Q(memory_total__gte=F("memory_claimed") + memory)
        if not Worker.objects.filter(room, pk=worker.pk).update(memory_claimed=F("memory_claimed") + memory):
            raise _TakenError
    for uuid, size in zip(best.devices, best.claims, strict=True):
        gpu = Gpu.objects.select_for_update().get(worker=worker, uuid=uuid)
        if gpu.capacity - gpu.claimed < size or (deployment.exclusive and gpu.claimed):
            raise _TakenError
        Gpu.objects.filter(pk=gpu.pk).update(claimed=F("claimed") + size)
        Claim.objects.create(replica=replica, gpu=gpu, bytes=size)
    order_touch([worker.pk])
    replica_event(replica, deployment.name, "placed", at=now, worker=worker.name)
    return replica


def _explained(judged: Placement) -> dict[str, Any]:
    return {
        "text": judged.summary(),
        "judged": [asdict(one) for one in judged.judged[:EXPLAINED]],
        "workers": len(judged.judged),
        "survivors": len(judged.survivors),
    }


def placement_kept(judged: Placement, now: datetime) -> dict[str, Any]:
    """A placement that found nobody, as ``Deployment.unplaced`` holds it."""
    return {**_explained(judged), "at": now.isoformat()}


@transaction.atomic
def replicas_drain(replicas: Sequence[tuple[Replica, str]], *, now: datetime, seconds: int) -> int:
    """Order replicas to take nothing new, finish and stop; those that leave already stay as they are. How many were told."""
    told = []
    workers_lock(replica.worker_id for replica, _ in replicas)
    for replica, why in replicas:
        by = now + timedelta(seconds=seconds)
        if Replica.objects.filter(pk=replica.pk, want="serve", ended_at=None).update(want="drain", drain_by=by, leaves=why[:300]):
            told.append(replica)
            replica_event(replica, replica.deployment.name, "drains", at=now, why=why)
    order_touch({replica.worker_id for replica in told})
    facts_set({replica.pk: endpoint_of(replica, draining=True) for replica in told})
    return len(told)


@transaction.atomic
def replicas_end(replicas: Sequence[Replica], *, ending: str, now: datetime) -> int:
    """Nothing is left of them, or nobody will hear of them: their promises are given back, proxies forget them. How many ended now."""
    ended = []
    workers_lock(replica.worker_id for replica in replicas)
    for replica in replicas:
        if not Replica.objects.filter(pk=replica.pk, ended_at=None).update(ended_at=now, ending=ending, drain_by=None):
            continue
        ended.append(replica)
        for claim in Claim.objects.filter(replica=replica).select_related("gpu"):
            Gpu.objects.filter(pk=claim.gpu_id).update(claimed=F("claimed") - claim.bytes)
        Claim.objects.filter(replica=replica).delete()
        if replica.host_memory:
            Worker.objects.filter(pk=replica.worker_id).update(memory_claimed=F("memory_claimed") - replica.host_memory)
        replica_event(replica, replica.deployment.name, "ended", at=now, why=choices.ENDINGS.get(ending, ending))
    order_touch({replica.worker_id for replica in ended})
    facts_set({replica.pk: None for replica in ended})
    return len(ended)


def replicas_abandon(worker: Worker, *, ending: str) -> int:
    """Give up whatever runs on a worker that is lost or removed."""
    rows = Replica.objects.filter(worker=worker, ended_at=None).select_related("deployment").order_by("pk")
    return replicas_end(list(rows), ending=ending, now=timezone.now())


def replica_event(replica: Replica, deployment: str, what: str, *, at: datetime, **data: str) -> None:
    """One line of a replica's history; its subject is the deployment, so that one query tells a deployment's story."""
    event_record(
        kind=choices.REPLICA_EVENT,
        subject_kind="deployment",
        subject_id=replica.deployment_id,
        subject_name=deployment,
        at=at,
        data={
            "what": what,
            "replica": str(replica.pk),
            "ordinal": replica.ordinal,
            "worker_id": str(replica.worker_id),
            **{name: value for name, value in data.items() if value},
        },
    )
