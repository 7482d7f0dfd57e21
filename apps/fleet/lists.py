"""What stands in the fleet's lists across workers and deployments: every GPU, every replica, what happened, and the counts above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.accounts.models import Organisation
from apps.audit.models import Event
from apps.fleet import choices
from apps.fleet.models import Claim, Deployment, JoinToken, Replica, Worker
from apps.fleet.selectors import DeploymentLine, GpuLine, ReplicaLine, WorkerLine, replica_lines, worker_lines
from apps.ui.status import Status

EVENTS_MOST = 100
TOKENS_MOST = 10
TROUBLE = frozenset({"lost", "silent", "preempted", "skewed"})
"""States of workers that somebody should look at and that nobody chose."""


@dataclass(frozen=True, slots=True)
class Held:
    """A replica that holds a share of a GPU."""

    replica: UUID
    deployment: UUID
    name: str
    ordinal: int


@dataclass(frozen=True, slots=True)
class GpuRow:
    """A GPU in the list of all."""

    worker: WorkerLine
    line: GpuLine

    @property
    def held(self) -> tuple[Held, ...]:
        return self.line.held

    @property
    def pk(self) -> int:
        return self.line.gpu.pk

    @property
    def status(self) -> Status:
        return self.line.status

    @property
    def free(self) -> int:
        """Bytes that nobody was promised."""
        return self.line.gpu.capacity - self.line.gpu.claimed

    @property
    def names(self) -> str:
        """The deployments on it, as CSV has them."""
        return ", ".join(dict.fromkeys(one.name for one in self.held))


def held_by(lines: Sequence[ReplicaLine]) -> dict[int, tuple[Held, ...]]:
    """GPU -> who of these replicas holds it: no query."""
    found: dict[int, list[Held]] = {}
    for line in lines:
        one = Held(line.replica.pk, line.replica.deployment_id, line.replica.deployment.name, line.replica.ordinal)
        for claim in line.claims:
            found.setdefault(claim.gpu, []).append(one)
    return {gpu: tuple(held) for gpu, held in found.items()}


def held_of(organisation: Organisation) -> dict[int, tuple[Held, ...]]:
    """GPU -> who holds it, of all workers: one query."""
    rows = Claim.objects.filter(replica__ended_at=None, gpu__worker__organisation=organisation)
    found: dict[int, list[Held]] = {}
    values = rows.order_by("replica__deployment__name", "replica__ordinal").values_list(
        "gpu_id", "replica_id", "replica__deployment_id", "replica__deployment__name", "replica__ordinal"
    )
    for gpu, replica, deployment, name, ordinal in values:
        found.setdefault(gpu, []).append(Held(replica, deployment, name, ordinal))
    return {gpu: tuple(held) for gpu, held in found.items()}


def gpu_rows(organisation: Organisation, *, now: datetime) -> list[GpuRow]:
    """Every GPU of workers that were not removed: five queries."""
    lines = worker_lines(organisation, now=now, held=held_of(organisation))
    return [GpuRow(worker, line) for worker in lines for line in worker.gpus]


def replica_rows(organisation: Organisation, *, deployment: UUID | None = None, worker: UUID | None = None) -> list[ReplicaLine]:
    """Every replica that has not ended: one query."""
    rows = Replica.objects.filter(deployment__organisation=organisation, ended_at=None).order_by("deployment__name", "ordinal")
    rows = rows if deployment is None else rows.filter(deployment=deployment)
    return replica_lines(rows if worker is None else rows.filter(worker=worker))


def events_of(organisation: Organisation) -> list[Event]:
    """What happened to workers, replicas and deployments that still are, the newest first."""
    subjects = [
        str(pk) for rows in (Worker, Deployment) for pk in rows.objects.filter(organisation=organisation).values_list("pk", flat=True)
    ]
    kinds = (choices.WORKER_EVENT, choices.REPLICA_EVENT, choices.DEPLOYMENT_EVENT)
    events = Event.objects.filter(kind__in=kinds, subject_kind__in=("worker", "deployment"), subject_id__in=subjects)
    return list(events.order_by("-at", "-id")[:EVENTS_MOST])


# --- what stands above a list ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """Of all workers. memory_share: promised of what is there, of 100; None where there is no GPU that says its size."""

    workers: int
    serving: int
    left: int
    trouble: int
    gpus: int
    free: int
    faulty: int
    simulated: int
    promised: int
    capacity: int

    @property
    def memory_share(self) -> float | None:
        return 100.0 * self.promised / self.capacity if self.capacity else None

    @property
    def memory_text(self) -> str:
        return f"{self.promised / 1e9:,.0f} of {self.capacity / 1e9:,.0f} GB".replace(",", "\u202f")


def counts_of(lines: Sequence[WorkerLine]) -> WorkerCounts:
    """left: taken out of service by people."""
    gpus = [gpu for line in lines for gpu in line.gpus]
    return WorkerCounts(
        workers=len(lines),
        serving=sum(line.state in ("ready", "skewed") for line in lines),
        left=sum(line.state in ("cordoned", "draining", "maintenance") for line in lines),
        trouble=sum(line.state in TROUBLE for line in lines),
        gpus=len(gpus),
        free=sum(gpu.status.value == "free" for gpu in gpus),
        faulty=sum(gpu.status.tone == "bad" for gpu in gpus),
        simulated=sum(gpu.simulated for gpu in gpus),
        promised=sum(gpu.gpu.claimed for gpu in gpus),
        capacity=sum(gpu.gpu.capacity for gpu in gpus),
    )


@dataclass(frozen=True, slots=True)
class DeploymentCounts:
    """Of all deployments. nowhere: those of which a replica fits nowhere."""

    deployments: int
    well: int
    trouble: int
    ready: int
    wanted: int
    nowhere: int


def deployment_counts(lines: Sequence[DeploymentLine]) -> DeploymentCounts:
    on = [line for line in lines if line.deployment.enabled]
    return DeploymentCounts(
        deployments=len(lines),
        well=sum(line.state in ("serving", "zero") for line in lines),
        trouble=sum(line.status.tone in ("warn", "bad") for line in lines),
        ready=sum(line.ready for line in on),
        wanted=sum(line.deployment.wanted for line in on),
        nowhere=sum(bool(line.deployment.unplaced) for line in on),
    )


# --- join tokens ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenLine:
    """A join token and what became of it."""

    token: JoinToken
    now: datetime

    @property
    def state(self) -> str:
        """The key of ``choices.TOKEN_STATES``."""
        if self.token.used_at is not None:
            return "used"
        if self.token.revoked_at is not None:
            return "revoked"
        return "expired" if self.token.expires_at <= self.now else "open"

    @property
    def status(self) -> Status:
        return choices.TOKEN_STATES[self.state]


def token_lines(organisation: Organisation, *, now: datetime) -> list[TokenLine]:
    """The last tokens, the newest first."""
    rows = JoinToken.objects.filter(organisation=organisation).select_related("worker").order_by("-created_at")
    return [TokenLine(row, now) for row in rows[:TOKENS_MOST]]


def token_get(organisation: Organisation, pk: UUID, *, now: datetime) -> TokenLine | None:
    row = JoinToken.objects.filter(organisation=organisation, pk=pk).select_related("worker").first()
    return TokenLine(row, now) if row else None


# --- why here, why not -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """What placement said of one worker, live or as it was kept. parts: of the score of one that fits."""

    worker: str
    name: str
    reasons: tuple[str, ...]
    kinds: tuple[str, ...]
    score: float
    parts: tuple[tuple[str, float], ...]

    @property
    def fits(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Refused:
    """Workers that are kept out by the same kind of reason. alike: the one reason that all of them have; empty where they differ."""

    kind: str
    alike: str
    workers: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Every worker that was asked: those that can, best first, and the others by their first reason, the most first."""

    fit: tuple[Verdict, ...]
    refused: tuple[Refused, ...]

    @property
    def count(self) -> int:
        return len(self.fit) + sum(len(one.workers) for one in self.refused)


def verdicts_of(judged: Sequence[object]) -> Verdicts:
    """Of ``placement.Judged`` rows, or of their JSON as replicas and deployments keep it."""
    rows = [_verdict(one) for one in judged]
    groups: dict[str, list[Verdict]] = {}
    for row in rows:
        if not row.fits:
            groups.setdefault(row.kinds[0] if row.kinds else row.reasons[0], []).append(row)
    refused = []
    for kind, workers in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        first = {worker.reasons for worker in workers}
        refused.append(Refused(kind, "; ".join(workers[0].reasons) if len(first) == 1 else "", tuple(workers)))
    return Verdicts(tuple(row for row in rows if row.fits), tuple(refused))


def _verdict(one: object) -> Verdict:
    kept = one if isinstance(one, Mapping) else {name: getattr(one, name) for name in Verdict.__slots__}
    return Verdict(
        worker=str(kept.get("worker", "")),
        name=str(kept.get("name", "")),
        reasons=tuple(kept.get("reasons", ())),
        kinds=tuple(kept.get("kinds", ())),
        score=float(kept.get("score", 0.0)),
        parts=tuple((str(name), float(value)) for name, value in kept.get("parts", ())),
    )
