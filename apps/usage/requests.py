"""Single requests and lists of them, from the request table: pages with cursors, rows for a file, one request, its neighbours."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from apps.accounts.scope import Scope
from apps.contracts.identifiers import uuid7_unix_ms
from apps.usage.capture_selectors import CAPTURED
from apps.usage.covering import HOUR, floor
from apps.usage.feedback_selectors import TOLD
from apps.usage.models import UsageRequest
from apps.usage.narrowing import condition, scans
from apps.usage.summary_sql import WHERE, rows_of

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
        f"SELECT min(bucket), max(bucket) FROM usage_summary WHERE {WHERE} AND value = %s",
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
    """One request with everything known of it, whatever its scope: the caller checks who may see it. ``feedback_told``: what apps said
    of it (``apps.usage.feedback_selectors.feedback_told``).

    The id's own time selects the partitions; a host whose clock was off is found within a day.
    """
    try:
        made = datetime.fromtimestamp(uuid7_unix_ms(request_id) / 1000, UTC)
        bounds = {"started_at__gte": made - timedelta(days=1), "started_at__lt": made + timedelta(days=1)}
    except (ValueError, OverflowError, OSError):
        return None
    return UsageRequest.objects.filter(id=request_id, **bounds).annotate(feedback_told=TOLD, captured_told=CAPTURED).first()


def trace_known(scope: Scope, trace_id: str) -> bool:
    """Whether any request of a scope belongs to a caller's trace (32 hex digits): one query, by the index."""
    return UsageRequest.objects.filter(trace_id=trace_id, organisation=scope.organisation, simulated=scope.simulated).exists()


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
