"""Pages of incidents: the list, declaring one with one field, and one incident with its panels, each of which has an address of its own."""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone as clock
from django.utils.safestring import SafeString

from apps.alerts.models import Alert
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_alerts import scope_of_alert
from apps.postmortems.incident_checks import may_work
from apps.postmortems.incident_followers import panels
from apps.postmortems.incident_forms import DeclareForm, moment_read, moment_written, names_read, states_for
from apps.postmortems.incident_models import Incident
from apps.postmortems.incident_selectors import incidents, left, meaning_of, people_of, severities_of, with_meaning
from apps.postmortems.incident_services import incident_declare
from apps.postmortems.incident_tables import SHOWS, incidents_list
from apps.postmortems.tabs import tabs_of
from apps.postmortems.timeline import entries_of
from apps.publishing.editing import ScopedView, refusal_text
from apps.publishing.submissions import submission_claim, submission_close, submission_url
from apps.ui.toasts import toast


class ListView(ScopedView):
    """``/incidents/``: what is open; with ``?show=all`` what was, too. CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "incident.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = incidents_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-incidents.csv")
        context = {
            "choice": self.choice,
            "tabs": tabs_of("list", self.choice),
            "listing": listing,
            "rows": [(row, choices.STATES[row.state], choices.SEVERITIES[row.severity]) for row in listing.rows],
            "shows": SHOWS.items(),
            "states": choices.STATES.values(),
            "severities": choices.SEVERITIES.values(),
            "may_declare": self.choice.may("incident.declare"),
        }
        return render(request, "postmortems/list.html", context)


class DeclareView(ScopedView):
    """``/incidents/new/``: one field is enough; ``?alert=`` fills in what an alert knows, ``?title=`` what somebody wrote elsewhere."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "incident.declare"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        alert = self._alert(request.GET.get("alert", ""))
        initial = {"title": request.GET.get("title", "")[:200], "severity": choices.SEV3}
        if alert is not None:
            scope = scope_of_alert(alert)
            initial |= {
                "title": f"{alert.rule.title}: {alert.subject}" if alert.subject else alert.rule.title,
                "severity": alert.rule.opens_incident or (choices.SEV2 if alert.severity == "critical" else choices.SEV3),
                "routes": ", ".join(scope.get("routes", ())),
                "started_at": moment_written(alert.started_at),
            }
        return self._page(DeclareForm(initial=initial, meanings=self._meanings), alert)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        nonce = request.POST.get("submission", "")[:64]
        done = submission_url(user=request.user, nonce=nonce)
        if done:
            return redirect(done)
        alert = self._alert(request.POST.get("alert", ""))
        form = DeclareForm(request.POST, meanings=self._meanings)
        if "restored" in request.POST or not form.is_valid():
            return self._page(form, alert, status=200 if "restored" in request.POST else 400)
        try:
            with transaction.atomic():
                if not submission_claim(user=request.user, nonce=nonce):
                    return redirect(submission_url(user=request.user, nonce=nonce) or "postmortems:list")
                row = self._declare(form.cleaned_data, alert)
                url = reverse("postmortems:detail", args=[row.pk])
                submission_close(user=request.user, nonce=nonce, url=url)
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, alert, status=400)
        toast(request, f"{row.reference} is declared. Say who is commander, and how it stands.")
        return redirect(url)

    def _declare(self, facts: dict[str, Any], alert: Alert | None) -> Incident:
        scope = scope_of_alert(alert) if alert is not None else {}
        scope["routes"] = names_read(facts["routes"])
        person: Any = self.request.user
        return incident_declare(
            actor=self.actor,
            organisation=self.choice.organisation,
            title=facts["title"],
            severity=facts["severity"],
            person=person,
            started_at=moment_read(facts["started_at"], "started_at", today=clock.now()),
            alerts=[alert] if alert is not None else (),
            simulated=self.choice.simulated,
            **scope,
        )

    @cached_property
    def _meanings(self) -> dict[str, Any]:
        return severities_of(self.choice.organisation)

    def _alert(self, reference: str) -> Alert | None:
        try:
            key = UUID(reference)
        except ValueError:
            return None
        return Alert.objects.select_related("rule").filter(organisation=self.choice.organisation, pk=key).first()

    def _page(self, form: DeclareForm, alert: Alert | None, *, status: int = 200) -> HttpResponse:
        nonce = self.request.POST.get("submission", "")[:64] or secrets.token_urlsafe(16)
        context = {"choice": self.choice, "form": form, "alert": alert, "submission": nonce}
        return render(self.request, "postmortems/declare.html", context, status=status)


class OneIncident(ScopedView):
    """A view of one incident of the chosen organisation."""

    permission = "incident.view"

    @cached_property
    def incident(self) -> Incident:
        """Raises Http404."""
        row = self.rows().filter(pk=self.kwargs["incident_id"]).first()
        if row is None:
            raise Http404("There is no such incident.")
        return row

    def rows(self) -> QuerySet[Incident]:
        """The incidents that it is one of, with what the page shows of it."""
        return with_meaning(incidents(self.choice.organisation))

    @property
    def url(self) -> str:
        return reverse("postmortems:detail", args=[self.kwargs["incident_id"]])

    @cached_property
    def may_change(self) -> bool:
        """Whether the person may work on it; no query."""
        user: Any = self.request.user
        may = self.choice.may
        return may_work(self.incident, user=user, may_change=may("incident.change"), may_note=may("incident.note"))


class DetailView(OneIncident):
    """``/incidents/<id>/``: what it is, who does what, what to say, the timeline; its panels ask for themselves."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]

    def get(self, request: HttpRequest, incident_id: UUID) -> HttpResponseBase:
        return detail_page(self, {})


def detail_page(view: OneIncident, kept: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """The page; ``kept``: what somebody wrote that could not be done, with ``error``, so that nothing of it is lost.
    Two queries, and those of the panels."""
    row, now = view.incident, clock.now()
    people = people_of(view.choice.organisation)
    gone = left(row, people)
    entries = list(entries_of(row))
    context = {
        "choice": view.choice,
        "incident": row,
        "state": choices.STATES[row.state],
        "severity": choices.SEVERITIES[row.severity],
        "meaning": meaning_of(row),
        "may_change": view.may_change,
        "may_note": view.choice.may("incident.note"),
        "states": states_for(row),
        "people": people,
        "roles": [(name, label, choices.ROLE_HELP[name], getattr(row, name), name in gone) for name, label in choices.ROLES.items()],
        "times": [(label, getattr(row, name)) for name, label in choices.TIMES.items()],
        "lasted": (row.resolved_at or now) - row.began_at,
        "entries": entries[::-1],
        "pinned": [entry for entry in entries if entry.pinned],
        "kinds": choices.ENTRY_KINDS,
        "submission": secrets.token_urlsafe(16),
        "panels": _panels(view),
        "kept": kept,
        "recent": now - timedelta(hours=1),
    }
    return render(view.request, "postmortems/detail.html", context, status=status)


def _panels(view: OneIncident) -> list[SafeString]:
    """The panels that others registered, drawn."""
    found = []
    for panel in panels():
        context = panel.context(view.incident, view.choice)
        if context is not None:
            shown = {"incident": view.incident, "choice": view.choice, "may_change": view.may_change, **context}
            found.append(render_to_string(panel.template, shown, request=view.request))
    return found
