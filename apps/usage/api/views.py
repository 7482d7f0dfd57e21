"""``requests``, ``usage`` and ``spend`` of an organisation. ``?scope=simulated`` asks for simulated traffic: the two never mix."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from apps.accounts.api.errors import ApiError
from apps.accounts.api.views import ApiView
from apps.accounts.scope import Scope
from apps.ui.timerange import TimeRange, from_query
from apps.usage.choices import SPEND_DIMENSIONS
from apps.usage.measures import Group
from apps.usage.names import names_of
from apps.usage.narrowing import CONDITIONS, FilterError
from apps.usage.requests import SORTS, CursorError, request_page
from apps.usage.selectors import Dimension, traffic_by
from apps.usage.spend import Period, spend_by, spend_days

RANGE = [
    OpenApiParameter("from", str, description="A moment (ISO 8601) or now-6h."),
    OpenApiParameter("to", str, description="A moment or now."),
]
SCOPE = OpenApiParameter("scope", str, enum=["real", "simulated"], description="Whose traffic; the organisation's own unless given.")
MOST_DAYS = 400
TRAFFIC: tuple[Dimension, ...] = get_args(Dimension)


class RequestSerializer(serializers.Serializer[Any]):
    """One request in a list."""

    id = serializers.UUIDField()
    started_at = serializers.DateTimeField()
    key_id = serializers.CharField()
    route = serializers.CharField()
    requested_model = serializers.CharField()
    provider = serializers.CharField()
    model = serializers.CharField()
    outcome = serializers.CharField()
    status = serializers.IntegerField()
    error_code = serializers.CharField()
    attempt_count = serializers.IntegerField()
    stream = serializers.BooleanField()
    tokens_input = serializers.IntegerField()
    tokens_output = serializers.IntegerField()
    cost_nano = serializers.IntegerField()
    estimated = serializers.BooleanField()
    first_token_us = serializers.IntegerField(help_text="-1: no token came.")
    total_us = serializers.IntegerField()
    simulated = serializers.BooleanField()
    environment = serializers.CharField()
    feature = serializers.CharField()
    user = serializers.CharField()


class RequestPageSerializer(serializers.Serializer[Any]):
    """A page of requests. ``looked_back_to``: where the search stopped, if it did not reach the range's start."""

    items = RequestSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    looked_back_to = serializers.DateTimeField(allow_null=True)


class SpendRowSerializer(serializers.Serializer[Any]):
    """One value of a dimension. ``rest``: all values that are not told apart."""

    value = serializers.CharField()
    name = serializers.CharField()
    rest = serializers.BooleanField()
    requests = serializers.IntegerField()
    tokens_input = serializers.IntegerField()
    tokens_output = serializers.IntegerField()
    cost_nano = serializers.IntegerField()
    waste_nano = serializers.IntegerField()
    before_nano = serializers.IntegerField()


class SpendSerializer(serializers.Serializer[Any]):
    """Whole days (UTC), both included; the rows add up to the total."""

    first = serializers.DateField()
    last = serializers.DateField()
    simulated = serializers.BooleanField()
    dimension = serializers.CharField()
    total_nano = serializers.IntegerField()
    before_nano = serializers.IntegerField()
    days = serializers.DictField(child=serializers.IntegerField())
    rows = SpendRowSerializer(many=True)


class TrafficView(ApiView):
    permission = "usage.view"

    @property
    def scope(self) -> Scope:
        """Whose traffic. Raises ApiError."""
        asked = self.request.query_params.get("scope", "")
        if asked not in ("", "real", "simulated"):
            raise ApiError("Write real or simulated.", field="scope")
        if asked == "real" and self.organisation.simulated:
            raise ApiError("This organisation is a simulation: nothing of it is real.", field="scope")
        return Scope(organisation=str(self.organisation.pk), simulated=asked == "simulated" or self.organisation.simulated)

    @property
    def range(self) -> TimeRange:
        """The range asked for, the last 24 hours unless given. Raises ApiError."""
        found = from_query(self.request.query_params.dict(), default_from="now-24h")
        if found.problem:
            raise ApiError(found.problem, field="from")
        return found


