"""The lists of workers, GPUs, deployments and replicas: what their URLs ask for, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def asked_of(query: Mapping[str, str], name: str = "q") -> str:
    """A filter's text, made harmless."""
    return query.get(name, "").replace("\x00", "").strip()[:200]


def workers_list(choice: Choice, query: Mapping[str, str], rows: Sequence[WorkerLine]) -> Listing[WorkerLine]:
    """The organisation's workers as the URL asks for them."""
    asked, state, chips = asked_of(query), query.get("state", ""), []
    if asked:
        chips.append(Chip("Name, pool or GPU", asked, "q"))
        word = asked.lower()
        rows = [row for row in rows if any(word in text.lower() for text in (row.name, row.worker.pool, row.worker.region, row.gpu_text))]
    if state in choices.WORKER_STATES:
        chips.append(Chip("State", choices.WORKER_STATES[state].label, "state"))
        rows = [row for row in rows if row.state == state]
    may = choice.may("worker.join")
    nothing = Empty(
        "nothing-yet",
        "No worker yet",
        "A worker is a machine, with GPUs or without, that runs engines for your deployments. It joins by one command.",
        reverse("fleet:join") if may else "",
        "Join a worker" if may else "",
    )
    return listing_build(query, label="workers", columns=WORKERS, rows=rows, default_sort=WORST_FIRST, nothing_yet=nothing, chips=chips)


def gpus_list(choice: Choice, query: Mapping[str, str], rows: Sequence[GpuRow]) -> Listing[GpuRow]:
    """The organisation's GPUs as the URL asks for them."""
    asked, state, chips = asked_of(query), query.get("state", ""), []
    if asked:
        chips.append(Chip("Worker, model or deployment", asked, "q"))
        word = asked.lower()
        rows = [row for row in rows if any(word in text.lower() for text in (row.worker.name, row.line.gpu.name, row.names))]
    if state in choices.GPU_STATES:
        chips.append(Chip("State", choices.GPU_STATES[state].label, "state"))
        rows = [row for row in rows if row.status.value == state]
    may = choice.may("worker.join")
    nothing = Empty(
        "nothing-yet",
        "No GPU yet",
        "GPUs come with the workers that have them, and report memory, use, power and heat. A worker without one serves on its processors.",
        reverse("fleet:join") if may else "",
        "Join a worker" if may else "",
    )
    return listing_build(query, label="GPUs", columns=GPUS, rows=rows, default_sort=WORST_FIRST, nothing_yet=nothing, chips=chips)


def deployments_list(choice: Choice, query: Mapping[str, str], rows: Sequence[DeploymentLine]) -> Listing[DeploymentLine]:
    """The organisation's deployments as the URL asks for them."""
    asked, state, chips = asked_of(query), query.get("state", ""), []
    if asked:
        chips.append(Chip("Name or model", asked, "q"))
        word = asked.lower()
        rows = [row for row in rows if word in row.name.lower() or word in row.deployment.model.lower()]
    if state in choices.DEPLOYMENT_STATES:
        chips.append(Chip("State", choices.DEPLOYMENT_STATES[state].label, "state"))
        rows = [row for row in rows if row.state == state]
    may = choice.may("deployment.change")
    nothing = Empty(
        "nothing-yet",
        "No deployment yet",
        "A deployment is a model that your workers serve: routes target it as they target a provider.",
        reverse("fleet:deployment_create") if may else "",
        "Create a deployment" if may else "",
    )
    return listing_build(
        query, label="deployments", columns=DEPLOYMENTS, rows=rows, default_sort=WORST_FIRST, nothing_yet=nothing, chips=chips
    )


def replicas_list(choice: Choice, query: Mapping[str, str], rows: Sequence[ReplicaLine]) -> Listing[ReplicaLine]:
    """The organisation's replicas as the URL asks for them; the rows are of its ``deployment`` and its ``worker`` already."""
    asked, state, chips = asked_of(query), query.get("state", ""), []
    for name, label in (("deployment", "Deployment"), ("worker", "Worker")):
        if id_of(query, name) is not None:
            chips.append(Chip(label, getattr(rows[0].replica, name).name if rows else "none of its replicas", name))
    if asked:
        chips.append(Chip("Deployment or worker", asked, "q"))
        word = asked.lower()
        rows = [row for row in rows if any(word in text.lower() for text in (row.replica.deployment.name, row.replica.worker.name))]
    if state in choices.REPLICA_STATES:
        chips.append(Chip("State", choices.REPLICA_STATES[state].label, "state"))
        rows = [row for row in rows if row.status.value == state]
    may = choice.may("deployment.change")
    nothing = Empty(
        "nothing-yet",
        "No replica runs",
        "A replica is one engine on one worker. A deployment says how many there are; each is placed by itself.",
        reverse("fleet:deployment_create") if may else "",
        "Create a deployment" if may else "",
    )
    return listing_build(query, label="replicas", columns=REPLICAS, rows=rows, default_sort=WORST_FIRST, nothing_yet=nothing, chips=chips)


def id_of(query: Mapping[str, str], name: str) -> UUID | None:
    """A filter that is an id; None where it is none."""
    try:
        return UUID(query.get(name, ""))
    except ValueError:
        return None
