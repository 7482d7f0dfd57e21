"""The states of workers and replicas, and how one leads to another. Pure.

A worker's state is not stored but follows from what is: the mode that people set, when it was last heard, whether its machine is about to
be taken away. Silence is judged by the time in which the control plane itself was listening: after an outage of ours nobody is lost, and
while nobody at all is heard, the fault is assumed to be here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from apps.contracts.fleet import MAX_SKEW_MS

SILENT_AFTER = timedelta(seconds=30)
"""Three heartbeats missed: shown, and nothing new is placed there."""
LOST_AFTER = timedelta(seconds=90)
"""Its replicas are replaced elsewhere. What the agent still runs is drained when it comes back: its new desired state does not hold it."""
LISTENING = timedelta(seconds=30)
"""While any worker was heard within this time, the control plane is known to be listening."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a worker. last_seen None: it joined and never reported. preempted_at: when its machine goes away."""

    mode: str = "active"
    last_seen: datetime | None = None
    joined: datetime | None = None
    preempted_at: datetime | None = None
    revoked: bool = False
    skew_ms: int = 0


@dataclass(frozen=True, slots=True)
class Pulse:
    """When the control plane heard anybody last, and since when without a gap of more than ``LISTENING``. None: never yet."""

    heard: datetime | None = None
    since: datetime | None = None

    def after(self, now: datetime) -> Pulse:
        """The pulse once somebody was heard at ``now``."""
        unbroken = self.since is not None and self.heard is not None and now - self.heard <= LISTENING
        return Pulse(max(now, self.heard) if self.heard else now, self.since if unbroken else now)


def silence(seen: Seen, pulse: Pulse, now: datetime) -> timedelta:
    """How long the worker kept silent while we listened."""
    start = seen.last_seen or seen.joined or now
    if pulse.since is not None:
        start = max(start, pulse.since)
    return max(timedelta(0), now - start)


def worker_state(seen: Seen, pulse: Pulse, now: datetime) -> str:
    """The key of ``choices.WORKER_STATES``: what is worst of it."""
    if seen.revoked:
        return "revoked"
    if seen.last_seen is None:
        return "joining"
    alone = pulse.heard is None or now - pulse.heard > LISTENING
    quiet = now - seen.last_seen > SILENT_AFTER
    if quiet and not alone and silence(seen, pulse, now) > LOST_AFTER:
        return "lost"
    if quiet:
        return "silent"
    if seen.preempted_at is not None:
        return "preempted"
    if seen.mode != "active":
        return seen.mode
    return "skewed" if abs(seen.skew_ms) > MAX_SKEW_MS else "ready"


CLOSED: Final[dict[str, str]] = {
    "revoked": "was removed from the fleet",
    "joining": "has not reported yet",
    "lost": "is lost: nothing was heard of it",
    "silent": "is silent",
    "preempted": "its machine is about to be taken away",
    "cordoned": "is cordoned",
    "draining": "is draining",
    "maintenance": "is in maintenance",
}
"""Why a worker in this state takes nothing new; a state that is not named takes replicas."""
LEAVE: Final = frozenset({"draining", "maintenance", "preempted"})
"""States whose replicas are moved: a new one is ready elsewhere before the old one drains, where there is room."""
ABANDONED: Final = frozenset({"lost", "revoked"})
"""States whose replicas are given up: they are replaced at once."""

MODES: Final[dict[str, frozenset[str]]] = {
    "active": frozenset({"cordoned", "draining", "maintenance"}),
    "cordoned": frozenset({"active", "draining", "maintenance"}),
    "draining": frozenset({"active", "cordoned", "maintenance"}),
    "maintenance": frozenset({"active", "cordoned"}),
}
"""From a worker's mode to those that people may choose next."""

_FORWARD: Final[tuple[str, ...]] = ("pending", "downloading", "starting", "loading", "warming", "ready", "draining", "stopping", "stopped")
NEXT: Final[dict[str, frozenset[str]]] = {
    state: frozenset({*_FORWARD[place + 1 :], "failed"} | ({"pending", "starting"} if state == "failed" else set()))
    for place, state in enumerate(_FORWARD)
} | {"failed": frozenset(_FORWARD)}
"""From a replica's state to those that may follow. An agent that restarts an engine goes through ``failed`` or back to ``pending``."""
BACK: Final = frozenset({"pending", "downloading", "starting", "loading", "failed"})
"""States that any state but ``stopped`` may fall back to: the engine was started again."""


def follows(before: str, after: str) -> bool:
    """Whether a report of ``after`` may replace ``before``. A replica that has stopped stays so: another one takes its place."""
    if before == after:
        return True
    if before == "stopped":
        return False
    return after in NEXT.get(before, frozenset()) or after in BACK


def moved(mode: str, wanted: str) -> str | None:
    """None where a worker may go from ``mode`` to ``wanted``; else why not, with what to do."""
    if wanted == mode or wanted in MODES.get(mode, frozenset()):
        return None
    if wanted == "draining" and mode == "maintenance":
        return "It is in maintenance already: its replicas are gone. Return it to service instead."
    return f"A worker that is {mode} cannot become {wanted}."
