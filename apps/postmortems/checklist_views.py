"""A runbook gone through inside an incident: its page with one button a step, made for a phone."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import CharField, Count, Exists, OuterRef, Q
from django.db.models.functions import Cast
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.accounts.scope import Choice
from apps.alerts.models import AlertRule
from apps.ownership.markdown import render as markdown
from apps.ownership.models import Runbook
from apps.ownership.selectors import runbook_get
from apps.postmortems import checklist_services
from apps.postmortems.checklist_rules import steps_of
from apps.postmortems.incident_selectors import incident_get
from apps.postmortems.models import ChecklistRun, ChecklistStep, Incident
from apps.postmortems.tabs import frame
from apps.publishing.editing import ActionView, ScopedView

MOST_OFFERED = 12


class ChecklistStartView(ActionView):
    """POST ``/incidents/<id>/checklists/`` with ``runbook`` (its id or short name)."""

    permission = checklist_services.ACTION
    reason_required: ClassVar[bool] = False
    reversible: ClassVar[bool] = False
    publishes: ClassVar[bool] = False
    run: ChecklistRun | None = None

    def subject(self) -> Any:
        row = incident_get(self.choice.organisation, str(self.kwargs["incident_id"]))
        if row is None:
            raise Http404("There is no such incident.")
        return row

    def change(self, reason: str) -> ChecklistRun:
        book = runbook_get(organisation=self.choice.organisation, reference=self.request.POST.get("runbook", "")[:300])
        if book is None:
            raise Http404("There is no such runbook.")
        self.run = checklist_services.checklist_start(actor=self.actor, incident=self.object, runbook=book)
        return self.run

    def done_url(self) -> str:
        if self.run is not None:
            return reverse("postmortems:checklist", args=[self.run.pk])
        return reverse("postmortems:detail", args=[self.object.pk])

    def done_message(self, result: ChecklistRun) -> str:
        return f"“{result.title}” is begun; every step is written into the timeline."


class OneRun(ScopedView):
    """A view of one run of the chosen organisation."""

    def subject(self) -> Any:
        """Raises Http404."""
        rows = ChecklistRun.objects.filter(incident__organisation=self.choice.organisation, pk=self.kwargs["run_id"])
        row = rows.select_related("incident__organisation", "runbook").first()
        if row is None:
            raise Http404("There is no such run.")
        return row

    @property
    def url(self) -> str:
        return reverse("postmortems:checklist", args=[self.kwargs["run_id"]])


class ChecklistView(OneRun):
    """``/checklists/<id>/``: the steps, the next one first in reach."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "incident.view"

    def get(self, request: HttpRequest, run_id: object) -> HttpResponseBase:
        run: ChecklistRun = self.subject()
        steps = list(run.steps.all())
        following = next((step.position for step in steps if not step.state), 0)
        incident = run.incident
        context = frame(self.choice, "list") | {
            "run": run,
            "incident": incident,
            "steps": [(step, markdown(step.text)) for step in steps],
            "following": following,
            "done": sum(bool(step.state) for step in steps),
            "may_run": self.choice.may(checklist_services.ACTION) and run.ended_at is None,
            "crumbs": [("Incidents", reverse("postmortems:list")), (incident.reference, reverse("postmortems:detail", args=[incident.pk]))],
        }
        return render(request, "postmortems/checklist.html", context)


class RunAct(OneRun, ActionView):
    """One thing that somebody does to a run."""

    permission = checklist_services.ACTION
    reason_required: ClassVar[bool] = False
    reversible: ClassVar[bool] = False
    publishes: ClassVar[bool] = False

    def done_url(self) -> str:
        return self.url


class ChecklistStepView(RunAct):
    """POST ``/checklists/<id>/step/`` with ``position``, ``state`` (done, skipped, empty: to do) and a note (``reason``)."""

    def change(self, reason: str) -> ChecklistStep:
        position = self.request.POST.get("position", "")
        number = int(position) if position.isascii() and position.isdigit() and len(position) < 5 else 0
        return checklist_services.checklist_step(
            actor=self.actor, run=self.object, position=number, state=self.request.POST.get("state", ""), note=reason
        )

    def done_message(self, result: ChecklistStep) -> str:
        return f"Step {result.position}: {result.get_state_display().lower()}."


class ChecklistEndView(RunAct):
    """POST ``/checklists/<id>/end/``."""

    def change(self, reason: str) -> ChecklistRun:
        return checklist_services.checklist_end(actor=self.actor, run=self.object)

    def done_message(self, result: ChecklistRun) -> str:
        return "Ended."


def checklist_panel(incident: Incident, choice: Choice) -> dict[str, Any] | None:
    """What an incident's page shows of runbooks: runs with how far they are, and runbooks that can be begun, those that its alerts name
    first. Two queries, one for who only looks."""
    steps = {"of": Count("steps"), "gone": Count("steps", filter=~Q(steps__state=""))}
    runs = list(ChecklistRun.objects.filter(incident=incident).annotate(**steps).order_by("started_at"))
    offered: list[Runbook] = []
    if choice.may(checklist_services.ACTION) and incident.state not in ("closed", "cancelled", "merged"):
        told = AlertRule.objects.filter(alerts__incidents=incident)
        named = Exists(told.filter(Q(runbook=OuterRef("name")) | Q(runbook=Cast(OuterRef("pk"), CharField()))))
        books = Runbook.objects.filter(organisation=incident.organisation).exclude(
            pk__in=[run.runbook_id for run in runs if run.ended_at is None]
        )
        found = books.annotate(named=named).order_by("-named", "title")
        offered = [book for book in found[: MOST_OFFERED * 5] if steps_of(book.text)][:MOST_OFFERED]
    return {"runs": runs, "offered": offered} if runs or offered else None
