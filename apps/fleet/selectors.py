"""Reads of the fleet, as its pages, its API and documents need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, F, OuterRef, Prefetch, Q, QuerySet
from django.db.models.functions import JSONObject

from apps.accounts.models import Organisation
from apps.audit.models import Event
from apps.audit.selectors import events_about
from apps.contracts.fleet_facts import GpuFacts, ReplicaReport
from apps.fleet import choices
from apps.fleet.inventory import trouble_of
from apps.fleet.lifecycle import Pulse, worker_state
from apps.fleet.models import Claim, Deployment, Gpu, JoinToken, Replica, ScaleDecision, Worker
from apps.fleet.placement import gigabytes
from apps.fleet.placing import gpu_facts_of, pulse_now, seen_of
from apps.providers.models import Provider
from apps.ui.format import duration
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
    """A GPU as a page draws it. used, promised, busy: shares of 100; None: it does not say. held: ``lists.Held`` each."""

    gpu: Gpu
    fact: GpuFacts | None
    trouble: str
    held: tuple[Any, ...] = ()

    @property
    def short_name(self) -> str:
        """Without the vendor's name, which nearly all have."""
        return self.gpu.name.removeprefix("NVIDIA ")

    @property
    def simulated(self) -> bool:
        """Made up by a fake."""
        return self.gpu.vendor == "simulated" or (self.fact is not None and self.fact.simulated)

    @property
    def power_text(self) -> str:
        """``412 of 700 W``."""
        if self.fact is None or self.fact.power is None:
            return ""
        return f"{self.fact.power:.0f} of {self.fact.power_limit:.0f} W" if self.fact.power_limit else f"{self.fact.power:.0f} W"

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
    def memory_short(self) -> str:
        """The same where there is little room: ``6.1 / 24.0 GB``."""
        used = "?" if self.fact is None or self.fact.memory_used is None else f"{self.fact.memory_used / 1e9:.1f}"
        return f"{used} / {self.gpu.capacity / 1e9:.1f} GB" if self.gpu.capacity else f"{used} GB"

    @property
    def busy_text(self) -> str:
        return "" if self.busy is None else f"{self.busy:.0f} % of the time busy"

    @property
    def status(self) -> Status:
        if self.gpu.gone_at is not None:
            return choices.GPU_STATES["gone"]
        if self.trouble:
            return choices.GPU_STATES["trouble"]
        if self.fact is None:
            return choices.GPU_STATES["unknown"]
        return choices.GPU_STATES["promised" if self.gpu.claimed else "free"]


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
    def gpu_short(self) -> str:
        return self.gpu_text.replace("NVIDIA ", "")

    @property
    def simulated(self) -> bool:
        """Whether any of its GPUs is made up."""
        return any(line.simulated for line in self.gpus)

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

    @property
    def memory_short(self) -> str:
        """The same where there is little room: ``24 / 640 GB``."""
        return f"{self.promised / 1e9:.0f} / {self.capacity / 1e9:.0f} GB" if self.capacity else "not said"


def worker_lines(
    organisation: Organisation, *, now: datetime, pk: UUID | None = None, held: Mapping[int, tuple[Any, ...]] | None = None
) -> list[WorkerLine]:
    """Workers with their GPUs and how many replicas they have: three queries. pk: that one alone. held: who holds each GPU."""
    rows = workers_of(organisation) if pk is None else Worker.objects.filter(organisation=organisation, pk=pk)
    rows = rows.annotate(replicas_now=Count("replicas", filter=Q(replicas__ended_at=None))).order_by("name")
    rows = rows.prefetch_related(Prefetch("gpus", queryset=Gpu.objects.order_by("index", "pk")))
    pulse = pulse_now()
    return [_line(row, pulse, now, held or {}) for row in rows]


def _line(row: Any, pulse: Pulse, now: datetime, held: Mapping[int, tuple[Any, ...]]) -> WorkerLine:
    facts = {fact.uuid: fact for fact in gpu_facts_of(row)}
    gpus = []
    for gpu in row.gpus.all():
        fact = facts.get(gpu.uuid)
        gpus.append(GpuLine(gpu, fact, trouble_of(fact) if fact else "", held.get(gpu.pk, ())))
    return WorkerLine(row, worker_state(seen_of(row), pulse, now), tuple(gpus), row.replicas_now)


# --- replicas ------------------------------------------------------------------------------------------------------------


