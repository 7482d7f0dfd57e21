"""Incidents in every state and severity, with timelines, updates and files, for the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone

from apps.accounts.models import Organisation


def incidents_seed(organisation: Organisation, names: Sequence[str], *, by: str) -> None:
    """An incident for every name, its name in every text, in every state in turn; the first is open, with all that one can have."""
    from apps.accounts.models import User
    from apps.alerts.models import Alert
    from apps.audit.actors import Actor
    from apps.postmortems import incident_choices as choices
    from apps.postmortems.incident_rules import NEEDS
    from apps.postmortems.incident_services import incident_declare
    from apps.postmortems.models import Incident
    from apps.postmortems.timeline import timeline_fill
    from apps.postmortems.timeline_services import attachment_add, incident_say, note_add
    from apps.routes.models import Route

    actor, now, user = Actor.command("gallery"), timezone.now(), User.objects.get(email=by)
    routes = list(Route.objects.filter(organisation=organisation).order_by("name").values_list("name", flat=True)[:2])
    states = [choices.ACTIVE, choices.TRIAGE, choices.MITIGATED, choices.RESOLVED, choices.CLOSED, choices.CANCELLED]
    made: list[Incident] = []
    for at, name in enumerate(names):
        title = " ".join(name.replace("\x00", "").split())[:200] or "(no words)"
        begun = now - timedelta(minutes=23 + 97 * at)
        row = incident_declare(
            actor=actor, organisation=organisation, title=title, severity=f"sev{1 + at % 4}", routes=routes if at % 3 else [],
            started_at=begun, detected_at=begun + timedelta(minutes=3), source=list(choices.SOURCES)[at % 6], summary=name,
        )  # fmt: skip
        note_add(actor=actor, incident=row, text=f"Saw it: {name}")
        incident_say(actor=actor, incident=row, text=f"**We look**: {name}", public=bool(at % 2))
        state = states[at % len(states)]
        moments = {needed: begun + timedelta(minutes=9) for needed in NEEDS.get(state, ())}
        impact = {
            "since": begun.isoformat(), "until": (begun + timedelta(minutes=9)).isoformat(), "requests": 12_345, "failed": 678 * (at % 5),
            "degraded": 90, "rescued": 12, "refused": 3, "attempt_errors": 700, "users": 45, "users_touched": 67, "tokens": 8_901,
            "lost_nano": 1_234_567_890, "cost_nano": 98_765_432_100, "routes": [], "complete": bool(at % 4),
        }  # fmt: skip
        Incident.objects.filter(pk=row.pk).update(
            state=state, commander=user if at % 2 else None, impact=impact if at % 3 != 1 else {}, impact_at=now, impact_from=begun,
            impact_until=begun + timedelta(minutes=9) if at % 2 else None, **moments,
        )  # fmt: skip
        made.append(row)
    if made:
        row = made[0]
        row.alerts.set(Alert.objects.filter(organisation=organisation)[:2])
        attachment_add(actor=actor, incident=row, name=f"{names[0][:80]}.log", body=b"upstream said 503\n" * 40, text=names[0])
        timeline_fill(row)
