"""What the pages of flags show of apps that do not stand below them: budgets, and overrides that are no flags.

Those apps know flags, or an app above both does; each names its read here in an ``AppConfig.ready()``. Without one a page shows less and
never fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.accounts.models import Organisation
from apps.accounts.scope import Choice
from apps.publishing.selectors import register_page_fact
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


@dataclass(frozen=True, slots=True)
class InForce:
    """A switch that is on, as the banner of every page tells it. kind: as of ``Override``. by, since: empty where nobody knows any more.
    part: for what part of its requests, empty for all."""

    name: str
    kind: str
    reason: str = ""
    by: str = ""
    since: datetime | None = None
    until: datetime | None = None
    url: str = ""
    part: str = ""


Told = Callable[[Mapping[str, Any]], Iterable[InForce]]
"""What one row of a source's fact says is on; a row names its ``organisation`` (id)."""
BudgetRead = Callable[[Organisation], Sequence[BudgetStanding]]
"""The organisation's budgets as they stand, in at most two queries."""
OverrideRead = Callable[[Choice, datetime], Sequence[Override]]
"""Overrides of one kind that are in force now, in at most two queries."""

_budgets: BudgetRead | None = None
_in_force: dict[str, Told] = {}
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


def register_in_force(source: str, expression: Callable[[], Any], told: Told) -> None:
    """Names a source of what every page's bar and banner tell. expression: an array of JSON rows, which comes with the page's own query of
    the fleet (``apps.publishing.selectors.register_page_fact``); told: what one of them says."""
    register_page_fact(source, expression)
    _in_force[source] = told


def in_force_told(organisation_id: str, facts: Mapping[str, Any]) -> list[InForce]:
    """What all sources say is on in an organisation. facts: of ``page_facts_of``."""
    rows = [(told, row) for source, told in _in_force.items() for row in facts.get(source) or ()]
    return [one for told, row in rows if row["organisation"] == organisation_id for one in told(row)]
