"""The lists of workers, GPUs, deployments and replicas: what their URLs ask for, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from django.urls import reverse

from apps.accounts.scope import Choice
from apps.fleet import choices
from apps.fleet.lists import GpuRow
from apps.fleet.selectors import DeploymentLine, ReplicaLine, WorkerLine
from apps.ui.status import SEVERITY, Status
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build

WORST_FIRST = "-state"
"""How these lists are sorted unless their URL says otherwise."""


def severity(status: Status) -> str:
    """What a column of states sorts by; CSV shows it too."""
    return f"{SEVERITY.index(status.tone)} {status.label}"


WORKERS: tuple[Column[WorkerLine], ...] = (
    Column("Worker", "name", value=lambda row: row.name),
    Column("State", "state", value=lambda row: severity(row.status)),
    Column("GPUs", "gpus", value=lambda row: row.gpu_text),
    Column("Memory promised", "promised", numeric=True, value=lambda row: row.promised),
    Column("Replicas", "replicas", numeric=True, value=lambda row: row.replicas),
    Column("Pool", "pool", extra=True, value=lambda row: row.worker.pool),
    Column("Region", "region", extra=True, value=lambda row: row.worker.region),
    Column("Heard", "heard", extra=True, value=lambda row: row.worker.last_seen_at.isoformat() if row.worker.last_seen_at else ""),
)
DEPLOYMENTS: tuple[Column[DeploymentLine], ...] = (
    Column("Deployment", "name", value=lambda row: row.name),
    Column("State", "state", value=lambda row: severity(row.status)),
    Column("Ready", "ready", numeric=True, value=lambda row: row.ready, help="Of those that are wanted."),
    Column("Model", "model", value=lambda row: row.deployment.model),
    Column("Engine", "engine", extra=True, value=lambda row: row.engine_text),
    Column("A replica takes", "size", extra=True, value=lambda row: row.size_text),
    Column("Pool", "pool", extra=True, value=lambda row: row.deployment.pool),
    Column("Owner", "owner", extra=True, value=lambda row: row.deployment.owner.name if row.deployment.owner else ""),
)

GPUS: tuple[Column[GpuRow], ...] = (
    Column("GPU", "gpu", value=lambda row: f"{row.worker.name} {row.line.gpu.index:02}"),
    Column("State", "state", value=lambda row: severity(row.status)),
    Column("Memory", "used", numeric=True, value=lambda row: row.line.used, help="Used, of 100; the paler part is promised"),
    Column("Busy", "busy", numeric=True, value=lambda row: row.line.busy, help="Of its time, of 100: near 100 whatever the load is"),
    Column("Power", "power", numeric=True, extra=True, value=lambda row: row.line.fact.power if row.line.fact else None, help="Watts"),
    Column("Heat", "heat", numeric=True, extra=True, value=lambda row: row.line.fact.temperature if row.line.fact else None, help="°C"),
    Column("Model", "model", value=lambda row: row.line.gpu.name),
    Column("Held by", "held", value=lambda row: row.names),
)
REPLICAS: tuple[Column[ReplicaLine], ...] = (
    Column("Replica", "name", value=lambda row: f"{row.replica.deployment.name} {row.replica.ordinal:03}"),
    Column("State", "state", value=lambda row: severity(row.status)),
    Column("On", "worker", value=lambda row: row.replica.worker.name),
    Column("Running", "running", numeric=True, value=lambda row: row.running, help="Requests"),
    Column("Waiting", "waiting", numeric=True, value=lambda row: row.waiting, help="Requests in its line"),
    Column("KV cache", "kv", numeric=True, extra=True, value=lambda row: row.kv_used, help="Used, of 100"),
    Column("Cold start", "cold", numeric=True, extra=True, value=lambda row: row.cold_seconds, help="Seconds from its order to ready"),
    Column("Revision", "revision", numeric=True, extra=True, value=lambda row: row.replica.revision),
)


_JOIN = ("worker.join", "fleet:join", "Join a worker")
_CREATE = ("deployment.change", "fleet:deployment_create", "Create a deployment")
"""Permission, address and button of the step that fills an empty list."""


class Listed(Protocol):
    """A row that has a state."""

    @property
    def status(self) -> Status: ...


Line = TypeVar("Line", bound=Listed)


def asked_of(query: Mapping[str, str], name: str = "q") -> str:
    """A filter's text, made harmless."""
    return query.get(name, "").replace("\x00", "").strip()[:200]


