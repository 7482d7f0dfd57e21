"""Celery envelopes of incidents and of what is learnt from them; queue ``jobs``."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from apps.postmortems import impact_services, incident_upkeep, postmortem_drafts, postmortem_evidence, postmortem_upkeep


@shared_task(name="apps.postmortems.tasks.incidents_follow")
def incidents_follow() -> None:
    """Fill the timelines and measure the impacts that are due."""
    incident_upkeep.incidents_follow()


@shared_task(name="apps.postmortems.tasks.impact_refresh")
def impact_refresh(incident_id: str) -> None:
    """Measure one incident's impact now."""
    impact_services.impact_refresh(UUID(incident_id))


@shared_task(name="apps.postmortems.tasks.chat_calls_forget")
def chat_calls_forget() -> None:
    """Forget slash commands that nobody could send again."""
    incident_upkeep.chat_calls_forget()


@shared_task(name="apps.postmortems.tasks.postmortems_run")
def postmortems_run() -> None:
    """Begin the postmortems that incidents need, remind of those that are due."""
    postmortem_upkeep.postmortems_run()


@shared_task(name="apps.postmortems.tasks.actions_run")
def actions_run() -> None:
    """Ask the checks of action items, nudge their owners."""
    postmortem_upkeep.actions_run()


@shared_task(name="apps.postmortems.tasks.evidence_wanted")
def evidence_wanted() -> None:
    """Hand out evidence and drafts that somebody asked for, one task each."""
    for postmortem_id in postmortem_evidence.evidence_wanted():
        evidence_take.delay(str(postmortem_id))
    for postmortem_id in postmortem_drafts.drafts_wanted():
        draft_take.delay(str(postmortem_id))


@shared_task(name="apps.postmortems.tasks.evidence_take")
def evidence_take(postmortem_id: str) -> None:
    """Take one postmortem's evidence, unless somebody does."""
    postmortem_evidence.evidence_take(UUID(postmortem_id))


@shared_task(name="apps.postmortems.tasks.draft_take")
def draft_take(postmortem_id: str) -> None:
    """Ask for one postmortem's draft, unless somebody does."""
    postmortem_drafts.draft_take(UUID(postmortem_id))
