"""A deployment and its performance budgets: which apply, what they say, and what that asks of whoever rolls something out."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from apps.accounts.models import Organisation
from apps.audit.errors import ServiceError
from apps.fleet.models import Deployment
from apps.fleet.neighbours import Performance, performance_known

ORDER = ("breached", "warning", "unknown", "ok")
"""The worst first."""


def performance_of(deployment: Deployment, known: Iterable[Performance] | None = None) -> list[Performance]:
    """The one that it names and those of its model, the worst first. known: of its organisation, where they were read already."""
    rows = performance_known(deployment.organisation) if known is None else known
    found = [one for one in rows if one.id == deployment.performance_budget or (one.scope, one.subject) == ("model", deployment.model)]
    return sorted(found, key=lambda one: (ORDER.index(one.verdict), one.name))


def performance_named(organisation: Organisation, name: str) -> UUID | None:
    """The id of a performance budget; None for an empty name. Raises ServiceError."""
    if not name:
        return None
    found = next((one.id for one in performance_known(organisation) if one.name == name), None)
    if found is None:
        raise ServiceError(f"there is no performance budget {name!r}: name one of this organisation", "performance_budget")
    return found


def performance_check(organisation: Organisation, budget: UUID | None, model: str) -> None:
    """Whether a deployment of a model may name a performance budget. Raises ServiceError."""
    if budget is None:
        return
    named = next((one for one in performance_known(organisation) if one.id == budget), None)
    if named is None:
        raise ServiceError("there is no such performance budget: choose one of this organisation", "performance_budget")
    if named.scope == "model" and named.subject != model:
        raise ServiceError(
            f"the performance budget {named.name!r} is for the model {named.subject!r}, and this deployment serves {model!r}",
            "performance_budget",
        )


def rollout_check(deployment: Deployment, what: str, reason: str) -> None:
    """A rollout while a performance budget is breached takes a reason: it may be the cure, and somebody has looked. Raises ServiceError."""
    if reason.strip():
        return
    breached = [one for one in performance_of(deployment) if one.verdict == "breached"]
    if breached:
        one = breached[0]
        said = f"{one.metric} {one.measured}, at most {one.bound}"
        raise ServiceError(f"the performance budget {one.name!r} is breached ({said}): say as the reason why {what} all the same", "reason")
