"""Incidents and postmortems for tests, by the services that people use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.postmortems.incident_services import incident_declare, incident_move
from apps.postmortems.models import Incident, Postmortem
from apps.postmortems.postmortem_evidence import evidence_ask, evidence_take
from apps.postmortems.postmortem_rules import mark_of
from apps.postmortems.postmortem_services import facts_set, postmortem_create, postmortem_submit, texts_save

BEGAN = datetime(2026, 11, 16, 9, 0, tzinfo=UTC)
"""A Monday."""
COMMAND = Actor.command("test")


def incident(
    organisation: Organisation, title: str = "Chat fails", *, severity: str = "sev1", state: str = "resolved", **more: Any
) -> Incident:
    """One that began on ``BEGAN``, was mitigated after 40 minutes and resolved after an hour; at most as far as ``state``."""
    began = more.pop("started_at", BEGAN)
    row = incident_declare(
        actor=COMMAND, organisation=organisation, title=title, severity=severity, started_at=began,
        detected_at=began + timedelta(minutes=4), now=began + timedelta(minutes=5), **more,
    )  # fmt: skip
    steps = (("active", 6), ("mitigated", 40), ("resolved", 60))
    for to, minutes in steps:
        if state in ("triage", *(step for step, _ in steps[: [step for step, _ in steps].index(to)])):
            break
        row = incident_move(
            actor=COMMAND, incident=row, to=to, at=began + timedelta(minutes=minutes), now=began + timedelta(minutes=minutes)
        )
    return row


def save(row: Postmortem, actor: Actor, texts: dict[str, str], **more: Any) -> Any:
    """Write sections from what stands there now."""
    row.refresh_from_db()
    marks = more.pop("marks", {key: mark_of(row.texts.get(key, "")) for key in texts})
    return texts_save(actor=actor, postmortem=row, texts=texts, marks=marks, **more)


def ready(organisation: Organisation, author: User, *, factors: tuple[str, ...] = ("single-region",), **more: Any) -> Postmortem:
    """A postmortem that waits for a review."""
    row = postmortem_create(actor=COMMAND, incident=incident(organisation, **more), owner=author)
    actor = Actor.of_user(author)
    evidence_ask(actor=actor, postmortem=row)
    assert evidence_take(row.pk) == 1
    save(row, actor, {part.key: f"About the {part.title.lower()}." for part in row.parts})
    facts_set(actor=actor, postmortem=row, owner=author, trigger="provider", detected="alert", factors=factors, due_at=row.due_at)
    return postmortem_submit(actor=actor, postmortem=row)
