"""Reads of limits: rows for forms and exports, lines for pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.budgets import limit_choices
from apps.budgets.limit_models import Limit
from apps.keys.models import VirtualKey
from apps.keys.neighbours import routes_known
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
    def words(self) -> str:
        """``600 requests per minute``."""
        return f"{self.amount_text} {self.kind_text}"


def limits_of(organisation: Organisation) -> QuerySet[Limit]:
    """An organisation's limits by name; deleted ones left out."""
    return Limit.objects.filter(organisation=organisation, deleted_at=None).order_by("name")


def limit_get(organisation: Organisation, limit_id: UUID) -> Limit | None:
    return limits_of(organisation).filter(pk=limit_id).first()


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


def limit_lines(organisation: Organisation, rows: Sequence[Limit]) -> list[LimitLine]:
    """With the names of what they are for: at most three queries."""
    names: dict[tuple[str, str], str] = {("organisation", str(organisation.pk)): organisation.name}
    wanted = {scope: [row.scope_id for row in rows if row.scope == scope] for scope in limit_choices.SCOPES}
    if wanted["key"]:
        keys = VirtualKey.objects.filter(organisation=organisation, state="active", pk__in=wanted["key"])
        names |= {("key", str(pk)): name for pk, name in keys.values_list("pk", "name")}
    if wanted["team"]:
        teams = Team.objects.filter(organisation=organisation, pk__in=wanted["team"])
        names |= {("team", str(pk)): name for pk, name in teams.values_list("pk", "name")}
    if wanted["route"]:
        names |= {("route", route.id): route.name for route in routes_known(organisation)}
    found = []
    for row in rows:
        subject = row.scope_id if row.scope == "model" else names.get((row.scope, row.scope_id))
        found.append(LimitLine(row.pk, row.name, row.scope, row.scope_id, subject or "(gone)", subject is None, row.kind, row.amount))
    return found
