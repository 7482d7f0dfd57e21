"""Series of requests: rates, shares, latencies, tokens, money, from the summaries and rollups that settling keeps.

One query for each thing that rules tell apart by and each length that they look back over, however many rules there are. Windows end at a
whole minute and are read again each time, so records that come late are in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from apps.accounts.scope import Scope
from apps.alerts.choices import OTHER, TIMES_BASELINE
from apps.alerts.series import SERIES, SUMMED_SCOPES, Sample
from apps.alerts.sources.baselines import Usual, usual_of
from apps.alerts.sources.look import MOST_SUBJECTS, Look, Samples
from apps.usage.covering import HOUR, MINUTE, Segment, cover, floor
from apps.usage.measures import COUNTS, HISTOGRAMS, SUMS, Latency, Totals, latency_of
from apps.usage.selectors import rows_of

if TYPE_CHECKING:
    from apps.alerts.models import AlertRule

COLUMNS = {"route": "route", "provider": "provider", "key": "key_id", "model": "model", "team": "team", "service": "service"} | {
    "feature": "feature"
}
FINE_S = 10_800
"""Up to this length what summaries do not tell apart is read by the minute, beyond by the hour."""
LEAST_EXPECTED = 30
"""So many requests in the same window a day before (and a week before, where that is known) make nothing at all a surprise."""
PATIENT_S = 1_800
"""What is too quiet for a shorter window is a surprise where nothing came for so long."""
_COUNTED = ", ".join(COUNTS)
_HISTOGRAM_COLUMNS = "h_total, h_first_token"


class Traffic(NamedTuple):
    """One subject in one window. folded: how many values ``choices.OTHER`` is made of."""

    totals: Totals
    total: Latency
    first_token: Latency
    folded: int = 0


def read(look: Look, rules: Sequence[AlertRule]) -> Samples:
    """``look.Read``."""
    groups: dict[tuple[str, int], list[AlertRule]] = {}
    for rule in rules:
        groups.setdefault((rule.by, rule.window_s), []).append(rule)
    found: Samples = {}
    for (by, window_s), group in groups.items():
        start = look.at - timedelta(seconds=window_s)
        latency = any(SERIES[rule.series].unit == "us" for rule in group)
        traffic = traffic_in(
            look.scope, by, start, look.at, named=look.named(group), everybody=any(not rule.values for rule in group), latency=latency
        )
        usual = _usual(look, by, group, traffic)
        silent = _expected(look, by, window_s, group, traffic)
        for rule in group:
            found[rule.pk] = {
                subject: _sample(rule, traffic.get(subject), usual.get(subject), expected=subject in silent, at=look.at)
                for subject in _subjects(rule, look, traffic)
            }
    return found


def _subjects(rule: AlertRule, look: Look, traffic: dict[str, Traffic]) -> Iterable[str]:
    if not rule.by:
        return [""]
    if rule.values:
        return rule.values
    return dict.fromkeys([*traffic, *look.kept.get(rule.pk, ())])


def _sample(rule: AlertRule, traffic: Traffic | None, usual: Usual | None, *, expected: bool, at: datetime) -> Sample:
    series = SERIES[rule.series]
    if traffic is None or not traffic.totals.requests + traffic.totals.attempts:
        return Sample(None, missing="no request was counted in the window", expected=expected)
    value, samples, bad = figure_of(series.figure, traffic, rule.window_s)
    evidence: dict[str, Any] = {"requests": traffic.totals.requests, "failed": traffic.totals.failed}
    if traffic.folded:
        evidence["folded"] = traffic.folded
    baseline, learning = (None, False)
    if rule.comparison == TIMES_BASELINE:
        if usual is None or series.figure not in usual.figures:
            return Sample(value, samples, bad, missing="what is usual is not known yet", evidence=evidence)
        baseline, learning = usual.figures[series.figure], series.figure in usual.learning
        evidence |= {"baseline": baseline, "learning": learning, "baseline_of": usual.words(series.figure)}
    if value is None:
        return Sample(None, samples, bad, missing="nothing of it was measured in the window", expected=False, evidence=evidence)
    return Sample(value, samples, bad, baseline, learning, evidence=evidence)


def figure_of(figure: str, traffic: Traffic, seconds: float) -> tuple[float | None, int, int]:
    """(value, samples, how many went wrong) of a window of that length, in the unit of the series."""
    totals = traffic.totals
    if figure.startswith(("latency_", "ttft_")):
        kind, _, q = figure.partition("_")
        latency = traffic.total if kind == "latency" else traffic.first_token
        return getattr(latency, q), latency.count, 0
    if figure in ("errors", "attempt_errors", "refused"):
        bad, whole = {
            "errors": (totals.failed, totals.ok + totals.failed),
            "attempt_errors": (totals.attempt_errors, totals.attempts),
            "refused": (totals.refused, totals.requests),
        }[figure]
        return (bad / whole if whole > 0 else None), max(whole, 0), bad
    amount, per = {
        "requests": (totals.requests, seconds),
        "tokens": (totals.tokens_input + totals.tokens_output, seconds),
        "cost": (totals.cost_nano, seconds / HOUR),
    }[figure]
    return amount / per, totals.requests, 0


# --- reading ---------------------------------------------------------------------------------------------------------


def whole(by: str, start: datetime, end: datetime) -> tuple[list[Segment], str, datetime]:
    """The buckets that make up a range exactly, the table that they are in, and where the range begins in that table."""
    if by in SUMMED_SCOPES:
        # never "until now": the minute that is judged is over, and what came after it belongs to the next one
        return cover(start, end, now=end + timedelta(days=2)), "usage_summary", start
    if (end - start).total_seconds() <= FINE_S:
        return [Segment(MINUTE, start, end)], "usage_rollup_10s" if by == "model" else "usage_rollup_1m", start
    first = floor(start, HOUR)
    return [Segment(HOUR, first, end)], "usage_rollup_1h", first


def rows_in(scope: Scope, by: str, start: datetime, end: datetime, values: Sequence[str] | None, columns: str) -> tuple[str, list[Any]]:
    """SQL for FROM, ``AS covered`` with ``value`` and ``columns``, of a range, and its parameters. values: None for all."""
    segments, table, _ = whole(by, start, end)
    parts, parameters = [], []
    for segment in segments:
        if table == "usage_summary":
            column, where = "value", "seconds = %s AND dimension = %s"
            of: list[Any] = [segment.seconds, COLUMNS.get(by, "")]
        else:
            column, where, of = COLUMNS[by], "true", []
        narrowed = "" if values is None else f" AND {column} = ANY (%s)"
        parts.append(
            f"SELECT {column} AS value, {columns} FROM {table} WHERE organisation = %s AND simulated = %s AND {where} "
            f"AND bucket >= %s AND bucket < %s{narrowed}"
        )
        parameters += [scope.organisation, scope.simulated, *of, segment.start, segment.end, *([] if values is None else [list(values)])]
    return f"({' UNION ALL '.join(parts)})", parameters


def traffic_in(
    scope: Scope, by: str, start: datetime, end: datetime, *, named: Iterable[str], everybody: bool, latency: bool
) -> dict[str, Traffic]:
    """By subject: those named, and with ``everybody`` the busiest of all and the rest as ``choices.OTHER``. One query; one without traffic
    is not in the answer."""
    wanted = sorted(named)
    if by and not everybody and not wanted:
        return {}
    columns = f"{_COUNTED}, {_HISTOGRAM_COLUMNS}" if latency else _COUNTED
    source, parameters = rows_in(scope, by, start, end, None if everybody or not by else wanted, columns)
    histograms = HISTOGRAMS if latency else "NULL, NULL"
    if not by:
        rows = rows_of(f"SELECT '', 1, {SUMS}, {histograms} FROM {source} AS covered HAVING count(*) > 0", parameters)
    else:
        rows = rows_of(
            f"WITH covered AS MATERIALIZED (SELECT * FROM {source} AS each WHERE value <> ''), "
            "told AS (SELECT value FROM (SELECT value FROM covered GROUP BY value ORDER BY sum(requests + attempts) DESC, value LIMIT %s) "
            "AS busiest UNION SELECT unnest(%s::text[])) "
            f"SELECT CASE WHEN covered.value IN (SELECT value FROM told) THEN covered.value ELSE %s END AS subject, "
            f"count(DISTINCT covered.value), {SUMS}, {histograms} FROM covered GROUP BY 1",
            [*parameters, MOST_SUBJECTS if everybody else 0, wanted, OTHER],
        )
    return {
        subject: Traffic(Totals(*sums), latency_of(total), latency_of(first_token), values if subject == OTHER else 0)
        for subject, values, *sums, total, first_token in rows
    }


def counts_in(scope: Scope, by: str, start: datetime, end: datetime, values: Sequence[str]) -> dict[str, int]:
    """How many requests each of some subjects had in a range; one query."""
    source, parameters = rows_in(scope, by, start, end, list(values) if by else None, "requests")
    return {value: int(count or 0) for value, count in rows_of(f"SELECT value, sum(requests) FROM {source} AS t GROUP BY 1", parameters)}


def _usual(look: Look, by: str, group: Sequence[AlertRule], traffic: dict[str, Traffic]) -> dict[str, Usual]:
    compared = [rule for rule in group if rule.comparison == TIMES_BASELINE]
    if not compared:
        return {}
    subjects = {subject for rule in compared for subject in (rule.values or traffic) if subject in traffic and subject != OTHER}
    return usual_of(look.scope, COLUMNS.get(by, ""), sorted(subjects), at=look.at)


def _expected(look: Look, by: str, window_s: int, group: Sequence[AlertRule], traffic: dict[str, Traffic]) -> frozenset[str]:
    """Subjects without any traffic that had some in the same window a day before, and a week before where that is known.

    Looked at for rules that warn of missing data only: of those that they name, and of everything.
    """
    asked = {subject for rule in group if rule.on_missing == "alert" for subject in (rule.values or ([""] if not rule.by else []))}
    return expected_of(look.scope, by, asked - traffic.keys(), look.at, window_s)


def expected_of(scope: Scope, by: str, subjects: Iterable[str], at: datetime, window_s: int) -> frozenset[str]:
    """Of some subjects without traffic in a window, those that should have some; seven queries at most, none without subjects."""
    silent = sorted(subjects)
    found = _surprising(scope, by, silent, at, window_s)
    rest = [subject for subject in silent if subject not in found]
    if rest and window_s < PATIENT_S:
        lately = counts_in(scope, by, at - timedelta(seconds=PATIENT_S), at, rest)
        found |= _surprising(scope, by, [subject for subject in rest if not lately.get(subject)], at, PATIENT_S)
    return found


def _surprising(scope: Scope, by: str, silent: Sequence[str], at: datetime, window_s: int) -> frozenset[str]:
    if not silent:
        return frozenset()
    window, day, week = timedelta(seconds=window_s), timedelta(days=1), timedelta(days=7)
    yesterday = counts_in(scope, by, at - day - window, at - day, silent)
    due = [subject for subject in silent if yesterday.get(subject, 0) >= LEAST_EXPECTED]
    if not due:
        return frozenset()
    before = counts_in(scope, by, at - week - window, at - week, due)
    known = counts_in(scope, by, floor(at - week - day, HOUR), floor(at - week, HOUR), due)
    return frozenset(subject for subject in due if before.get(subject, 0) >= LEAST_EXPECTED or not known.get(subject))
