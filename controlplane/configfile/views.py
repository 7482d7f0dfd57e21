"""Views that teams keep, in the document: entries <-> services and rows. Those that a person keeps for themselves are in none."""

from __future__ import annotations

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.dashboard.models import SavedView
from apps.dashboard.saved_services import saved_view_remove, saved_view_set, team_views
from apps.ownership.models import Team
from controlplane.configfile.document import SavedViewEntry
from controlplane.configfile.ownership import team_named


def entry_apply(organisation: Organisation, entry: SavedViewEntry, *, actor: Actor, reason: str) -> None:
    """The team keeps that page by that name."""
    team, name = _of(organisation, entry.name)
    path, _, query = entry.url.partition("?")
    try:
        saved_view_set(actor=actor, organisation=organisation, team=team, name=name, path=path, query=query, reason=reason)
    except ServiceError as error:
        raise ServiceError(error.message, "url" if error.field == "path" else error.field) from None


def entry_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """What is gone already stays gone."""
    for row in team_views(organisation):
        if _name(row) == name:
            saved_view_remove(actor=actor, view=row, reason=reason)


def entries_of(organisation: Organisation) -> list[SavedViewEntry]:
    """Each team's views by name."""
    return [SavedViewEntry(name=_name(row), url=row.url) for row in team_views(organisation)]


def ids_of(organisation: Organisation) -> dict[str, str]:
    """An entry's name -> its view's id."""
    return {_name(row): str(row.pk) for row in team_views(organisation)}


def _of(organisation: Organisation, text: str) -> tuple[Team, str]:
    slug, slash, name = text.partition("/")
    team = team_named(organisation, slug, "name") if slash else None
    if team is None or not name.strip():
        raise ServiceError(f"{text[:60]!r}: write a team's slug, a slash, and what the view is called, such as search/Errors today", "name")
    return team, name


def _name(row: SavedView) -> str:
    assert row.team is not None
    return f"{row.team.slug}/{row.name}"
