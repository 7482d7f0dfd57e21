"""The page of exports, and the two files."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone as clock

from apps.publishing.editing import ScopedView
from apps.ui.csvfile import csv_response
from apps.usage.cost_tabs import cost_tabs
from apps.usage.focus import FORMATS, PeriodError, header_of, period_read, rows_of_charges
from apps.usage.focus_selectors import charges, charges_total


class ExportView(ScopedView):
    """``/costs/export/?from=2026-10-01&to=2026-10-31``: what an export of the period adds up to, and the links to the files."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "usage.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        context: dict[str, Any] = {"choice": self.choice, "tabs": cost_tabs("costs:export")}
        now = clock.now()
        try:
            first, last = period_read(request.GET.get("from", ""), request.GET.get("to", ""), now=now)
        except PeriodError as error:
            first, last = period_read("", "", now=now)
            context["problem"] = str(error)
        booked, corrections, days = charges_total(self.choice.scope, first=first, last=last)
        context |= {"first": first, "last": last, "booked": booked, "corrections": corrections, "cost": booked + corrections}
        context |= {"days": days, "length": (last - first).days + 1}
        return render(request, "usage/export.html", context, status=400 if "problem" in context else 200)


class FileView(ScopedView):
    """``/costs/export/focus.csv``, ``/costs/export/showback.csv``: sent while it is read. ``format``: a key of ``FORMATS``."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "usage.view"
    format: str = ""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        try:
            first, last = period_read(request.GET.get("from", ""), request.GET.get("to", ""), now=clock.now())
        except PeriodError:
            return ExportView.as_view()(request)  # says what is wrong with the period
        columns = FORMATS[self.format]
        found = charges(self.choice.organisation, simulated=self.choice.simulated, first=first, last=last)
        # FOCUS is read by machines, for which a byte-order mark is a part of the first column's name.
        mark = "" if self.format == "focus" else "\ufeff"
        name = f"bulkhead-{self.format}-{first}-{last}.csv"
        return csv_response(name, header_of(columns), rows_of_charges(columns, found), mark=mark)
