"""Requests for flips in every state, rules and neglected flags, for the gallery."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.accounts.models import Organisation


def changes_seed(organisation: Organisation, names: Sequence[str], *, by: str) -> None:
    """A flag and a request for every name, in every state in turn; rules that hold and one that ends. A flag's name is of what names may
    have; what people wrote is as odd as given."""
    from apps.flags import change_choices as choices
    from apps.flags.change_rows import told_of
    from apps.flags.models import ChangeRequest, Flag, TwoPersonRule

    now = timezone.now()
    states = list(choices.STATES)
    for at, name in enumerate(names):
        flag, made = Flag.objects.get_or_create(
            organisation=organisation,
            name=f"wait-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')[:70] or at}",
            defaults={
                "kind": "release", "subject_kind": "organisation", "subject_id": str(organisation.pk), "purpose": name[:300],
                "exercised_at": now - timedelta(days=at), "expires_at": now + timedelta(days=at - 5) if at % 4 == 0 else None,
                "on": at % 3 == 0,
            },
        )  # fmt: skip
        if not made:
            continue
        state = states[at % len(states)]
        glass = state == choices.APPLIED and at % 3 == 0
        seen = told_of(flag) | ({"default": "on", "share": 5} if at % 3 else {})
        decided = state in (choices.APPLIED, choices.REJECTED) and not glass
        facts: dict[str, Any] = {
            "two": state != choices.SCHEDULED, "glass": glass, "review": choices.OPEN if glass else "",
            "decided_kind": "user" if decided else "", "decided_id": "somebody-else" if decided else "",
            "decided_by": "grace@example.test" if decided else "", "decided_at": now if decided else None,
            "applied_at": now if state == choices.APPLIED else None,
            "at": now + timedelta(days=1) if state == choices.SCHEDULED else None,
        }  # fmt: skip
        ChangeRequest.objects.create(
            organisation=organisation, flag=flag, flag_name=flag.name, turn_on=at % 2 == 0, share=100 if at % 5 else 5, reason=name[:300],
            rule="turning on any release", state=state, seen=seen, asked_kind="user", asked_id=f"asker-{at}",
            asked_by=by if at % 4 else f"{name[:80]}@example.test", asked_at=now - timedelta(hours=at), zone="Europe/Berlin",
            expires_at=now + timedelta(days=3), late_minutes=60,
            detail="ran 12 min late" if state == choices.APPLIED and at % 7 == 0 else "", **facts,
        )  # fmt: skip
    for kind, ends in (("kill", None), ("release", now + timedelta(hours=20))):
        TwoPersonRule.objects.get_or_create(
            organisation=organisation, kind=kind, defaults={"created_by": by, "reason": names[0][:300], "ends_at": ends}
        )
