"""Reads of the fleet, as its pages, its API and documents need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Count, F, Prefetch, Q, QuerySet

from apps.accounts.models import Organisation
from apps.audit.models import Event
from apps.audit.selectors import events_about
from apps.contracts.fleet_facts import GpuFacts, ReplicaReport
from apps.fleet import choices
from apps.fleet.inventory import trouble_of
from apps.fleet.lifecycle import Pulse, worker_state
from apps.fleet.models import Claim, Deployment, Gpu, JoinToken, Replica, ScaleDecision, Worker
from apps.fleet.placing import gpu_facts_of, pulse_now, seen_of
from apps.ui.status import Status

ENDED_SHOWN = 20
EVENTS_SHOWN = 30


def workers_of(organisation: Organisation) -> QuerySet[Worker]:
    """Workers that were not removed."""
    return Worker.objects.filter(organisation=organisation, revoked_at=None)


def deployments_of(organisation: Organisation) -> QuerySet[Deployment]:
    return Deployment.objects.filter(organisation=organisation).select_related("owner", "organisation", "provider")


def worker_get(organisation: Organisation, pk: UUID) -> Worker | None:
    return Worker.objects.filter(organisation=organisation, pk=pk).select_related("organisation").first()


def deployment_get(organisation: Organisation, pk: UUID) -> Deployment | None:
    return deployments_of(organisation).filter(pk=pk).first()


def tokens_open(organisation: Organisation, *, now: datetime) -> list[JoinToken]:
    """Join tokens that somebody could still use."""
    return list(JoinToken.objects.filter(organisation=organisation, used_at=None, revoked_at=None, expires_at__gt=now)[:20])


# --- workers -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GpuLine:
    """A GPU as a page draws it. used, promised, busy: shares of 100; None: it does not say."""

    gpu: Gpu
    fact: GpuFacts | None
    trouble: str

    @property
    def used(self) -> float | None:
        fact = self.fact
        if fact is None or fact.memory_used is None or not fact.memory_total:
            return None
        return min(100.0, 100.0 * fact.memory_used / fact.memory_total)

    @property
    def promised(self) -> float:
        return 100.0 * self.gpu.claimed / self.gpu.capacity if self.gpu.capacity else 0.0

    @property
    def busy(self) -> float | None:
        return None if self.fact is None or self.fact.utilisation is None else 100.0 * self.fact.utilisation

    @property
    def memory_text(self) -> str:
        """``6.1 of 24.0 GB used, 14.0 promised``."""
        used = "?" if self.fact is None or self.fact.memory_used is None else f"{self.fact.memory_used / 1e9:.1f}"
        total = f"{self.gpu.capacity / 1e9:.1f}" if self.gpu.capacity else "?"
        return f"{used} of {total} GB used, {self.gpu.claimed / 1e9:.1f} promised"

    @property
    def status(self) -> Status:
        if self.gpu.gone_at is not None:
            return Status("gone", "Not reported", "bad", hint="Its worker does not see it any more.")
        if self.trouble:
            return Status("trouble", "Faulty", "bad", hint=self.trouble)
        if self.fact is None:
            return Status("unknown", "Unknown", "unknown")
        return Status("sound", "Promised", "info", "check") if self.gpu.claimed else Status("free", "Free", "good")


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A worker as a list shows it."""

    worker: Worker
    state: str
    gpus: tuple[GpuLine, ...]
    replicas: int

    @property
    def pk(self) -> UUID:
        return self.worker.pk

    @property
    def name(self) -> str:
        return self.worker.name

    @property
    def status(self) -> Status:
        return choices.WORKER_STATES[self.state]

    @property
    def gpu_text(self) -> str:
        """``8 x H100 80GB``; the host's processors where there is none."""
        counted: dict[str, int] = {}
        for line in self.gpus:
            counted[line.gpu.name] = counted.get(line.gpu.name, 0) + 1
        cpus = self.worker.host.get("cpus")
        return ", ".join(f"{count} x {name}" for name, count in counted.items()) or (f"{cpus} CPUs" if cpus else "no GPU")

    @property
    def capacity(self) -> int:
        """Bytes: of its GPUs, of the host where it has none."""
        return sum(line.gpu.capacity for line in self.gpus) if self.gpus else self.worker.memory_total or 0

    @property
    def promised(self) -> int:
        return sum(line.gpu.claimed for line in self.gpus) if self.gpus else self.worker.memory_claimed

    @property
    def promised_share(self) -> float:
        return 100.0 * self.promised / self.capacity if self.capacity else 0.0

    @property
    def memory_text(self) -> str:
        return f"{self.promised / 1e9:.1f} of {self.capacity / 1e9:.1f} GB promised" if self.capacity else "not said"


