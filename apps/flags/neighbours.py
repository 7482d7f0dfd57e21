"""What the pages of flags show of apps that do not stand below them: budgets, and overrides that are no flags.

Those apps know flags, or an app above both does; each names its read here in an ``AppConfig.ready()``. Without one a page shows less and
never fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from apps.accounts.models import Organisation
from apps.accounts.scope import Choice
from apps.ui.status import Tone


@dataclass(frozen=True, slots=True)
class BudgetStanding:
    """A budget in its running window. scope: organisation, route, provider, model, key, team or feature; scope_id: the id or name of what
    it is for. remaining: nano-dollars that nobody spent or holds."""

    name: str
    scope: str
    scope_id: str
    remaining: int
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Override:
    """Something that is not as the config's everyday says, by a person or by a rule.

    kind: of ``apps.flags.overrides.PRECEDENCE``. what: what it does, as a sentence without its end. until None: until somebody ends it.
    detail: more, such as a drill's share.
    """

    kind: str
    name: str
    what: str
    url: str = ""
    since: datetime | None = None
    until: datetime | None = None
    by: str = ""
    reason: str = ""
    detail: str = ""
    tone: Tone = "warn"


BudgetRead = Callable[[Organisation], Sequence[BudgetStanding]]
"""The organisation's budgets as they stand, in at most two queries."""
OverrideRead = Callable[[Choice, datetime], Sequence[Override]]
"""Overrides of one kind that are in force now, in at most two queries."""

_budgets: BudgetRead | None = None
_overrides: dict[str, OverrideRead] = {}


def register_budgets(read: BudgetRead) -> None:
    """Names who knows the budgets."""
    global _budgets
    _budgets = read


def budgets_standing(organisation: Organisation) -> list[BudgetStanding]:
    """The organisation's budgets; none where nobody knows any."""
    return list(_budgets(organisation)) if _budgets else []


def register_overrides(source: str, read: OverrideRead) -> None:
    """Names who knows the overrides of a source, such as ``routes``."""
    _overrides[source] = read


def overrides_known(choice: Choice, now: datetime) -> list[Override]:
    """What all sources say is in force."""
    return [one for read in _overrides.values() for one in read(choice, now)]
