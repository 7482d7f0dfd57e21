"""Reads of performance budgets: rows, lines for pages, and the verdict that a deployment asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.audit.errors import ServiceError
from apps.budgets import performance_choices as choices
from apps.budgets import performance_rules as rules
from apps.budgets.models import PerformanceBudget, PerformanceVerdict
from apps.budgets.performance_measure import Evidence, budgets_measure, subjects_of
from apps.keys.neighbours import routes_known
from apps.ui.status import Status

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

MOST_PARTS = 3
"""Rhythms that a look may be late before its verdict is unknown."""


@dataclass(frozen=True, slots=True)
class PerformanceLine:
    """A budget as pages show it, as the last look found it. subject: the route's or model's name; empty: it is gone."""

    budget: PerformanceBudget
    subject: str
    now: datetime

    @property
    def id(self) -> UUID:
        return self.budget.pk

    @property
    def name(self) -> str:
        return self.budget.name

    @property
    def metric(self) -> str:
        return choices.METRICS[self.budget.metric].label

    @property
    def window(self) -> str:
        return choices.WINDOWS[self.budget.window].label

    @property
    def bound(self) -> str:
        return rules.value_text(self.budget.metric, self.budget.bound)

    @property
    def late(self) -> bool:
        """Nobody has looked for so long that what was found then says nothing about now."""
        looked = self.budget.evaluated_at
        return looked is not None and self.now - looked > MOST_PARTS * choices.WINDOWS[self.budget.window].every

    @property
    def status(self) -> Status:
        """Never ok by silence."""
        known = choices.VERDICTS["unknown" if self.late or self.budget.evaluated_at is None else self.budget.state]
        return replace(known, hint=self.why)

    @property
    def why(self) -> str:
        """One sentence."""
        looked = self.budget.evaluated_at
        if looked is None:
            return "nobody has looked yet: the first look comes within a minute, while Celery runs"
        if self.late:
            return f"nobody has looked since {looked:%Y-%m-%d %H:%M} UTC: see whether Celery's beat and worker run"
        return str(self.budget.evidence.get("why", ""))

    @property
    def measured(self) -> str:
        return str(self.budget.evidence.get("measured_text", "")) or "–"

    @property
    def measured_share(self) -> float | None:
        """Of the bound; for sorting."""
        value = self.budget.evidence.get("measured")
        return None if value is None else value / self.budget.bound

    @property
    def samples(self) -> int:
        return int(self.budget.evidence.get("samples", 0))

    @property
    def how(self) -> str:
        """How it is measured; as the last look did, which may have left something out."""
        metric = choices.METRICS[self.budget.metric]
        return str(self.budget.evidence.get("how") or (metric.how_model if self.budget.scope == "model" else metric.how))

    @property
    def starts_at(self) -> datetime | None:
        """Of the window that was looked at."""
        return _moment(self.budget.evidence.get("starts_at"))

    @property
    def ends_at(self) -> datetime | None:
        return _moment(self.budget.evidence.get("ends_at"))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@dataclass(frozen=True, slots=True)
class BudgetVerdict:
    """One budget with the evidence of this moment."""

    budget: PerformanceBudget
    subject: str
    evidence: Evidence

    def document(self) -> dict[str, Any]:
        """As the JSON view gives it."""
        row = self.budget
        named = {"id": str(row.pk), "name": row.name, "scope": row.scope, "subject": self.subject, "owner": row.owner_email}
        return named | self.evidence.document()


@dataclass(frozen=True, slots=True)
class Verdict:
    """state: the worst of the budgets'; unknown where there is none, which is no permission to go on. why: one sentence."""

    state: str
    why: str
    at: datetime
    budgets: tuple[BudgetVerdict, ...] = ()

    def document(self) -> dict[str, Any]:
        """As the JSON view gives it."""
        return {
            "verdict": self.state,
            "why": self.why,
            "at": self.at.isoformat(timespec="seconds"),
            "budgets": [one.document() for one in self.budgets],
        }


def performance_budgets_of(organisation: Organisation) -> QuerySet[PerformanceBudget]:
    """An organisation's performance budgets by name; deleted ones left out."""
    return PerformanceBudget.objects.filter(organisation=organisation, deleted_at=None).select_related("organisation").order_by("name")


def performance_lines(
    organisation: Organisation, rows: Sequence[PerformanceBudget], *, now: datetime | None = None
) -> list[PerformanceLine]:
    """With the names of what they are for: at most one query."""
    now = now or datetime.now(UTC)
    names = subjects_of(organisation, rows)
    return [PerformanceLine(row, names.get(row.pk, ""), now) for row in rows]


def performance_verdict(organisation: Organisation, *, route: str = "", model: str = "", now: datetime | None = None) -> Verdict:
    """What the performance budgets of a route, a model, or both say at this moment, measured now and not remembered.

    route, model: names. A gate lets pass what is ``ok``; ``unknown`` is no ok. Raises ServiceError without either, and for a route that
    the organisation does not have.
    """
    if not route and not model:
        raise ServiceError("say which route or model: route=chat or model=gpt-4o-mini", "route")
    now = now or datetime.now(UTC)
    wanted = Q(scope="model", scope_id=model) if model else Q(pk=None)
    if route:
        known = next((one.id for one in routes_known(organisation) if one.name == route), None)
        if known is None:
            raise ServiceError(f"the organisation {organisation.name} has no route {route[:200]!r}: name one that it has", "route")
        wanted |= Q(scope="route", scope_id=known)
    rows = list(performance_budgets_of(organisation).filter(wanted))
    if not rows:
        asked = " and ".join(f"{scope} {name}" for scope, name in (("route", route), ("model", model)) if name)
        return Verdict("unknown", f"there is no performance budget for {asked}: set one", now)
    found, names = budgets_measure(organisation, rows, now=now), subjects_of(organisation, rows)
    parts = tuple(BudgetVerdict(row, names.get(row.pk, ""), found[row.pk]) for row in rows)
    state = rules.worst([part.evidence.state for part in parts])
    named = [part.budget.name for part in parts if part.evidence.state == state]
    return Verdict(state, f"{state}: {', '.join(named)}", now, parts)


def verdicts_of(budget: PerformanceBudget, *, most: int = 60) -> list[PerformanceVerdict]:
    """The latest verdicts, the newest first."""
    return list(budget.verdicts.select_related("notice")[:most])


def verdicts_between(organisation: Organisation, start: datetime, end: datetime) -> list[PerformanceVerdict]:
    """Warnings and breaches that held at any time of a range, the worst and newest first, with their budgets: one query."""
    rows = PerformanceVerdict.objects.filter(budget__organisation=organisation, state__in=("warning", "breached"), at__lt=end)
    rows = rows.filter(Q(until=None) | Q(until__gt=start)).select_related("budget")
    return sorted(rows, key=lambda row: (row.state != "breached", -row.at.timestamp()))
