"""What SLOs count: requests and bad ones in some windows, how fast error budgets burn. Read anew each time: late records are in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from apps.accounts.scope import Scope
from apps.alerts.burn import NOTHING, WINDOWS_S, Burning, Counted, budget_used, burning
from apps.alerts.choices import AVAILABILITY, TTFT
from apps.alerts.series import Sample
from apps.alerts.sources.look import Look, Samples
from apps.alerts.sources.traffic import expected_of, rows_in
from apps.contracts.histogram import midpoint
from apps.usage.covering import HOUR, MINUTE, MINUTE_DAYS, floor
from apps.usage.measures import HISTOGRAMS
from apps.usage.selectors import rows_of

if TYPE_CHECKING:
    from apps.alerts.models import AlertRule, Slo

BUDGET_USED = "budget_used_percent"
"""Key of evidence: how much of the error budget of the SLO's whole window is used up."""
_decode = msgspec.json.Decoder(list[dict[int, int]]).decode


def read(look: Look, rules: Sequence[AlertRule]) -> Samples:
    """``look.Read``: one query for each kind of subject and of indicator, one more for those that burn, three for those that are silent."""
    slos = [rule.slo for rule in rules if rule.slo is not None]
    counted = counted_in(look.scope, slos, {seconds: look.at - timedelta(seconds=seconds) for seconds in WINDOWS_S}, look.at)
    judged = {slo.pk: burning(counted[slo.pk], slo.objective, min_requests=slo.min_requests) for slo in slos}
    rule_of = {rule.slo_id: rule for rule in rules}
    asked = [slo for slo in slos if judged[slo.pk].level or look.kept.get(rule_of[slo.pk].pk)]
    used = {pk: windows[0] for pk, windows in counted_by(look.scope, asked, look.at).items()}
    silent = _silent(look, [slo for slo in slos if not counted[slo.pk].get(HOUR, NOTHING).total])
    return {
        rule_of[slo.pk].pk: {slo.subject: _sample(slo, judged[slo.pk], counted[slo.pk], used.get(slo.pk), slo.pk in silent)} for slo in slos
    }


def _sample(slo: Slo, found: Burning, counted: Mapping[int, Counted], used: Counted | None, silent: bool) -> Sample:
    hour = counted.get(HOUR, NOTHING)
    evidence: dict[str, Any] = {
        "slo": slo.name,
        "slo_id": str(slo.pk),
        "objective": slo.objective_text,
        "indicator": slo.indicator,
        "pairs": [pair.document for pair in found.pairs],
    }
    share = budget_used(used, slo.objective) if used is not None else None
    if share is not None:
        evidence[BUDGET_USED] = round(100 * share, 2)
    if found.level is None:
        why = f"{hour.total} requests in the last hour are too few to judge by" if hour.total else "no request in the last hour"
        return Sample(None, hour.total, hour.bad, missing=why, expected=silent, evidence=evidence)
    return Sample(found.rate, hour.total, hour.bad, level=found.level, threshold=found.threshold, evidence=evidence)


def _silent(look: Look, slos: Iterable[Slo]) -> set[UUID]:
    by: dict[str, set[str]] = {}
    rows = list(slos)
    for slo in rows:
        by.setdefault(slo.by, set()).add(slo.subject)
    expected = {kind: expected_of(look.scope, kind, subjects, look.at, HOUR) for kind, subjects in by.items()}
    return {slo.pk for slo in rows if slo.subject in expected[slo.by]}


def counted_in(scope: Scope, slos: Sequence[Slo], starts: Mapping[int, datetime], end: datetime) -> dict[UUID, dict[int, Counted]]:
    """What each SLO counts from each of some moments to ``end``, by the moments' names; a whole number of minutes each.

    One query for each kind of subject, apart for those that need histograms. Beyond the days for which minutes are kept, a range begins at
    a whole hour.
    """
    found: dict[UUID, dict[int, Counted]] = {slo.pk: dict.fromkeys(starts, NOTHING) for slo in slos}
    groups: dict[tuple[str, bool], list[Slo]] = {}
    for slo in slos:
        groups.setdefault((slo.by, slo.indicator != AVAILABILITY), []).append(slo)
    for (by, histograms), group in groups.items():
        values = sorted({slo.subject for slo in group}) if by else None
        parts, parameters = [], []
        for name, start in starts.items():
            columns = "ok, error, unknown, h_total, h_first_token" if histograms else "ok, error, unknown"
            source, of = rows_in(scope, by, _begun(start, end), end, values, columns)
            joined = HISTOGRAMS if histograms else "NULL, NULL"
            parts.append(
                f"SELECT %s::bigint, value, sum(ok + error + unknown)::bigint, sum(error + unknown)::bigint, {joined} "
                f"FROM {source} AS covered GROUP BY value"
            )
            parameters += [name, *of]
        rows = {(row[0], row[1]): row[2:] for row in rows_of(" UNION ALL ".join(parts), parameters)}
        for slo in group:
            for name in starts:
                row = rows.get((name, slo.subject))
                if row is not None:
                    found[slo.pk][name] = counted_of(slo, *row)
    return found


def counted_by(scope: Scope, slos: Sequence[Slo], at: datetime) -> dict[UUID, dict[int, Counted]]:
    """What each SLO counts over its own window until ``at``, under 0: a query for each length of a window and kind of subject."""
    found: dict[UUID, dict[int, Counted]] = {}
    for days in {slo.window_days for slo in slos}:
        group = [slo for slo in slos if slo.window_days == days]
        found |= counted_in(scope, group, {0: at - timedelta(days=days)}, at)
    return found


def counted_of(slo: Slo, total: int, bad: int, h_total: str | None, h_first_token: str | None) -> Counted:
    """What an SLO counts of some rows: sums, and histograms that were joined with commas."""
    if slo.indicator == AVAILABILITY:
        return Counted(int(total or 0), int(bad or 0))
    return slower(h_first_token if slo.indicator == TTFT else h_total, (slo.threshold_ms or 0) * 1_000)


def slower(texts: str | None, threshold_us: int) -> Counted:
    """Of histograms that were joined with commas: how many were measured, and how many of them took longer; to the histogram's 1.1 %."""
    total = bad = 0
    for histogram in _decode(f"[{texts}]") if texts else ():
        for index, count in histogram.items():
            total += count
            if midpoint(index) > threshold_us:
                bad += count
    return Counted(total, bad)


def _begun(start: datetime, end: datetime) -> datetime:
    """Where a range begins: minutes are kept for some days only."""
    return floor(start, MINUTE if end - start <= timedelta(days=MINUTE_DAYS - 1) else HOUR)
