"""Telling people of postmortems and action items, by the ways by which alerts reach them; each thing once. Workers hand it over.

Who has no channel and no e-mail has a row, too, that says so: it stands among the deliveries as failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.utils import timezone as clock

from apps.accounts.models import Organisation, TeamMembership, User
from apps.accounts.selectors import admins_of
from apps.alerts import channel_choices as choices
from apps.alerts.channel_models import AlertChannel, Delivery
from apps.alerts.channels.base import Message, moment
from apps.alerts.receivers import To, no_way, ways_of
from apps.alerts.remedies import absolute

LEADING = ("admin", "manager")
MOST_MANAGERS = 5


def told(
    people: Iterable[User],
    *,
    organisation: Organisation,
    about: str,
    title: str,
    lines: Iterable[str],
    url: str,
    up: bool = False,
    now: datetime | None = None,
) -> int:
    """Have people told once of something (``about``); how many rows are new. up: they are told because nobody acted."""
    now = now or clock.now()
    known = list({person.pk: person for person in people}.values())
    ways, receivers = ways_of(known, organisation), []
    for person in known:
        receivers += ways[person.pk] or [To(f"nobody:{person.pk}", person.name or person.email, person=person, why=no_way(person))]
    what = choices.ESCALATION if up else choices.REMINDER
    message = Message(
        what=what, key=about, at=moment(now), severity="warning", title=title, text="\n".join(lines), organisation=organisation.slug,
        environment=settings.ENVIRONMENT_NAME, url=absolute(url),
    )  # fmt: skip
    return _kept(organisation, about, what, message, receivers, now)


def tracker_told(
    channel: AlertChannel | None, *, organisation: Organisation, about: str, what: str, title: str, lines: Iterable[str], url: str,
    links: list[tuple[str, str]], now: datetime | None = None,
) -> int:  # fmt: skip
    """Have an external tracker told once of what became of an action item. what: ``action.created`` and the like."""
    now = now or clock.now()
    if channel is None or not channel.enabled:
        return 0
    message = Message(
        what=what, key=about.rpartition(":")[0], at=moment(now), severity="info", title=title, text="\n".join(lines),
        organisation=organisation.slug, environment=settings.ENVIRONMENT_NAME, url=absolute(url), links=links,
    )  # fmt: skip
    to = To(f"channel:{channel.pk}", channel.name, channel.kind, channel=channel)
    return _kept(organisation, about, choices.REMINDER, message, [to], now)


def managers_of(user: User, organisation: Organisation) -> list[User]:
    """Who leads the teams that somebody belongs to, else whoever leads the organisation; never the person."""
    teams = TeamMembership.objects.filter(membership__user=user, membership__organisation=organisation).values("team_id")
    leads = TeamMembership.objects.filter(team_id__in=teams, role__in=LEADING, membership__user__is_active=True)
    found = [row.membership.user for row in leads.select_related("membership__user").order_by("membership__user__email")]
    own = [person for person in {person.pk: person for person in found}.values() if person.pk != user.pk][:MOST_MANAGERS]
    return own or leads_of(organisation, without=user)


def leads_of(organisation: Organisation, *, without: User | None = None) -> list[User]:
    """Managers of an organisation, else its admins."""
    rows = User.objects.filter(is_active=True, memberships__organisation=organisation)
    for role in ("manager", "admin"):
        found = rows.filter(memberships__role=role).exclude(pk=without.pk if without else None).order_by("email").distinct()
        if chosen := list(found[:MOST_MANAGERS]):
            return chosen
    return list(User.objects.filter(email__in=admins_of(organisation)).exclude(pk=without.pk if without else None))


def _kept(organisation: Organisation, about: str, what: str, message: Message, receivers: Iterable[To], now: datetime) -> int:
    before = Delivery.objects.filter(organisation=organisation, about=about).count()
    Delivery.objects.bulk_create(
        [
            Delivery(
                organisation=organisation,
                channel=to.channel,
                person=to.person,
                about=about[:120],
                receiver=to.id,
                name=to.name[:254],
                kind=to.kind,
                what=what,
                message=message.document(),
                state=choices.WAITING if to.kind else choices.FAILED,
                due_at=now,
                ended_at=None if to.kind else now,
                told="" if to.kind else to.why[:300],
                created_at=now,
            )
            for to in receivers
        ],
        ignore_conflicts=True,
    )
    return Delivery.objects.filter(organisation=organisation, about=about).count() - before
