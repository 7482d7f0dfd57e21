"""Deployments: the document's entries <-> the service and the rows. How many replicas are wanted now is no matter of the document, nor is a
model's config.json: these stay as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.fleet.models import Deployment
from apps.fleet.neighbours import performance_known
from apps.fleet.performance import performance_named
from apps.fleet.selectors import deployments_of
from apps.fleet.services import deployment_create, deployment_delete, deployment_update
from apps.ownership.named import team_named
from controlplane.configfile.document_fleet import DeploymentEntry

GB = 10**9
SAME = (
    "model", "engine", "recipe", "environment", "tasks", "gpus", "exclusive", "context", "concurrency", "least", "most", "pool", "region",
    "spot_allowed", "priority", "strategy", "surge", "scaling_mode", "enabled",
)  # fmt: skip
"""Fields that are called the same in a row and mean the same."""
KEPT = ("warm_up", "health", "scaling", "max_waiting")
"""Fields that stay as they are where the entry leaves them out."""
ARTIFACT = {
    "source": "source", "location": "location", "model_revision": "revision", "digest": "digest", "format": "format",
    "quantisation": "quantisation", "allow_pickle": "allow_pickle", "allow_remote_code": "allow_remote_code",
}  # fmt: skip
"""The entry's name of each field of an artifact -> the contract's."""


def entry_apply(organisation: Organisation, entry: DeploymentEntry, *, actor: Actor, reason: str) -> Deployment:
    """Make the deployment what the entry says."""
    row = deployments_of(organisation).filter(name=entry.name).first()
    facts: dict[str, Any] = {name: getattr(entry, name) for name in SAME}
    kept = {} if row is None else {name: value for name, value in row.artifact.items() if name not in ARTIFACT.values()}
    facts["artifact"] = {**kept, **{to: getattr(entry, name) for name, to in ARTIFACT.items()}}
    facts["arguments"] = {name: value or None for name, value in entry.arguments.items()}
    facts["labels"] = entry.labels
    facts["memory"] = _bytes(entry.memory)
    facts["drain_seconds"] = -(-entry.drain // 1000)
    for name in KEPT:
        if (found := getattr(entry, name)) is not None:
            facts[name] = _numbers(found)
    if row is not None and row.performance_budget is not None and not entry.performance_budget:
        facts["performance_budget"] = None
    owner = team_named(organisation, entry.owner, field="owner") if entry.owner else None
    if row is None:
        return deployment_create(actor=actor, organisation=organisation, name=entry.name, owner=owner, reason=reason, **facts)
    return deployment_update(actor=actor, deployment=row, owner=owner, reason=reason, **facts)


def entry_link(organisation: Organisation, entry: DeploymentEntry, *, actor: Actor, reason: str) -> None:
    """The performance budget that the entry names, once those of the document are there."""
    for row in deployments_of(organisation).filter(name=entry.name):
        found = performance_named(organisation, entry.performance_budget)
        if row.performance_budget != found:
            deployment_update(actor=actor, deployment=row, performance_budget=found, reason=reason)


def entry_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """No deployment of that name any more."""
    for row in deployments_of(organisation).filter(name=name):
        deployment_delete(actor=actor, deployment=row, reason=reason)


def entries_of(organisation: Organisation) -> list[DeploymentEntry]:
    """Every deployment, by name."""
    names = {one.id: one.name for one in performance_known(organisation)}
    return [_entry(row, names) for row in deployments_of(organisation).order_by("name")]


def _entry(row: Deployment, performance: Mapping[UUID, str]) -> DeploymentEntry:
    facts: dict[str, Any] = {name: getattr(row, name) for name in SAME}
    found = {name: row.artifact[to] for name, to in ARTIFACT.items() if to in row.artifact}
    return DeploymentEntry(
        name=row.name,
        **facts,
        **found,
        arguments={name: value or "" for name, value in row.arguments.items()},
        labels=dict(row.labels),
        memory=f"{(Decimal(row.memory) / GB).normalize():f}",
        drain=row.drain_seconds * 1000,
        warm_up=_texts(row.warm_up) or None,
        health=_texts(row.health) or None,
        scaling=_texts(row.scaling) or None,
        max_waiting=row.max_waiting,
        performance_budget=performance.get(row.performance_budget, "") if row.performance_budget else "",
        owner=row.owner.slug if row.owner else "",
    )


def _numbers(found: Any) -> Any:
    """Fractions, which documents hold as texts, as numbers."""
    if isinstance(found, dict):
        return {name: _numbers(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_numbers(value) for value in found]
    return float(found) if isinstance(found, str) and re.fullmatch(r"[0-9]{1,10}\.[0-9]{1,6}", found) else found


def _texts(found: Any) -> Any:
    """The other way round."""
    if isinstance(found, dict):
        return {name: _texts(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_texts(value) for value in found]
    if isinstance(found, float):
        return int(found) if found.is_integer() else f"{Decimal(str(found)):f}"
    return found


def _bytes(text: str) -> int:
    try:
        size = int(Decimal(str(text)) * GB)
    except (InvalidOperation, ValueError, OverflowError):
        raise ServiceError(f"{text!r} is not a number of gigabytes, such as 14 or 6.5", "memory") from None
    return size