class RequestsView(TrafficView):
    """Requests, the newest first; by cursor however many there are."""

    permission = "request.view"

    @extend_schema(
        parameters=[
            *RANGE, SCOPE, OpenApiParameter("sort", str, enum=sorted(SORTS)),
            OpenApiParameter("limit", int), OpenApiParameter("cursor", str),
            *(OpenApiParameter(name, str) for name in sorted(CONDITIONS)),
        ],
        responses=RequestPageSerializer,
    )  # fmt: skip
    def get(self, request: Any, organisation: str) -> Response:
        asked, span = request.query_params, self.range
        sort = asked.get("sort", "newest")
        if sort not in SORTS:
            raise ApiError(f"Sort by one of {', '.join(SORTS)}.", field="sort")
        limit = asked.get("limit", "50")
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:6]) <= 200):
            raise ApiError("Ask for 1 to 200 at once.", field="limit")
        filters = {name: asked[name] for name in CONDITIONS if asked.get(name)}
        cursor = asked.get("cursor", "")
        backwards = cursor.startswith("<")
        try:
            page = request_page(
                self.scope, span.start, span.end, filters=filters, limit=int(limit), sort=sort,
                **{"before" if backwards else "after": cursor.removeprefix("<")},
            )  # fmt: skip
        except CursorError as error:
            raise ApiError(f"{error}.", field="cursor") from None
        except FilterError as error:
            raise ApiError(str(error)) from None
        return Response(
            {
                "items": RequestSerializer(page.rows, many=True).data,
                "next": self._link(page.after or ""),
                "previous": self._link(f"<{page.before}" if page.before else ""),
                "looked_back_to": page.looked_back_to,
            }
        )

    def _link(self, cursor: str) -> str | None:
        return replace_query_param(self.request.build_absolute_uri(), "cursor", cursor) if cursor else None


class UsageView(TrafficView):
    """Traffic of a range by one dimension, the busiest first, and as a whole."""

    @extend_schema(parameters=[*RANGE, SCOPE, OpenApiParameter("by", str, enum=sorted(TRAFFIC))])
    def get(self, request: Any, organisation: str) -> Response:
        by, span = request.query_params.get("by", "route"), self.range
        if by not in TRAFFIC:
            raise ApiError(f"Ask by one of {', '.join(TRAFFIC)}.", field="by")
        found = traffic_by(self.scope, span.start, span.end, [by])  # type: ignore[list-item]
        [whole] = found[""] or [None]
        return Response(
            {
                "from": span.start, "to": span.end, "simulated": self.scope.simulated, "by": by,
                "total": _group(whole) if whole else None, "rows": [_group(group) for group in found[by]],
            }
        )  # fmt: skip


class SpendView(TrafficView):
    """What was spent on whole days (UTC) by one dimension, with the period before."""

    @extend_schema(
        parameters=[
            SCOPE, OpenApiParameter("first", date), OpenApiParameter("last", date),
            OpenApiParameter("by", str, enum=sorted(SPEND_DIMENSIONS)),
        ],
        responses=SpendSerializer,
    )  # fmt: skip
    def get(self, request: Any, organisation: str) -> Response:
        by, today = request.query_params.get("by", "team"), datetime.now(UTC).date()
        if by not in SPEND_DIMENSIONS:
            raise ApiError(f"Ask by one of {', '.join(SPEND_DIMENSIONS)}.", field="by")
        period = Period(self._day("first", today.replace(day=1)), self._day("last", today))
        if not 1 <= period.days <= MOST_DAYS:
            raise ApiError(f"Ask for 1 to {MOST_DAYS} days, the last not before the first.", field="last")
        found = spend_by(self.scope, period, by)
        names = names_of(str(self.organisation.pk)) if by in ("key_id", "team") else None
        told = {"key_id": names.key, "team": names.team}[by] if names is not None else str
        rows = [
            {
                "value": row.value, "name": told(row.value), "rest": row.rest, "requests": row.amounts.requests,
                "tokens_input": row.amounts.tokens_input, "tokens_output": row.amounts.tokens_output,
                "cost_nano": row.amounts.cost_nano, "waste_nano": row.amounts.waste_nano, "before_nano": row.before_nano,
            }
            for row in found.rows
        ]  # fmt: skip
        days = {day.isoformat(): nano for day, nano in sorted(spend_days(self.scope, period.first, period.last).items())}
        return Response(
            {
                "first": period.first, "last": period.last, "simulated": self.scope.simulated, "dimension": by,
                "total_nano": found.total.cost_nano, "before_nano": found.before_nano, "days": days, "rows": rows,
            }
        )  # fmt: skip

    def _day(self, name: str, otherwise: date) -> date:
        text = self.request.query_params.get(name, "")
        try:
            found = date.fromisoformat(text) if text else otherwise
        except ValueError:
            raise ApiError(f"{text[:20]!r} is no day: write 2026-01-31.", field=name) from None
        if not date(2000, 1, 1) <= found <= date(2200, 1, 1) - timedelta(days=1):
            raise ApiError("Ask for days between 2000 and 2200.", field=name)
        return found


def _group(group: Group) -> dict[str, Any]:
    """A value with its sums, and quantiles in microseconds; null where nothing was measured."""
    return {
        "value": group.value,
        **asdict(group.totals),
        "total_us": asdict(group.total),
        "first_token_us": asdict(group.first_token),
    }
