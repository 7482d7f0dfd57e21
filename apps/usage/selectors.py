"""Reads over usage: totals, rates and latency from the rollups, lists and single requests from the request table.

Every read takes a ``Scope``, so that no total can mix two organisations, or real and simulated traffic.
Durations are microseconds, money is nano-dollars. Quantiles are exact to the histogram's 1.1%: SQL finds the bucket of
the nearest rank over merged counts (``apps.contracts.histogram.quantile`` says the same), Python its midpoint.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db import connection

from apps.contracts.histogram import midpoint
from apps.contracts.identifiers import uuid7_unix_ms
from apps.usage.models import UsageRequest

Dimension = Literal["route", "provider", "key_id"]

STEPS = (10, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800)
"""Seconds a plot's point may cover."""
MOST_POINTS = 240
QUANTILES = (0.50, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose traffic: one organisation's, real or simulated."""

    organisation: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over rollup rows; see ``apps.usage.models.Rollup`` for what counts where."""

    requests: int = 0
    ok: int = 0
    error: int = 0
    cancelled: int = 0
    refused: int = 0
    unknown: int = 0
    estimated: int = 0
    attempts: int = 0
    attempt_errors: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    tokens_cache_read: int = 0
    cost_nano: int = 0

    @property
    def failed(self) -> int:
        """Requests whose app got an error or no known end; refusals and cancellations are no failures of ours."""
        return self.error + self.unknown

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, name) + getattr(other, name) for name in COUNTS))


COUNTS = tuple(item.name for item in fields(Totals))
_SUMS = ", ".join(f"sum({name})::bigint" for name in COUNTS)


@dataclass(frozen=True, slots=True)
class Latency:
    """Three quantiles in microseconds; None where nothing was measured. ``count``: measurements."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series: ``[at, at + step)``."""

    at: datetime
    totals: Totals = field(default_factory=Totals)
    total: Latency = field(default_factory=Latency)
    first_token: Latency = field(default_factory=Latency)


@dataclass(frozen=True, slots=True)
class Series:
    """A range in steps, without holes: a step without traffic is a point of zeros. ``total``, ``first_token``: of the whole range."""

    start: datetime
    end: datetime
    step: timedelta
    points: list[Point]
    totals: Totals
    total: Latency
    first_token: Latency


@dataclass(frozen=True, slots=True)
class Group:
    """One value of a dimension; empty where a request was refused before it had one."""

    value: str
    totals: Totals
    total: Latency
    first_token: Latency


@dataclass(frozen=True, slots=True)
class Resolution:
    """Which rollup to read, aligned to its buckets, and how wide a point is."""

    table: str
    step: timedelta
    start: datetime
    end: datetime


def resolution_for(start: datetime, end: datetime, *, now: datetime, wide: bool = False) -> Resolution:
    """The finest rollup that answers a range cheaply; the range is aligned outwards to its buckets, so beyond six hours to whole hours.

    ``wide``: the dimension asked for is not in the ten-second rollup.
    """
    length = end - start
    if not wide and length <= timedelta(hours=2) and start >= now - timedelta(hours=47):
        table, bucket = "usage_rollup_10s", 10
    elif length <= timedelta(hours=6):
        table, bucket = "usage_rollup_1m", 60
    else:
        table, bucket = "usage_rollup_1h", 3_600
    step = next((s for s in STEPS if s >= bucket and length.total_seconds() / s <= MOST_POINTS), STEPS[-1])
    return Resolution(table, timedelta(seconds=step), _floor(start, bucket), _ceil(end, bucket))


def _floor(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def _ceil(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(-(-moment.timestamp() // seconds) * seconds, UTC)


def _rows(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


# organisation, simulated, from, to: the parameters of every rollup query, in this order
_WHERE = "organisation = %s AND simulated = %s AND bucket >= %s AND bucket < %s"


def _quantiles(table: str, label: str, place: str, sets: str) -> str:
    """Per group and kind: how many were measured, and the histogram index at the nearest rank of each quantile.

    ``label``, ``place``: expressions that name a group. ``sets``: the grouping sets, over which h(kind, i) is open too.
    """
    ranks = ", ".join(f"min(i) FILTER (WHERE seen >= greatest(1, ceil({q} * total)))" for q in QUANTILES)
    return f"""
        WITH counts AS (
            SELECT {label} AS label, {place} AS place, kind, i::int AS i, sum(n::bigint) AS n
            FROM {table}
            CROSS JOIN LATERAL (
                SELECT 't', key, value FROM jsonb_each_text(h_total)
                UNION ALL SELECT 'f', key, value FROM jsonb_each_text(h_first_token)
            ) AS h(kind, i, n)
            WHERE {_WHERE}
            GROUP BY GROUPING SETS ({sets})
        ), ranked AS (
            SELECT label, place, kind, i,
                   sum(n) OVER (PARTITION BY label, place, kind ORDER BY i) AS seen,
                   sum(n) OVER (PARTITION BY label, place, kind) AS total
            FROM counts
        )
        SELECT label, place, kind, max(total)::bigint, {ranks} FROM ranked GROUP BY label, place, kind
    """


def _latency(row: Sequence[Any]) -> Latency:
    count, *indexes = row
    return Latency(*(None if index is None else midpoint(index) for index in indexes), count=count)


def traffic_series(scope: Scope, start: datetime, end: datetime, *, now: datetime | None = None) -> Series:
    """Counts and latency of a range, by step and as a whole: two queries."""
    chosen = resolution_for(start, end, now=now or datetime.now(UTC))
    where = [scope.organisation, scope.simulated, chosen.start, chosen.end]
    at = f"date_bin('{int(chosen.step.total_seconds())} seconds', bucket, 'epoch'::timestamptz)"
    counts = {row[0]: Totals(*row[1:]) for row in _rows(f"SELECT {at}, {_SUMS} FROM {chosen.table} WHERE {_WHERE} GROUP BY 1", where)}
    sql = _quantiles(chosen.table, f"grouping({at})", at, f"({at}, kind, i), (kind, i)")
    latencies: dict[tuple[datetime | None, str], Latency] = {}
    for whole, place, kind, *found in _rows(sql, where):
        latencies[None if whole else place, kind] = _latency(found)
    step, none = chosen.step, Latency()
    points, moment = [], _floor(chosen.start, int(step.total_seconds()))
    while moment < chosen.end:
        points.append(Point(moment, counts.get(moment, Totals()), latencies.get((moment, "t"), none), latencies.get((moment, "f"), none)))
        moment += step
    return Series(
        start=chosen.start,
        end=chosen.end,
        step=step,
        points=points,
        totals=sum(counts.values(), Totals()),
        total=latencies.get((None, "t"), none),
        first_token=latencies.get((None, "f"), none),
    )


def traffic_by(
    scope: Scope, start: datetime, end: datetime, dimensions: Sequence[Dimension], *, now: datetime | None = None, limit: int = 200
) -> dict[Dimension, list[Group]]:
    """A range by each of some dimensions, the busiest values first: two queries, however many dimensions."""
    chosen = resolution_for(start, end, now=now or datetime.now(UTC), wide="key_id" in dimensions)
    where = [scope.organisation, scope.simulated, chosen.start, chosen.end]
    label = "CASE " + " ".join(f"WHEN grouping({name}) = 0 THEN '{name}'" for name in dimensions) + " END"
    place = "CASE " + " ".join(f"WHEN grouping({name}) = 0 THEN {name}" for name in dimensions) + " END"
    found: dict[Dimension, list[Group]] = {name: [] for name in dimensions}
    sets = ", ".join(f"({name})" for name in dimensions)
    counts = _rows(
        f"SELECT {label}, {place}, {_SUMS} FROM {chosen.table} WHERE {_WHERE} "
        f"GROUP BY GROUPING SETS ({sets}) ORDER BY sum(requests) DESC, 2",
        where,
    )
    if not counts:
        return found
    sql = _quantiles(chosen.table, label, place, ", ".join(f"({name}, kind, i)" for name in dimensions))
    latencies = {(name, value, kind): _latency(row) for name, value, kind, *row in _rows(sql, where)}
    none = Latency()
    for name, value, *sums in counts:
        if len(found[name]) < limit:
            total, first_token = latencies.get((name, value, "t"), none), latencies.get((name, value, "f"), none)
            found[name].append(Group(value, Totals(*sums), total, first_token))
    return found


def live_and_today(scope: Scope, *, seconds: int = 60, now: datetime | None = None) -> tuple[Totals, int]:
    """What a glance needs, in one query: the totals of the last ``seconds``, and the nano-dollars spent since midnight UTC.

    The latest ten seconds are left out of the rate, because they still fill.
    """
    now = now or datetime.now(UTC)
    end = _floor(now - timedelta(seconds=2), 10)
    owner = [scope.organisation, scope.simulated]
    [row] = _rows(
        f"SELECT (SELECT coalesce(sum(cost_nano), 0)::bigint FROM usage_rollup_1h WHERE {_WHERE}), {_SUMS} "
        f"FROM usage_rollup_10s WHERE {_WHERE}",
        [*owner, _floor(now, 86_400), now + timedelta(hours=1), *owner, end - timedelta(seconds=seconds), end],
    )
    spent, *sums = row
    return Totals(*(value or 0 for value in sums)), int(spent)


def values_seen(scope: Scope, start: datetime, end: datetime, *, limit: int = 200) -> dict[Dimension, list[str]]:
    """The routes, providers and keys that a range has traffic of, for its filters: one query over the hourly rollup."""
    where = [scope.organisation, scope.simulated, _floor(start, 3_600), _ceil(end, 3_600)]
    found: dict[Dimension, list[str]] = {"route": [], "provider": [], "key_id": []}
    rows = _rows(
        f"""SELECT grouping(route), grouping(provider), route, provider, key_id FROM usage_rollup_1h WHERE {_WHERE}
            GROUP BY GROUPING SETS ((route), (provider), (key_id)) ORDER BY route, provider, key_id""",
        where,
    )
    for no_route, no_provider, route, provider, key_id in rows:
        name, value = ("route", route) if not no_route else ("provider", provider) if not no_provider else ("key_id", key_id)
        if value and len(found[name]) < limit:  # type: ignore[index]
            found[name].append(value)  # type: ignore[index]
    return found


# ---- single requests and lists ---------------------------------------------------------------------------------------

_LISTED = (
    "id", "started_at", "key_id", "route", "requested_model", "provider", "model", "outcome", "status", "error_code", "attempt_count",
    "stream", "tokens_input", "tokens_output", "cost_nano", "estimated", "first_token_us", "total_us", "simulated", "environment",
    "feature",
)  # fmt: skip
FILTERS = ("route", "provider", "key_id", "outcome", "error_code")


class CursorError(ValueError):
    """A cursor that none of our pages gave out."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list: the request at it, by time and id."""

    started_at: datetime
    id: UUID

    def text(self) -> str:
        """For a URL; opaque, so that nobody builds one."""
        micros = int(self.started_at.timestamp()) * 1_000_000 + self.started_at.microsecond
        return base64.urlsafe_b64encode(micros.to_bytes(8, "big") + self.id.bytes).decode()

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises CursorError."""
        try:
            raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
            if len(raw) != 24:
                raise ValueError
            seconds, micros = divmod(int.from_bytes(raw[:8], "big"), 1_000_000)
            return cls(datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros), UUID(bytes=raw[8:]))
        except (ValueError, OverflowError, OSError, binascii.Error):
            raise CursorError("this link's place in the list is damaged: start again from the first page") from None


@dataclass(frozen=True, slots=True)
class RequestPage:
    """One page of requests, newest first. ``after``: cursor of the next older page, ``before``: of the next newer; None at an end."""

    rows: list[UsageRequest]
    after: str | None
    before: str | None


def _listed(scope: Scope, start: datetime, end: datetime, filters: Mapping[str, str]) -> Any:
    rows = UsageRequest.objects.filter(
        organisation=scope.organisation, simulated=scope.simulated, started_at__gte=start, started_at__lt=end
    )
    for name, value in filters.items():
        if name not in FILTERS:
            raise ValueError(f"{name!r} is no filter of requests: one of {', '.join(FILTERS)}")
        rows = rows.filter(**{name: value})
    return rows.only(*_LISTED)


def request_page(
    scope: Scope,
    start: datetime,
    end: datetime,
    *,
    filters: Mapping[str, str] | None = None,
    after: str = "",
    before: str = "",
    limit: int = 50,
) -> RequestPage:
    """Requests of a range, newest first, from a cursor on: one query, by an index, whatever the page. Raises CursorError."""
    rows = _listed(scope, start, end, filters or {})
    backwards = bool(before) and not after
    if after or before:
        cursor = Cursor.parse(after or before)
        # The row comparison decides; the bound on started_at alone lets the planner leave partitions out.
        if backwards:
            rows = rows.filter(started_at__gte=cursor.started_at).extra(
                where=["(started_at, id) > (%s, %s)"], params=[cursor.started_at, cursor.id]
            )
        else:
            rows = rows.filter(started_at__lte=cursor.started_at).extra(
                where=["(started_at, id) < (%s, %s)"], params=[cursor.started_at, cursor.id]
            )
    order = ("started_at", "id") if backwards else ("-started_at", "-id")
    found = list(rows.order_by(*order)[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if backwards:
        found.reverse()
    older, newer = (bool(found), more) if backwards else (more, bool(after))
    return RequestPage(
        rows=found,
        after=Cursor(found[-1].started_at, found[-1].id).text() if found and older else None,
        before=Cursor(found[0].started_at, found[0].id).text() if found and newer else None,
    )


def request_rows(
    scope: Scope, start: datetime, end: datetime, *, filters: Mapping[str, str] | None = None, limit: int = 10_000
) -> Iterable[UsageRequest]:
    """The same rows for a file: streamed, newest first, at most ``limit``."""
    rows = _listed(scope, start, end, filters or {}).order_by("-started_at", "-id")[:limit]
    return rows.iterator(chunk_size=1_000)


def request_get(request_id: UUID) -> UsageRequest | None:
    """One request with everything known of it, whatever its scope: the caller checks who may see it.

    The id's own time selects the partitions; a host whose clock was off is found within a day.
    """
    try:
        made = datetime.fromtimestamp(uuid7_unix_ms(request_id) / 1000, UTC)
        bounds = {"started_at__gte": made - timedelta(days=1), "started_at__lt": made + timedelta(days=1)}
    except (ValueError, OverflowError, OSError):
        return None
    return UsageRequest.objects.filter(id=request_id, **bounds).first()


def any_request(scope: Scope) -> bool:
    """Whether this scope has had any traffic since rollups are kept."""
    return bool(
        _rows("SELECT 1 FROM usage_rollup_1h WHERE organisation = %s AND simulated = %s LIMIT 1", [scope.organisation, scope.simulated])
    )
