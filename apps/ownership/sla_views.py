"""An SLA's page: what is promised, and how it was kept by month; the latest months are a panel of its team's or service's page, too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.accounts.pages import ScopedView
from apps.ownership.attainment import MonthMeasured, attained, months_back
from apps.ownership.models import Sla
from apps.ownership.owned import months_of_requests
from apps.ui.fragments import tagged

ON_PAGE, IN_PANEL = 13, 3
"""Months: a year and the running one on the SLA's own page, a few beside other things."""


class SlaView(ScopedView):
    """``/ownership/slas/<id>/``: the promise, and each month against what was measured; htmx gets the panel of the latest months."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "team.view"

    def get(self, request: HttpRequest, sla_id: Any) -> HttpResponseBase:
        rows = Sla.objects.select_related("team", "service").filter(team__organisation=self.choice.organisation)
        sla = rows.filter(pk=sla_id).first()
        if sla is None:
            raise Http404("There is no such SLA in this organisation.")
        fragment = bool(request.htmx)  # type: ignore[attr-defined]
        months = months_back(datetime.now(UTC).date(), IN_PANEL if fragment else ON_PAGE)
        measured: list[MonthMeasured] = months_of_requests(
            self.choice.scope, months, team=sla.team.slug, service=sla.service.slug if sla.service else ""
        )
        while len(measured) > 1 and not measured[-1].ok and not measured[-1].failed:
            measured.pop()  # before its first request there was nothing to keep
        of = sla.service or sla.team
        page = reverse("ownership:service", args=[sla.service_id]) if sla.service else reverse("ownership:team", args=[sla.team_id])
        may = self.choice.may("sla.change", team=sla.team_id)
        edit = "ownership:service_sla" if sla.service else "ownership:team_sla"
        context = {
            "choice": self.choice,
            "sla": sla,
            "of": of,
            "of_url": page,
            "months": [attained(sla, month) for month in measured],
            "edit_url": reverse(edit, args=[of.pk]) if may else "",
            "delete": may,
            "url": request.path,
            "fragment": fragment,
            "layout": "ui/fragment.html" if fragment else "ui/base.html",
        }
        response = render(request, "ownership/sla_page.html", context)
        return tagged(request, response) if fragment else response