def workers_list(choice: Choice, query: Mapping[str, str], rows: Sequence[WorkerLine]) -> Listing[WorkerLine]:
    """The organisation's workers as the URL asks for them."""
    nothing = _nothing(
        "No worker yet",
        "A worker is a machine, with GPUs or without, that runs engines for your deployments. It joins by one command.",
        *_JOIN,
        choice,
    )
    return _listed(
        query,
        rows,
        "workers",
        WORKERS,
        nothing,
        choices.WORKER_STATES,
        "Name, pool or GPU",
        lambda row: (row.name, row.worker.pool, row.worker.region, row.gpu_text),
    )


def gpus_list(choice: Choice, query: Mapping[str, str], rows: Sequence[GpuRow]) -> Listing[GpuRow]:
    """The organisation's GPUs as the URL asks for them."""
    nothing = _nothing(
        "No GPU yet",
        "GPUs come with the workers that have them, and report memory, use, power and heat. A worker without one serves on its processors.",
        *_JOIN,
        choice,
    )
    return _listed(
        query,
        rows,
        "GPUs",
        GPUS,
        nothing,
        choices.GPU_STATES,
        "Worker, model or deployment",
        lambda row: (row.worker.name, row.line.gpu.name, row.names),
    )


def deployments_list(choice: Choice, query: Mapping[str, str], rows: Sequence[DeploymentLine]) -> Listing[DeploymentLine]:
    """The organisation's deployments as the URL asks for them."""
    nothing = _nothing(
        "No deployment yet",
        "A deployment is a model that your workers serve: routes target it as they target a provider.",
        *_CREATE,
        choice,
    )
    return _listed(
        query,
        rows,
        "deployments",
        DEPLOYMENTS,
        nothing,
        choices.DEPLOYMENT_STATES,
        "Name or model",
        lambda row: (row.name, row.deployment.model),
    )


def replicas_list(choice: Choice, query: Mapping[str, str], rows: Sequence[ReplicaLine]) -> Listing[ReplicaLine]:
    """The organisation's replicas as the URL asks for them; the rows are of its ``deployment`` and its ``worker`` already."""
    chips = [
        Chip(label, getattr(rows[0].replica, name).name if rows else "none of its replicas", name)
        for name, label in (("deployment", "Deployment"), ("worker", "Worker"))
        if id_of(query, name) is not None
    ]
    nothing = _nothing(
        "No replica runs",
        "A replica is one engine on one worker. A deployment says how many there are; each is placed by itself.",
        *_CREATE,
        choice,
    )
    return _listed(
        query,
        rows,
        "replicas",
        REPLICAS,
        nothing,
        choices.REPLICA_STATES,
        "Deployment or worker",
        lambda row: (row.replica.deployment.name, row.replica.worker.name),
        chips,
    )


def _listed(
    query: Mapping[str, str],
    rows: Sequence[Line],
    label: str,
    columns: tuple[Column[Line], ...],
    nothing: Empty,
    states: Mapping[str, Status],
    searched: str,
    texts: Callable[[Line], tuple[str, ...]],
    chips: Sequence[Chip] = (),
) -> Listing[Line]:
    """The rows that hold the text that is asked for and are in the state that is asked for. searched: their ``texts`` in words."""
    asked, state, shown = asked_of(query), query.get("state", ""), list(chips)
    if asked:
        shown.append(Chip(searched, asked, "q"))
        rows = [row for row in rows if any(asked.lower() in text.lower() for text in texts(row))]
    if state in states:
        shown.append(Chip("State", states[state].label, "state"))
        rows = [row for row in rows if row.status.value == state]
    return listing_build(query, label=label, columns=columns, rows=rows, default_sort=WORST_FIRST, nothing_yet=nothing, chips=shown)


def _nothing(title: str, sentence: str, permission: str, address: str, button: str, choice: Choice) -> Empty:
    """What an empty list says, with the next step for those who may take it."""
    may = choice.may(permission)
    return Empty("nothing-yet", title, sentence, reverse(address) if may else "", button if may else "")


def id_of(query: Mapping[str, str], name: str) -> UUID | None:
    """A filter that is an id; None where it is none."""
    try:
        return UUID(query.get(name, ""))
    except ValueError:
        return None
