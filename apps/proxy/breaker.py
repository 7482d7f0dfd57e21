"""Circuit breakers: a target that fails is left alone for a while, then asked by one request whether it is well.

::

    closed --consecutive failures, or too large a share of a window--> open
    open --its time is over, one attempt asks--> half_open
    half_open --the probe succeeds--> closed
    half_open --the probe fails--> open, twice as long

What always holds (``tests/proxy/test_breaker_model.py``):

1. Closed means allowed: ``allows`` is one comparison then, and it never opens anything by itself.
2. Half-open, at most one probe is out. Its place is free again after success, failure or release; were it lost (nobody reported),
   after ``LOST_SECONDS``.
3. Only failures of this process open a breaker, or a hint where this process has no fresh success to set against it.
   ``release`` is no evidence: it neither opens nor closes nor counts.
4. Evidence from before the last change is stale: an attempt begun while the breaker was closed says nothing about it half-open.
5. Others never keep it open for longer than ``POSTPONE_SECONDS`` beyond its own time: then it asks for itself.
6. Forced open, nothing is allowed; forced closed, everything is; no evidence and no hint changes either.
7. The window counts what happened in the last seven to eight eighths of ``window_ms``.
8. A target that answers free probes while its requests fail (``ready`` misled it) is asked by one request every ``TRICKLE_SECONDS`` as long
   as those fail within ``QUICK_SECONDS``: nothing else can tell of its recovery, and with another target behind it such a request loses
   little. Requests that it lets wait for longer are spent on it less and less often, down to one in ``MAX_OPEN_SECONDS``.

Times are the event loop's, in seconds, and always given. Reports for one attempt: exactly one of ``success``, ``failure``, ``release``;
a stream's success is best told at its first output, because nobody else may probe meanwhile. ``began``: when the attempt was begun.
Where it is left out the report counts as fresh.

Hints (``apps.proxy.hints``) come from other proxies: ``hint`` (it is open there), ``ready`` (it answered there), ``postpone`` (asked there
right now).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator
from typing import Literal

from apps.contracts.snapshot import BreakerPolicy

log = logging.getLogger("bulkhead.proxy")

State = Literal["closed", "open", "half_open"]
Forced = Literal["", "open", "closed"]

SLICES = 8
"""A window is counted in so many slices; the oldest is forgotten whole."""
MAX_OPEN_SECONDS = 60.0
FRESH_SECONDS = 1.0
"""A success of our own this young overrules a hint."""
DEAF_SECONDS = 60.0
"""A hint that our own probe proved wrong: so long no other is believed, unless we see a failure ourselves."""
POSTPONE_SECONDS = 10.0
TRICKLE_SECONDS = 3.0
QUICK_SECONDS = 1.0
LOST_SECONDS = 60.0


class Breaker:
    """One target's breaker in this process. ``hinted``: it is open because another proxy said so. ``openings``: so far.

    A rule of the policy that is 0 (``consecutive``, ``failure_percent``) is off.
    """

    __slots__ = (
        "_bad",
        "_bad_before",
        "_bads",
        "_changed",
        "_deaf_until",
        "_duration",
        "_early",
        "_fresh",
        "_good",
        "_good_before",
        "_goods",
        "_index",
        "_latest",
        "_level",
        "_lost_at",
        "_misled",
        "_since",
        "_slice_end",
        "_until",
        "_width",
        "forced",
        "hinted",
        "label",
        "openings",
        "policy",
        "row",
        "state",
    )

    def __init__(self, label: str, policy: BreakerPolicy, changed: Callable[[Breaker], None] | None = None) -> None:
        self.label = label
        self.state: State = "closed"
        self.forced: Forced = ""
        self.hinted = False
        self.openings = 0
        self._changed = changed
        self._since = -math.inf
        """When the state, or the holder of the probe's place, last changed: what began before is stale."""
        self.row = 0
        """Failures since the last success."""
        self._fresh = -math.inf
        self._level = 0
        self._duration = 0.0
        self._until = 0.0
        self._latest = 0.0
        self._lost_at = 0.0
        self._deaf_until = -math.inf
        self._early = self._misled = False
        self.adopt(policy)

    # --- asked and told by attempts ------------------------------------------------------------------------------------------

    def allows(self, now: float) -> bool:
        """Whether an attempt may be made now. True of a breaker that is not closed takes the probe's place: report its end."""
        if self.state == "closed":
            return True
        if not self.usable(now):
            return False
        self.state = "half_open"
        self._since = now
        self._lost_at = now + LOST_SECONDS
        return True

    def usable(self, now: float) -> bool:
        """What ``allows`` would say, without taking the probe's place: for ordering targets and for explaining a plan."""
        if self.state == "closed":
            return True
        if self.forced:
            return False
        return now >= (self._until if self.state == "open" else self._lost_at)

    def success(self, now: float, began: float = math.inf) -> None:
        if began < self._since:
            return
        if self.state == "closed":
            self.row = 0
            self._fresh = now
            if now >= self._slice_end:
                self._roll(now)
            self._good += 1
        elif not self.forced and (self.state == "half_open" or self.hinted or began != math.inf):
            # Open by our own evidence, only an attempt known to be younger (made because nothing else was left) tells something new.
            self._close(now)

    def successes(self, count: int, now: float) -> None:
        """``count`` attempts of this moment succeeded while it was closed without a failure in its row: told together, later."""
        if self.state == "closed":
            self._fresh = now
            if now >= self._slice_end:
                self._roll(now)
            self._good += count

    def failure(self, now: float, began: float = math.inf) -> None:
        if began < self._since:
            return
        if self.state == "closed":
            if now >= self._slice_end:
                self._roll(now)
            self._bad += 1
            self.row += 1
            self._deaf_until = -math.inf
            if self.policy.enabled and not self.forced and self._trips():
                self._settle(now)
                self._open(now)
        elif self.state == "half_open":
            self._misled = self._misled or self._early
            brief = self._misled and now - self._since <= QUICK_SECONDS
            if not self.hinted and not brief:
                self._level += 1
            self.hinted = False
            self._open(now, TRICKLE_SECONDS if brief else MAX_OPEN_SECONDS)

    def release(self, now: float, began: float = math.inf) -> None:
        """The attempt ended without evidence: the app left, or the mistake was the app's own. A probe's place is free again."""
        if self.state == "half_open" and began >= self._since:
            self._lost_at = now

    # --- told by other proxies and by background probes ----------------------------------------------------------------------

    def hint(self, now: float, open_for: float) -> None:
        """Another proxy has it open, for so many seconds more."""
        if not self.policy.enabled or self.forced or not open_for > 0:
            return
        until = now + min(open_for, MAX_OPEN_SECONDS)
        if self.state == "open":
            self.postpone(until)
        elif self.state == "closed" and now >= self._deaf_until and (self.row or now - self._fresh >= FRESH_SECONDS):
            self._settle(now)
            self.hinted = True
            self._until = until
            self._latest = until + POSTPONE_SECONDS
            self._turn("open", now)

    def ready(self, now: float, at: float = 0.0) -> None:
        """It answered elsewhere, or it answered a probe that proves less than a request does: a probe of ours may go now.
        Believed until one such probe has failed, then not again before the breaker has closed: from then on requests ask (invariant 8).
        at: from when on, so that proxies can agree on who asks; at once where it has passed."""
        at = max(now, at)
        if self.state == "open" and not self.forced and not self._misled and at < self._until:
            self._until = at
            self._early = True

    def would_listen(self, now: float) -> bool:
        """Whether ``ready`` would change anything, by more than a second: then a background probe is worth its while."""
        return self.state == "open" and not self.forced and not self._misled and self._until - now > 1.0

    def postpone(self, until: float) -> None:
        """Another proxy is about to probe: wait for what it says, at most until then."""
        if self.state == "open" and not self.forced:
            self._until = max(self._until, min(until, self._latest))

    # --- told by people ------------------------------------------------------------------------------------------------------

    def force(self, now: float, forced: Forced) -> None:
        """``open``: nothing goes there. ``closed``: everything does. Empty: on its own again, closed and without memories."""
        if forced == self.forced:
            return
        self.forced = forced
        self._level = 0
        if forced != "open":
            self._close(now)
            return
        self.hinted = False
        self._until = math.inf
        if self.state != "open":
            self._turn("open", now)
        elif self._changed is not None:
            self._changed(self)

    def adopt(self, policy: BreakerPolicy) -> None:
        """Another policy holds from now on. Counts begin anew; an open breaker keeps its time; disabled, it closes."""
        self.policy = policy
        self._width = max(1, policy.window_ms) / 1000 / SLICES
        self._forget()
        if not policy.enabled and self.state != "closed" and not self.forced:
            self._close(self._since)

    # --- read ----------------------------------------------------------------------------------------------------------------

    def retry_at(self) -> float:
        """When an attempt may be allowed again; infinity when forced open, 0 when closed, in the past while a probe is out."""
        return 0.0 if self.state == "closed" else self._until

    def view(self, now: float) -> dict[str, object]:
        if now >= self._slice_end:
            self._roll(now)
        failures = self._bad + self._bad_before
        wait = self.retry_at() - now
        return {
            "label": self.label,
            "state": self.state,
            "forced": self.forced,
            "hinted": self.hinted,
            "openings": self.openings,
            "consecutive": self.row,
            "attempts": self._good + self._good_before + failures,
            "failures": failures,
            "retry_in_ms": None if wait == math.inf else max(0, round(wait * 1000)),
        }

    # --- inside --------------------------------------------------------------------------------------------------------------

    def _trips(self) -> bool:
        policy = self.policy
        if 0 < policy.consecutive <= self.row:
            return True
        failures = self._bad + self._bad_before
        attempts = self._good + self._good_before + failures
        return policy.failure_percent > 0 and attempts >= policy.minimum and failures * 100 >= policy.failure_percent * attempts

    def _settle(self, now: float) -> None:
        """Closed for longer than it was open last: the next opening is the first of a new outage, not one more of the old."""
        if now - self._since > self._duration:
            self._level = 0

    def _open(self, now: float, longest: float = MAX_OPEN_SECONDS) -> None:
        self._duration = min(longest, max(1, self.policy.open_ms) / 1000 * 2.0 ** min(self._level, 32))
        self._until = now + self._duration
        self._latest = self._until + POSTPONE_SECONDS
        self._turn("open", now)

    def _close(self, now: float) -> None:
        if self.hinted:
            self._deaf_until = now + DEAF_SECONDS
        self.hinted = self._misled = False
        self.row = 0
        self._fresh = now
        self._forget()
        self._turn("closed", now)

    def _turn(self, state: State, now: float) -> None:
        self.state = state
        self._since = now
        self._early = False
        self.openings += state == "open"
        if self._changed is not None:
            self._changed(self)

    def _forget(self) -> None:
        self._goods, self._bads = [0] * SLICES, [0] * SLICES
        self._good = self._bad = self._good_before = self._bad_before = 0
        self._index = 0
        self._slice_end = -math.inf

    def _roll(self, now: float) -> None:
        """The running slice is over: counts of slices that left the window are forgotten."""
        index = int(now // self._width)
        if self._slice_end == -math.inf or index - self._index >= SLICES:
            self._forget()
        else:
            goods, bads = self._goods, self._bads
            at = self._index % SLICES
            goods[at], bads[at] = self._good, self._bad
            self._good_before += self._good
            self._bad_before += self._bad
            for passed in range(self._index + 1, index + 1):
                at = passed % SLICES
                self._good_before -= goods[at]
                self._bad_before -= bads[at]
                goods[at] = bads[at] = 0
            self._good = self._bad = 0
        self._index = index
        self._slice_end = (index + 1) * self._width


class Breakers:
    """The process's breakers by target label; they survive changes of config.

    ``on_change`` is told of each opening (a failed probe's too) and closing. What it raises is logged: no request fails of it.
    A target in several routes has one breaker, under the policy last asked for.
    """

    def __init__(self) -> None:
        self.on_change: Callable[[str, Breaker], None] | None = None
        self._breakers: dict[str, Breaker] = {}
        self._forced: dict[str, Forced] = {}

    def __iter__(self) -> Iterator[Breaker]:
        return iter(self._breakers.values())

    def get(self, label: str) -> Breaker | None:
        return self._breakers.get(label)

    def of(self, label: str, policy: BreakerPolicy) -> Breaker:
        """The label's breaker; made when there is none. Not for the hot path: keep what it returns."""
        breaker = self._breakers.get(label)
        if breaker is None:
            breaker = self._breakers[label] = Breaker(label, policy, self._tell)
            forced = self._forced.get(label)
            if forced:
                breaker.force(0.0, forced)
        elif breaker.policy != policy:
            breaker.adopt(policy)
        return breaker

    def force(self, label: str, forced: Forced, now: float) -> None:
        """Force a breaker, or leave it on its own again (empty). Holds for one that does not exist yet, too."""
        if forced:
            self._forced[label] = forced
        else:
            self._forced.pop(label, None)
        breaker = self._breakers.get(label)
        if breaker is not None:
            breaker.force(now, forced)

    def keep(self, labels: Collection[str]) -> None:
        """Forget the breakers of all other labels: their targets are in no config any more."""
        for label in [label for label in self._breakers if label not in labels]:
            del self._breakers[label]

    def view(self, now: float) -> list[dict[str, object]]:
        """Every breaker by label, JSON-able: for /metrics, the admin port and heartbeats."""
        return [breaker.view(now) for _, breaker in sorted(self._breakers.items())]

    def _tell(self, breaker: Breaker) -> None:
        listener = self.on_change
        if listener is not None:
            try:
                listener(breaker.label, breaker)
            except Exception:
                log.exception("breaker %s: who listens to its changes failed", breaker.label)
