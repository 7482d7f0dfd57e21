"""Postmortems in every state, action items, checklists and a status page, for the gallery; after incidents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone

from apps.accounts.models import Organisation


def learning_seed(organisation: Organisation, names: Sequence[str], *, by: str) -> None:
    """A postmortem and an action item for every incident that is over, a name in every text, in every state in turn."""
    from apps.accounts.models import User
    from apps.audit.actors import Actor
    from apps.ownership.models import Runbook
    from apps.ownership.runbook_seeds import TITLES, runbook_ensure
    from apps.postmortems.action_models import ActionItem
    from apps.postmortems.checklist_services import checklist_start, checklist_step
    from apps.postmortems.models import Factor, Incident, Postmortem, StatusComponent, StatusPage
    from apps.postmortems.postmortem_evidence import evidence_ask, evidence_take
    from apps.postmortems.postmortem_services import postmortem_create

    actor, now, user = Actor.command("gallery"), timezone.now(), User.objects.get(email=by)
    rows = list(Incident.objects.filter(organisation=organisation).exclude(state__in=("cancelled", "merged")).order_by("-started_at"))
    for at, incident in enumerate(rows):
        name = names[at % len(names)].replace("\x00", "")
        row = postmortem_create(actor=actor, incident=incident, owner=user if at % 3 else None)
        texts = {part.key: f"{name}\n\n- one\n- **two**\n\n> {name[:200]}" for part in row.parts[: at % 10]}
        state = ("draft", "review", "published")[at % 3]
        Postmortem.objects.filter(pk=row.pk).update(
            texts=texts, state=state, published_at=now if state == "published" else None, trigger=("provider", "deploy", "")[at % 3],
            due_at=now + timedelta(days=at % 9 - 4),
        )  # fmt: skip
        row.factors.set(Factor.objects.filter(organisation=organisation)[at % 3 : at % 3 + 2])
        if at < 2 or at >= len(rows) - 2:  # of the newest and of those that lists show first
            evidence_ask(actor=actor, postmortem=Postmortem.objects.get(pk=row.pk)) if state != "published" else None
            evidence_take(row.pk)
        kind = ("", "alert-rule", "slo")[at % 3]
        done = at % 4 == 3
        ActionItem.objects.create(
            organisation=organisation, postmortem=row, number=at + 1, title=name[:200] or "(no words)", outcome=name[:1000] or "Seen.",
            owner=user if at % 5 else None, due_on=(now + timedelta(days=at % 30 - 9)).date(), priority=f"p{1 + at % 3}",
            state="done" if done else "open", decided_at=now if done else None, decided_by=by if done else "", check_kind=kind,
            check_of=name[:60] if kind else "", verdict=("passes", "fails", "unknown")[at % 3] if kind else "",
            verdict_at=now if kind else None,
            verdict_why=name[:300] if kind else "", reopened=at % 3, created_by=by,
        )  # fmt: skip
    for slug in TITLES:
        runbook_ensure(organisation, slug)
    fire = next((row for row in rows if row.open), None)
    if fire is not None:
        run = checklist_start(actor=actor, incident=fire, runbook=Runbook.objects.get(organisation=organisation, name="provider-down"))
        checklist_step(actor=actor, run=run, position=1, state="done")
        checklist_step(actor=actor, run=run, position=2, state="skipped", note=names[0][:400])
    StatusPage.objects.create(
        organisation=organisation, audience="public", title=f"Status of {organisation.name}"[:100], text=names[0][:2000]
    )
    for at, name in enumerate(names[:8]):
        StatusComponent.objects.create(
            organisation=organisation, position=at, name=f"{name[:90]} {at}", help=name[:300], routes=[f"route-{at:05}"] if at else []
        )
