"""Reads over usage: totals, rates and latency from the summaries, lists and single requests from the request table.

Every read takes a ``Scope``, so that no total can mix two organisations, or real and simulated traffic.
Durations are microseconds, money is nano-dollars. Totals are exact: a range is covered by days, hours and minutes that
fill it, each counted once. Quantiles are exact to the histogram's 1.1%. Histograms are merged here and not in SQL: decoding
JSON and adding in dicts costs a tenth of unnesting jsonb and grouping it.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal, cast
from uuid import UUID

import msgspec
from django.db import connection

from apps.accounts.scope import Scope
from apps.contracts.histogram import midpoint
from apps.contracts.identifiers import uuid7_unix_ms
from apps.usage.models import UsageRequest
from apps.usage.narrowing import condition, scans

Dimension = Literal["route", "provider", "key_id"]

QUANTILES = (0.50, 0.95, 0.99)


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
SUMS = ", ".join(f"sum({name})::bigint" for name in COUNTS)


@dataclass(frozen=True, slots=True)
class Latency:
    """Three quantiles in microseconds; None where nothing was measured. ``count``: measurements."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series: ``seconds`` from ``at``; fewer than the step's where it is not over yet."""

    at: datetime
    seconds: float
    totals: Totals = field(default_factory=Totals)
    total: Latency = field(default_factory=Latency)
    first_token: Latency = field(default_factory=Latency)


@dataclass(frozen=True, slots=True)
class Group:
    """One value of a dimension; empty where a request was refused before it had one."""

    value: str
    totals: Totals
    total: Latency
    first_token: Latency


