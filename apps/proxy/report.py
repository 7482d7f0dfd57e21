"""What a proxy tells of its targets with its heartbeats: which are in trouble now, and what happened to them lately. Small and bounded.

``targets``: those whose breaker is not closed, that asked to be left alone, or that people wait for; the worst first, at most
``MAX_TARGETS``. ``events``: the newest ``MAX_EVENTS`` openings, closings and refused credentials of the last ten minutes, numbered, so that
whoever reads heartbeats may miss some of them and still miss no event. Both are looked at once a second: a heartbeat costs a round trip.
Nobody has to hear any of it for requests to be served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from apps.contracts.reports import CLOSED, MAX_EVENTS, MAX_TARGETS, OPENED, REFUSED, TargetEvent, TargetReport

if TYPE_CHECKING:
    from apps.proxy.breaker import Breaker
    from apps.proxy.credentials import Credentials
    from apps.proxy.runtime import CompiledTarget
    from apps.proxy.state import States, TargetState

KEPT_MS = 600_000
QUIET_MS = 60_000
"""A credential that is refused again and again is told once in this time."""
_SEVERITY = {"open": 0, "forced_open": 1, "half_open": 2, "forced_closed": 3, "closed": 4}


class Report:
    """``now``: the loop's time in seconds; ``now_ms``: the database's, milliseconds since the epoch."""

    def __init__(self, states: States, now: Callable[[], float], now_ms: Callable[[], int]) -> None:
        """Listens to the breakers' changes, before who listened already."""
        self._states = states
        self._now = now
        self._now_ms = now_ms
        self._since: dict[str, int] = {}
        """When each breaker that is not closed left that state: a failed probe begins no new outage."""
        self._told: set[str] = set()
        """Whose opening was an event, so that its closing is one: what people force is their decision, and audited."""
        self._refused: dict[tuple[str, str], int] = {}
        self._events: deque[TargetEvent] = deque(maxlen=MAX_EVENTS)
        self._number = 0
        self.credentials: Credentials | None = None
        """Of whose credentials it tells; None: of nobody's."""
        before = states.breakers.on_change

        def changed(key: str, breaker: Breaker) -> None:
            self._changed(key, breaker)
            if before is not None:
                before(key, breaker)

        states.breakers.on_change = changed

    def credential_refused(self, target: CompiledTarget, status: int, name: str = "") -> None:
        """A provider answered 401, 402 or 403: somebody has to look after its credential. name: which, of several."""
        now_ms = self._now_ms()
        if now_ms - self._refused.get((target.key, name), -QUIET_MS) >= QUIET_MS:
            self._refused[target.key, name] = now_ms
            self._add(REFUSED, target.key, status, name)

    def detail(self) -> dict[str, Any]:
        """What the next heartbeat says; without anything to say, nothing. JSON-able."""
        now, now_ms = self._now(), self._now_ms()
        rows = [row for key, state in self._states.items() if (row := self._row(key, state, now, now_ms)) is not None]
        rows.sort(key=lambda row: (_SEVERITY[row.state], -row.waiting, row.key))
        while self._events and now_ms - self._events[0].at_ms > KEPT_MS:
            self._events.popleft()
        found: dict[str, Any] = {}
        if rows:
            found["targets"] = [row.plain() for row in rows[:MAX_TARGETS]]
        if len(rows) > MAX_TARGETS:
            found["targets_more"] = len(rows) - MAX_TARGETS
        credentials = self.credentials.told(now_ms) if self.credentials is not None else []
        if credentials:
            found["credentials"] = credentials
        if self._events:
            found["events"] = [event.plain() for event in self._events]
        return found

    def _row(self, key: str, target: TargetState, now: float, now_ms: int) -> TargetReport | None:
        if self._states.find(key) is None:
            return None  # no config names it any more
        breaker = target.breaker
        resting = target.resting_until - now if target.resting_until else 0.0
        waiting = target.slots.waiting if target.slots is not None else 0
        if breaker.state == "closed" and not breaker.forced and resting <= 0 and not waiting:
            return None
        # A moment rather than a countdown, rounded: what stays as it is needs no new heartbeat.
        resting_until = now_ms + round(resting) * 1_000 if resting > 0 else 0
        return TargetReport(
            key=key,
            state=f"forced_{breaker.forced}" if breaker.forced else breaker.state,
            since_ms=self._since.get(key, 0),
            resting_until_ms=resting_until // 5_000 * 5_000 if resting_until else 0,
            waiting=waiting,
        )

    def _changed(self, key: str, breaker: Breaker) -> None:
        if breaker.state == "closed":
            self._since.pop(key, None)
            if key in self._told:
                self._told.discard(key)
                self._add(CLOSED, key)
            return
        self._since.setdefault(key, self._now_ms())
        if not breaker.forced and key not in self._told:
            self._told.add(key)
            self._add(OPENED, key)

    def _add(self, kind: str, key: str, status: int = 0, credential: str = "") -> None:
        self._number += 1
        at_ms = self._now_ms()
        self._events.append(TargetEvent(number=self._number, kind=kind, key=key, at_ms=at_ms, status=status, credential=credential))