class Claimed(NamedTuple):
    """A GPU that was promised to a replica. gpu: its key; index: as its worker counts."""

    gpu: int
    index: int


@dataclass(frozen=True, slots=True)
class ReplicaLine:
    """A replica with what its worker said of its load last."""

    replica: Replica
    report: ReplicaReport | None
    claims: tuple[Claimed, ...] = ()

    @property
    def status(self) -> Status:
        row = self.replica
        if row.ended_at is not None:
            return Status("ended", "Ended", "neutral", "stop", hint=choices.ENDINGS.get(row.ending, row.ending))
        if row.want != "serve" and row.state in ("ready", "", "pending"):
            return choices.REPLICA_STATES["draining"]
        if self.unreached:
            return choices.REPLICA_STATES["unreached"]
        return choices.REPLICA_STATES.get(row.state or "unheard", choices.REPLICA_STATES["unheard"])

    @property
    def unreached(self) -> bool:
        """Its worker says that it is ready, and proxies cannot reach it."""
        row = self.replica
        return row.ended_at is None and row.want == "serve" and row.state == "ready" and row.unreached_since is not None

    @property
    def since(self) -> datetime | None:
        """When it came into the state that is shown."""
        return self.replica.unreached_since if self.unreached else self.replica.since

    @property
    def why(self) -> str:
        """The reason beside the state, in words."""
        row = self.replica
        if row.ended_at is not None:
            ending = choices.ENDINGS.get(row.ending, row.ending)
            failed = row.ending in ("gave_up", "missing", "lost") and not row.message and row.failure.get("message")
            return f"{ending}: {failed}" if failed else ending
        if self.unreached:
            return "proxies cannot reach it, although its worker says that it is ready"
        said = row.leaves or row.message or choices.REASONS.get(row.reason, "")
        return said or self.download_text or self.failed_before

    @property
    def download_text(self) -> str:
        """How much of its model is there, while it comes from a hub; "" else."""
        report = self.report
        if report is None or report.state != "downloading" or report.downloaded is None or not report.download_bytes:
            return ""
        share = report.downloaded / report.download_bytes
        return f"{gigabytes(report.downloaded)} of {gigabytes(report.download_bytes)} GB are there ({share:.0%})"

    @property
    def failed_before(self) -> str:
        """Why it failed the last time, while it is tried again; "" once it serves, and where it never did."""
        failure = self.replica.failure
        if not failure or self.replica.state in ("ready", "failed", "draining"):
            return ""
        return f"tried again after: {failure.get('message') or choices.REASONS.get(failure.get('reason', ''), 'it failed')}"

    @property
    def gpu_text(self) -> str:
        return ", ".join(f"GPU {claim.index}" for claim in self.claims) or "processors"

    @property
    def cold_start(self) -> list[tuple[str, float]]:
        """(phase, seconds) of its last start, in order."""
        phases = self.replica.phases
        return [(name, float(phases[name])) for name in ("downloading", "starting", "loading", "warming") if name in phases]

    @property
    def cold_seconds(self) -> float | None:
        return sum(seconds for _, seconds in self.cold_start) if self.cold_start else None

    @property
    def cold_shares(self) -> list[tuple[str, float, float]]:
        """(phase, seconds, share of 100) of its last start."""
        whole = self.cold_seconds or 0.0
        return [(name, seconds, 100.0 * seconds / whole if whole else 0.0) for name, seconds in self.cold_start]

    @property
    def worker_id(self) -> str:
        return str(self.replica.worker_id)

    @property
    def cold_text(self) -> str:
        """``1 min 9 s``; empty where it is not known."""
        return "" if self.cold_seconds is None else duration(self.cold_seconds * 1e6)

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


def replica_lines(rows: QuerySet[Replica], *, ended: bool = False) -> list[ReplicaLine]:
    """With deployment, worker and load, and what is promised to each: one query. ended: none of them stands any more, so nothing is
    promised to them."""
    if ended:
        light = rows.select_related("deployment", "worker").defer("spec", "placement", "lines", "worker__gpu_facts", "worker__reports")
        return [ReplicaLine(row, None) for row in light]
    claims = Claim.objects.filter(replica=OuterRef("pk")).order_by("gpu__index").values(claim=JSONObject(gpu="gpu_id", index="gpu__index"))
    heavy = ("spec", "placement", "lines", "deployment__config", "deployment__unplaced", "worker__gpu_facts", "worker__host")
    found: Any = list(rows.select_related("deployment", "worker").defer(*heavy).annotate(claimed=ArraySubquery(claims)))
    reports: dict[str, ReplicaReport] = {}
    for worker in {row.worker_id: row.worker for row in found}.values():
        for report in reports_of(worker):
            reports[report.replica] = report
    return [ReplicaLine(row, reports.get(str(row.pk)), tuple(Claimed(**claim) for claim in row.claimed)) for row in found]