def worker_lines(organisation: Organisation, *, now: datetime, pk: UUID | None = None) -> list[WorkerLine]:
    """Workers with their GPUs and how many replicas they have: three queries. pk: that one alone."""
    rows = workers_of(organisation) if pk is None else Worker.objects.filter(organisation=organisation, pk=pk)
    rows = rows.annotate(replicas_now=Count("replicas", filter=Q(replicas__ended_at=None)))
    rows = rows.prefetch_related(Prefetch("gpus", queryset=Gpu.objects.order_by("index", "pk")))
    pulse = pulse_now()
    return [_line(row, pulse, now) for row in rows]


def _line(row: Any, pulse: Pulse, now: datetime) -> WorkerLine:
    facts = {fact.uuid: fact for fact in gpu_facts_of(row)}
    gpus = []
    for gpu in row.gpus.all():
        fact = facts.get(gpu.uuid)
        gpus.append(GpuLine(gpu, fact, trouble_of(fact) if fact else ""))
    return WorkerLine(row, worker_state(seen_of(row), pulse, now), tuple(gpus), row.replicas_now)


# --- replicas ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplicaLine:
    """A replica with what its worker said of its load last."""

    replica: Replica
    report: ReplicaReport | None
    claims: tuple[Claim, ...] = ()

    @property
    def status(self) -> Status:
        row = self.replica
        if row.ended_at is not None:
            return Status("ended", "Ended", "neutral", "stop", hint=choices.ENDINGS.get(row.ending, row.ending))
        if row.want != "serve" and row.state in ("ready", "", "pending"):
            return choices.REPLICA_STATES["draining"]
        return choices.REPLICA_STATES.get(row.state or "unheard", choices.REPLICA_STATES["unheard"])

    @property
    def why(self) -> str:
        """The reason beside the state, in words."""
        row = self.replica
        if row.ended_at is not None:
            return choices.ENDINGS.get(row.ending, row.ending)
        return row.leaves or row.message or choices.REASONS.get(row.reason, "")

    @property
    def gpu_text(self) -> str:
        return ", ".join(f"GPU {claim.gpu.index}" for claim in self.claims) or "host"

    @property
    def cold_start(self) -> list[tuple[str, float]]:
        """(phase, seconds) of its last start, in order."""
        phases = self.replica.phases
        return [(name, float(phases[name])) for name in ("downloading", "starting", "loading", "warming") if name in phases]

    @property
    def cold_seconds(self) -> float | None:
        return sum(seconds for _, seconds in self.cold_start) if self.cold_start else None

    @property
    def running(self) -> int | None:
        return self.report.metrics.running if self.report and self.report.metrics else None

    @property
    def waiting(self) -> int | None:
        return self.report.metrics.waiting if self.report and self.report.metrics else None

    @property
    def kv_used(self) -> float | None:
        """Of 100."""
        used = self.report.metrics.kv_used if self.report and self.report.metrics else None
        return None if used is None else 100.0 * used


def replica_lines(rows: QuerySet[Replica]) -> list[ReplicaLine]:
    """With deployment, worker, claims and load: three queries."""
    claims = Prefetch("claims", queryset=Claim.objects.select_related("gpu").order_by("gpu__index"))
    found = list(rows.select_related("deployment", "worker").prefetch_related(claims))
    reports: dict[str, ReplicaReport] = {}
    for worker in {row.worker_id: row.worker for row in found}.values():
        for report in reports_of(worker):
            reports[report.replica] = report
    return [ReplicaLine(row, reports.get(str(row.pk)), tuple(row.claims.all())) for row in found]


