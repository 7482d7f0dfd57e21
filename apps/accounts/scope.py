"""Whose objects and numbers a page shows: one organisation, real or simulated. Every view asks here, and only here.

The URL decides (``?org=demo``, ``?scope=simulated``), then what the person chose last, then their first organisation.
Pages of the installation itself (config history, people, audit) ask for a role in organisation ``main`` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, cast
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from apps.accounts.models import MAIN_ORGANISATION, Membership, Organisation, User
from apps.accounts.rules import Role, roles_for, roles_text, team_roles_for
from apps.accounts.selectors import admins_of
from apps.ui.navigation import May

SESSION_KEY = "scope"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose traffic: one organisation's, real or simulated."""

    organisation: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person looks at now, and what else they could. teams: their roles in teams of this organisation, by the team's id."""

    organisation: Organisation
    simulated: bool
    role: Role
    memberships: tuple[Membership, ...]
    teams: Mapping[str, Role] = field(default_factory=dict)

    @property
    def scope(self) -> Scope:
        """For the selectors of usage."""
        return Scope(organisation=str(self.organisation.pk), simulated=self.simulated)

    @property
    def traffic(self) -> str:
        """The word for URLs."""
        return "simulated" if self.simulated else "real"

    def may(self, action: str, *, team: UUID | str | None = None) -> bool:
        """Whether the person may do an action of ``apps.accounts.rules`` in the chosen organisation.

        team: id of the team that owns the thing. None asks whether there can be such a thing at all: a page opens, a button is
        shown where a role in any team would do; the service then decides about the one thing.
        """
        if self.role in roles_for(action):
            return True
        allowed = team_roles_for(action)
        if team is not None:
            return self.teams.get(str(team)) in allowed
        return any(role in allowed for role in self.teams.values())

    def may_installation(self, action: str) -> bool:
        """Whether the person's role in organisation ``main`` allows an action on the installation as a whole."""
        roles = roles_for(action)
        return any(row.organisation.slug == MAIN_ORGANISATION and Role(row.role) in roles for row in self.memberships)

    @property
    def names(self) -> dict[str, str]:
        """Id -> name of the person's organisations."""
        return {str(row.organisation_id): row.organisation.name for row in self.memberships}

    def sees(self, organisation_id: str) -> bool:
        """Whether the person belongs to an organisation."""
        return any(str(membership.organisation_id) == organisation_id for membership in self.memberships)


class ActionDenied(PermissionDenied):
    """A page was refused for want of a permission; the 403 page names it and who can give it.

    action: as in ``apps.accounts.rules.PERMISSIONS``. organisation: where it was missing, None: in ``main``.
    admins: emails of people who can give it, a few.
    """

    def __init__(self, action: str, organisation: Organisation | None) -> None:
        where = organisation.name if organisation is not None else "the installation (organisation main)"
        super().__init__(f"This ({action}) takes the role {roles_text(action)} in {where}.")
        self.action = action
        self.organisation = organisation
        self.admins = admins_of(organisation)


def scope_choose(request: HttpRequest) -> Choice:
    """The choice of a signed-in person; remembers what the URL asked for. Raises PermissionDenied without any membership."""
    known = getattr(request, "_scope_choice", None)
    if known is not None:
        return cast(Choice, known)
    user = cast(User, request.user)
    memberships = tuple(user.memberships.with_teams().select_related("organisation").order_by("organisation__name"))
    if not memberships:
        raise PermissionDenied("You belong to no organisation yet.")
    asked, last = request.GET, request.session.get(SESSION_KEY) or {}
    by_slug = {membership.organisation.slug: membership for membership in memberships}
    slug = asked.get("org") or last.get("org") or ""
    if asked.get("org") and slug not in by_slug:
        raise PermissionDenied("You do not belong to that organisation.")
    membership = by_slug.get(slug, memberships[0])
    wanted = asked.get("scope") or asked.get("traffic") or ""
    if wanted in ("real", "simulated") and not asked.get("org") and membership.organisation.simulated != (wanted == "simulated"):
        # To the other kind of organisation, where there is one; simulated traffic of a real one is asked for with ``org``.
        membership = next((row for row in memberships if row.organisation.simulated == (wanted == "simulated")), membership)
    # What was chosen for another organisation says nothing about this one; a simulated one has nothing real.
    traffic = wanted or (last.get("traffic") if last.get("org") == membership.organisation.slug else "")
    choice = Choice(
        organisation=membership.organisation,
        simulated=membership.organisation.simulated or traffic == "simulated",
        role=Role(membership.role),
        memberships=memberships,
        teams={held["team"]: Role(held["role"]) for held in membership.held_in_teams},
    )
    if "org" in asked or wanted:
        chosen = {"org": choice.organisation.slug, "traffic": choice.traffic}
        if chosen != last:
            request.session[SESSION_KEY] = chosen
    request._scope_choice = choice  # type: ignore[attr-defined]
    return choice


View = Callable[..., HttpResponseBase]


def scoped(action: str, *, installation: bool = False) -> Callable[[View], View]:
    """For views: signed in, a scope chosen (passed as ``choice``), and ``action`` allowed in it, else 403.

    installation: the action is asked for organisation ``main``, whatever the scope shows.
    """
    roles_for(action)

    def decorate(view: View) -> View:
        @login_required
        @wraps(view)
        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return view(request, *args, choice=choice_allowed(request, action, installation=installation), **kwargs)

        inner.permission, inner.installation = action, installation  # type: ignore[attr-defined]  # to be read, as ScopedView's
        return inner

    return decorate


def choice_allowed(request: HttpRequest, action: str, *, installation: bool = False) -> Choice:
    """The choice of a signed-in person who may do ``action`` there. Raises ActionDenied."""
    choice = scope_choose(request)
    if not (choice.may_installation(action) if installation else choice.may(action)):
        raise ActionDenied(action, None if installation else choice.organisation)
    return choice


def asker(request: HttpRequest) -> May:
    """What the person of a request may do, for the rail and the command palette (``apps.ui.navigation``)."""
    choice = scope_choose(request)

    def may(action: str, *, installation: bool = False) -> bool:
        return choice.may_installation(action) if installation else choice.may(action)

    return may
