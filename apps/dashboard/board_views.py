"""``/dashboards/``: everything, and each route, provider, model, region, key and team. One view for all kinds; the URL holds the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.accounts.pages import ScopedView
from apps.dashboard.board import COMPARED, Board, failed_of
from apps.dashboard.board_kinds import EVERYTHING, KINDS, Kind, regions_of, value_names
from apps.dashboard.board_panels import BOARD_PANELS, panels_of
from apps.dashboard.board_tiles import latencies_of, tiles_of
from apps.dashboard.panels import group_table
from apps.dashboard.views import tagged
from apps.ui.csvfile import csv_response
from apps.ui.tables import Column, Empty, listing_build
from apps.ui.timerange import PRESETS, TimeRange, from_query
from apps.usage.detail import MOST_VALUES, Busiest, traffic_busiest, traffic_grouped
from apps.usage.measures import Group

PARTS = {"figures": "dashboard/board/figures.html", "plots": "dashboard/board/plots.html"}
"""``?part=`` of a fragment: what a dashboard polls by itself."""
FIRST = ("failing",)
"""Late panels that stand between the figures and the plots."""
RANKED = {"requests": "requests", "failed": "failures", "spend": "spend"}
"""``?sort=`` -> what the values that are told apart have most of."""


@dataclass(frozen=True, slots=True)
class Row:
    """One value in a list of dashboards. tried: what ``failed`` is a part of: requests that ended, or attempts."""

    name: str
    url: str
    group: Group
    failed: int
    tried: int

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.group.totals.tokens_input + self.group.totals.tokens_output


def _columns(kind: Kind) -> tuple[Column[Row], ...]:
    def p(which: str, name: str) -> Any:
        return lambda row: getattr(getattr(row.group, which), name)

    return (
        Column(kind.label, "name", value=lambda row: row.name),
        Column("Requests", "requests", numeric=True, value=lambda row: row.group.totals.requests),
        Column("Failed attempts" if kind.targets else "Failed", "failed", numeric=True, value=lambda row: row.failed),
        Column("p95", "p95", numeric=True, value=p("total", "p95")),
        Column("p99", "p99", numeric=True, extra=True, value=p("total", "p99")),
        Column("First token p95", "first", numeric=True, extra=True, value=p("first_token", "p95")),
        Column("Tokens", "tokens", numeric=True, extra=True, value=lambda row: row.tokens),
        Column("Spend", "spend", numeric=True, value=lambda row: row.group.totals.cost_nano),
    )


class BoardView(ScopedView):
    """A dashboard, or with a kind and no ``?value=`` the list of those that there are."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "usage.view"

    def get(self, request: HttpRequest, kind: str = "") -> HttpResponseBase:
        found = _kind(kind)
        time_range, value = from_query(request.GET), _value(request)
        if found is not EVERYTHING and not value:
            return self._list(found, time_range)
        board = Board(request, self.choice, found, value, time_range)
        part = request.GET.get("part", "") if request.htmx else ""  # type: ignore[attr-defined]
        context = {
            **_board_frame(board),
            "url": f"{found.url}?{board.encoded}",
            "compared": COMPARED,
            "compared_words": dict(COMPARED)[board.compare],
        }
        if part != "plots":
            context |= {"tiles": tiles_of(board), "latencies": latencies_of(board)}
        if part != "figures" and board.busy:
            drawn = ((panel, panel.build(board)) for panel in panels_of(board, late=False))
            context["panels"] = [(panel, {**data, "url": _panel_url(board, panel.name)}) for panel, data in drawn if data]
        if part in PARTS:
            return tagged(request, render(request, PARTS[part], context))
        late = [(panel, _panel_url(board, panel.name)) for panel in panels_of(board, late=True)]
        context["first_panels"] = [each for each in late if each[0].name in FIRST]
        context["late_panels"] = [each for each in late if each[0].name not in FIRST]
        context["save_url"] = f"{reverse('dashboard:saved_views')}?{urlencode({'path': found.url, 'query': board.encoded})}"
        if self.choice.may("request.view"):
            context["tail_url"] = f"{reverse('dashboard:requests')}?{urlencode({**board.requests_filter, 'tail': '1'})}"
        return render(request, "dashboard/board/page.html", context)

    def _list(self, kind: Kind, time_range: TimeRange) -> HttpResponseBase:
        request, organisation = self.request, self.choice.organisation
        ranked = request.GET.get("sort", "").removeprefix("-")
        busiest = self._busiest(kind, time_range, ranked)
        names = value_names(kind, organisation, (group.value for group in busiest.groups))
        kept = {key: text for key, text in {**time_range.query, "compare": request.GET.get("compare", "")}.items() if text}
        rows = [
            Row(
                names.get(group.value, group.value) or _nameless(kind),
                kind.of(group.value, **kept) if group.value else "",
                group,
                *failed_of(group, attempts=kind.targets),
            )
            for group in busiest.groups
        ]
        if request.GET.get("format") == "csv":
            table = group_table({"rows": [(row.group, row.name) for row in rows]})
            return csv_response(f"bulkhead-{kind.plural}.csv", table.header, table.rows)
        nothing = Empty(
            "nothing-yet",
            "No traffic in this range",
            "Choose a longer range, or wait for the first request.",
            "?from=now-30d",
            "The last 30 days",
        )
        listing = listing_build(
            request.GET, label=kind.plural, columns=_columns(kind), rows=rows, default_sort="-requests", nothing_yet=nothing
        )
        context = {
            **frame_of(self.choice, kind, time_range),
            "listing": listing,
            "kind": kind,
            "rest": busiest.rest,
            "others": busiest.others,
            "ranked": RANKED.get(ranked, "requests"),
        }
        return render(request, "dashboard/board/list.html", context)

    def _busiest(self, kind: Kind, time_range: TimeRange, ranked: str) -> Busiest:
        scope, dimension = self.choice.scope, kind.dimension
        assert dimension, "everything is no list"
        if kind.regions:
            regions = regions_of(self.choice.organisation)
            return Busiest(traffic_grouped(scope, time_range.start, time_range.end, dimension, regions)[:MOST_VALUES])
        by = ("attempt_errors" if kind.targets else "failed") if ranked == "failed" else "spend" if ranked == "spend" else "requests"
        return traffic_busiest(scope, time_range.start, time_range.end, dimension, by=by)


