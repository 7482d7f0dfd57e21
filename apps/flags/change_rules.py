"""Which flips take two persons, and what may become of a request for one. Pure: no ORM, no clock of its own.

Invariants, which the property tests of this module and two constraints of the table hold:

1. A flip that takes two persons never happens with one, except marked break-glass.
2. A request flips at most once, whatever arrives in whatever order.
3. What broke glass stays open for review until somebody else closes it.

Every function takes the request as it is and returns it as it becomes, or raises ServiceError, which says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apps.audit.errors import ServiceError
from apps.flags.change_choices import (
    APPLIED,
    CLOSED,
    EXPIRED,
    FAILED,
    MISSED,
    OPEN,
    OPEN_STATES,
    REJECTED,
    SCHEDULED,
    STATES,
    WAITING,
    WITHDRAWN,
)

ASKED_FOR = timedelta(hours=72)
"""How long a request waits for a second person, unless its own time or its end comes first."""
LATE = timedelta(hours=1)
"""How late a scheduled flip may run where the person who scheduled it did not choose."""
LATEST = timedelta(days=7)
AHEAD = timedelta(days=366)
NOTED_LATE = timedelta(minutes=1)
"""A scheduled flip that ran later than this says so."""
LOOSENING = timedelta(hours=24)
"""How long a rule about two persons holds on after somebody removed it: nobody lifts it, flips and puts it back unseen."""

Direction = Literal["on", "off", ""]


class Person(NamedTuple):
    """Who acts. kind: as of ``apps.audit.actors``; only a ``user`` is somebody else than whoever asked."""

    kind: str
    id: str


class Standing(NamedTuple):
    """How a flag stands. until: None for no end. share: percent of the traffic. simulated_only: it acts on simulated traffic only."""

    on: bool
    until: datetime | None = None
    share: int = 100
    simulated_only: bool = False

    def at(self, now: datetime) -> Standing:
        """As it acts at that moment: a flag whose end has passed is off."""
        return OFF if not self.on or (self.until is not None and self.until <= now) else self


OFF = Standing(on=False)


class Asked(NamedTuple):
    """A flip as rules see it. teams: ids of the teams that it concerns: whoever owns the flag, and whoever owns what it is about.
    environments: those it acts on."""

    kind: str
    subject: str
    teams: frozenset[str]
    environments: frozenset[str]
    direction: Direction
    simulated_only: bool


class Rule(NamedTuple):
    """Which flips take two persons: those that fit every field that is not empty. team: that owns the flag or what it is about.
    turning: ``on``, ``off`` or ``either``."""

    kind: str = ""
    subject: str = ""
    team: str = ""
    environment: str = ""
    turning: str = "on"


def direction(before: Standing, after: Standing) -> Direction:
    """Whether a flip turns something on or off: more traffic or a later end counts as on, less as off, no difference as neither."""
    if before == after or not (before.on or after.on):
        return ""
    if not after.on:
        return "off"
    if not before.on:
        return "on"
    later = before.until is not None and (after.until is None or after.until > before.until)
    wider = after.share > before.share or (before.simulated_only and not after.simulated_only)
    return "on" if later or wider else "off"


def simulated_alone(before: Standing, after: Standing) -> bool:
    """Whether a flip touches simulated traffic only, before and after."""
    return all(each.simulated_only for each in (before, after) if each.on)


def takes_two(asked: Asked, rules: Iterable[Rule]) -> Rule | None:
    """The first rule that asks for a second person; None: one is enough. What touches simulated traffic only never takes two."""
    if not asked.direction or asked.simulated_only:
        return None
    return next((rule for rule in rules if _covers(rule, asked)), None)


def _covers(rule: Rule, asked: Asked) -> bool:
    return (
        rule.kind in ("", asked.kind)
        and rule.subject in ("", asked.subject)
        and (not rule.team or rule.team in asked.teams)
        and (not rule.environment or rule.environment in asked.environments)
        and rule.turning in ("either", asked.direction)
    )


def weakened(before: Asked, after: Asked, rules: Iterable[Rule]) -> Rule | None:
    """The first rule that asks for a second person of a flag as it is and, were it as ``after``, would leave some turn of it to one person;
    None: none does. The direction of both is of no account: each is looked at."""
    known = list(rules)
    turns: tuple[Direction, ...] = ("on", "off")
    for turn in turns:
        held = takes_two(before._replace(direction=turn), known)
        if held is not None and takes_two(after._replace(direction=turn), known) is None:
            return held
    return None


def rule_words(rule: Rule, *, team: str = "") -> str:
    """A rule for people: ``turning on any kill of a provider in production, where team Search owns the flag or what it is about``. team:
    the name to show."""
    words = f"{ {'on': 'turning on', 'off': 'turning off'}.get(rule.turning, 'turning on or off') } any {rule.kind or 'flag'}"
    words += f" of a {rule.subject}" if rule.subject else ""
    words += f" in {rule.environment}" if rule.environment else ""
    return words + (f", where team {team or rule.team} owns the flag or what it is about" if rule.team else "")


@dataclass(frozen=True, slots=True)
class Change:
    """One request for a flip.

    two: a second person is needed. glass: one person did it alone although two are needed. asked_by, approved_by, closed_by: who.
    at: when it shall happen, None at once. late: how late it may run, None however late. expires_at: until when it can be approved.
    review: empty, ``open`` or ``closed``.
    """

    state: str
    two: bool
    glass: bool
    asked_by: Person
    approved_by: Person | None
    at: datetime | None
    until: datetime | None
    late: timedelta | None
    expires_at: datetime
    review: str = ""
    closed_by: Person | None = None


class Step(NamedTuple):
    """A request as it becomes; flip: now is the one moment at which the flag is switched."""

    change: Change
    flip: bool = False


def asked(
    *,
    by: Person,
    two: bool,
    glass: bool,
    now: datetime,
    at: datetime | None = None,
    until: datetime | None = None,
    late: timedelta | None = LATE,
) -> Step:
    """A new request: done at once, scheduled, or waiting. Break-glass counts only where it passes a second person over."""
    if at is not None:
        if at.tzinfo is None:
            raise ServiceError("the time needs a time zone, such as 2027-01-31T09:00:00+01:00", "at")
        if at <= now:
            raise ServiceError("the time has passed: choose a later one, or leave it out to do it at once", "at")
        if at > now + AHEAD:
            raise ServiceError("that is more than a year ahead: choose an earlier time", "at")
        if glass:
            raise ServiceError("break-glass is for now: leave the time out, or leave break-glass out", "at")
    if until is not None and until <= (at or now):
        raise ServiceError("it would end before it begins: choose a later end, or none", "until")
    if late is not None and not timedelta(0) <= late <= LATEST:
        raise ServiceError(f"a flip may run up to {LATEST.days} days late, or however late", "late")
    wait = (now if at is None else at) + (ASKED_FOR if at is None or late is None else late)
    change = Change(
        state=WAITING,
        two=two,
        glass=glass and two,
        asked_by=by,
        approved_by=None,
        at=at,
        until=until,
        late=late,
        expires_at=wait if until is None else min(wait, until),
    )
    if two and not glass:
        return Step(change)
    if at is not None:
        return Step(replace(change, state=SCHEDULED))
    return Step(replace(change, state=APPLIED, review=OPEN if change.glass else ""), flip=True)


def approved(change: Change, *, by: Person, now: datetime) -> Step:
    """Somebody else says yes: it happens now, or at its time."""
    _waits(change, "approve")
    _somebody_else(change, by, "approve it")
    if now >= change.expires_at:
        raise ServiceError("its time to be approved has run out: ask for the flip again")
    change = replace(change, approved_by=by)
    if change.at is not None and now < change.at:
        return Step(replace(change, state=SCHEDULED))
    return Step(replace(change, state=APPLIED), flip=True)


def rejected(change: Change, *, by: Person) -> Step:
    """Somebody else says no."""
    _waits(change, "reject")
    if by == change.asked_by:
        raise ServiceError("it is your own request: withdraw it")
    return Step(replace(change, state=REJECTED))


def withdrawn(change: Change, *, by: Person, may_approve: bool) -> Step:
    """Whoever asked takes it back, or who could approve it stops it, also after it was scheduled."""
    if change.state not in OPEN_STATES:
        raise ServiceError(f"there is nothing to withdraw: {STATES[change.state].label.lower()}")
    if by != change.asked_by and not may_approve:
        raise ServiceError("only who asked for it, or who could approve it, may withdraw it")
    return Step(replace(change, state=WITHDRAWN))


def due(change: Change, *, now: datetime, two_now: bool) -> Step:
    """What time makes of it: nothing, expired, missed, or its flip. two_now: whether a second person is needed by today's rules."""
    if change.state == WAITING:
        return Step(replace(change, state=EXPIRED) if now >= change.expires_at else change)
    if change.state != SCHEDULED or change.at is None or now < change.at:
        return Step(change)
    if two_now and change.approved_by is None:
        return Step(replace(change, state=FAILED))
    if (change.late is not None and now > change.at + change.late) or (change.until is not None and change.until <= now):
        return Step(replace(change, state=MISSED))
    return Step(replace(change, state=APPLIED), flip=True)