@dataclass(frozen=True, slots=True)
class Series:
    """A range in steps, without holes: a step without traffic is a point of zeros.

    ``totals``, ``total``, ``first_token`` are of ``[start, end)`` exactly; the first point is a whole step, which may begin before.
    """

    start: datetime
    end: datetime
    step: timedelta
    points: list[Point]
    totals: Totals
    total: Latency
    first_token: Latency


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a range that whole buckets of one width fill."""

    seconds: int
    start: datetime
    end: datetime


MINUTE, HOUR, DAY = 60, 3_600, 86_400
COVERING = (MINUTE, 600, HOUR, 10_800, DAY)
"""Widths of the summaries that cover a range; each is a multiple of the one before."""
LIVE_HOURS = 47
"""How far back ten-second summaries are relied on; they are kept 48 hours."""
MINUTE_DAYS = 8
"""How far back summaries of minutes are relied on (``apps.usage.services.MINUTE_DAYS``, less what its task may be late)."""
STEPS = (
    (1_200, 10, 10), (3 * HOUR, 10, 30), (4 * HOUR, 60, 60), (8 * HOUR, 60, 120), (50 * HOUR, 600, 600), (300 * HOUR, HOUR, HOUR),
    (37 * DAY, 10_800, 10_800),
)  # fmt: skip
"""Up to so many seconds of range: the width of the summaries to read, and of a step. Longer ones: days."""


EVERYTHING: Literal[""] = ""
SETTLING_SECONDS = 5
"""A step younger than this is left out of a series."""


def aligned(start: datetime, end: datetime, *, now: datetime) -> tuple[datetime, datetime]:
    """The range that totals are of: its ends at whole minutes outwards, or at whole hours where minutes are kept no more."""
    kept = now - timedelta(days=MINUTE_DAYS)
    return floor(start, MINUTE if start >= kept else HOUR), _ceil(end, MINUTE if end >= kept else HOUR)


def cover(start: datetime, end: datetime, *, now: datetime) -> list[Segment]:
    """The few segments that make up an aligned range, none twice: days inside, narrower and narrower buckets towards its edges.

    A range that ends now takes the hour and the day that are not over: they hold nothing later than now.
    """
    if end >= floor(now, MINUTE):
        end = _ceil(end, DAY)
    before: list[Segment] = []
    after: list[Segment] = []
    for seconds, wider in pairwise(COVERING):
        low, high = _ceil(start, wider), floor(end, wider)
        if low > high:  # no edge of a wider bucket lies inside
            break
        before.append(Segment(seconds, start, low))
        after.append(Segment(seconds, high, end))
        start, end = low, high
    else:
        seconds = COVERING[-1]
    return [segment for segment in (*before, Segment(seconds, start, end), *reversed(after)) if segment.start < segment.end]


def step_for(start: datetime, end: datetime, *, now: datetime) -> tuple[int, int]:
    """(width of the summaries to read, seconds of a step): at most 300 steps up to 37 days, then one a day."""
    length = (end - start).total_seconds()
    bucket, step = next(((bucket, step) for most, bucket, step in STEPS if length <= most), (DAY, DAY))
    if start < now - timedelta(days=MINUTE_DAYS):
        least = HOUR
    elif start < now - timedelta(hours=LIVE_HOURS):
        least = MINUTE
    else:
        least = 10
    return max(bucket, least), max(step, least)


def floor(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def _ceil(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(-(-moment.timestamp() // seconds) * seconds, UTC)


def rows_of(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


_WHERE = "organisation = %s AND simulated = %s AND seconds = %s AND dimension = %s AND bucket >= %s AND bucket < %s"
_BUCKETS = "ARRAY(SELECT generate_series(%s::timestamptz, %s::timestamptz - interval '1 second', make_interval(secs => %s)))"
_WHERE_VALUES = (
    f"organisation = %s AND simulated = %s AND seconds = %s AND dimension = %s AND bucket = ANY ({_BUCKETS}) AND value = ANY (%s)"
)
HISTOGRAMS = ", ".join(f"string_agg({name}::text, ',') FILTER (WHERE {name} <> '{{}}')" for name in ("h_total", "h_first_token"))
_decode = msgspec.json.Decoder(list[dict[int, int]]).decode


def _covered(
    scope: Scope, segments: Sequence[Segment], dimensions: Sequence[str], values: Sequence[str] | None = None
) -> tuple[str, list[Any]]:
    """The rows of ``usage_summary`` in some segments, as SQL for FROM, and its parameters. One index range each; of some values
    alone, one look-up for each bucket and value."""
    parts, parameters = [], []
    for segment in segments:
        for dimension in dimensions:
            owner = [scope.organisation, scope.simulated, segment.seconds, dimension]
            if values is None:
                parts.append(f"SELECT * FROM usage_summary WHERE {_WHERE}")
                parameters += [*owner, segment.start, segment.end]
            else:
                parts.append(f"SELECT * FROM usage_summary WHERE {_WHERE_VALUES}")
                parameters += [*owner, segment.start, segment.end, segment.seconds, list(values)]
    return f"({' UNION ALL '.join(parts)}) AS covered", parameters


def latency_of(texts: str | None) -> Latency:
    """The quantiles of histograms that were joined with commas; as ``apps.contracts.histogram.quantile`` of their sum."""
    if not texts:
        return Latency()
    first, *rest = _decode(f"[{texts}]")
    get = first.get
    for histogram in rest:
        for index, count in histogram.items():
            first[index] = get(index, 0) + count
    total, seen, found = sum(first.values()), 0, []
    ranks = [max(1, math.ceil(q * total)) for q in QUANTILES]
    for index in sorted(first):
        seen += first[index]
        while len(found) < len(ranks) and seen >= ranks[len(found)]:
            found.append(midpoint(index))
    return Latency(*found, count=total)


def traffic_series(
    scope: Scope,
    start: datetime,
    end: datetime,
    *,
    dimension: Dimension | Literal[""] = EVERYTHING,
    value: str = "",
    whole: Sequence[Group] | None = None,
    latency: bool = True,
    now: datetime | None = None,
) -> Series:
    """Counts and latency of a range, by step and as a whole: three queries, two where nothing came since the last time.

    dimension, value: of one route, provider or key alone, in steps of a minute or more. whole: what ``traffic_by`` found for the
    same range and time under ``""``, where that was asked already. latency: of each step too; it costs a query.
    """
    now = now or datetime.now(UTC)
    start, end = aligned(start, end, now=now)
    if whole is not None:
        found = list(whole)
    elif dimension == EVERYTHING:
        found = traffic_by(scope, start, end, (), now=now)[EVERYTHING]
    else:
        found = traffic_of(scope, start, end, dimension, [value], now=now)
    [whole_group] = found or [Group(value, Totals(), Latency(), Latency())]
    bucket, step = step_for(start, end, now=now)
    if dimension != EVERYTHING:
        bucket, step = max(bucket, MINUTE), max(step, MINUTE)
    first, until = floor(start, step), max(min(end, now), start)
    where = [scope.organisation, scope.simulated, bucket, dimension, first, until, bucket, [value]]
    place = f"date_bin('{step} seconds', bucket, 'epoch'::timestamptz)"
    sql = f"SELECT {place}, {SUMS} FROM usage_summary WHERE {_WHERE_VALUES} GROUP BY 1"
    counts = {at: Totals(*sums) for at, *sums in rows_of(sql, where)}
    latencies = _step_latencies(scope, step, place, where, counts) if latency else {}
    points, at, nothing = [], first, (Latency(), Latency())
    while at < until:
        seconds = min(step, (until - at).total_seconds())
        # a step that has only begun says nothing yet; records take a second or two to arrive
        if seconds == step or seconds >= max(SETTLING_SECONDS, step / 4):
            points.append(Point(at, seconds, counts.get(at, Totals()), *latencies.get(at, nothing)))
        at += timedelta(seconds=step)
    return Series(start, end, timedelta(seconds=step), points, whole_group.totals, whole_group.total, whole_group.first_token)


_known_steps: dict[tuple[str, bool, int, str, str, int], tuple[int, Latency, Latency]] = {}
"""(organisation, simulated, seconds of the step, dimension, value, its start) -> requests counted, and the latencies found for them.

