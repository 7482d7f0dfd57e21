"""Keeping views by name: for oneself, or shared with a team. Audited; nothing of it reaches a proxy."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import Resolver404, resolve

from apps.accounts.models import Organisation, User
from apps.accounts.scope import Choice
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
    *, actor: Actor, organisation: Organisation, owner: User, name: str, path: str, query: str = "", team: Team | None = None
) -> SavedView:
    """Keep a page's URL under a name. team: everybody who looks at this organisation finds it under that team.

    Raises ServiceError for a page that cannot be kept, a name that the person has already, or too many; PermissionRefused where the person
    may not share with that team.
    """
    permission_require(actor=actor, action="overview.view", organisation=organisation)
    if team is not None:
        permission_require(actor=actor, action="saved_view.share", organisation=organisation, team=team.pk)
    name = " ".join(name.replace("\x00", "").split())
    if not name:
        raise ServiceError("give the view a name", "name")
    if len(name) > 80:
        raise ServiceError("the name is too long: at most 80 characters", "name")
    check_place(path, query)
    mine = SavedView.objects.filter(organisation=organisation, owner=owner)
    if mine.filter(name=name).exists():
        raise ServiceError(f"you have a view named {name!r} already: choose another name, or delete that one", "name")
    if mine.count() >= MOST_VIEWS:
        raise ServiceError(f"you keep {MOST_VIEWS} views already: delete one first", "name")
    view = SavedView.objects.create(organisation=organisation, owner=owner, team=team, name=name, path=path, query=query)
    after = {"name": name, "path": path, "query": query, "team": team.slug if team else ""}
    change_record(actor, "saved_view.create", view, {}, after)
    return view


@transaction.atomic
def saved_view_delete(*, actor: Actor, view: SavedView, by: User) -> None:
    """Forget a view: one's own, or one that is shared with a team for whom may do so there."""
    if view.owner_id != by.pk:
        permission_require(actor=actor, action="saved_view.remove", organisation=view.organisation, team=view.team_id)
    before = {"name": view.name, "path": view.path, "query": view.query, "team": view.team.slug if view.team else ""}
    change_record(actor, "saved_view.delete", view, before, {})
    view.delete()


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


def saved_views_of(choice: Choice, user: User) -> QuerySet[SavedView]:
    """A person's own views and all that are shared in the organisation, by name: one query."""
    rows = SavedView.objects.filter(organisation=choice.organisation).filter(Q(owner=user) | Q(team__isnull=False))
    return rows.select_related("team", "owner").order_by("name", "id")


def saved_view_find(choice: Choice, user: User, view_id: UUID) -> SavedView | None:
    """One of ``saved_views_of``."""
    return saved_views_of(choice, user).filter(pk=view_id).first()