def failed(change: Change) -> Step:
    """It could not be done, and will not be tried again by itself."""
    if change.state not in OPEN_STATES:
        raise ServiceError(f"it is over: {STATES[change.state].label.lower()}")
    return Step(replace(change, state=FAILED))


def reviewed(change: Change, *, by: Person) -> Step:
    """Somebody else looked at what was done alone."""
    if change.review != OPEN:
        raise ServiceError("there is no review open")
    _somebody_else(change, by, "close its review")
    return Step(replace(change, review=CLOSED, closed_by=by))


def _waits(change: Change, verb: str) -> None:
    if change.state != WAITING:
        raise ServiceError(f"there is nothing to {verb}: {STATES[change.state].label.lower()}")


def _somebody_else(change: Change, by: Person, what: str) -> None:
    if by.kind != "user":
        raise ServiceError(f"a person has to {what}: sign in and do it on its page")
    if by == change.asked_by:
        raise ServiceError(f"you asked for it yourself: somebody else has to {what}")


class Conflict(NamedTuple):
    """A field of the flag that is another one than when the flip was asked for."""

    field: str
    then: Any
    now: Any


def conflicts(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Conflict]:
    """What changed since, in the order of the names."""
    names = sorted(then.keys() | now.keys())
    return [Conflict(name, then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)]


def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises ServiceError."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ServiceError(f"{name[:60]!r} is no time zone: use a name such as Europe/Berlin or UTC", "zone") from None


def moment_in(local: datetime, zone: str) -> datetime:
    """A wall clock's time in a zone, as UTC. Of an hour that comes twice the first; one that is skipped is refused."""
    moment = local.replace(tzinfo=zone_of(zone), fold=0).astimezone(UTC)
    if moment.astimezone(zone_of(zone)).replace(tzinfo=None) != local.replace(tzinfo=None, fold=0):
        raise ServiceError(f"{local:%Y-%m-%d %H:%M} does not exist in {zone}: the clocks skip it; choose an hour later", "at")
    return moment


def lateness(at: datetime, now: datetime) -> str:
    """A note about a scheduled flip that ran late; empty within a minute."""
    late = now - at
    if late < NOTED_LATE:
        return ""
    minutes = int(late.total_seconds() // 60)
    spent = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
    return f"ran {spent} late: nothing ran scheduled flips at its time"