class BoardPanelView(ScopedView):
    """One panel of a dashboard: a page of its own, the fragment that the dashboard fetches, and its CSV."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "usage.view"

    def get(self, request: HttpRequest, panel: str, kind: str = "") -> HttpResponseBase:
        found, known = _kind(kind), BOARD_PANELS.get(panel)
        if known is None:
            raise Http404(f"Dashboards have no panel {panel[:40]!r}: one of {', '.join(BOARD_PANELS)}.")
        board = Board(request, self.choice, found, _value(request), from_query(request.GET))
        if not known.about(board):
            raise Http404("This dashboard has no such panel.")
        data = known.build(board)
        if data is not None:
            data = {**data, "url": _panel_url(board, known.name)}
            if request.GET.get("format") == "csv" and "plot" in data:
                return csv_response(f"bulkhead-{known.name}.csv", data["plot"].header, data["plot"].rows)
        context = {"panel": known, "data": data, "board": board}
        if request.htmx:  # type: ignore[attr-defined]
            if data is None:
                return HttpResponse(f'<div id="panel-{known.name}" hidden></div>')
            return tagged(request, render(request, "dashboard/board/panel.html", context))
        page = {**_board_frame(board), **context, "board_url": f"{found.url}?{board.encoded}"}
        return render(request, "dashboard/board/panel_page.html", page)


def _kind(slug: str) -> Kind:
    kind = KINDS.get(slug)
    if kind is None:
        known = ", ".join(name for name in KINDS if name)
        raise Http404(f"There are no dashboards by {slug[:40]!r}: one of {known}.")
    return kind


def _value(request: HttpRequest) -> str:
    return request.GET.get("value", "").replace("\x00", "")[:300]


def _nameless(kind: Kind) -> str:
    return "refused before any" if kind.targets else f"no {kind.label.lower()}"


def _panel_url(board: Board, name: str) -> str:
    place = (
        reverse("dashboard:board_panel", args=[board.kind.slug, name])
        if board.kind.slug
        else reverse("dashboard:boards_panel", args=[name])
    )
    return f"{place}?{board.encoded}"


def frame_of(choice: Any, kind: Kind, time_range: TimeRange) -> dict[str, Any]:
    """What every page of dashboards needs."""
    query = f"?{urlencode(time_range.query)}"
    return {
        "choice": choice,
        "range": time_range,
        "presets": PRESETS,
        "tabs": [
            *((each.label if not each.slug else each.plural.capitalize(), each.url + query, each is kind, None) for each in KINDS.values()),
            ("Saved views", reverse("dashboard:saved_views"), False, None),
        ],
    }


def _board_frame(board: Board) -> dict[str, Any]:
    heading = board.name if board.kind.slug else "Dashboards"
    return {**frame_of(board.choice, board.kind, board.range), "board": board, "heading": heading}
