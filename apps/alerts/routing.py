"""Which policy an alert falls under, when a warning may be told, and who is told next. Pure: no clock, no database.

Invariants: the first policy that matches decides, and one always does. Without an acknowledgement each level is told once a round, in
order, none before its time unless nobody of the level before could be reached; an acknowledged notification tells nothing but its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from apps.alerts import channel_choices as choices
from apps.ownership import rules as ownership

MOST_ROUNDS = 10
"""Rounds of a ladder that nobody answers; after them the pages go on showing it, and a new or worse alert begins again."""
FRESH_WAIT = timedelta(seconds=15)
"""What joins a group that was told already is told so soon, together with what joins beside it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One receiver of a level. channel, rotation: ids as text; empty where it names none."""

    target: str
    channel: str = ""
    rotation: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """Receivers that are told together, so many minutes into a round."""

    after_minutes: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """As ``channel_models.NotificationPolicy``. id: empty for the built-in one. levels: at least one, the first at 0 minutes."""

    id: str = ""
    name: str = "built-in"
    team: str = ""
    severity: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    zone: str = "UTC"
    days: int = 127
    from_minute: int = 0
    to_minute: int = ownership.DAY_MINUTES
    group_wait_s: int = 15
    repeat_minutes: int = 60
    levels: tuple[Level, ...] = ()


BUILT_IN = Policy(
    levels=(
        Level(0, (Step(choices.ON_CALL),)),
        Level(10, (Step(choices.NEXT), Step(choices.CONTACTS))),
        Level(20, (Step(choices.LEADS),)),
    )
)
"""What holds where no policy of the organisation does: on call, then who is next and the team's contacts, then its leads or admins."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What routing asks of an alert. team: id of the owning team, empty for nobody's."""

    team: str
    severity: str
    labels: Mapping[str, str]


def policy_for(policies: Sequence[Policy], facts: Facts) -> Policy:
    """The first that matches, else the built-in one."""
    return next((policy for policy in policies if matches(policy, facts)), BUILT_IN)


def matches(policy: Policy, facts: Facts) -> bool:
    """Everything that the policy says holds of the alert."""
    return (
        policy.team in ("", facts.team)
        and policy.severity in ("", facts.severity)
        and all(facts.labels.get(name) == value for name, value in policy.labels.items())
    )


def opens_at(policy: Policy, severity: str, now: datetime) -> datetime:
    """When an alert of this severity may be told: now, or for a warning outside the policy's hours when those begin."""
    if severity == "critical":
        return now
    hours = ownership.Terms(
        zone=policy.zone,
        starts_on=date(2001, 1, 1),
        minute=0,
        every_days=7,
        members=(),
        days=frozenset(day for day in range(7) if policy.days & 1 << day),
        from_minute=policy.from_minute,
        to_minute=policy.to_minute,
    )
    if ownership.covered(hours, now):
        return now
    coming = ownership.turns(hours, now, now + timedelta(days=9))
    return next(turn.starts_at for turn in coming if turn.covered)


def raised(severity: str, *, budget_used: float | None, warn_percent: int, page_percent: int) -> str:
    """A severity by the boundaries of the owner's SLA: what used up the page boundary of the error budget is critical whatever the rule
    says, a warning below the warning boundary concerns nobody yet (empty). budget_used: percent; None: the alert is not about a budget."""
    return severity if budget_used is None else _by_boundaries(severity, budget_used, warn_percent, page_percent)


def raised_by_time(severity: str, *, took_us: float | None, warn_ms: int | None, page_ms: int | None) -> str:
    """The same of an alert on a p95 of which the owner's SLA promises a time. took_us: as it was measured; None for a boundary: nothing is
    promised of it."""
    if took_us is None or warn_ms is None or page_ms is None:
        return severity
    return _by_boundaries(severity, took_us, warn_ms * 1_000, page_ms * 1_000)


def _by_boundaries(severity: str, value: float, warn: float, page: float) -> str:
    if severity == "critical" or value >= page:
        return "critical"
    return severity if value >= warn else ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a notification is; fields as ``channel_models.Notification``."""

    told_at: datetime | None
    step: int
    round: int
    acked: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """What to do now. what: empty for nothing; levels: which of the policy's are told. The rest is the standing afterwards."""

    what: str
    levels: tuple[int, ...]
    told_at: datetime | None
    step: int
    round: int
    next_at: datetime | None


def turn(policy: Policy, standing: Standing, *, fresh: bool, unreached: bool, now: datetime) -> Turn:
    """The next thing to do about a notification with something firing in it.

    fresh: something joined or became worse and was not told yet. unreached: nobody of the last level that was told could be reached.
    """
    told_at, step, rounds = standing.told_at, standing.step, standing.round
    if told_at is None or (fresh and (standing.acked or rounds >= MOST_ROUNDS)):
        return _turn(policy, choices.FIRING, (0,), now, 1, 0)
    if fresh:
        return _turn(policy, choices.FIRING, tuple(range(step)), told_at, step, rounds)
    if standing.acked:
        return Turn("", (), told_at, step, rounds, None)
    due = next_at(policy, told_at, step, rounds)
    if step < len(policy.levels) and due is not None and (unreached or now >= due):
        return _turn(policy, choices.ESCALATION, (step,), told_at, step + 1, rounds)
    if due is not None and now >= due:
        return _turn(policy, choices.REMINDER, (0,), now, 1, rounds + 1)
    return Turn("", (), told_at, step, rounds, due)


def next_at(policy: Policy, told_at: datetime, step: int, rounds: int) -> datetime | None:
    """When the next level is due, or after the last one the next round; None: never by itself."""
    if step < len(policy.levels):
        return told_at + timedelta(minutes=policy.levels[step].after_minutes)
    if not policy.repeat_minutes or rounds + 1 >= MOST_ROUNDS:
        return None
    return told_at + timedelta(minutes=policy.levels[-1].after_minutes + policy.repeat_minutes)


def _turn(policy: Policy, what: str, levels: tuple[int, ...], told_at: datetime, step: int, rounds: int) -> Turn:
    return Turn(what, levels, told_at, step, rounds, next_at(policy, told_at, step, rounds))


BACK_OFF = (10, 30, 120, 300, 900, 1800)
"""Seconds before the second try, the third, and so on; after the last one there is none."""


def tried_again_at(tries: int, now: datetime, *, asked: float = 0.0) -> datetime | None:
    """When a delivery whose ``tries``-th try failed is tried again; None: no more. asked: seconds that the receiver asked for."""
    if tries > len(BACK_OFF):
        return None
    return now.astimezone(UTC) + timedelta(seconds=max(BACK_OFF[tries - 1], asked))