def reports_of(worker: Worker) -> list[ReplicaReport]:
    """What a worker said of its replicas last."""
    return msgspec.convert(worker.reports, list[ReplicaReport]) if worker.reports else []


def replicas_live(*, deployment: Deployment | None = None, worker: Worker | None = None) -> QuerySet[Replica]:
    rows = Replica.objects.filter(ended_at=None)
    rows = rows if deployment is None else rows.filter(deployment=deployment)
    return (rows if worker is None else rows.filter(worker=worker)).order_by("deployment__name", "ordinal")


def replicas_ended(*, deployment: Deployment | None = None, worker: Worker | None = None) -> QuerySet[Replica]:
    """The last that ended, the newest first."""
    rows = Replica.objects.exclude(ended_at=None)
    rows = rows if deployment is None else rows.filter(deployment=deployment)
    return (rows if worker is None else rows.filter(worker=worker)).order_by("-ended_at")[:ENDED_SHOWN]


# --- deployments ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeploymentLine:
    """A deployment as a list shows it. standing: replicas that have not ended and are not told to go."""

    deployment: Deployment
    standing: int
    ready: int
    older: int
    failed: int

    @property
    def pk(self) -> UUID:
        return self.deployment.pk

    @property
    def name(self) -> str:
        return self.deployment.name

    @property
    def state(self) -> str:
        """The key of ``choices.DEPLOYMENT_STATES``."""
        row = self.deployment
        if not row.enabled:
            return "disabled"
        if not row.wanted:
            return "zero"
        if self.older and self.ready:
            return "rolling"
        if self.ready >= row.wanted:
            return "serving"
        if self.ready:
            return "degraded"
        return "down" if self.failed or row.unplaced else "starting"

    @property
    def status(self) -> Status:
        return choices.DEPLOYMENT_STATES[self.state]

    @property
    def size_text(self) -> str:
        """``2 GPUs, 14.0 GB each``."""
        row = self.deployment
        if not row.gpus:
            return f"CPU, {row.memory / 1e9:.1f} GB" if row.memory else "CPU"
        each = " each" if row.gpus > 1 else ""
        return f"{row.gpus} GPU{'s' if row.gpus > 1 else ''}, {row.memory / 1e9:.1f} GB{each}"

    @property
    def artifact_text(self) -> str:
        artifact = self.deployment.artifact
        revision = artifact.get("revision", "")
        return f"{artifact.get('location', '')}{f' @ {revision}' if revision else ''}" or "none"


def deployment_lines(organisation: Organisation, *, pk: UUID | None = None) -> list[DeploymentLine]:
    """Deployments with how many replicas stand: one query."""
    live = Q(replicas__ended_at=None, replicas__want="serve")
    rows = deployments_of(organisation) if pk is None else deployments_of(organisation).filter(pk=pk)
    rows = rows.annotate(
        standing=Count("replicas", filter=live),
        ready_now=Count("replicas", filter=live & Q(replicas__state="ready")),
        older=Count("replicas", filter=live & ~Q(replicas__revision=F("revision"))),
        failing=Count("replicas", filter=live & Q(replicas__state="failed")),
    )
    return [DeploymentLine(row, row.standing, row.ready_now, row.older, row.failing) for row in rows]


def deployments_named(organisation: Organisation) -> Mapping[str, str]:
    """Name -> id."""
    return {name: str(pk) for name, pk in deployments_of(organisation).values_list("name", "pk")}


def decisions_of(deployment: Deployment, *, most: int = 20) -> Sequence[ScaleDecision]:
    return list(ScaleDecision.objects.filter(deployment=deployment)[:most])


def story_of(kind: str, pk: UUID, *, most: int = EVENTS_SHOWN) -> list[Event]:
    """What happened to a worker or a deployment, the newest first."""
    return list(events_about(subject_kind=kind, subject_id=pk).order_by("-at", "-id")[:most])
