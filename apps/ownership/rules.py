"""Who is on call when: a rotation's terms -> one person for every instant it covers. Pure; times in are aware, times out are UTC.

A turn begins at a local time of a local day and ends where the next one begins, so that a week with a change of clocks is an hour
shorter or longer and hands over at the hour that people know. A local time that a change of clocks skips is taken as far after it
as it was meant (02:30 becomes 03:30); one that comes twice is its first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY_MINUTES = 24 * 60
EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Override:
    """Somebody stands in from ``starts_at`` to ``ends_at``, also at hours that the rotation does not cover."""

    starts_at: datetime
    ends_at: datetime
    person: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides who is on.

    zone: IANA name. starts_on: local day of the first hand-over; before it nobody is on. minute: of the hand-over, after local
    midnight. every_days: between hand-overs. members: in their order. days: covered weekdays, Monday 0. from_minute, to_minute:
    covered hours of those days, after local midnight; not after ``from_minute``: they end on the next day. absent: members who
    cannot be on, whose turns are gaps. overrides: the later one in the tuple wins.
    """

    zone: str
    starts_on: date
    minute: int
    every_days: int
    members: tuple[str, ...]
    days: frozenset[int] = EVERY_DAY
    from_minute: int = 0
    to_minute: int = DAY_MINUTES
    absent: frozenset[str] = frozenset()
    overrides: tuple[Override, ...] = ()
    clock: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "clock", ZoneInfo(self.zone))

    @property
    def always(self) -> bool:
        """Whether every hour of every day is covered."""
        return self.days == EVERY_DAY and self.from_minute == 0 and self.to_minute == DAY_MINUTES


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch with one person on, or with nobody: ``person`` is empty. override: somebody stands in. covered: the rotation's
    hours hold it, so that nobody there is a gap."""

    starts_at: datetime
    ends_at: datetime
    person: str
    override: bool = False
    covered: bool = True

    @property
    def gap(self) -> bool:
        """Nobody is on although somebody should be."""
        return self.covered and not self.person


def instant(day: date, minute: int, clock: ZoneInfo) -> datetime:
    """UTC of so many minutes after local midnight of a local day; ``minute`` may reach into the next day."""
    days, minute = divmod(minute, DAY_MINUTES)
    local = datetime.combine(day + timedelta(days=days), time(minute // 60, minute % 60), tzinfo=clock)
    return local.astimezone(UTC)


def handover(terms: Terms, number: int) -> datetime:
    """When turn ``number`` begins, counted from 0; UTC."""
    return instant(terms.starts_on + timedelta(days=number * terms.every_days), terms.minute, terms.clock)


def turn_number(terms: Terms, at: datetime) -> int:
    """The number of the turn that holds ``at``; negative before the rotation begins."""
    number = (at.astimezone(terms.clock).date() - terms.starts_on).days // terms.every_days
    while handover(terms, number) > at:
        number -= 1
    while handover(terms, number + 1) <= at:
        number += 1
    return number


def covered(terms: Terms, at: datetime) -> bool:
    """Whether the rotation's hours hold ``at``: by its days and hours alone, not by who is there."""
    if terms.always:
        return True
    today = at.astimezone(terms.clock).date()
    return any(start <= at < end for day in (today - timedelta(days=1), today) for start, end in _hours(terms, day))


def on_at(terms: Terms, at: datetime) -> tuple[str, bool]:
    """Who is on at an instant (empty: nobody), and whether they stand in for somebody."""
    for override in reversed(terms.overrides):
        if override.starts_at <= at < override.ends_at and override.person not in terms.absent:
            return override.person, True
    if not terms.members or not covered(terms, at):
        return "", False
    number = turn_number(terms, at)
    person = terms.members[number % len(terms.members)] if number >= 0 else ""
    return ("" if person in terms.absent else person), False


def turns(terms: Terms, start: datetime, end: datetime) -> list[Turn]:
    """From ``start`` to ``end`` without a hole: turns and gaps, neighbours of the same person made one."""
    edges = sorted({edge for edge in _edges(terms, start, end) if start < edge < end} | {start.astimezone(UTC)})
    found: list[Turn] = []
    for at, until in zip(edges, [*edges[1:], end.astimezone(UTC)], strict=True):
        person, override = on_at(terms, at)
        turn = Turn(at, until, person, override, covered(terms, at))
        last = found[-1] if found else None
        if last and (last.person, last.override) == (person, override) and (person or last.covered == turn.covered):
            found[-1] = Turn(last.starts_at, until, person, override, last.covered)
        else:
            found.append(turn)
    return found


def horizon(terms: Terms) -> timedelta:
    """How far ahead one has to look to see everybody's turn once."""
    return timedelta(days=terms.every_days * (len(terms.members) + 1) + 8)


def now_and_next(terms: Terms, at: datetime) -> tuple[Turn, Turn | None]:
    """The stretch that holds ``at``, which may be a gap, and the first one after it with another person; None where nobody else comes."""
    found = turns(terms, at, at + horizon(terms))
    return found[0], next((turn for turn in found[1:] if turn.person and turn.person != found[0].person), None)


def gaps(terms: Terms, start: datetime, end: datetime) -> list[Turn]:
    """Stretches with nobody on although the rotation's hours cover them."""
    return [turn for turn in turns(terms, start, end) if turn.gap]


def started(weekday: int, minute: int, zone: str, at: datetime) -> date:
    """The local day of the last hand-over on a weekday (Monday 0), for a rotation whose first person is on now."""
    clock = ZoneInfo(zone)
    day = at.astimezone(clock).date()
    day -= timedelta(days=(day.weekday() - weekday) % 7)
    return day if instant(day, minute, clock) <= at else day - timedelta(days=7)


def _hours(terms: Terms, day: date) -> Iterator[tuple[datetime, datetime]]:
    """The covered hours that begin on a local day."""
    if day.weekday() in terms.days:
        overnight = DAY_MINUTES if terms.to_minute <= terms.from_minute else 0
        yield instant(day, terms.from_minute, terms.clock), instant(day, terms.to_minute + overnight, terms.clock)


def _edges(terms: Terms, start: datetime, end: datetime) -> Iterator[datetime]:
    """Every instant at which somebody else may be on."""
    for override in terms.overrides:
        yield override.starts_at.astimezone(UTC)
        yield override.ends_at.astimezone(UTC)
    number = max(turn_number(terms, start), 0)
    while (at := handover(terms, number)) < end:
        yield at
        number += 1
    if not terms.always:
        day, last = start.astimezone(terms.clock).date() - timedelta(days=1), end.astimezone(terms.clock).date()
        while day <= last:
            for hours in _hours(terms, day):
                yield from hours
            day += timedelta(days=1)
