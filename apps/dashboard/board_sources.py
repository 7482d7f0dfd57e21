"""What stands on dashboards beside their own series: requests that failed, took longest or cost most, breakers, queues at proxies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from apps.audit.models import Event
from apps.dashboard import board_plots
from apps.dashboard.board import Board
from apps.dashboard.board_panels import BoardPanel, board_panel_register
from apps.dashboard.listing import PARAMETERS, rows_made
from apps.dashboard.selectors import key_names
from apps.providers.choices import CLOSED_EVENT, OPENED_EVENT
from apps.routes.models import RouteTarget
from apps.ui.plots import Plot, at
from apps.usage.gauges import gauge_series
from apps.usage.requests import request_page

SHOWN_REQUESTS = 6
LOOKED_BACK = timedelta(days=2)
"""A breaker that opened before the range may be open still: so far back its opening is looked for."""
MOST_EVENTS = 2_000
GAUGE_POINTS = 150


def _requests(sort: str, *, failed: bool = False) -> Callable[[Board], dict[str, Any] | None]:
    """The first requests of the board in one order; a page of rows, as the list of requests reads it."""
    more = {"outcome": "error"} if failed else {} if sort == "newest" else {"sort": sort}

    def build(board: Board) -> dict[str, Any] | None:
        filters = {PARAMETERS[name]: value for name, value in board.requests_filter.items()} | ({"outcome": "error"} if failed else {})
        page = request_page(board.choice.scope, board.range.start, board.range.end, filters=filters, limit=SHOWN_REQUESTS, sort=sort)
        if not page.rows:
            return None
        names = key_names(board.choice.organisation, {record.key_id for record in page.rows})
        return {
            "rows": rows_made(page.rows, names),
            "all_url": f"{reverse('dashboard:requests')}?{urlencode({**board.requests_query, **more})}",
            "looked_back_to": page.looked_back_to,
        }

    return build


@dataclass(frozen=True, slots=True)
class Outage:
    """One time that a target was out of service. until: None while it is."""

    target: str
    since: datetime
    until: datetime | None

    def lasted(self, now: datetime) -> float:
        """Microseconds, up to now."""
        return ((self.until or now) - self.since).total_seconds() * 1e6


def outages_of(events: Sequence[tuple[datetime, str, str]], *, start: datetime, end: datetime) -> list[Outage]:
    """Openings and closings of breakers, in the order of time, as outages that touch ``[start, end)``, the latest first. Pure.

    events: (at, whether it opened or closed, target). A closing without an opening is of an outage that began before what is known, and
    is left out; a second opening of an open breaker changes nothing.
    """
    open_since: dict[str, datetime] = {}
    found = []
    for moment, kind, target in events:
        if kind == OPENED_EVENT:
            open_since.setdefault(target, moment)
        elif (since := open_since.pop(target, None)) is not None:
            found.append(Outage(target, since, moment))
    found += [Outage(target, since, None) for target, since in open_since.items()]
    touching = [one for one in found if one.since < end and (one.until is None or one.until > start)]
    return sorted(touching, key=lambda one: one.since, reverse=True)


def _breakers(board: Board) -> dict[str, Any] | None:
    """When its targets were out of service, and how long they took to recover; nothing without an outage."""
    rows = Event.objects.filter(
        kind__in=(OPENED_EVENT, CLOSED_EVENT),
        subject_kind="provider",
        at__gte=board.range.start - LOOKED_BACK,
        at__lt=board.range.end,
        data__organisation=str(board.choice.organisation.pk),
    )
    known = rows.order_by("at").values_list("at", "kind", "data__target")[:MOST_EVENTS]
    mine = _mine(board)
    events = [(moment, kind, str(target)) for moment, kind, target in known if mine(str(target))]
    found = outages_of(events, start=board.range.start, end=board.range.end)
    if not found:
        return None
    end = min(board.range.end, board.now)
    bars = [(one.target, one.since, one.until or end) for one in found]
    figure = board_plots.intervals(bars, start=board.range.start, end=board.range.end, marks=board.marks)
    rows_shown = [(one.target, at(one.since), at(one.until) if one.until else "", round(one.lasted(end) / 1e6, 3)) for one in found]
    over = [one.lasted(end) for one in found if one.until is not None]
    return {
        "plot": Plot("breakers", "Circuit breakers", figure, ("Target", "Opened (UTC)", "Closed (UTC)", "Seconds"), rows_shown),
        "count": len(found),
        "still": sum(one.until is None for one in found),
        "mean": sum(over) / len(over) if over else None,
        "longest": max(over, default=None),
    }


def _mine(board: Board) -> Callable[[str], bool]:
    """Whether a target (``provider/endpoint/model``) is one of the board's. Of a route: one query."""
    slug, value = board.kind.slug, board.value
    if slug == "provider":
        return lambda target: target.startswith(f"{value}/")
    if slug == "model":
        return lambda target: target.split("/", 2)[-1] == value
    if slug == "region":
        return lambda target: target.startswith(tuple(f"{endpoint}/" for endpoint in board.values))
    if slug == "route":
        targets = RouteTarget.objects.filter(route__organisation=board.choice.organisation, route__name=value)
        places = set(targets.values_list("provider__name", "model"))
        return lambda target: (target.split("/", 1)[0], target.split("/", 2)[-1]) in places
    return lambda target: True


def _gauge(name: str, title: str, unit: str) -> Callable[[Board], dict[str, Any] | None]:
    def build(board: Board) -> dict[str, Any] | None:
        end = min(board.range.end, board.now)
        step = max(60, int((end - board.range.start).total_seconds() / GAUGE_POINTS) // 60 * 60)
        subject = f"route:{board.value}" if board.kind.slug == "route" else ""
        points = gauge_series(
            organisation=str(board.choice.organisation.pk), name=name, subject=subject, since=board.range.start, until=end, step_s=step
        )
        plot = board_plots.gauge(name, title, unit, points, start=board.range.start, end=board.range.end, marks=board.marks)
        return None if plot is None else {"plot": plot}

    return build


PROXY_GAUGES = (("queue_depth", "Requests that wait for a place", ""), ("queue_wait_ms", "Wait for a place, p95", " ms"))


def sources_register() -> None:
    """Called by the app's ``ready()``."""
    listed: dict[str, Any] = {"late": True, "template": "dashboard/board/requests.html", "action": "request.view"}
    kinds = frozenset({"", "route", "provider", "model", "region"})
    for panel in (
        BoardPanel("failing", "Failed requests, the latest", _requests("newest", failed=True), **listed),
        BoardPanel("slowest", "Slowest requests", _requests("slowest"), **listed),
        BoardPanel("costliest", "Costliest requests", _requests("costliest"), **listed),
        BoardPanel("breakers", "Circuit breakers", _breakers, kinds, late=True, template="dashboard/board/breakers.html"),
        *(
            BoardPanel(name.replace("_", "-"), title, _gauge(name, title, unit), frozenset({"", "route"}), late=True)
            for name, title, unit in PROXY_GAUGES
        ),
    ):
        board_panel_register(panel)
