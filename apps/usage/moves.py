"""What routes' requests did at each target over a short while: what is needed to say what would happen if they went elsewhere.

Read from the rollups: of ten seconds, which know routes and targets; of minutes, where one key's, team's or feature's share is asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from apps.accounts.scope import Scope
from apps.contracts.histogram import merge
from apps.usage.covering import HOUR, MINUTE, floor
from apps.usage.selectors import rows_of

Whose = Literal["key_id", "team", "feature"]
EVERYTHING, VOLUME = "*", "*routes"
"""As a route: the whole organisation; the routes that were asked for together over the last quarter of an hour. Both without targets."""
LATELY = timedelta(minutes=15)
RECENT, PAST, USUAL = "recent", "past", "usual:"
LOOK_BACK = timedelta(days=7)
"""How far back a target that has no traffic now is looked for."""

_SUMS = (
    "sum(requests)::bigint, sum(ok)::bigint, sum(tokens_input)::bigint, sum(tokens_output)::bigint, sum(tokens_cache_read)::bigint, "
    "sum(cost_nano)::bigint, sum(total_us)::bigint, string_agg(h_first_token::text, ',') FILTER (WHERE h_first_token <> '{}')"
)
_WHOLE = (
    "sum(requests)::bigint, sum(ok)::bigint, sum(tokens_input)::bigint, sum(tokens_output)::bigint, sum(tokens_cache_read)::bigint, "
    "sum(cost_nano)::bigint, 0::bigint, NULL"
)
_decode = msgspec.json.Decoder(list[dict[int, int]]).decode


@dataclass(frozen=True, slots=True)
class Work:
    """What one target did for one route. An empty provider: requests for which nobody was called. first: its first bucket.

    busy_us: the sum of all durations. first_token: a histogram of microseconds (``apps.contracts.histogram``).
    """

    route: str
    provider: str
    endpoint: str
    model: str
    first: datetime
    requests: int
    ok: int
    tokens_input: int
    tokens_output: int
    tokens_cache_read: int
    cost_nano: int
    busy_us: int
    first_token: dict[int, int] = field(default_factory=dict)


def work_of(
    scope: Scope,
    start: datetime,
    end: datetime,
    *,
    routes: Collection[str] | None,
    models: Collection[str] = (),
    whose: tuple[Whose, str] | None = None,
    whole: bool = False,
) -> list[Work]:
    """By route and target in whole buckets of ``[start, end)``, within the last two days: one query.

    routes: their names, None for all. models: also whatever other routes sent to these. whose: only one key's (its id), team's or
    feature's requests, in buckets of a minute, also those that were refused before anybody knew their route. whole: also ``EVERYTHING``
    over the same range and, of named routes, ``VOLUME`` up to its end.
    """
    table, step, kind, condition = _table(whose)
    given: list[object] = [scope.organisation, scope.simulated, floor(start, step), end, *([whose[1]] if whose else [])]
    if routes is not None:
        condition += " AND (route = ANY (%s) OR model = ANY (%s))"
        given += [[*routes, ""] if whose else list(routes), list(models)]
    sql = (
        f"SELECT route, provider, endpoint, model, min(bucket), {_SUMS} FROM {table} WHERE organisation = %s AND {kind} "
        f"AND bucket >= %s AND bucket < %s {condition} GROUP BY route, provider, endpoint, model"
    )
    if whole:
        sql += (
            f" UNION ALL SELECT '{EVERYTHING}', '', '', '', min(bucket), {_WHOLE} FROM usage_summary WHERE organisation = %s "
            "AND simulated = %s AND seconds = 10 AND dimension = '' AND bucket >= %s AND bucket < %s HAVING count(*) > 0"
        )
        given += given[:4]
        if routes is not None:
            sql += (
                f" UNION ALL SELECT '{VOLUME}', '', '', '', min(bucket), {_WHOLE} FROM usage_summary WHERE organisation = %s AND "
                "simulated = %s AND seconds = 60 AND dimension = 'route' AND bucket >= %s AND bucket < %s AND value = ANY (%s) "
                "HAVING count(*) > 0"
            )
            given += [scope.organisation, scope.simulated, floor(end - LATELY, MINUTE), floor(end, MINUTE), list(routes)]
    rows = rows_of(sql, given)
    return [Work(*row[:-1], _merged(row[-1])) for row in rows]


def work_before(
    scope: Scope,
    models: Collection[str],
    *,
    now: datetime,
    before: tuple[datetime, datetime] | None = None,
    routes: Collection[str] | None = None,
    whose: tuple[Whose, str] | None = None,
) -> list[Work]:
    """What targets of these models did on all routes, as the route ``RECENT`` in the last hour and as ``PAST`` in the hours of
    ``LOOK_BACK``: one query, none without models. before: also what these routes (None: all) did in that range, within the last two
    days, as ``USUAL`` and the route's name; whose: of one key, team or feature."""
    if not models and before is None:
        return []
    target = "provider, endpoint, model"
    where = "WHERE organisation = %s AND simulated = %s AND bucket >= %s AND model = ANY (%s)"
    recent = [scope.organisation, scope.simulated, floor(now - timedelta(hours=1), 10), list(models)]
    past = [scope.organisation, scope.simulated, floor(now - LOOK_BACK, HOUR), list(models)]
    sql = (
        f"SELECT '{RECENT}', {target}, min(bucket), {_SUMS} FROM usage_rollup_10s {where} GROUP BY {target} "
        f"UNION ALL SELECT '{PAST}', {target}, min(bucket), {_SUMS} FROM usage_rollup_1h {where} GROUP BY {target}"
    )
    given: list[object] = [*recent, *past]
    if before is not None:
        table, step, _, condition = _table(whose)
        sql += (
            f" UNION ALL SELECT '{USUAL}' || route, {target}, min(bucket), {_SUMS} FROM {table} WHERE organisation = %s AND simulated = %s "
            f"AND bucket >= %s AND bucket < %s AND provider <> '' {condition}{'' if routes is None else ' AND route = ANY (%s)'} "
            f"GROUP BY route, {target}"
        )
        given += [scope.organisation, scope.simulated, floor(before[0], step), floor(before[1], step)]
        given += [*([whose[1]] if whose else []), *([] if routes is None else [list(routes)])]
    return [Work(*row[:-1], _merged(row[-1])) for row in rows_of(sql, given)]


def _table(whose: tuple[Whose, str] | None) -> tuple[str, int, str, str]:
    """(table, seconds of its buckets, which of its rows are of a scope's kind, a condition). What was refused before its route was known
    is neither simulated nor real."""
    if whose is None:
        return "usage_rollup_10s", 10, "simulated = %s", ""
    return "usage_rollup_1m", MINUTE, "(simulated = %s OR (route = '' AND provider = ''))", f"AND {whose[0]} = %s"


def _merged(texts: str | None) -> dict[int, int]:
    found: dict[int, int] = {}
    for histogram in _decode(f"[{texts}]") if texts else ():
        merge(found, histogram)
    return found
