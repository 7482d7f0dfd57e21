"""What a rule would have done in the last days, before it is made or changed: the same machine over the same figures, in wider steps.

Rules are judged each minute; a preview looks in steps of ten minutes or more, so it may miss what lasted less. It says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone as clock

from apps.accounts.scope import Scope
from apps.alerts import choices
from apps.alerts.choices import RANK, TIMES_BASELINE
from apps.alerts.judging import judge
from apps.alerts.rules import Before, Episode, Terms, step
from apps.alerts.series import SERIES, SUMMED_SCOPES, Sample, Series
from apps.alerts.sources.baselines import hour_figures, same_hours, usual_value
from apps.alerts.sources.traffic import COLUMNS, Traffic, figure_of
from apps.usage.covering import HOUR, floor
from apps.usage.gauges import gauge_series
from apps.usage.measures import COUNTS, Latency, Totals, latency_of
from apps.usage.selectors import rows_of

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.alerts.models import AlertRule

DAYS = 7
MOST_SUBJECTS = 20
STEP_S = 600


@dataclass(frozen=True, slots=True)
class Fired:
    """One alert that there would have been. ended: None where it would still be out."""

    subject: str
    severity: str
    fired_at: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Preview:
    """fired: newest first. known: whether anything can be said; ``why``: why not, or what is left out. step_s: seconds of a step."""

    fired: Sequence[Fired] = ()
    known: bool = True
    why: str = ""
    days: int = DAYS
    step_s: int = STEP_S

    @property
    def words(self) -> str:
        """``It would have fired 3 times in the last 7 days``."""
        if not self.known:
            return self.why
        times = {0: "not have fired", 1: "have fired once"}.get(len(self.fired), f"have fired {len(self.fired)} times")
        return f"It would {times} in the last {self.days} days"


def rule_preview(rule: AlertRule, *, now: datetime | None = None, days: int = DAYS) -> Preview:
    """What a rule, saved or not, would have done. Two queries at most; nothing is written."""
    now = now or clock.now()
    series = SERIES.get(rule.series)
    if series is None or series.source not in ("traffic", "gauge"):
        return Preview(known=False, why="What happened before is not kept for this series: it cannot be tried out.")
    if series.source == "gauge" and rule.by:
        return Preview(known=False, why="Only the whole of this series can be tried out: choose everything.")
    if series.source == "traffic" and rule.by not in SUMMED_SCOPES:
        return Preview(known=False, why="Only everything, routes, providers and keys can be tried out.")
    width = max(STEP_S, rule.window_s // 6 // STEP_S * STEP_S)
    end = floor(now, width)
    start = end - timedelta(days=days)
    courses = _gauge(rule, series, start, end, width) if series.source == "gauge" else _traffic(rule, series, start, end, width)
    fired = [one for subject, course in courses.items() for one in _play(rule, subject, course)]
    fired.sort(key=lambda one: one.fired_at, reverse=True)
    return Preview(fired, why=f"looked at in steps of {width // 60} minutes", days=days, step_s=width)


def _play(rule: AlertRule, subject: str, course: Sequence[tuple[datetime, Sample]]) -> Iterator[Fired]:
    """The episodes of one subject that fire."""
    series, terms = SERIES[rule.series], Terms(rule.for_s, rule.hold_s)
    episode: Episode | None = None
    before: Before | None = None
    worst = ""
    for at, sample in course:
        episode, _ = step(episode, judge(rule, series, sample), at, terms, before=before)
        if episode is None:
            continue
        if episode.state in choices.FIRED:
            worst = max(worst, episode.severity, key=RANK.__getitem__)
        if episode.state == choices.RESOLVED:
            if episode.fired_at is not None and episode.resolved_at is not None:
                yield Fired(subject, worst, episode.fired_at, episode.resolved_at)
                before = Before(episode.resolved_at, episode.flaps)
            episode, worst = None, ""
    if episode is not None and episode.fired_at is not None:
        yield Fired(subject, worst, episode.fired_at, None)


def _gauge(rule: AlertRule, series: Series, start: datetime, end: datetime, width: int) -> dict[str, list[tuple[datetime, Sample]]]:
    of = None if series.installation else str(rule.organisation_id)
    points = gauge_series(organisation=of, name=series.name, since=start, until=end, step_s=width, take="mean")
    return {"": [(at + timedelta(seconds=width), Sample(value, width // 60 if value is not None else 0)) for at, value in points]}


def _traffic(rule: AlertRule, series: Series, start: datetime, end: datetime, width: int) -> dict[str, list[tuple[datetime, Sample]]]:
    organisation: Organisation = rule.organisation
    scope = Scope(str(organisation.pk), organisation.simulated)
    back = max(0, rule.window_s - width)
    first = floor(start - timedelta(seconds=back), width)
    rows = _rows(scope, rule, series, first, end, width)
    usual = _usual(scope, rule, sorted(rows), start, end) if rule.comparison == TIMES_BASELINE else {}
    parts = max(1, -(-rule.window_s // width))
    courses: dict[str, list[tuple[datetime, Sample]]] = {}
    for subject, buckets in rows.items():
        course, at = [], start
        while at < end:
            inside = [buckets[bucket] for back_by in range(parts) if (bucket := at - timedelta(seconds=width * back_by)) in buckets]
            over = at + timedelta(seconds=width)
            course.append((over, _sample(series, inside, parts * width, usual.get((subject, floor(over, HOUR))))))
            at = over
        courses[subject] = course
    return courses


def _sample(series: Series, inside: Sequence[tuple[Any, ...]], seconds: int, baseline: float | None) -> Sample:
    totals = Totals()
    for row in inside:
        totals += Totals(*row[0])
    if not totals.requests + totals.attempts:
        return Sample(None, missing="nothing was counted")
    joined = [",".join(filter(None, (row[place] for row in inside))) for place in (1, 2)]
    traffic = Traffic(totals, *(latency_of(text) if text else Latency() for text in joined))
    value, samples, bad = figure_of(series.figure, traffic, seconds)
    return Sample(value, samples, bad, baseline)


def _rows(scope: Scope, rule: AlertRule, series: Series, start: datetime, end: datetime, width: int) -> dict[str, dict[datetime, Any]]:
    """By subject and bucket: counts and histograms as text; of all there are, the busiest."""
    counts = ", ".join(f"sum({name})::bigint" for name in COUNTS)
    histograms = (
        ", ".join(f"string_agg(nullif({name}::text, '{{}}'), ',')" for name in ("h_total", "h_first_token"))
        if series.unit == "us"
        else "NULL, NULL"
    )
    dimension = COLUMNS.get(rule.by, "")
    of = [scope.organisation, scope.simulated, STEP_S, dimension, start, end]
    where = "organisation = %s AND simulated = %s AND seconds = %s AND dimension = %s AND bucket >= %s AND bucket < %s"
    named = list(rule.values) if rule.by else [""]
    if not named:
        busiest = rows_of(
            f"SELECT value FROM usage_summary WHERE {where} AND value <> '' GROUP BY value ORDER BY sum(requests + attempts) DESC LIMIT %s",
            [*of, MOST_SUBJECTS],
        )
        named = [value for (value,) in busiest]
    found: dict[str, dict[datetime, Any]] = {}
    for value, bucket, *rest in rows_of(
        f"SELECT value, date_bin('{width} seconds', bucket, 'epoch'::timestamptz), {counts}, {histograms} FROM usage_summary "
        f"WHERE {where} AND value = ANY (%s) GROUP BY 1, 2",
        [*of, named[:MOST_SUBJECTS]],
    ):
        found.setdefault(value, {})[bucket.astimezone(UTC)] = (tuple(rest[:-2]), rest[-2], rest[-1])
    return found


def _usual(scope: Scope, rule: AlertRule, subjects: Sequence[str], start: datetime, end: datetime) -> Mapping[tuple[str, datetime], float]:
    """(subject, hour) -> what was usual then, by the rules of ``baselines``."""
    figure = SERIES[rule.series].figure
    measured = hour_figures(scope, COLUMNS.get(rule.by, ""), subjects, since=floor(start, HOUR) - timedelta(days=29), until=end)
    found: dict[tuple[str, datetime], float] = {}
    hour = floor(start, HOUR)
    while hour <= end:
        weeks = same_hours(hour)
        day = [hour - timedelta(hours=back) for back in range(1, 25)]
        for subject in subjects:
            known = measured.get(subject, {})
            of_weeks = {week: [known[at][figure] for at in each if figure in known.get(at, {})] for week, each in weeks.items()}
            value, _ = usual_value(of_weeks, [known[at][figure] for at in day if figure in known.get(at, {})])
            if value:
                found[subject, hour] = value
        hour += timedelta(seconds=HOUR)
    return found
