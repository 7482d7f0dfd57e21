"""Limits and budgets that come with new keys: many at once, in the transaction that makes the keys.

The keys are new, so nothing of theirs can be there already; a name that somebody took is the only thing that can be in the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import Recorded, audit_record_many
from apps.budgets import limit_rules, rules
from apps.budgets.limit_services import limit_facts
from apps.budgets.models import Budget, Limit
from apps.budgets.services import budget_facts
from apps.contracts.limits import MEASURES, LimitKind
from apps.keys.models import VirtualKey
from apps.keys.rules import budget_name, limit_name
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.keys.neighbours import KeyWalls

BATCH = 2_000


@transaction.atomic
def key_walls_create(*, actor: Actor, organisation: Organisation, walls: Sequence[KeyWalls], reason: str) -> None:
    """A limit of each kind and a hard budget for each key that is to have one (``apps.keys.neighbours.WallWrite``). Raises ServiceError."""
    limits = [
        Limit(
            organisation=organisation,
            name=limit_name(wall.name, wall.public_id, MEASURES[cast(LimitKind, kind)].words),
            scope="key",
            scope_id=wall.key_id,
            kind=limit_rules.check_kind(kind),
            amount=limit_rules.check_amount(amount),
        )
        for wall in walls
        for kind, amount in wall.limits.items()
    ]
    budgets = [
        Budget(
            organisation=organisation,
            name=budget_name(wall.name, wall.public_id),
            scope="key",
            key=VirtualKey(pk=UUID(wall.key_id), name=wall.name),  # its name is at hand: the audit need not read it again
            window=rules.check_window(wall.budget_window),
            limit_nano=rules.check_limit(wall.budget_nano),
            owner_email=rules.check_address(wall.owner_email, "owner_email"),
        )
        for wall in walls
        if wall.budget_nano
    ]
    try:
        with transaction.atomic():
            Limit.objects.bulk_create(limits, batch_size=BATCH)
            Budget.objects.bulk_create(budgets, batch_size=BATCH)
    except IntegrityError as error:
        raise ServiceError(f"a limit or budget of that name is there already: {str(error).splitlines()[0]}", "name") from None
    for action, rows, facts, section in (
        ("limit.create", limits, limit_facts, "limits"),
        ("budget.create", budgets, budget_facts, "budgets"),
    ):
        events = [Recorded(str(row.pk), row.name, after=facts(row)) for row in rows]  # type: ignore[operator]
        audit_record_many(actor=actor, action=action, events=events, reason=reason)
        section_touch(section=section, ids=[row.pk for row in rows])  # type: ignore[attr-defined]
