"""Whom to ask about one thing: the team that owns it and who is on call for that team now, in one query.

Every page of a thing that teams own shows it (``templates/ownership/owner.html``), whatever else the page reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import JSONObject
from django.utils import timezone

from apps.accounts.models import Membership, Organisation, User
from apps.ownership import choices
from apps.ownership.models import Contact, Rotation, RotationMember, RotationOverride, Team
from apps.ownership.rotation_selectors import OnCall, on_at


@dataclass(frozen=True, slots=True)
class Reach:
    """team: None: nobody owns it. on_call: of each of its rotations, who is on. first: kind, value and label of the contact that is tried
    after them, empty where the team has none."""

    team: Team | None = None
    on_call: list[OnCall] = field(default_factory=list)
    first: Mapping[str, str] = field(default_factory=dict)

    @property
    def owned(self) -> bool:
        """Whether anybody answers for it."""
        return self.team is not None


def reach_of(
    organisation: Organisation, *, team: UUID | None = None, kind: str = "", object_id: object = "", at: datetime | None = None
) -> Reach:
    """Who answers for a thing: the team with that id, else the one that holds the object of that kind (``Holding``). One query, none
    without either."""
    if team is None and not kind:
        return Reach()
    rows = Team.objects.filter(organisation=organisation)
    rows = rows.filter(pk=team) if team is not None else rows.filter(holdings__kind=kind, holdings__object_id=str(object_id))
    found: Any = rows.annotate(written=ArraySubquery(_rotations()), reached=ArraySubquery(_contacts())).first()
    if found is None:
        return Reach()
    now = at or timezone.now()
    on_call = [_on_call(organisation, found, row, now) for row in sorted(found.written, key=lambda row: row["name"])]
    return Reach(found, on_call, found.reached[0] if found.reached else {})


def _rotations() -> QuerySet[Any]:
    """The on-call rotations of the outer team with their people, as JSON."""
    plain = ("name", "zone", "starts_on", "minute", "every_days", "days", "from_minute", "to_minute")
    rows = Rotation.objects.filter(team=OuterRef("pk"), kind=choices.ONCALL).order_by()
    people = {
        "turns": ArraySubquery(_people(RotationMember.objects.order_by("position"))),
        "stand_ins": ArraySubquery(_people(RotationOverride.objects.order_by("created_at", "id"), "starts_at", "ends_at")),
    }
    return rows.annotate(**people).values(
        made=JSONObject(id="pk", members="turns", overrides="stand_ins", **{name: name for name in plain})
    )


def _people(rows: QuerySet[Any], *more: str) -> QuerySet[Any]:
    """Each row of the outer rotation with its person, and whether they can be on."""
    there = Membership.objects.filter(organisation=OuterRef("rotation__organisation"), user_id=OuterRef("user_id"), user__is_active=True)
    told = JSONObject(user=F("user_id"), email=F("user__email"), name=F("user__name"), there=F("there"), **{name: F(name) for name in more})
    return rows.filter(rotation=OuterRef("pk")).annotate(there=Exists(there)).values(made=told)


def _contacts() -> QuerySet[Any]:
    return (
        Contact.objects.filter(team=OuterRef("pk"))
        .order_by("position")
        .values(made=JSONObject(kind="kind", value="value", label="label"))[:1]
    )


def _on_call(organisation: Organisation, team: Team, row: Mapping[str, Any], at: datetime) -> OnCall:
    """Who is on in a rotation that came as JSON; the objects made of it are for reading only."""
    facts = {name: row[name] for name in ("name", "zone", "minute", "every_days", "days", "from_minute", "to_minute")}
    starts_on = datetime.fromisoformat(row["starts_on"]).date()
    found = Rotation(id=UUID(row["id"]), organisation=organisation, team=team, kind=choices.ONCALL, starts_on=starts_on, **facts)
    members = [RotationMember(rotation=found, position=at, user=_user(one)) for at, one in enumerate(row["members"])]
    stand_ins = [
        RotationOverride(
            rotation=found,
            user=_user(one),
            starts_at=datetime.fromisoformat(one["starts_at"]),
            ends_at=datetime.fromisoformat(one["ends_at"]),
        )
        for one in row["overrides"]
    ]
    for made, one in zip([*members, *stand_ins], [*row["members"], *row["overrides"]], strict=True):
        made.there = one["there"]  # type: ignore[attr-defined]
    return on_at(found, members, stand_ins, at=at)


def _user(row: Mapping[str, Any]) -> User:
    return User(id=UUID(row["user"]), email=row["email"], name=row["name"])
