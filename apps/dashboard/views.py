"""The dashboard's pages. A page and its fragments come from one view and one template."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import Error, connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.accounts.scope import Choice, scoped
from apps.dashboard.finding import found_at
from apps.dashboard.listing import DEFAULT_FROM, Listing, csv_header, csv_rows
from apps.dashboard.panels import PANELS, Panel, Reads, strips
from apps.dashboard.request_page import request_page_data
from apps.dashboard.selectors import place
from apps.ui import outage
from apps.ui.csvfile import csv_response
from apps.ui.timerange import PRESETS, TimeRange, from_query
from apps.usage.requests import request_get

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shown:
    """A panel on a page: what it shows and where it asks for itself."""

    panel: Panel
    data: dict[str, Any]
    url: str
    csv_url: str
    polls: bool


def _shown(panel: Panel, reads: Reads) -> Shown:
    url, parameters = reverse(panel.url_name), _range_query(reads.range) if panel.ranged else ""
    return Shown(
        panel=panel,
        data=panel.build(reads),
        url=f"{url}?{parameters}" if parameters else url,
        csv_url=f"{url}?{parameters}&format=csv" if parameters else f"{url}?format=csv",
        polls=reads.range.live or not panel.ranged,
    )


def _range_query(time_range: TimeRange) -> str:
    query = QueryDict(mutable=True)
    query.update(time_range.query)
    return query.urlencode()


def tagged(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """A fragment with its tag; 304 where the panel already shows exactly this."""
    tag = hashlib.sha256(response.content).hexdigest()[:20]
    if request.headers.get("HX-PTag") == tag:
        response = HttpResponse(status=304)
    response["HX-PTag"] = tag
    return response


def panel_view(name: str) -> Callable[..., HttpResponseBase]:
    """The view of one panel: a page of its own, the fragment that the panel polls, and its CSV."""
    panel = PANELS[name]

    @require_safe
    @never_cache
    @scoped(panel.action)
    def view(request: HttpRequest, *, choice: Choice) -> HttpResponseBase:
        time_range = from_query(request.GET)
        reads = Reads(request, choice, time_range, panel.dimensions)
        shown = _shown(panel, reads)
        if request.GET.get("format") == "csv" and panel.table:
            table = panel.table(shown.data)
            return csv_response(f"bulkhead-{panel.name}.csv", table.header, table.rows)
        fragment = bool(request.htmx)  # type: ignore[attr-defined]
        context = {"shown": shown, "fragment": fragment, "range": time_range, "presets": PRESETS, "choice": choice}
        context["layout"] = "ui/fragment.html" if fragment else "ui/base.html"
        response = render(request, "dashboard/panel_page.html", context)
        return tagged(request, response) if fragment else response

    return view


def pages_view(title: str, template: str, action: str, names: tuple[str, ...]) -> Callable[..., HttpResponseBase]:
    """The view of a page that is nothing but panels; those that a person may not see are left out."""

    @require_safe
    @never_cache
    @scoped(action)
    def view(request: HttpRequest, *, choice: Choice) -> HttpResponseBase:
        time_range = from_query(request.GET)
        wanted = [PANELS[name] for name in names if choice.may(PANELS[name].action)]
        reads = Reads(request, choice, time_range, tuple(dict.fromkeys(name for panel in wanted for name in panel.dimensions)))
        shown = {panel.name: _shown(panel, reads) for panel in wanted}
        context = {"title": title, "shown": shown, "range": time_range, "presets": PRESETS, "choice": choice, "reads": reads}
        context["connect_url"] = place("providers:connect") if choice.may("provider.change") else ""
        context["strips"] = [(panel, reverse(panel.url_name)) for panel in strips(choice)] if "verdict" in shown else []
        return render(request, template, context)

    return view


overview = pages_view(
    "Overview",
    "dashboard/overview.html",
    "overview.view",
    ("verdict", "now", "traffic", "latency", "routes", "providers", "budgets", "proxies"),
)


@require_safe
@never_cache
@scoped("request.view")
def requests(request: HttpRequest, *, choice: Choice) -> HttpResponseBase:
    """The list of requests; everything it shows is in its URL. What ``q`` finds (``apps.dashboard.finding``) is gone to."""
    if wanted := request.GET.get("q", "").strip():
        return redirect(found_at(choice.scope, wanted, request.GET))
    time_range = from_query(request.GET, default_from=DEFAULT_FROM)
    listing = Listing(choice, time_range, request.GET)
    if request.GET.get("format") == "csv" and not listing.unusable:
        return csv_response("bulkhead-requests.csv", csv_header(), csv_rows(listing))
    context = {"listing": listing, "rows": listing.rows, "range": time_range, "presets": PRESETS, "choice": choice}
    if request.htmx:  # type: ignore[attr-defined]
        return tagged(request, render(request, "dashboard/request_rows.html", context))
    return render(request, "dashboard/requests.html", context)


@require_safe
@never_cache
@scoped("request.view")
def request(request: HttpRequest, *, request_id: UUID, choice: Choice) -> HttpResponseBase:
    """Everything known of one request of an organisation that the person belongs to."""
    record = request_get(request_id)
    if record is None or not choice.sees(record.organisation):
        raise Http404
    return render(request, "dashboard/request.html", {"choice": choice, **request_page_data(record, choice)})


@require_safe
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """Whether this web process can do its work: 200, or 503 with the reason."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        outage.failed()
        log.error("health: the database does not answer: %s", error)
        reason = "PostgreSQL does not answer; the web process's log says why"
        return JsonResponse({"status": "unavailable", "database": {"ok": False, "reason": reason}}, status=503)
    return JsonResponse({"status": "ok", "database": {"ok": True}})
