"""From a policy's steps to people and channels, as they are at one moment; and from people to the ways by which each can be reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings

from apps.accounts.models import Membership, Organisation, TeamMembership, User
from apps.alerts import channel_choices as choices
from apps.alerts.channel_models import AlertChannel
from apps.alerts.routing import Step
from apps.ownership.choices import ONCALL
from apps.ownership.models import Contact, Rotation, Team
from apps.ownership.rotation_selectors import OnCall, rotations_of, standing

LEADING = ("admin", "manager")
MOST_LEADS = 10


@dataclass(frozen=True, slots=True)
class To:
    """One receiver: ``channel``, or the e-mail ``address`` of somebody. why: nobody is there or can be reached, and why; then no kind.

    id: as ``Delivery.receiver``: the same thing has the same id, so that it is told once.
    """

    id: str
    name: str
    kind: str = ""
    channel: AlertChannel | None = None
    person: User | None = None
    address: str = ""
    why: str = ""


def receivers_of(steps: Sequence[Step], *, organisation: Organisation, team: Team | None, at: datetime) -> list[To]:
    """Whom these steps reach, none twice; what reaches nobody is there with its reason."""
    found: list[To] = []
    turns = _turns(organisation, at) if any(step.target in (choices.ON_CALL, choices.NEXT, choices.EVERYONE) for step in steps) else []
    for step in steps:
        if step.target == choices.CHANNEL:
            found += _channel(step)
        elif step.target == choices.CONTACTS:
            found += _contacts(team)
        elif step.target == choices.LEADS:
            found += _people(_leads(organisation, team), "leads", "There are no leads or admins.", organisation)
        else:
            chosen = _rotations(turns, team, step.rotation)
            if not chosen:
                whose = f"of {team.name}" if team else "of the organisation"
                found.append(To(f"nobody:{step.target}", f"On call {whose}", why="There is no on-call rotation."))
            for turn in chosen:
                found += _of_rotation(step.target, turn, organisation)
    return list({one.id: one for one in found}.values())


def ways_of(people: Iterable[User], organisation: Organisation) -> dict[UUID, list[To]]:
    """By which ways each can be reached: their own channels that are on, else e-mail where there is a mail server. One query."""
    known = {user.pk: user for user in people}
    own: dict[UUID, list[To]] = {pk: [] for pk in known}
    rows = AlertChannel.objects.filter(organisation=organisation, person__in=list(known), enabled=True).order_by("name") if known else ()
    for row in rows:
        user = known[row.person_id]
        own[user.pk].append(To(f"channel:{row.pk}", f"{_called(user)} ({row.label})", row.kind, channel=row, person=user))
    for pk, user in known.items():
        if not own[pk] and settings.EMAIL_HOST and user.is_active:
            own[pk].append(To(f"person:{pk}", f"{_called(user)} (e-mail)", choices.EMAIL, person=user, address=user.email))
    return own


def no_way(user: User) -> str:
    """Why nothing reaches somebody."""
    if not user.is_active:
        return f"{_called(user)} is disabled."
    return f"{_called(user)} has no channel of their own, and no mail server is set (BULKHEAD_SMTP_URL)."


def _turns(organisation: Organisation, at: datetime) -> list[OnCall]:
    return standing(list(rotations_of(organisation).filter(kind=ONCALL)), at=at)


def _rotations(turns: list[OnCall], team: Team | None, named: str) -> list[OnCall]:
    """The one that is named; else the owning team's; else, where it has none, the organisation's."""
    if named:
        return [turn for turn in turns if str(turn.rotation.pk) == named]
    own = [turn for turn in turns if team is not None and turn.rotation.team_id == team.pk]
    return own or [turn for turn in turns if turn.rotation.team_id is None]


def _of_rotation(target: str, turn: OnCall, organisation: Organisation) -> list[To]:
    rotation = turn.rotation
    if target == choices.EVERYONE:
        people = [row.user for row in rotation.member_rows.all() if row.there]  # type: ignore[attr-defined]
        return _people(people, f"{rotation.pk}:everybody", f"Nobody is on the rotation {rotation.name}.", organisation)
    if target == choices.NEXT:
        people = [turn.next_user] if turn.next_user else []
        return _people(people, f"{rotation.pk}:next", f"Nobody comes next on the rotation {rotation.name}.", organisation)
    why = f"Nobody is on call on the rotation {rotation.name}" + ("." if turn.covered else ": it does not cover this hour.")
    return _people([turn.user] if turn.user else [], f"{rotation.pk}:now", why, organisation)


def _people(people: Sequence[User], place: str, nobody: str, organisation: Organisation) -> list[To]:
    if not people:
        return [To(f"nobody:{place}", "Nobody", why=nobody)]
    ways, found = ways_of(people, organisation), []
    for user in people:
        found += ways[user.pk] or [To(f"nobody:{user.pk}", _called(user), person=user, why=no_way(user))]
    return found


def _channel(step: Step) -> list[To]:
    row = AlertChannel.objects.filter(pk=step.channel).first()
    if row is None or not row.enabled:
        name = row.name if row else "a channel that is gone"
        return [To(f"nobody:{step.channel}", name, why=f"{name} is switched off." if row else "The channel is gone.")]
    return [To(f"channel:{row.pk}", row.name, row.kind, channel=row)]


def _contacts(team: Team | None) -> list[To]:
    """The e-mail addresses among the owning team's contacts, in the order of escalation, and its own; nothing where there are none, because
    it is one of several ways."""
    if team is None or not settings.EMAIL_HOST:
        return []
    rows = Contact.objects.filter(team=team, kind="email").order_by("position").values_list("value", flat=True)
    addresses = list(dict.fromkeys([*rows, *([team.contact_email] if team.contact_email else [])]))
    return [To(f"address:{address}"[:120], address, choices.EMAIL, address=address) for address in addresses]


def _leads(organisation: Organisation, team: Team | None) -> list[User]:
    if team is not None:
        rows = TeamMembership.objects.filter(team_id=team.pk, role__in=LEADING, membership__user__is_active=True)
        own = [row.membership.user for row in rows.select_related("membership__user").order_by("membership__user__email")[:MOST_LEADS]]
        if own:
            return own
    wide = Membership.objects.filter(organisation=organisation, role__in=LEADING, user__is_active=True)
    return [row.user for row in wide.select_related("user").order_by("role", "user__email")[:MOST_LEADS]]


def _called(user: User) -> str:
    return user.name or user.email


def rotations_watched(organisation: Organisation | None = None) -> list[Rotation]:
    """On-call rotations of one organisation, or of all, with their people: who should be reachable."""
    rows = Rotation.objects.filter(kind=ONCALL).select_related("team", "organisation").order_by("organisation_id", "name")
    if organisation is not None:
        rows = rows.filter(organisation=organisation)
    known: dict[UUID, Organisation] = {}
    for row in rows:
        known.setdefault(row.organisation_id, row.organisation)
    return [row for one in known.values() for row in rotations_of(one).filter(kind=ONCALL)]
