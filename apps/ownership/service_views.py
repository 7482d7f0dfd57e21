"""Pages of services: whose one is and what hangs on it, making and renaming one, deleting one on which nothing hangs."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from apps.audit.errors import ServiceError
from apps.audit.selectors import audit_events
from apps.ownership import services
from apps.ownership.forms import ServiceForm
from apps.ownership.models import Service, Sla, Team
from apps.ownership.rotation_selectors import on_call_now
from apps.ownership.selectors import teams
from apps.ownership.service_deletion import service_attached, service_delete
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.publishing.trail import trail


def _gone() -> Any:
    raise Http404("There is no such team or service.")


class ServiceEditView(EditView):
    """What creating and editing a service have in common."""

    form_class = ServiceForm
    permission = "service.change"
    kind = "service"

    def done_url(self, result: Service) -> str:
        return reverse("ownership:service", args=[result.pk])

    def done_message(self, result: Service) -> str:
        return f"Service {result.name} saved."


class ServiceCreateView(ServiceEditView):
    """``/ownership/teams/<id>/services/new/``."""

    def team(self) -> Team:
        return teams(organisation=self.choice.organisation).filter(pk=self.kwargs["team_id"]).first() or _gone()

    def change(self, form: Any) -> Service:
        team, slug = self.team(), form.cleaned_data["slug"]
        if Service.objects.filter(team=team, slug=slug).exists():
            raise ServiceError(f"The team has a service {slug!r} already: choose another short name.", field="slug")
        return services.service_ensure(actor=self.actor, team=team, slug=slug, name=form.cleaned_data["name"])

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Teams", reverse("ownership:teams")), (self.team().name, self.cancel_url())]

    def cancel_url(self) -> str:
        return reverse("ownership:team", args=[self.kwargs["team_id"]])


class OneService(ScopedView):
    """A view of one service of the chosen organisation."""

    def subject(self) -> Any:
        """The service with its team. Raises Http404."""
        rows = Service.objects.select_related("team__organisation").filter(team__organisation=self.choice.organisation)
        return rows.filter(pk=self.kwargs["service_id"]).first() or _gone()


class ServiceView(OneService):
    """``/ownership/services/<id>/``: whose it is, what it promises, who is on call for it, what hangs on it; ``?tab=history`` who changed
    what."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "team.view"

    def get(self, request: HttpRequest, service_id: Any) -> HttpResponseBase:
        service = self.subject()
        history = self.choice.may("audit.view") and request.GET.get("tab") == "history"
        context = {
            "choice": self.choice,
            "service": service,
            "tabs": self._tabs(service, history=history),
            "may_change": self.choice.may("service.change", team=service.team_id),
            **(self._history(service) if history else self._overview(service)),
        }
        return render(request, "ownership/service.html", context)

    def _tabs(self, service: Service, *, history: bool) -> list[tuple[str, str, bool, None]]:
        url = reverse("ownership:service", args=[service.pk])
        shown = [("Overview", url, not history, None), ("History", f"{url}?tab=history", history, None)]
        return shown if self.choice.may("audit.view") else []

    def _history(self, service: Service) -> dict[str, Any]:
        return {"entries": trail(list(audit_events(subject_kind="service", subject_id=service.pk)[:50]))}

    def _overview(self, service: Service) -> dict[str, Any]:
        slas = {row.service_id: row for row in Sla.objects.filter(team=service.team).select_related("team", "service")}
        return {
            "own": slas.get(service.pk),
            "sla": slas.get(service.pk) or slas.get(None),
            "on_call": on_call_now(organisation=self.choice.organisation, team=service.team),
            "may_promise": self.choice.may("sla.change", team=service.team_id),
            "attached": [(thing.kind.replace("_", " "), thing) for thing in service_attached(service)],
            "now": timezone.now(),
        }


class ServiceUpdateView(OneService, ServiceEditView):
    """``/ownership/services/<id>/edit/``."""

    def managed_of(self) -> tuple[str, str]:
        return "team", str(self.object.team_id)

    def initial(self) -> dict[str, Any]:
        return {"slug": self.object.slug, "name": self.object.name}

    def form_kwargs(self) -> dict[str, Any]:
        return {"fixed": True}

    def change(self, form: Any) -> Service:
        return services.service_ensure(actor=self.actor, team=self.object.team, slug=self.object.slug, name=form.cleaned_data["name"])

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Teams", reverse("ownership:teams")), (self.object.team.name, reverse("ownership:team", args=[self.object.team_id]))]

    def cancel_url(self) -> str:
        return reverse("ownership:service", args=[self.object.pk])


class ServiceDeleteView(OneService, ActionView):
    """POST ``/ownership/services/<id>/delete/``: for good, so the name is typed."""

    permission = "service.change"
    reversible = False
    deleted = False

    def change(self, reason: str) -> Service:
        if self.request.POST.get("confirmation", "") != self.object.name:
            raise ServiceError(f"Type the service's name, {self.object.name}, to delete it: this cannot be undone.", "confirmation")
        service_delete(actor=self.actor, service=self.object, reason=reason)
        self.deleted = True
        return self.object

    def done_url(self) -> str:
        page, pk = ("ownership:team", self.object.team_id) if self.deleted else ("ownership:service", self.object.pk)
        return reverse(page, args=[pk])

    def done_message(self, result: Service) -> str:
        return f"Service {result.name} deleted."
