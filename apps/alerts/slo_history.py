"""How an SLO's error budget burnt, step by step. Computed anew from the rollups each time, so a record that came late is in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone as clock

from apps.accounts.scope import Scope
from apps.alerts.burn import NOTHING, Counted, budget_used, burn_rate
from apps.alerts.choices import AVAILABILITY
from apps.alerts.series import SUMMED_SCOPES
from apps.alerts.sources.slos import counted_of
from apps.alerts.sources.traffic import COLUMNS
from apps.usage.covering import DAY, HOUR, floor
from apps.usage.measures import HISTOGRAMS
from apps.usage.selectors import rows_of

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.alerts.models import Slo

STEPS = {7: HOUR, 28: 10_800, 30: 10_800, 90: DAY}
"""Days of an SLO's window -> seconds of a step of its history."""


@dataclass(frozen=True, slots=True)
class BurnPoint:
    """One step of an SLO's history. burn: None where nothing was counted. left: of the window that ended with the step."""

    at: datetime
    seconds: int
    counted: Counted
    burn: float | None
    left: float | None


def scope_of(organisation: Organisation) -> Scope:
    """Whose traffic is promised: an organisation's real one, a simulated organisation's simulated one."""
    return Scope(organisation=str(organisation.pk), simulated=organisation.simulated)


def slo_history(slo: Slo, *, start: datetime | None = None, end: datetime | None = None, now: datetime | None = None) -> list[BurnPoint]:
    """An SLO over time (its whole window by default), step by step: one query. Steps without requests are in it, with nothing known."""
    now = now or clock.now()
    step = STEPS[slo.window_days]
    end = min(end or now, now)
    start = floor(start or end - timedelta(days=slo.window_days), step)
    window = timedelta(days=slo.window_days)
    counted = _steps(slo, floor(start - window, step), end, step)
    points: list[BurnPoint] = []
    inside: list[tuple[datetime, Counted]] = []
    total = bad = 0
    at = floor(start - window, step)
    while at < end:
        one = counted.get(at, NOTHING)
        inside.append((at, one))
        total, bad = total + one.total, bad + one.bad
        while inside and inside[0][0] <= at - window:
            gone = inside.pop(0)[1]
            total, bad = total - gone.total, bad - gone.bad
        if at >= start:
            used = budget_used(Counted(total, bad), slo.objective)
            left = None if used is None else max(0.0, 1 - used)
            points.append(BurnPoint(at, step, one, burn_rate(one, slo.objective), left))
        at += timedelta(seconds=step)
    return points


def _steps(slo: Slo, start: datetime, end: datetime, step: int) -> dict[datetime, Counted]:
    scope = scope_of(slo.organisation)
    place = f"date_bin('{step} seconds', bucket, 'epoch'::timestamptz)"
    where, parameters = "organisation = %s AND simulated = %s AND bucket >= %s AND bucket < %s", [scope.organisation, scope.simulated]
    parameters += [start, end]
    if slo.by in SUMMED_SCOPES:
        table = "usage_summary"
        where += " AND seconds = %s AND dimension = %s AND value = %s"
        parameters += [step, COLUMNS.get(slo.by, ""), slo.subject]
    else:
        table = "usage_rollup_1h"
        where += f" AND {COLUMNS[slo.by]} = %s"
        parameters.append(slo.subject)
    histograms = "NULL, NULL" if slo.indicator == AVAILABILITY else HISTOGRAMS
    rows: list[tuple[Any, ...]] = rows_of(
        f"SELECT {place}, sum(ok + error + unknown)::bigint, sum(error + unknown)::bigint, {histograms} FROM {table} "
        f"WHERE {where} GROUP BY 1",
        parameters,
    )
    return {at.astimezone(UTC): counted_of(slo, *counts) for at, *counts in rows}