A histogram changes only together with the count of requests beside it, so a step whose count is the same has the same latency: of a
plot that is drawn again only the steps with new requests are merged, however late those came.
"""
MOST_KNOWN_STEPS = 50_000


def _step_latencies(
    scope: Scope, step: int, place: str, where: list[Any], counts: Mapping[datetime, Totals]
) -> dict[datetime, tuple[Latency, Latency]]:
    """By step, total and first token; one query for the steps that are not known, none where all are."""
    dimension, [value] = where[3], where[-1]
    keys = {at: (scope.organisation, scope.simulated, step, dimension, value, int(at.timestamp())) for at in counts}
    found: dict[datetime, tuple[Latency, Latency]] = {}
    for at, totals in counts.items():
        known = _known_steps.get(keys[at])
        if known is not None and known[0] == totals.requests:
            found[at] = known[1:]
    missing = [at for at in counts if at not in found]
    if not missing:
        return found
    if len(_known_steps) + len(missing) > MOST_KNOWN_STEPS:
        _known_steps.clear()
    sql = f"SELECT {place}, sum(requests)::bigint, {HISTOGRAMS} FROM usage_summary WHERE {_WHERE_VALUES} AND {place} = ANY (%s) GROUP BY 1"
    for at, requests, total, first_token in rows_of(sql, [*where, missing]):
        found[at] = (latency_of(total), latency_of(first_token))
        _known_steps[keys[at]] = (requests, *found[at])
    return found


def traffic_by(
    scope: Scope,
    start: datetime,
    end: datetime,
    dimensions: Sequence[Dimension],
    *,
    now: datetime | None = None,
    limit: int = 200,
) -> dict[str, list[Group]]:
    """A range by each of some dimensions, the busiest values first, and under ``""`` as a whole: one query, however many.

    The range is ``aligned``. Of more than ``limit`` values the least busy are left out.
    """
    now = now or datetime.now(UTC)
    start, end = aligned(start, end, now=now)
    source, parameters = _covered(scope, cover(start, end, now=now), (EVERYTHING, *dimensions))
    found: dict[str, list[Group]] = {EVERYTHING: [], **{name: [] for name in dimensions}}
    rows = rows_of(
        f"SELECT dimension, value, {SUMS}, {HISTOGRAMS} FROM {source} GROUP BY dimension, value ORDER BY sum(requests) DESC, value",
        parameters,
    )
    for dimension, value, *sums, total, first_token in rows:
        if len(found[dimension]) < limit:
            found[dimension].append(Group(value, Totals(*sums), latency_of(total), latency_of(first_token)))
    return found


def traffic_of(
    scope: Scope,
    start: datetime,
    end: datetime,
    dimension: Dimension,
    values: Sequence[str] | None,
    *,
    latency: bool = True,
    now: datetime | None = None,
) -> list[Group]:
    """A range by some values of one dimension, the busiest first: one query, none without values. A value without traffic has no group.

    values: those of one page of a list; None: all that have traffic. latency: whether histograms are merged; a sort needs none.
    """
    if values is not None and not values:
        return []
    now = now or datetime.now(UTC)
    start, end = aligned(start, end, now=now)
    source, parameters = _covered(scope, cover(start, end, now=now), (dimension,), values)
    wanted = HISTOGRAMS if latency else "NULL, NULL"
    rows = rows_of(f"SELECT value, {SUMS}, {wanted} FROM {source} GROUP BY value ORDER BY sum(requests) DESC, value", parameters)
    return [Group(value, Totals(*sums), latency_of(total), latency_of(first_token)) for value, *sums, total, first_token in rows]


def values_seen(scope: Scope, start: datetime, end: datetime, *, limit: int = 200) -> dict[Dimension, list[str]]:
    """The routes, providers and keys that a range has traffic of, for its filters: one query over whole hours or days."""
    width = HOUR if end - start <= timedelta(days=2) else DAY
    names: tuple[Dimension, ...] = ("route", "provider", "key_id")
    source, parameters = _covered(scope, [Segment(width, floor(start, width), _ceil(end, width))], names)
    found: dict[Dimension, list[str]] = {name: [] for name in names}
    for name, value in rows_of(f"SELECT DISTINCT dimension, value FROM {source} ORDER BY 1, 2", parameters):
        if value and len(found[name]) < limit:
            found[name].append(value)
    return found


# ---- single requests and lists ---------------------------------------------------------------------------------------

_LISTED = (
    "id", "started_at", "key_id", "route", "requested_model", "provider", "model", "outcome", "status", "error_code", "attempt_count",
    "stream", "tokens_input", "tokens_output", "cost_nano", "estimated", "first_token_us", "total_us", "simulated", "environment",
    "feature", "user",
)  # fmt: skip
SORTS: dict[str, str] = {"newest": "started_at", "slowest": "total_us", "costliest": "cost_nano", "largest": "tokens_output"}
"""What the list can be ordered by, all descending; ties by id."""
LOOKED_AT = 30_000
"""Requests that one page looks at where no index leads to what is asked for, newest first; the next page goes on from there."""


class CursorError(ValueError):
    """A cursor that none of our pages gave out."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list: the sorted value of the request at it (microseconds since the epoch in the order of time), and its id."""

    value: int
    id: UUID

    def text(self) -> str:
        """For a URL; opaque, so that nobody builds one."""
        return base64.urlsafe_b64encode(self.value.to_bytes(8, "big") + self.id.bytes).decode()

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises CursorError."""
        try:
            raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
            if len(raw) != 24 or raw[0] > 127:
                raise ValueError
            cursor = cls(int.from_bytes(raw[:8], "big"), UUID(bytes=raw[8:]))
            datetime.fromtimestamp(cursor.value // 1_000_000, UTC)
            return cursor
        except (ValueError, OverflowError, OSError, binascii.Error):
            raise CursorError("this link's place in the list is damaged: start again from the first page") from None

    @classmethod
    def of(cls, row: UsageRequest, sort: str) -> Cursor:
        """The place of a row in an order of ``SORTS``."""
        value = getattr(row, SORTS[sort])
        return cls(_micros(value) if isinstance(value, datetime) else max(int(value), 0), row.id)

    def bound(self, sort: str) -> datetime | int:
        """What to compare the sorted column with."""
        return (
            datetime.fromtimestamp(self.value // 1_000_000, UTC).replace(microsecond=self.value % 1_000_000)
            if sort == "newest"
            else self.value
        )


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


@dataclass(frozen=True, slots=True)
class RequestPage:
    """One page of requests. ``after``: cursor of the next page (older, faster, cheaper), ``before``: of the one before; None at an end.

    ``looked_back_to``: where the search stopped after ``LOOKED_AT`` requests; None where it reached the range's start.
    """

    rows: list[UsageRequest]
    after: str | None
    before: str | None
    looked_back_to: datetime | None = None


def _listed(scope: Scope, start: datetime, end: datetime, filters: Mapping[str, str]) -> Any:
    rows = UsageRequest.objects.filter(
        organisation=scope.organisation, simulated=scope.simulated, started_at__gte=start, started_at__lt=end
    )
    return rows.filter(condition(filters)).only(*_LISTED)


def _narrowed(scope: Scope, start: datetime, end: datetime, filters: Mapping[str, str]) -> tuple[datetime, datetime]:
    """The part of a range in which a provider was called at all: no index leads to its requests, its hours do. One query, or none."""
    if "provider" not in filters:
        return start, end
    [(first, last)] = rows_of(
        f"SELECT min(bucket), max(bucket) FROM usage_summary WHERE {_WHERE} AND value = %s",
        [scope.organisation, scope.simulated, HOUR, "provider", floor(start, HOUR), end, filters["provider"]],
    )
    return (start, start) if first is None else (max(start, first), min(end, last + timedelta(hours=1)))


def _looked_back(scope: Scope, start: datetime, end: datetime) -> datetime | None:
    """Where the newest ``LOOKED_AT`` requests of a range end; None where it has no more. One query, by the index alone."""
    found = rows_of(
        "SELECT started_at FROM usage_request WHERE organisation = %s AND simulated = %s AND started_at >= %s AND started_at < %s "
        "ORDER BY started_at DESC OFFSET %s LIMIT 1",
        [scope.organisation, scope.simulated, start, end, LOOKED_AT],
    )
    return found[0][0] if found else None


def request_page(
    scope: Scope,
    start: datetime,
    end: datetime,
    *,
    filters: Mapping[str, str] | None = None,
    after: str = "",
    before: str = "",
    limit: int = 50,
    sort: str = "newest",
) -> RequestPage:
    """Requests of a range in an order of ``SORTS``, from a cursor on, whatever the page: one query, one more with a provider, one
    more where no index leads to what is asked for.

    ``filters``: names of ``apps.usage.narrowing.CONDITIONS``. Raises CursorError, and FilterError for a filter's value.
    """
    filters = filters or {}
    column, newest = SORTS[sort], sort == "newest"
    condition(filters)
    cursor = Cursor.parse(after or before) if after or before else None
    backwards = bool(before) and not after
    start, end = _narrowed(scope, start, end, filters)
    looked_back_to = None
    if (scans(filters) or not newest) and not (backwards and newest) and start < end:
        until = min(end, cast(datetime, cursor.bound(sort)) + timedelta(microseconds=1)) if cursor and newest else end
        looked_back_to = _looked_back(scope, start, until)
        start = max(start, looked_back_to or start)
    rows = _listed(scope, start, end, filters)
    if cursor is not None:
        bound = cursor.bound(sort)
        # The row comparison decides; the bound on the column alone lets the planner leave partitions out.
        rows = rows.filter(**{f"{column}__{'gte' if backwards else 'lte'}": bound})
        rows = rows.extra(where=[f"({column}, id) {'>' if backwards else '<'} (%s, %s)"], params=[bound, cursor.id])
    order = (column, "id") if backwards else (f"-{column}", "-id")
    found = list(rows.order_by(*order)[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if backwards:
        found.reverse()
    older, newer = (bool(found), more) if backwards else (more, bool(after))
    following = Cursor.of(found[-1], sort).text() if found and older else None
    if following is None and newest and looked_back_to is not None:
        following = Cursor(_micros(looked_back_to), UUID(int=0)).text()  # goes on where the search stopped
    return RequestPage(
        rows=found,
        after=following,
        before=Cursor.of(found[0], sort).text() if found and newer else None,
        looked_back_to=None if newest and more else looked_back_to,
    )


def request_rows(
    scope: Scope,
    start: datetime,
    end: datetime,
    *,
    filters: Mapping[str, str] | None = None,
    limit: int = 10_000,
    sort: str = "newest",
) -> Iterable[UsageRequest]:
    """The same rows for a file: streamed, in the same order, at most ``limit``."""
    filters = filters or {}
    rows = _listed(scope, *_narrowed(scope, start, end, filters), filters).order_by(f"-{SORTS[sort]}", "-id")[:limit]
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


def request_neighbours(record: UsageRequest) -> tuple[UUID | None, UUID | None]:
    """The ids of the requests before and after one in its own scope, within a day: one query, by the index."""
    place = [record.organisation, record.simulated]
    day, at = timedelta(days=1), record.started_at
    found = dict(
        rows_of(
            "(SELECT 'before', id FROM usage_request WHERE organisation = %s AND simulated = %s AND started_at >= %s AND started_at <= %s "
            "AND (started_at, id) < (%s, %s) ORDER BY started_at DESC, id DESC LIMIT 1) UNION ALL "
            "(SELECT 'after', id FROM usage_request WHERE organisation = %s AND simulated = %s AND started_at >= %s AND started_at <= %s "
            "AND (started_at, id) > (%s, %s) ORDER BY started_at, id LIMIT 1)",
            [*place, at - day, at, at, record.id, *place, at, at + day, at, record.id],
        )
    )
    return found.get("before"), found.get("after")


def any_request(scope: Scope) -> bool:
    """Whether this scope has had any traffic since rollups are kept."""
    return bool(
        rows_of(
            "SELECT 1 FROM usage_summary WHERE organisation = %s AND simulated = %s AND seconds = %s LIMIT 1",
            [scope.organisation, scope.simulated, DAY],
        )
    )
