"""Deleting a team: refused while anything would be left without an owner or lose what it is about; what is the team's alone goes with it.

A team's services, contacts, rotations, SLAs, template for keys and people's roles in it are its own. Everything that it answers for has to
be given to another team first, and what apps above say about it (budgets of its spend, rules that name it) has to be lifted there.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import ProtectedError
from django.utils.module_loading import import_string

from apps.accounts.selectors import permission_require
from apps.accounts.teams import members_of, memberships_end
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.ownership.models import Cell, Rotation, Service, Sla, Team
from apps.ownership.owned import Holdings, Thing, things_about, things_of

MOST = 200
"""Things of one kind that a refusal looks at."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What keeps a team from being deleted. held: what it answers for, by kind. cells: of the map. about: what is about it."""

    held: tuple[Holdings, ...]
    cells: tuple[Cell, ...]
    about: tuple[Thing, ...]

    @property
    def words(self) -> str:
        """``2 routes, more than 200 keys, 1 cell``; empty where nothing keeps it."""
        parts = [_count(len(group.things), group.owned.label.lower(), more=group.more) for group in self.held if group.things]
        if self.cells:
            parts.append(_count(len(self.cells), "cells"))
        return ", ".join(parts)


def team_attached(team: Team) -> Attached:
    """What keeps the team from being deleted: three queries."""
    held = tuple(group for group in things_of(team.organisation, team=team, most=MOST) if group.things)
    cells = tuple(Cell.objects.filter(team=team).select_related("region", "layer").order_by("region__name", "layer__position"))
    return Attached(held, cells, tuple(things_about(team, most=MOST)))


@transaction.atomic
def team_delete(*, actor: Actor, team: Team, reason: str = "") -> None:
    """Delete a team with what is its alone. Raises ServiceError that says what it still answers for, and what is about it."""
    from controlplane.owned import LEAVE_TEAM

    permission_require(actor=actor, action="team.delete", organisation=team.organisation)
    # locked against whoever gives it something meanwhile: a reference to the row waits for it
    team = Team.objects.select_for_update(of=("self",)).select_related("organisation").get(pk=team.pk)
    found = team_attached(team)
    if found.words:
        raise ServiceError(f"{team.name} still answers for {found.words}: give them to another team first, under Owns on its page.", "team")
    if found.about:
        named = ", ".join(f"{thing.kind.replace('_', ' ')} {thing.name}" for thing in found.about[:5])
        more = f" and {len(found.about) - 5} more" if len(found.about) > 5 else ""
        raise ServiceError(f"{named}{more} would be left without the team {team.name}: remove or change that first.", "team")
    before = {
        "organisation": team.organisation.slug,
        "slug": team.slug,
        "name": team.name,
        "contact_email": team.contact_email,
        "contacts": [row.value for row in team.contacts.all()],
        "services": list(Service.objects.filter(team=team).order_by("slug").values_list("slug", flat=True)),
        "rotations": list(Rotation.objects.filter(team=team).values_list("name", flat=True)),
        "slas": [row.name for row in Sla.objects.filter(team=team).select_related("team", "service")],
        "people": {row.membership.user.email: row.role for row in members_of(team.pk)},
    }
    for path in LEAVE_TEAM:
        import_string(path)(team)
    memberships_end(team_id=team.pk)
    change_record(actor, "team.delete", team, before, {}, reason)
    try:
        team.services.all().delete()
        team.delete()
    except ProtectedError as error:
        kinds = sorted({str(row._meta.verbose_name_plural) for row in error.protected_objects})
        raise ServiceError(f"{team.name} is still named by {', '.join(kinds)}: give those to another team first.", "team") from None


def _count(count: int, label: str, *, more: bool = False) -> str:
    one = label.removesuffix("s") if count == 1 and not more else label
    return f"{'more than ' if more else ''}{count:,} {one}"
