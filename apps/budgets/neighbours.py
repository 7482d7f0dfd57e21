"""What budgets' alerts ask of an app that stands above them: which budgets' days a rule of its own tells of, so that nobody is told twice.

That app knows budgets, not the other way round; it names its answer here in ``AppConfig.ready()``. Without one, budgets tell everything
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from uuid import UUID

from apps.budgets.models import Budget

Watched = Callable[[Collection[Budget]], Mapping[UUID, str]]
"""Budgets -> id -> short name of the rule that tells people of the budget's day; budgets that no rule looks at are not in it."""

_watched: list[Watched] = []


def register_day_rules(watched: Watched) -> None:
    """Name who knows which rules look at budgets' days."""
    _watched[:] = [watched]


def days_watched(budgets: Collection[Budget]) -> Mapping[UUID, str]:
    """By budget, the rule that tells of its day; one query where anybody was named."""
    return _watched[0](budgets) if _watched and budgets else {}
