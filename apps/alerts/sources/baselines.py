"""What is usual at an hour of the week: the median of the same hours of the last four weeks, the hours beside them included.

Until two weeks are known the median of the day before stands in; an alert says so (``learning``). Medians, so that one bad week, or one
bad hour of a day, does not become what is usual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from apps.accounts.scope import Scope
from apps.usage.covering import HOUR, floor
from apps.usage.measures import COUNTS, Latency, Totals, latency_of
from apps.usage.selectors import rows_of

WEEKS = 4
LEAST_WEEKS = 2
LEAST_HOURS = 3
"""Hours of the day before that must be known."""
LEAST_MEASURED = 20
"""An hour with fewer measurements is not known."""
KEPT_S = 600
"""For so long, by the data's clock, what was found is not looked for again: late records are in it after that."""
MOST_KEPT = 20_000
_AN_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Usual:
    """figures: figure -> its usual value, in the unit of the series. learning: figures for which the day before stands in."""

    figures: Mapping[str, float]
    learning: frozenset[str]

    def words(self, figure: str) -> str:
        """What it was learned from."""
        return "the day before (learning)" if figure in self.learning else "the same hours of the last weeks"


_found: dict[tuple[str, bool, str, str, int], Usual | None] = {}


def same_hours(at: datetime) -> dict[int, list[datetime]]:
    """Week before -> that hour of the week, the one before and the one after."""
    hour = floor(at, HOUR)
    return {week: [hour - timedelta(days=7 * week) + beside * _AN_HOUR for beside in (-1, 0, 1)] for week in range(1, WEEKS + 1)}


def day_before(at: datetime) -> list[datetime]:
    """The twenty-four hours before the running one."""
    hour = floor(at, HOUR)
    return [hour - back * _AN_HOUR for back in range(1, 25)]


def usual_value(weeks: Mapping[int, Sequence[float]], day: Sequence[float]) -> tuple[float | None, bool]:
    """(what is usual, learning) from what was measured in the same hours of some weeks, and in the hours of the day before."""
    known = [median(values) for values in weeks.values() if values]
    if len(known) >= LEAST_WEEKS:
        return median(known), False
    return (median(day), True) if len(day) >= LEAST_HOURS else (None, True)


def usual_of(scope: Scope, dimension: str, subjects: Sequence[str], *, at: datetime) -> dict[str, Usual]:
    """By subject, where anything is known: one query over hourly summaries for those that were not asked for lately."""
    block = int(at.timestamp()) // KEPT_S
    keys = {subject: (scope.organisation, scope.simulated, dimension, subject, block) for subject in subjects}
    unknown = [subject for subject, key in keys.items() if key not in _found]
    if unknown:
        if len(_found) + len(unknown) > MOST_KEPT:
            _found.clear()
        learned = _learn(scope, dimension, unknown, at)
        for subject in unknown:
            _found[keys[subject]] = learned.get(subject)
    return {subject: usual for subject, key in keys.items() if (usual := _found[key]) is not None}


def _learn(scope: Scope, dimension: str, subjects: Sequence[str], at: datetime) -> dict[str, Usual]:
    weeks, day = same_hours(at), day_before(at)
    hours = sorted({hour for each in weeks.values() for hour in each} | set(day))
    by_subject = _hours(scope, dimension, subjects, "bucket = ANY (%s)", [hours])
    found = {}
    for subject, measured in by_subject.items():
        learned = {name for figures in measured.values() for name in figures}
        values: dict[str, float] = {}
        learning = set()
        for name in learned:
            of_weeks = {week: [measured[hour][name] for hour in each if name in measured.get(hour, {})] for week, each in weeks.items()}
            of_day = [measured[hour][name] for hour in day if name in measured.get(hour, {})]
            value, young = usual_value(of_weeks, of_day)
            if value is not None and value > 0:
                values[name] = value
                if young:
                    learning.add(name)
        if values:
            found[subject] = Usual(values, frozenset(learning))
    return found


def hour_figures(
    scope: Scope, dimension: str, subjects: Sequence[str], *, since: datetime, until: datetime
) -> dict[str, dict[datetime, dict[str, float]]]:
    """Figures of every hour of a range, by subject and hour: one query."""
    return _hours(scope, dimension, subjects, "bucket >= %s AND bucket < %s", [since, until])


def _hours(
    scope: Scope, dimension: str, subjects: Sequence[str], where: str, parameters: Sequence[object]
) -> dict[str, dict[datetime, dict[str, float]]]:
    sums = ", ".join(COUNTS)
    histograms = "nullif(h_total::text, '{}'), nullif(h_first_token::text, '{}')"
    found: dict[str, dict[datetime, dict[str, float]]] = {}
    for value, bucket, *counts, total, first_token in rows_of(
        f"SELECT value, bucket, {sums}, {histograms} FROM usage_summary WHERE organisation = %s AND simulated = %s AND seconds = %s "
        f"AND dimension = %s AND {where} AND value = ANY (%s)",
        [scope.organisation, scope.simulated, HOUR, dimension, *parameters, list(subjects)],
    ):
        figures = _figures(Totals(*counts), latency_of(total), latency_of(first_token))
        found.setdefault(value, {})[bucket.astimezone(UTC)] = figures
    return found


def _figures(totals: Totals, total: Latency, first_token: Latency) -> dict[str, float]:
    """Figures of one hour, by the names of ``Series.figure``; what is measured by too few is left out."""
    found: dict[str, float] = {}
    for kind, latency in (("latency", total), ("ttft", first_token)):
        if latency.count >= LEAST_MEASURED:
            found |= {f"{kind}_{q}": value for q in ("p50", "p95", "p99") if (value := getattr(latency, q)) is not None}
    if totals.requests >= LEAST_MEASURED:
        found |= {
            "requests": totals.requests / HOUR,
            "tokens": (totals.tokens_input + totals.tokens_output) / HOUR,
            "cost": float(totals.cost_nano),
        }
    return found
