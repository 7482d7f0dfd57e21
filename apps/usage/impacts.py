"""What a stretch of time did to users: counts by the minute from the summaries, and who was hit, from the requests.

The summaries know neither users nor which requests were rescued or answered with less; those are counted from the requests, in Postgres, a
slice of time after the other, and only among the ones that did not simply succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apps.accounts.scope import Scope
from apps.usage.covering import MINUTE, MINUTE_DAYS, ceil, floor
from apps.usage.selectors import rows_of

SLICE = timedelta(minutes=10)
LONGEST = timedelta(days=31)
"""A longer stretch is no incident, but a season."""
LATELY = timedelta(hours=1)
"""Who is hit is told by the last hour of a stretch: a page asks for it again and again."""
_COUNTED = ("requests", "error", "unknown", "refused", "attempts", "attempt_errors", "tokens_input", "tokens_output", "cost_nano")


@dataclass(frozen=True, slots=True)
class Minute:
    """The counts of the minute from ``at``. failed: apps got an error, or no known end. cost_nano: nano-dollars."""

    at: datetime
    requests: int = 0
    failed: int = 0
    refused: int = 0
    attempts: int = 0
    attempt_errors: int = 0
    tokens: int = 0
    cost_nano: int = 0


@dataclass(slots=True)
class Hit:
    """Who was hit. failed, refused, degraded, rescued: requests. tokens, cost_nano: of failed requests, paid for in vain.

    users: told apart by the hash of what the app calls them, else by their key; touched: of requests that failed, were refused, degraded or
    rescued.
    """

    failed: int = 0
    refused: int = 0
    degraded: int = 0
    rescued: int = 0
    tokens: int = 0
    cost_nano: int = 0
    users: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)


def minutes_of(
    scope: Scope, start: datetime, end: datetime, *, routes: Sequence[str] = (), now: datetime | None = None
) -> dict[datetime, Minute]:
    """Minute -> its counts, of some routes or of everything; minutes without traffic are left out. One query.

    Read from the summaries; where those of minutes are gone (8 days), from the rollups by all dimensions (90 days).
    """
    now = now or datetime.now(UTC)
    first, until = floor(start, MINUTE), ceil(end, MINUTE)
    sums = ", ".join(f"sum({name})::bigint" for name in _COUNTED)
    if first >= now - timedelta(days=MINUTE_DAYS):
        dimension = "route" if routes else ""
        where = f"usage_summary WHERE organisation = %s AND simulated = %s AND seconds = {MINUTE} AND dimension = '{dimension}'"
        named = " AND value = ANY (%s)" if routes else ""
    else:
        where, named = "usage_rollup_1m WHERE organisation = %s AND simulated = %s", " AND route = ANY (%s)" if routes else ""
    rows = rows_of(
        f"SELECT bucket, {sums} FROM {where} AND bucket >= %s AND bucket < %s{named} GROUP BY 1",
        [scope.organisation, scope.simulated, first, until, *([list(routes)] if routes else [])],
    )
    return {
        at: Minute(at, requests, error + unknown, refused, attempts, attempt_errors, tokens_in + tokens_out, cost)
        for at, requests, error, unknown, refused, attempts, attempt_errors, tokens_in, tokens_out, cost in rows
    }


_HIT = """
WITH hit AS (
    SELECT hashtextextended(CASE WHEN "user" = '' THEN 'key ' || key_id ELSE 'user ' || "user" END, 0) AS who,
        outcome IN ('error', 'unknown') AS failed, outcome = 'refused' AS refused,
        outcome = 'ok' AND coalesce(flags ?| %(lessening)s, false) AS degraded,
        outcome = 'ok' AND attempts IS NOT NULL AND EXISTS (
            SELECT 1 FROM jsonb_array_elements(attempts) AS tried WHERE tried ->> 'outcome' IN ('error', 'unknown')
        ) AS rescued,
        tokens_input + tokens_output AS tokens, cost_nano
    FROM usage_request
    WHERE organisation = %(organisation)s AND simulated = %(simulated)s AND started_at >= %(start)s AND started_at < %(end)s
        AND (%(every)s OR route = ANY (%(routes)s)) AND (outcome <> 'ok' OR attempts IS NOT NULL OR flags ?| %(lessening)s)
)
SELECT who, count(*) FILTER (WHERE failed), count(*) FILTER (WHERE refused), count(*) FILTER (WHERE degraded),
    count(*) FILTER (WHERE rescued), coalesce(sum(tokens) FILTER (WHERE failed), 0)::bigint,
    coalesce(sum(cost_nano) FILTER (WHERE failed), 0)::bigint
