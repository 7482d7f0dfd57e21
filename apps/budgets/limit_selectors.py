"""Reads of limits: rows for forms and exports, lines for pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Case, F, OuterRef, Q, QuerySet, Subquery, TextField, UUIDField, Value, When
from django.db.models.functions import Cast

from apps.budgets import limit_choices
from apps.budgets.limit_models import Limit
from apps.contracts.limits import MEASURES
from apps.keys.models import VirtualKey
from apps.keys.neighbours import route_name_expression
from apps.ownership.models import Team

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit as pages show it. ``subject``: the name of what it is for; ``gone``: that is not there any more, so it limits nothing."""

    id: UUID
    name: str
    scope: str
    scope_id: str
    subject: str
    gone: bool
    kind: str
    amount: int

    @property
    def amount_text(self) -> str:
        return f"{self.amount:,}"

    @property
    def kind_text(self) -> str:
        return limit_choices.KINDS[self.kind]

    @property
    def span(self) -> str:
        """What is counted, in time."""
        return limit_choices.SPANS[MEASURES[self.kind].window_ms]  # type: ignore[index]

    @property
    def words(self) -> str:
        """``600 requests per minute``."""
        return f"{self.amount_text} {self.kind_text}"


def limits_of(organisation: Organisation) -> QuerySet[Limit]:
    """An organisation's limits by name; deleted ones left out."""
    return Limit.objects.filter(organisation=organisation, deleted_at=None).order_by("name")


def limit_get(organisation: Organisation, limit_id: UUID) -> Limit | None:
    """A limit that knows what it is for (``limits_named``)."""
    return limits_named(organisation).filter(pk=limit_id).first()


def limits_applying(organisation: Organisation, *, key_id: str = "", team_id: str = "", route_id: str = "") -> list[LimitLine]:
    """Those of a key with its team, or of a route, and the whole organisation's, without the names of these: one query."""
    wanted = Q(scope="organisation")
    for scope, object_id in (("key", key_id), ("team", team_id), ("route", route_id)):
        if object_id:
            wanted |= Q(scope=scope, scope_id=object_id)
    return [
        LimitLine(row.pk, row.name, row.scope, row.scope_id, "", False, row.kind, row.amount)
        for row in limits_of(organisation).filter(wanted)
    ]


def limits_named(organisation: Organisation) -> QuerySet[Limit]:
    """An organisation's limits that know the name of what they are for (``subject``), from the query that reads them; NULL: it is gone."""
    wanted = Cast(OuterRef("scope_id"), UUIDField())  # asked only in the branches whose scopes refer by id
    active = VirtualKey.objects.filter(pk=wanted, state="active").order_by()
    return limits_of(organisation).annotate(
        subject=Case(
            When(scope="organisation", then=Value(organisation.name)),
            When(scope="key", then=Subquery(active.values("name"))),
            When(scope="team", then=Subquery(Team.objects.filter(pk=wanted).order_by().values("name"))),
            When(scope="route", then=route_name_expression(wanted)),
            default=F("scope_id"),
            output_field=TextField(),
        )
    )


def limit_line(row: Limit) -> LimitLine:
    """Of a row of ``limits_named``."""
    subject: str | None = row.subject  # type: ignore[attr-defined]
    return LimitLine(row.pk, row.name, row.scope, row.scope_id, subject or "(gone)", not subject, row.kind, row.amount)
