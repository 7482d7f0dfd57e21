"""Forms of incidents: what one says of itself, its times and window, what it is part of, what severities mean, the slash command."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone as clock

from apps.postmortems import incident_chat_services, incident_services
from apps.postmortems.incident_choices import SEVERITIES
from apps.postmortems.incident_forms import EditForm, MergeForm, TimesForm, edit_initial, times_initial
from apps.postmortems.incident_models import Incident, IncidentChat
from apps.postmortems.incident_rules import times_of
from apps.postmortems.incident_selectors import mergeable, severities_of
from apps.postmortems.incident_views import OneIncident
from apps.postmortems.tabs import tabs_of
from apps.publishing.editing import ScopedView, refusal_text
from apps.ui.toasts import toast


class FormView(OneIncident, ABC):
    """A form about one incident. Refused, it comes back with everything in it. ``seen``: what the form was opened on; a POST on something
    that changed meanwhile is shown beside what is there now, and is done when it is sent again."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "incident.note"
    heading: ClassVar[str] = ""
    lead: ClassVar[str] = ""
    verb: ClassVar[str] = "Save"

    @abstractmethod
    def form(self, data: Any = None) -> Form:
        """The form, of the incident or of what was sent."""

    @abstractmethod
    def save(self, form: Any) -> None:
        """Call the services."""

    def get(self, request: HttpRequest, incident_id: UUID) -> HttpResponseBase:
        return self._page(self.form())

    def post(self, request: HttpRequest, incident_id: UUID) -> HttpResponseBase:
        form = self.form(request.POST)
        if "restored" in request.POST:
            return self._page(form)
        seen = request.POST.get("seen", "")
        if seen and seen != self.incident.changed_at.isoformat():
            return self._page(form, changed=True, status=409)
        if not form.is_valid():
            return self._page(form, status=400)
        try:
            with transaction.atomic():
                self.save(form)
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, status=400)
        toast(request, self.done())
        return redirect(self.url)

    def done(self) -> str:
        """What the toast says."""
        return "Saved."

    def nothing(self, form: Form) -> str:
        """Why there is nothing to choose, if so."""
        return ""

    @property
    def reason(self) -> str:
        """Why, for the audit."""
        return self.request.POST.get("reason", "").strip()[:2000]

    def _page(self, form: Form, *, changed: bool = False, status: int = 200) -> HttpResponse:
        context = {
            "choice": self.choice, "incident": self.incident, "form": form, "heading": self.heading, "changed": changed,
            "seen": self.incident.changed_at.isoformat(), "reason": self.reason, "lead": self.lead, "verb": self.verb,
            "nothing": self.nothing(form),
        }  # fmt: skip
        return render(self.request, "postmortems/form.html", context, status=status)


class EditView(FormView):
    """``/incidents/<id>/edit/``: title, severity, what is hit, summaries."""

    heading = "Edit"

    def form(self, data: Any = None) -> Form:
        meanings = severities_of(self.choice.organisation)
        return EditForm(data, initial=edit_initial(self.incident), meanings=meanings)

    def save(self, form: Any) -> None:
        incident_services.incident_update(actor=self.actor, incident=self.incident, reason=self.reason, **form.facts())


class TimesView(FormView):
    """``/incidents/<id>/times/``: when things happened, and the window in which people felt it."""

    heading = "Times"

    def form(self, data: Any = None) -> Form:
        return TimesForm(data, initial=times_initial(self.incident))

    def save(self, form: Any) -> None:
        row, now = self.incident, clock.now()
        moments = form.moments(today=now)
        times = form.times(moments, times_of(row))
        incident_services.incident_times_set(actor=self.actor, incident=row, times=times, reason=self.reason)
        since, until = moments["impact_from"], moments["impact_until"]
        if since is not None or until is not None or row.impact_set_by:
            incident_services.incident_window_set(actor=self.actor, incident=row, since=since, until=until, reason=self.reason)


class MergeView(FormView):
    """``/incidents/<id>/merge/``: make it part of another one; sent again it is done already."""

    heading = "Merge"
    lead = "Its alerts, what it names as hit and its notes go to the other incident. It stays readable, and can be taken up again."
    verb = "Merge"

    def form(self, data: Any = None) -> Form:
        return MergeForm(data, others=mergeable(self.incident))

    def save(self, form: Any) -> None:
        into = Incident.objects.select_related("organisation").get(organisation=self.choice.organisation, pk=form.cleaned_data["into"])
        incident_services.incident_merge(actor=self.actor, incident=self.incident, into=into, reason=self.reason)
        self.into = into

    def done(self) -> str:
        return f"{self.incident.reference} is part of {self.into.reference} now."

    def nothing(self, form: Any) -> str:
        return "" if form.others else "Nothing to merge into: no other incident is open or resolved."

    def post(self, request: HttpRequest, incident_id: UUID) -> HttpResponseBase:
        if request.POST.get("into", "") == str(self.incident.merged_into_id):
            return redirect(self.url)
        return super().post(request, incident_id)


class SeveritiesView(ScopedView):
    """``/incidents/severities/``: what severities mean here, which take a postmortem, and the slash command."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "incident.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return severities_page(self, {})

    def post(self, request: HttpRequest) -> HttpResponseBase:
        sent = {name: request.POST.get(name, "") for name in ("level", "title", "meaning", "reason")}
        try:
            incident_services.severity_set(
                actor=self.actor, organisation=self.choice.organisation, postmortem="postmortem" in request.POST, **sent
            )
        except Exception as error:
            message, _ = refusal_text(error)
            return severities_page(self, {**sent, "error": message}, status=400)
        toast(request, f"{sent['level'].upper()} is described.")
        return redirect("postmortems:severities")


class ChatSettingsView(ScopedView):
    """POST ``/incidents/chat/``: set the slash command up."""

    http_method_names: ClassVar[list[str]] = ["post"]
    permission = "incident_chat.change"

    def post(self, request: HttpRequest) -> HttpResponseBase:
        sent = {name: request.POST.get(name, "") for name in ("secret", "workspace", "reason")}
        try:
            incident_chat_services.chat_set(
                actor=self.actor, organisation=self.choice.organisation, enabled="enabled" in request.POST, **sent
            )
        except Exception as error:
            message, _ = refusal_text(error)
            return severities_page(self, {**sent, "level": "chat", "error": message}, status=400)
        toast(request, "The slash command is set up.")
        return redirect("postmortems:severities")


def severities_page(view: ScopedView, kept: dict[str, str], *, status: int = 200) -> HttpResponse:
    """The page; ``kept``: what could not be done, with ``error``."""
    organisation = view.choice.organisation
    address = view.request.build_absolute_uri(reverse("postmortems:chat", args=[organisation.slug]))
    context = {
        "choice": view.choice,
        "tabs": tabs_of("severities", view.choice),
        "rows": [(meaning, SEVERITIES[level]) for level, meaning in severities_of(organisation).items()],
        "may_change": view.choice.may("incident_severity.change"),
        "may_chat": view.choice.may("incident_chat.change"),
        "chat": IncidentChat.objects.filter(organisation=organisation).first(),
        "address": address,
        "kept": kept,
    }
    return render(view.request, "postmortems/severities.html", context, status=status)
