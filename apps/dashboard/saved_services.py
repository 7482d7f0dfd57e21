"""Keeping views by name: for oneself, or shared with a team. Audited; nothing of it reaches a proxy."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.urls import Resolver404, resolve

from apps.accounts.models import Organisation, User
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.dashboard.models import SavedView
from apps.ownership.models import Team

MOST_VIEWS = 200
"""Of one person in one organisation."""
SAVED = ("dashboard:boards", "dashboard:board", "dashboard:overview", "dashboard:requests", "dashboard:spend", "dashboard:spend_by")
"""URL names of the pages that can be kept: those whose URL holds everything that they show."""
DROPPED = ("after", "before", "page", "format", "org", "scope", "traffic")
"""Parameters that are no part of a view: places in a list, and whose traffic the person looks at."""


@transaction.atomic
def saved_view_create(
    *,
    actor: Actor,
    organisation: Organisation,
    owner: User,
    name: str,
    path: str,
    query: str = "",
    team: Team | None = None,
    reason: str = "",
) -> SavedView:
    """Keep a page's URL under a name. team: everybody who looks at this organisation finds it under that team.

    Raises ServiceError for a page that cannot be kept, a name that the person or the team has already, or too many; PermissionRefused
    where the person may not share with that team.
    """
    permission_require(actor=actor, action="overview.view", organisation=organisation)
    if team is not None:
        permission_require(actor=actor, action="saved_view.share", organisation=organisation, team=team.pk)
    name = check_view_name(name)
    check_place(path, query)
    mine = SavedView.objects.filter(organisation=organisation, owner=owner)
    if mine.filter(name=name).exists():
        raise ServiceError(f"you have a view named {name!r} already: choose another name, or delete that one", "name")
    if mine.count() >= MOST_VIEWS:
        raise ServiceError(f"you keep {MOST_VIEWS} views already: delete one first", "name")
    if team is not None and any(view.team_id == team.pk and view.name == name for view in team_views(organisation)):
        raise ServiceError(f"{team.name} has a view named {name!r} already: choose another name", "name")
    view = SavedView.objects.create(organisation=organisation, owner=owner, team=team, name=name, path=path, query=query)
    change_record(actor, "saved_view.create", view, {}, view_facts(view), reason)
    return view


@transaction.atomic
def saved_view_set(
    *, actor: Actor, organisation: Organisation, team: Team, name: str, path: str, query: str = "", reason: str = ""
) -> SavedView:
    """The view that a team has by that name, whoever keeps it, made where missing, else led to that page. Raises ServiceError."""
    if team.organisation_id != organisation.pk:
        raise ServiceError("the team belongs to another organisation", "team")
    name = check_view_name(name)
    check_place(path, query)
    Team.objects.select_for_update().get(pk=team.pk)  # two at once: one view
    row = next((view for view in team_views(organisation) if view.team_id == team.pk and view.name == name), None)
    action = "saved_view.share" if row is None else "saved_view.remove"
    permission_require(actor=actor, action=action, organisation=organisation, team=team.pk)
    if row is None:
        row = SavedView.objects.create(organisation=organisation, team=team, name=name, path=path, query=query)
        change_record(actor, "saved_view.create", row, {}, view_facts(row), reason)
        return row
    return _led(actor, row, path, query, reason)


@transaction.atomic
def saved_view_update(*, actor: Actor, view: SavedView, by: User, path: str, query: str, reason: str = "") -> SavedView:
    """Lead a view elsewhere: one's own, or one of a team for whom may take it away there. Raises ServiceError."""
    if view.owner_id != by.pk:
        permission_require(actor=actor, action="saved_view.remove", organisation=view.organisation, team=view.team_id)
    check_place(path, query)
    return _led(actor, SavedView.objects.select_for_update(of=("self",)).select_related("team").get(pk=view.pk), path, query, reason)


def _led(actor: Actor, row: SavedView, path: str, query: str, reason: str) -> SavedView:
    before = view_facts(row)
    row.path, row.query = path, query
    after = view_facts(row)
    if after != before:
        row.save(update_fields=["path", "query"])
        changed = [field for field in after if after[field] != before[field]]
        change_record(actor, "saved_view.update", row, {f: before[f] for f in changed}, {f: after[f] for f in changed}, reason)
    return row


@transaction.atomic
def saved_view_delete(*, actor: Actor, view: SavedView, by: User, reason: str = "") -> None:
    """Forget a view: one's own, or one that is shared with a team for whom may do so there."""
    if view.owner_id == by.pk:
        _forget(actor, view, reason)
    else:
        saved_view_remove(actor=actor, view=view, reason=reason)


@transaction.atomic
def saved_view_remove(*, actor: Actor, view: SavedView, reason: str = "") -> None:
    """Forget a view of a team, whoever keeps it."""
    permission_require(actor=actor, action="saved_view.remove", organisation=view.organisation, team=view.team_id)
    _forget(actor, view, reason)


def _forget(actor: Actor, view: SavedView, reason: str) -> None:
    change_record(actor, "saved_view.delete", view, view_facts(view), {}, reason)
    view.delete()


def team_leave(team: Team) -> None:
    """With a deleted team go the views that are its own; those of people stay theirs."""
    SavedView.objects.filter(team=team, owner=None).delete()


def view_facts(view: SavedView) -> dict[str, str]:
    """What the audit keeps of a view."""
    return {"name": view.name, "path": view.path, "query": view.query, "team": view.team.slug if view.team else ""}


def check_view_name(name: str) -> str:
    """A view's name on one line. Raises ServiceError."""
    found = " ".join(name.replace("\x00", "").split())
    if not found:
        raise ServiceError("give the view a name", "name")
    if len(found) > 80:
        raise ServiceError("the name is too long: at most 80 characters", "name")
    return found


def check_place(path: str, query: str) -> None:
    """Raises ServiceError unless the path is one of the pages that can be kept; a link to elsewhere can never be saved as a view."""
    try:
        found = resolve(path)
    except Resolver404:
        found = None
    if found is None or found.view_name not in SAVED or len(path) > 300:
        raise ServiceError("only views of dashboards, requests and spend can be kept: open one and choose Save view there", "path")
    if len(query) > 2000 or "\x00" in query:
        raise ServiceError("this view's address is too long to keep: leave out some filters", "path")


def team_views(organisation: Organisation) -> list[SavedView]:
    """The views of an organisation's teams, by team and name: one query. Of one name a team has one: where there are more from earlier, the
    one that is the team's own, else the oldest."""
    rows = SavedView.objects.filter(organisation=organisation, team__isnull=False).select_related("organisation", "team", "owner")
    found: dict[tuple[str, str], SavedView] = {}
    for row in rows.order_by(F("owner").asc(nulls_first=True), "created_at", "id"):
        found.setdefault((row.team.slug if row.team else "", row.name), row)
    return [found[key] for key in sorted(found)]


def saved_views_of(organisation: Organisation, user: User) -> QuerySet[SavedView]:
    """A person's own views and all that are shared in the organisation, by name: one query."""
    rows = SavedView.objects.filter(organisation=organisation).filter(Q(owner=user) | Q(team__isnull=False))
    return rows.select_related("team", "owner").order_by("name", "id")


def saved_view_find(organisation: Organisation, user: User, view_id: UUID) -> SavedView | None:
    """One of ``saved_views_of``."""
    return saved_views_of(organisation, user).filter(pk=view_id).first()
