"""Going through a runbook inside an incident: its steps are frozen, each is done or skipped once, all of it stands in the timeline.
Audited."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.urls import reverse
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.rules import clean_text
from apps.audit.services import audit_record
from apps.ownership.models import Runbook
from apps.postmortems.checklist_models import STEP_STATES
from apps.postmortems.checklist_rules import steps_of
from apps.postmortems.incident_choices import CHECKLIST
from apps.postmortems.models import ChecklistRun, ChecklistStep, Incident
from apps.postmortems.timeline import entry_add

ACTION = "checklist.run"


@transaction.atomic
def checklist_start(*, actor: Actor, incident: Incident, runbook: Runbook, now: datetime | None = None) -> ChecklistRun:
    """Begin; while it runs, beginning it again gives the same run. Raises ServiceError for a runbook without steps, and for an incident
    that nobody works on any more."""
    permission_require(actor=actor, action=ACTION, organisation=incident.organisation)
    if runbook.organisation_id != incident.organisation_id:
        raise ServiceError("The runbook belongs to another organisation.", "runbook")
    incident = Incident.objects.select_for_update(of=("self",)).select_related("organisation").get(pk=incident.pk)
    running = ChecklistRun.objects.filter(incident=incident, runbook=runbook, ended_at=None).first()
    if running is not None:
        return running
    if incident.state in ("closed", "cancelled", "merged"):
        raise ServiceError(f"{incident.reference} is {incident.state}: steps are gone through while somebody works on it.", "incident")
    steps = steps_of(runbook.text)
    if not steps:
        raise ServiceError(f"“{runbook.title}” has no steps: write them as a list of boxes (- [ ] …) or a numbered list.", "runbook")
    now = now or clock.now()
    run = ChecklistRun.objects.create(incident=incident, runbook=runbook, title=runbook.title, started_at=now, started_by=actor.name[:500])
    ChecklistStep.objects.bulk_create(
        ChecklistStep(run=run, position=at, part=step.part[:200], text=step.text) for at, step in enumerate(steps, start=1)
    )
    _record(actor, run, "start", {"steps": len(steps)})
    _tell(run, f"Runbook begun: {run.title}", now, actor, f"{len(steps)} steps", source=f"run:{run.pk}")
    return run


@transaction.atomic
def checklist_step(
    *, actor: Actor, run: ChecklistRun, position: int, state: str, note: str = "", now: datetime | None = None
) -> ChecklistStep:
    """Say that a step is done or was skipped, or take that back (``""``). The same again changes nothing: of two people the first did it.
    Raises ServiceError for a step that there is not, a skipped one without a word why, a run that has ended."""
    permission_require(actor=actor, action=ACTION, organisation=run.incident.organisation)
    run = ChecklistRun.objects.select_for_update(of=("self",)).select_related("incident__organisation").get(pk=run.pk)
    if state not in STEP_STATES:
        raise ServiceError(f"{state!r} is no state of a step: one of done, skipped, or empty.", "state")
    step = ChecklistStep.objects.filter(run=run, position=position).first()
    if step is None:
        raise ServiceError(f"There is no step {position}.", "position")
    if run.ended_at is not None:
        raise ServiceError("This run has ended: begin the runbook again.", "run")
    note = clean_text(note, 500)
    if step.state == state:
        return step
    if state == "skipped" and not note:
        raise ServiceError("Say why it is skipped: somebody will read it.", "note")
    now = now or clock.now()
    before, step.state, step.note = step.state, state, note
    step.at, step.by = (now, actor.name[:500]) if state else (None, "")
    step.save(update_fields=["state", "note", "at", "by"])
    _record(actor, run, "step", {"step": position, "state": state or "to do"}, {"step": position, "state": before or "to do"}, note)
    said = {"done": "done", "skipped": "skipped", "": "taken back"}[state]
    _tell(run, f"Step {position} {said}: {step.text}", now, actor, note, tone="good" if state == "done" else "neutral")
    if not ChecklistStep.objects.filter(run=run, state="").exists():
        _end(actor, run, now, "Every step is done or skipped.")
    return step


@transaction.atomic
def checklist_end(*, actor: Actor, run: ChecklistRun, now: datetime | None = None) -> ChecklistRun:
    """End a run before its last step. A second time changes nothing."""
    permission_require(actor=actor, action=ACTION, organisation=run.incident.organisation)
    run = ChecklistRun.objects.select_for_update(of=("self",)).select_related("incident__organisation").get(pk=run.pk)
    if run.ended_at is None:
        left = ChecklistStep.objects.filter(run=run, state="").count()
        _end(actor, run, now or clock.now(), f"{left} step{'' if left == 1 else 's'} left.")
    return run


def _end(actor: Actor, run: ChecklistRun, now: datetime, text: str) -> None:
    run.ended_at = now
    run.save(update_fields=["ended_at"])
    _record(actor, run, "end", {"ended_at": now})
    _tell(run, f"Runbook ended: {run.title}", now, actor, text)


def _tell(run: ChecklistRun, title: str, now: datetime, actor: Actor, text: str = "", *, tone: str = "neutral", source: str = "") -> None:
    url = reverse("postmortems:checklist", args=[run.pk])
    entry_add(incident=run.incident, kind=CHECKLIST, title=title, at=now, text=text, tone=tone, by=actor.name, url=url, source=source)


def _record(
    actor: Actor, run: ChecklistRun, what: str, after: dict[str, object], before: dict[str, object] | None = None, reason: str = ""
) -> None:
    audit_record(
        actor=actor, action=f"checklist.{what}", subject_kind="checklist", subject_id=run.pk,
        subject_name=f"{run.incident.reference}: {run.title}", before=before or {}, after=after, reason=reason,
    )  # fmt: skip