def reports_of(worker: Worker) -> list[ReplicaReport]:
    """What a worker said of its replicas last."""
    return msgspec.convert(worker.reports, list[ReplicaReport]) if worker.reports else []


def replicas_live(*, deployment: Deployment | None = None, worker: UUID | None = None) -> QuerySet[Replica]:
    rows = Replica.objects.filter(ended_at=None)
    rows = rows if deployment is None else rows.filter(deployment=deployment)
    return (rows if worker is None else rows.filter(worker_id=worker)).order_by("deployment__name", "ordinal")


def replicas_ended(*, deployment: Deployment | None = None, worker: Worker | None = None) -> QuerySet[Replica]:
    """The last that ended, the newest first."""
    rows = Replica.objects.exclude(ended_at=None)
    rows = rows if deployment is None else rows.filter(deployment=deployment)
    return (rows if worker is None else rows.filter(worker=worker)).order_by("-ended_at")[:ENDED_SHOWN]


# --- deployments ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeploymentLine:
    """A deployment as a list shows it. standing: replicas that have not ended and are not told to go. ready: those that proxies reach, as
    far as is known; unreached: those that they do not. routes: (id, name) of those that target it, each once."""

    deployment: Deployment
    standing: int
    ready: int
    older: int
    failed: int
    routes: tuple[tuple[str, str], ...] = ()
    unreached: int = 0

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
        return "down" if self.failed or self.unreached or row.unplaced else "starting"

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
    def engine_text(self) -> str:
        engine = self.deployment.engine
        return choices.ENGINE_LABELS.get(engine, engine)

    @property
    def artifact_text(self) -> str:
        artifact = self.deployment.artifact
        revision = artifact.get("revision", "")
        return f"{artifact.get('location', '')}{f' @ {revision}' if revision else ''}" or "none"


def deployment_lines(organisation: Organisation, *, pk: UUID | None = None) -> list[DeploymentLine]:
    """Deployments with how many replicas stand: one query. pk: that one alone, with its routes."""
    live = Q(replicas__ended_at=None, replicas__want="serve")
    rows = deployments_of(organisation)
    if pk is not None:
        targeting = Provider.objects.filter(pk=OuterRef("provider_id"), route_targets__isnull=False).order_by("route_targets__route__name")
        told = targeting.values(route=JSONObject(id="route_targets__route_id", name="route_targets__route__name"))
        rows = rows.filter(pk=pk).annotate(targeted=ArraySubquery(told))
    rows = rows.order_by("name").annotate(
        standing=Count("replicas", filter=live),
        ready_now=Count("replicas", filter=live & Q(replicas__state="ready", replicas__unreached_since=None)),
        older=Count("replicas", filter=live & ~Q(replicas__revision=F("revision"))),
        failing=Count("replicas", filter=live & Q(replicas__state="failed")),
        cut_off=Count("replicas", filter=live & Q(replicas__state="ready", replicas__unreached_since__isnull=False)),
    )
    return [DeploymentLine(row, row.standing, row.ready_now, row.older, row.failing, _routes(row), row.cut_off) for row in rows]


def _routes(row: Any) -> tuple[tuple[str, str], ...]:
    return tuple(dict.fromkeys((one["id"], one["name"]) for one in getattr(row, "targeted", ())))


def deployments_named(organisation: Organisation) -> Mapping[str, str]:
    """Name -> id."""
    return {name: str(pk) for name, pk in deployments_of(organisation).values_list("name", "pk")}


def decisions_of(deployment: Deployment, *, most: int = 20) -> Sequence[ScaleDecision]:
    return list(ScaleDecision.objects.filter(deployment=deployment)[:most])


def story_of(kind: str, pk: UUID, *, most: int = EVENTS_SHOWN) -> list[Event]:
    """What happened to a worker or a deployment, the newest first."""
    return list(events_about(subject_kind=kind, subject_id=pk).order_by("-at", "-id")[:most])
