"""SLAs: what is promised, and how it was kept by month; promising, changing and taking back. The latest months are a panel of the page of
the team or service, too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.accounts.pages import ScopedView
from apps.ownership import care_services
from apps.ownership.attainment import MonthMeasured, attained, months_back
from apps.ownership.forms import SlaForm
from apps.ownership.models import Service, Sla, Team
from apps.ownership.owned import months_of_requests
from apps.ownership.service_views import OneService
from apps.ownership.views import OneTeam
from apps.publishing.editing import ActionView, EditView
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


class SlaEditView(EditView):
    """What a team's and a service's SLA have in common; ``self.object`` is the team or the service."""

    form_class = SlaForm
    permission = "sla.change"
    kind = "sla"

    def parts(self) -> tuple[Team, Service | None]:
        """The team and, of a service's, the service."""
        return (self.object.team, self.object) if isinstance(self.object, Service) else (self.object, None)

    def managed_of(self) -> tuple[str, str]:
        return "team", str(self.parts()[0].pk)

    def row(self) -> Sla | None:
        team, service = self.parts()
        return Sla.objects.filter(team=team, service=service).select_related("team", "service").first()

    def initial(self) -> dict[str, Any]:
        row = self.row()
        return care_services.sla_facts(row) | {"availability": row.availability_text} if row else {}

    def title(self) -> str:
        return f"SLA of {self.object.name}"

    def change(self, form: Any) -> Sla:
        team, service = self.parts()
        return care_services.sla_set(actor=self.actor, team=team, service=service, reason=self.reason, **form.cleaned_data)

    def done_url(self, result: Sla) -> str:
        return self.cancel_url()

    def done_message(self, result: Sla) -> str:
        return f"SLA of {self.object.name} saved."

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Teams", reverse("ownership:teams")), (self.object.name, self.cancel_url())]

    def cancel_url(self) -> str:
        page = "ownership:service" if isinstance(self.object, Service) else "ownership:team"
        return reverse(page, args=[self.object.pk])


class TeamSlaView(OneTeam, SlaEditView):
    """``/ownership/teams/<id>/sla/``."""


class ServiceSlaView(OneService, SlaEditView):
    """``/ownership/services/<id>/sla/``."""


class SlaDeleteView(ActionView):
    """POST ``/ownership/slas/<id>/delete/``."""

    permission = "sla.change"

    def subject(self) -> Sla:
        rows = Sla.objects.select_related("team__organisation", "service").filter(team__organisation=self.choice.organisation)
        row = rows.filter(pk=self.kwargs["sla_id"]).first()
        if row is None:
            raise Http404("There is no such SLA in this organisation.")
        return row

    def change(self, reason: str) -> None:
        care_services.sla_delete(actor=self.actor, sla=self.object, reason=reason)

    def done_url(self) -> str:
        sla = self.object
        return reverse("ownership:service", args=[sla.service_id]) if sla.service_id else reverse("ownership:team", args=[sla.team_id])

    def done_message(self, result: None) -> str:
        return f"Nothing is promised of {self.object.service or self.object.team} any more."
