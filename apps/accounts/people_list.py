"""The list of people as its URL asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from django.db.models import Max, Prefetch, Q, QuerySet
from django.urls import reverse

from apps.accounts.models import Membership, User
from apps.accounts.rules import Role
from apps.ui.status import Status
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build

ACTIVE = Status("active", "Active", "good")
DISABLED = Status("disabled", "Disabled", "neutral", "block", hint="May not sign in; roles are kept.")
ROLELESS = Status("roleless", "No role", "warn", hint="May sign in and sees nothing: give a role.")
STATES = {status.value: status for status in (ACTIVE, DISABLED, ROLELESS)}


def person_status(person: User) -> Status:
    """Whether a person may sign in, and sees anything then."""
    if not person.is_active:
        return DISABLED
    return ACTIVE if person.memberships.all() else ROLELESS


def roles_text(person: User) -> str:
    """``admin of Main, member of Demo, on-call of team payments (Demo)``; memberships ``with_teams``."""
    said = []
    for row in person.memberships.all():
        name = row.organisation.name
        said += [f"{row.role} of {name}", *(f"{held['role']} of team {held['slug']} ({name})" for held in row.held_in_teams)]
    return ", ".join(said)


COLUMNS: tuple[Column[User], ...] = (
    Column("Person", "email", value=lambda row: row.email),
    Column("Name", "name", value=lambda row: row.name),
    Column("State", "state", order=("is_active",), value=lambda row: person_status(row).label),
    Column("Roles", value=roles_text),
    Column("Last seen", "seen", order=("seen_at",), value=lambda row: row.seen_at.isoformat(timespec="seconds") if row.seen_at else ""),
    Column("Since", "since", extra=True, order=("created_at",), value=lambda row: row.created_at.isoformat(timespec="seconds")),
)


class PeopleList:
    """Filters ``q`` (email or name), ``role`` and ``state``; sort and page from the URL."""

    def __init__(self, query: Mapping[str, str], *, may_change: bool) -> None:
        self.query = query
        self.may_change = may_change
        self.q = query.get("q", "").replace("\x00", "").strip()[:200]
        self.role = query.get("role", "") if query.get("role") in set(Role) else ""
        self.state = query.get("state", "") if query.get("state") in STATES else ""

    @property
    def rows(self) -> QuerySet[User]:
        rows = User.objects.annotate(seen_at=Max("signed_in_sessions__seen_at")).prefetch_related(
            Prefetch("memberships", Membership.objects.with_teams().select_related("organisation").order_by("organisation__name"))
        )
        if self.q:
            rows = rows.filter(Q(email__icontains=self.q) | Q(name__icontains=self.q))
        if self.role:
            anywhere = Q(role=self.role) | Q(team_memberships__role=self.role)
            rows = rows.filter(pk__in=Membership.objects.filter(anywhere).values("user_id"))
        if self.state == "disabled":
            rows = rows.filter(is_active=False)
        elif self.state:
            rows = rows.filter(is_active=True)
            members = Membership.objects.values("user_id")
            rows = rows.filter(pk__in=members) if self.state == "active" else rows.exclude(pk__in=members)
        return rows

    @cached_property
    def listing(self) -> Listing[User]:
        applied = (("Search", self.q, "q"), ("Role", self.role, "role"), ("State", STATES[self.state].label if self.state else "", "state"))
        chips = [Chip(*chip) for chip in applied if chip[1]]
        url = reverse("settings:invite") if self.may_change else ""
        nothing = Empty("nothing-yet", "Nobody is here", "Invite a colleague.", url, "Invite a colleague" if url else "")
        return listing_build(
            self.query, label="people", columns=COLUMNS, rows=self.rows, default_sort="email", nothing_yet=nothing, chips=chips
        )

    @property
    def roles(self) -> list[str]:
        return [role.value for role in Role]

    @property
    def states(self) -> list[Status]:
        return list(STATES.values())
