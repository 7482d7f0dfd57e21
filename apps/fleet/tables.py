"""The lists of workers and deployments: what their URLs ask for, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.urls import reverse

from apps.accounts.scope import Choice
from apps.fleet import choices
from apps.fleet.selectors import DeploymentLine, WorkerLine, deployment_lines, worker_lines
from apps.ui.status import SEVERITY
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build

WORKERS: tuple[Column[WorkerLine], ...] = (
    Column("Worker", "name", value=lambda row: row.name),
    Column("State", "state", value=lambda row: f"{SEVERITY.index(row.status.tone)} {row.status.label}"),
    Column("GPUs", "gpus", value=lambda row: row.gpu_text),
    Column("Memory promised", "promised", numeric=True, value=lambda row: row.promised),
    Column("Replicas", "replicas", numeric=True, value=lambda row: row.replicas),
    Column("Pool", "pool", extra=True, value=lambda row: row.worker.pool),
    Column("Region", "region", extra=True, value=lambda row: row.worker.region),
    Column("Heard", "heard", extra=True, value=lambda row: row.worker.last_seen_at.isoformat() if row.worker.last_seen_at else ""),
)
DEPLOYMENTS: tuple[Column[DeploymentLine], ...] = (
    Column("Deployment", "name", value=lambda row: row.name),
    Column("State", "state", value=lambda row: f"{SEVERITY.index(row.status.tone)} {row.status.label}"),
    Column("Ready", "ready", numeric=True, value=lambda row: row.ready, help="Of those that are wanted."),
    Column("Model", "model", value=lambda row: row.deployment.model),
    Column("Engine", "engine", extra=True, value=lambda row: choices.ENGINE_LABELS[row.deployment.engine]),
    Column("A replica takes", "size", extra=True, value=lambda row: row.size_text),
    Column("Pool", "pool", extra=True, value=lambda row: row.deployment.pool),
    Column("Owner", "owner", extra=True, value=lambda row: row.deployment.owner.name if row.deployment.owner else ""),
)


def asked_of(query: Mapping[str, str], name: str = "q") -> str:
    """A filter's text, made harmless."""
    return query.get(name, "").replace("\x00", "").strip()[:200]


def workers_list(choice: Choice, query: Mapping[str, str], *, now: datetime) -> Listing[WorkerLine]:
    """The organisation's workers as the URL asks for them."""
    rows = worker_lines(choice.organisation, now=now)
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
    return listing_build(query, label="workers", columns=WORKERS, rows=rows, default_sort="name", nothing_yet=nothing, chips=chips)


def deployments_list(choice: Choice, query: Mapping[str, str]) -> Listing[DeploymentLine]:
    """The organisation's deployments as the URL asks for them."""
    rows = deployment_lines(choice.organisation)
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
    return listing_build(query, label="deployments", columns=DEPLOYMENTS, rows=rows, default_sort="name", nothing_yet=nothing, chips=chips)