FROM hit WHERE failed OR refused OR degraded OR rescued GROUP BY who
"""


def hit_of(
    scope: Scope,
    start: datetime,
    end: datetime,
    *,
    routes: Sequence[str] = (),
    lessening: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Hit:
    """Who was hit between two moments, counted from the requests by slices of ten minutes; a query each.

    lessening: names of flags whose say makes an answer less than usual (fallbacks, degradations). progress: told the percent done.
    """
    found, at = Hit(), start
    while at < end:
        until = min(at + SLICE, end)
        parameters = {
            "organisation": scope.organisation,
            "simulated": scope.simulated,
            "start": at,
            "end": until,
            "every": not routes,
            "routes": list(routes),
            "lessening": list(lessening),
        }
        for who, failed, refused, degraded, rescued, tokens, cost_nano in rows_of(_HIT, parameters):
            found.failed += failed
            found.refused += refused
            found.degraded += degraded
            found.rescued += rescued
            found.tokens += tokens
            found.cost_nano += cost_nano
            found.touched.add(who)
            if failed:
                found.users.add(who)
        at = until
        if progress is not None:
            progress(int(100 * (at - start) / (end - start)))
    return found


_PARTS = """
SELECT dimension, value,
    coalesce(sum(CASE WHEN {attempts} THEN attempt_errors ELSE error + unknown END) FILTER (WHERE bucket >= %(late)s), 0)::bigint,
    coalesce(sum(CASE WHEN {attempts} THEN attempts ELSE requests END) FILTER (WHERE bucket >= %(late)s), 0)::bigint,
    coalesce(sum(CASE WHEN {attempts} THEN attempt_errors ELSE error + unknown END) FILTER (WHERE bucket < %(since)s), 0)::bigint,
    coalesce(sum(CASE WHEN {attempts} THEN attempts ELSE requests END) FILTER (WHERE bucket < %(since)s), 0)::bigint
FROM ({source}) AS counted GROUP BY dimension, value
"""
_PLACE = (
    "organisation = %(organisation)s AND simulated = %(simulated)s AND bucket >= %(first)s AND bucket < %(until)s "
    "AND (bucket < %(since)s OR bucket >= %(late)s)"
)
_BY_SUMMARY = (
    "SELECT dimension, value, bucket, requests, error, unknown, attempts, attempt_errors FROM usage_summary "
    f"WHERE {_PLACE} AND seconds = {MINUTE} AND dimension = %(dimension)s"
)
_BY_SERVICE = (
    "SELECT 'service' AS dimension, service AS value, bucket, requests, error, unknown, attempts, attempt_errors FROM usage_rollup_1m "
    f"WHERE {_PLACE} AND service <> ''"
)


def parts_of(scope: Scope, since: datetime, until: datetime, *, before: timedelta) -> list[tuple[str, str, int, int, int, int]]:
    """(dimension, value, bad, of, bad before, of before): of the last ``LATELY`` until ``until``, and before ``since``. One query.

    Of routes and services failed requests and requests, of providers and endpoints failed attempts and attempts. Minutes are kept for eight
    days; of an older stretch nothing is found but services.
    """
    parameters = {
        "organisation": scope.organisation,
        "simulated": scope.simulated,
        "since": floor(since, MINUTE),
        "late": floor(max(since, until - LATELY), MINUTE),
        "first": floor(since - before, MINUTE),
        "until": ceil(until, MINUTE),
    }
    whole = " UNION ALL ".join(_BY_SUMMARY.replace("%(dimension)s", f"'{name}'") for name in ("route", "provider", "endpoint"))
    attempts = "dimension IN ('provider', 'endpoint')"
    return rows_of(_PARTS.format(attempts=attempts, source=f"{whole} UNION ALL {_BY_SERVICE}"), parameters)  # type: ignore[return-value]


def keys_around(scope: Scope, first: datetime, split: datetime, until: datetime) -> list[tuple[str, int, int]]:
    """(key's id, requests before ``split``, requests from it on) of every key with traffic from ``first`` until ``until``: one query.

    All three at whole minutes; of times whose minutes are kept no more (eight days) there is nothing.
    """
    return rows_of(  # type: ignore[return-value]
        "SELECT value, coalesce(sum(requests) FILTER (WHERE bucket < %(split)s), 0)::bigint, "
        "coalesce(sum(requests) FILTER (WHERE bucket >= %(split)s), 0)::bigint FROM usage_summary "
        f"WHERE organisation = %(organisation)s AND simulated = %(simulated)s AND seconds = {MINUTE} AND dimension = 'key_id' "
        "AND bucket >= %(first)s AND bucket < %(until)s GROUP BY value",
        {
            "organisation": scope.organisation,
            "simulated": scope.simulated,
            "first": floor(first, MINUTE),
            "split": floor(split, MINUTE),
            "until": floor(until, MINUTE),
        },
    )
