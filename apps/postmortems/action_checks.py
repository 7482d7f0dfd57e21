"""What an action item can be bound to: checks behind one small protocol. A new kind is a class here and a line in ``CHECKS``.

A check says whether what the action is for holds now. It never guesses: where too little is known it says so, and nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from apps.accounts.models import Organisation
from apps.alerts.error_budgets import budgets_now
from apps.alerts.models import Alert, AlertRule, Slo
from apps.budgets.models import PerformanceBudget
from apps.budgets.performance_selectors import PerformanceLine
from apps.flags.models import Flag, FlagFlip
from apps.postmortems.action_rules import FAILS, PASSES, UNKNOWN
from apps.postmortems.impact import scope_of

QUIET = timedelta(days=7)
"""For so long an alert rule must not have fired to be quiet."""
EXERCISED = timedelta(days=30)
"""A flag that was not flipped for longer is one that nobody knows to work."""
MOST_CHOICES = 500


@dataclass(frozen=True, slots=True)
class Judgement:
    """verdict: passes, fails or unknown (``action_rules``). why: one clause."""

    verdict: str
    why: str


class Check(Protocol):
    """One kind of thing that an action can be bound to. label: what it is called; what: what has to hold."""

    label: str
    what: str

    def choices(self, organisation: Organisation) -> Sequence[tuple[str, str]]:
        """(short name, title) of what can be chosen: one query."""

    def judge(self, organisation: Organisation, name: str, *, now: datetime) -> Judgement:
        """Whether it holds now. Never raises for a thing that is gone: that is unknown."""


class AlertRuleQuiet:
    """An alert rule did not fire for a week, while it was on."""

    label, what = "Alert rule", f"has been quiet for {QUIET.days} days"

    def choices(self, organisation: Organisation) -> Sequence[tuple[str, str]]:
        rows = AlertRule.objects.filter(organisation=organisation, deleted_at=None).order_by("title")
        return list(rows.values_list("name", "title")[:MOST_CHOICES])

    def judge(self, organisation: Organisation, name: str, *, now: datetime) -> Judgement:
        rule = AlertRule.objects.filter(organisation=organisation, name=name, deleted_at=None).first()
        if rule is None:
            return Judgement(UNKNOWN, f"there is no alert rule {name} any more")
        if not rule.enabled:
            return Judgement(UNKNOWN, "the rule is off: it would not have fired")
        fired = Alert.objects.filter(rule=rule, fired_at__isnull=False).exclude(resolved_at__lt=now - QUIET).order_by("-fired_at").first()
        if fired is not None and fired.fired_at is not None:
            return Judgement(FAILS, "it fires" if fired.open else f"it fired at {fired.fired_at:%Y-%m-%d %H:%M} UTC")
        if rule.created_at > now - QUIET:
            return Judgement(UNKNOWN, f"the rule is younger than {QUIET.days} days")
        return Judgement(PASSES, f"it has not fired for {QUIET.days} days")


class SloMet:
    """An SLO's error budget is not overspent."""

    label, what = "SLO", "is met over its window"

    def choices(self, organisation: Organisation) -> Sequence[tuple[str, str]]:
        rows = Slo.objects.filter(organisation=organisation, deleted_at=None).order_by("title")
        return list(rows.values_list("name", "title")[:MOST_CHOICES])

    def judge(self, organisation: Organisation, name: str, *, now: datetime) -> Judgement:
        slo = Slo.objects.filter(organisation=organisation, name=name, deleted_at=None).select_related("organisation").first()
        if slo is None:
            return Judgement(UNKNOWN, f"there is no SLO {name} any more")
        budget = budgets_now([slo], scope_of(organisation), now)[slo.pk]
        state = budget.status.value
        verdict = UNKNOWN if state == "unknown" else FAILS if state == "spent" else PASSES
        return Judgement(verdict, f"{budget.left_text} of its error budget left" if verdict != UNKNOWN else "too few requests to say")


class PerformanceHeld:
    """A performance budget holds, as its last look found."""

    label, what = "Performance budget", "is held"

    def choices(self, organisation: Organisation) -> Sequence[tuple[str, str]]:
        rows = PerformanceBudget.objects.filter(organisation=organisation).order_by("name")
        return [(name, name) for name in rows.values_list("name", flat=True)[:MOST_CHOICES]]

    def judge(self, organisation: Organisation, name: str, *, now: datetime) -> Judgement:
        row = PerformanceBudget.objects.filter(organisation=organisation, name=name).first()
        if row is None:
            return Judgement(UNKNOWN, f"there is no performance budget {name} any more")
        line = PerformanceLine(row, "", now)
        state = line.status.value
        verdict = {"ok": PASSES, "warning": PASSES, "breached": FAILS}.get(state, UNKNOWN)
        return Judgement(verdict, line.why or state)


class FlagExercised:
    """A flag was flipped within a month, for real or as a drill."""

    label, what = "Flag", f"was exercised within {EXERCISED.days} days"

    def choices(self, organisation: Organisation) -> Sequence[tuple[str, str]]:
        rows = Flag.objects.filter(organisation=organisation).order_by("name")
        return [(name, name) for name in rows.values_list("name", flat=True)[:MOST_CHOICES]]

    def judge(self, organisation: Organisation, name: str, *, now: datetime) -> Judgement:
        flag = Flag.objects.filter(organisation=organisation, name=name).first()
        if flag is None:
            return Judgement(UNKNOWN, f"there is no flag {name} any more")
        flip = FlagFlip.objects.filter(flag=flag, turn_on=True, at__lte=now).order_by("-at").first()
        if flip is None:
            return Judgement(FAILS, "it was never turned on")
        said = f"it was turned on {(now - flip.at).days} days ago"
        return Judgement(PASSES if flip.at >= now - EXERCISED else FAILS, said)


CHECKS: dict[str, Check] = {
    "alert-rule": AlertRuleQuiet(),
    "slo": SloMet(),
    "performance": PerformanceHeld(),
    "flag": FlagExercised(),
}
