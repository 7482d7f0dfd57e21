"""Totals and latency by value over a range, of which what is over is merged once.

A month by route or key is hundreds of histograms, nearly all of days that are over. Those are merged when first asked for and kept, in this
process, beside the counts that they were merged at. Every read counts anew: what is measured of a day changes only together with its counts
of requests and attempts, so a late record has its day merged again, and nothing has to expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from apps.accounts.scope import Scope
from apps.usage.covering import Segment, floor
from apps.usage.measures import COUNTS, HISTOGRAMS, SUMS, Group, Totals, histogram_of, latency_of
from apps.usage.summary_sql import covered, rows_of

LONG = 8
"""From so many buckets on, a segment is merged once: shorter ones are read as they are, and move on with the clock anyway."""
MOST_KEPT = 4_000
"""Values of segments kept, at some five kilobytes each."""

Place = tuple[str, bool, int, datetime, datetime]
Kept = tuple[int, int, str, str]
"""Requests and attempts counted, and the two histograms that were merged then, as JSON; empty: nothing was measured."""

_kept: dict[Place, dict[tuple[str, str], Kept]] = {}
_NAMED = ", ".join(f"sum({name})::bigint AS {name}" for name in COUNTS)
_REQUESTS, _ATTEMPTS = COUNTS.index("requests"), COUNTS.index("attempts")


def groups_read(
    scope: Scope, segments: Sequence[Segment], dimensions: Sequence[str], values: Sequence[str] | None = None, *, now: datetime
) -> list[tuple[str, Group]]:
    """The segments together by each value of some dimensions, the busiest first, as (dimension, group): one query.

    values: those alone; None: all that have traffic. now: of a segment that runs, what is over is told from the bucket that is not.
    """
    long, short = _parted(segments, now)
    place = (scope.organisation, scope.simulated, long.seconds, long.start, long.end) if long else None
    kept = {key: found for key, found in _kept.get(place, {}).items() if key[0] in dimensions} if place else {}
    texts, parameters = [], []
    if long:
        source, where = covered(scope, [long], dimensions, values)
        texts.append(
            f"(WITH counted AS MATERIALIZED (SELECT dimension, value, {_NAMED} FROM {source} GROUP BY dimension, value), "
            "fresh AS MATERIALIZED (SELECT dimension, value FROM counted WHERE NOT EXISTS (SELECT FROM unnest(%s::text[], %s::text[], "
            "%s::bigint[], %s::bigint[]) AS told (dimension, value, requests, attempts) WHERE (told.dimension, told.value, told.requests, "
            "told.attempts) = (counted.dimension, counted.value, counted.requests, counted.attempts))), "
            f"measured (dimension, value, total, first_token) AS MATERIALIZED (SELECT dimension, value, {HISTOGRAMS} FROM {source} "
            "JOIN fresh USING (dimension, value) GROUP BY dimension, value) "
            "SELECT counted.*, measured.total, measured.first_token, CASE WHEN measured.dimension IS NULL THEN 'kept' ELSE 'fresh' END "
            "FROM counted LEFT JOIN measured USING (dimension, value))"
        )
        told = [(*key, requests, attempts) for key, (requests, attempts, _, _) in kept.items()]
        columns = [list(column) for column in zip(*told, strict=True)] if told else [[], [], [], []]
        parameters += [*where, *columns, *where]
    if short:
        source, where = covered(scope, short, dimensions, values)
        texts.append(f"(SELECT dimension, value, {SUMS}, {HISTOGRAMS}, '' FROM {source} GROUP BY dimension, value)")
        parameters += where
    if not texts:
        return []
    summed: dict[tuple[str, str], Totals] = {}
    measured: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    fresh: dict[tuple[str, str], Kept] = {}
    for dimension, value, *row in rows_of(" UNION ALL ".join(texts), parameters):
        key, counts, (total, first_token, state) = (dimension, value), row[: len(COUNTS)], row[len(COUNTS) :]
        if state == "fresh":
            total, first_token = _merged(total), _merged(first_token)
            fresh[key] = counts[_REQUESTS], counts[_ATTEMPTS], total, first_token
        elif state == "kept":
            *_, total, first_token = kept[key]
        summed[key] = summed[key] + Totals(*counts) if key in summed else Totals(*counts)
        for documents, text in zip(measured.setdefault(key, ([], [])), (total, first_token), strict=True):
            if text:
                documents.append(text)
    if place and fresh:
        _keep(place, fresh)
    found = [
        (dimension, Group(value, totals, *(latency_of(",".join(documents)) for documents in measured[dimension, value])))
        for (dimension, value), totals in summed.items()
    ]
    return sorted(found, key=lambda pair: (-pair[1].totals.requests, pair[1].value))


def _parted(segments: Sequence[Segment], now: datetime) -> tuple[Segment | None, list[Segment]]:
    """The longest segment up to the bucket that runs, where it is worth keeping, and all the rest."""
    parts: list[Segment] = []
    for segment in segments:
        over = min(max(floor(now, segment.seconds), segment.start), segment.end)
        parts += [Segment(segment.seconds, segment.start, over), Segment(segment.seconds, over, segment.end)]
    parts = [part for part in parts if part.start < part.end]
    long = max(parts, key=_buckets, default=None)
    if long is None or _buckets(long) < LONG or long.end > now:
        return None, parts
    return long, [part for part in parts if part is not long]


def _buckets(segment: Segment) -> int:
    return (segment.end - segment.start) // timedelta(seconds=segment.seconds)


def _merged(texts: str | None) -> str:
    """Histograms that were joined with commas as one."""
    return msgspec.json.encode(histogram_of(texts)).decode() if texts else ""


def _keep(place: Place, fresh: dict[tuple[str, str], Kept]) -> None:
    """Pages are made in several threads: each step here is one operation on a dict."""
    if sum(len(found) for found in list(_kept.values())) + len(fresh) > MOST_KEPT:
        _kept.clear()
    _kept.setdefault(place, {}).update(fresh)
