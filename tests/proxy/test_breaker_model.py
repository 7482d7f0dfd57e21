"""The breaker against a slow, obvious one that remembers everything it was ever told, with everything happening in any order.

Times are multiples of 1/64 s and slices whole seconds, so that both compute the very same numbers.
"""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apps.contracts.snapshot import BreakerPolicy
from apps.proxy.breaker import Breaker, Forced
from tests.scale import examples

POLICIES = [
    BreakerPolicy(consecutive=3, failure_percent=50, minimum=6, window_ms=8_000, open_ms=2_000),
    BreakerPolicy(consecutive=0, failure_percent=30, minimum=4, window_ms=16_000, open_ms=500),
    BreakerPolicy(consecutive=2, failure_percent=0, window_ms=8_000, open_ms=20_000),
    BreakerPolicy(consecutive=1, window_ms=8_000, open_ms=1_000),
    BreakerPolicy(enabled=False, consecutive=1, window_ms=8_000),
]


class Obvious:
    """Keeps every report since it last closed, and derives what it needs by looking at all of them."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.reports: list[tuple[float, bool]] = []
        """Of the present policy."""
        self.all: list[tuple[float, bool]] = []
        """Since it closed, under whichever policy."""
        self.state = "closed"
        self.changed = -math.inf
        self.probe_out_since: float | None = None
        self.forced: Forced = ""
        self.hinted = False
        self.until = self.until_at_most = 0.0
        self.last_open_for = 0.0
        self.failed_probes = 0
        self.worked_at = -math.inf
        self.deaf_until = -math.inf
        self.early = self.misled = False

    def in_a_row(self) -> int:
        count = 0
        for _, good in reversed(self.all):
            if good:
                break
            count += 1
        return count

    def window(self, now: float) -> list[bool]:
        slice_seconds = self.policy.window_ms / 8_000
        return [good for at, good in self.reports if now // slice_seconds - at // slice_seconds < 8]

    def may(self, now: float) -> bool:
        if self.forced:
            return self.forced == "closed"
        if self.state == "closed":
            return True
        if self.state == "open":
            return now >= self.until
        return self.probe_out_since is None or now - self.probe_out_since >= 60

    def ask(self, now: float) -> bool:
        if not self.may(now):
            return False
        if self.state != "closed":
            self.state = "half_open"
            self.changed = self.probe_out_since = now
        return True

    def report(self, now: float, began: float, good: bool) -> None:
        if began < self.changed:
            return
        if self.state == "closed":
            self.reports.append((now, good))
            self.all.append((now, good))
            if good:
                self.worked_at = now
                return
            self.deaf_until = -math.inf
            window = self.window(now)
            bad = window.count(False)
            in_a_row = self.policy.consecutive > 0 and self.in_a_row() >= self.policy.consecutive
            share = self.policy.failure_percent > 0 and len(window) >= self.policy.minimum and bad / len(window) >= self.share()
            if self.policy.enabled and not self.forced and (in_a_row or share):
                self.new_outage(now)
                self.open(now)
        elif self.forced:
            return
        elif good and (self.state == "half_open" or self.hinted or began < math.inf):
            self.close(now)
        elif not good and self.state == "half_open":
            self.misled = self.misled or self.early
            costs_little = self.misled and now - self.changed <= 1
            if not self.hinted and not costs_little:
                self.failed_probes += 1
            self.hinted = False
            self.open(now, 3 if costs_little else 60)

    def share(self) -> float:
        return self.policy.failure_percent / 100

    def new_outage(self, now: float) -> None:
        if now - self.changed > self.last_open_for:
            self.failed_probes = 0

    def open(self, now: float, at_most: float = 60) -> None:
        self.last_open_for = min(at_most, self.policy.open_ms / 1000 * 2**self.failed_probes)
        self.state, self.changed, self.early = "open", now, False
        self.until, self.until_at_most = now + self.last_open_for, now + self.last_open_for + 10

    def close(self, now: float) -> None:
        if self.hinted:
            self.deaf_until = now + 60
        self.state, self.changed, self.worked_at = "closed", now, now
        self.hinted = self.early = self.misled = False
        self.reports, self.all = [], []

    def hint(self, now: float, seconds: float) -> None:
        if not self.policy.enabled or self.forced:
            return
        seconds = min(seconds, 60)
        if self.state == "open":
            self.postpone(now + seconds)
        elif self.state == "closed" and now >= self.deaf_until and (self.in_a_row() > 0 or now - self.worked_at >= 1):
            self.new_outage(now)
            self.state, self.changed, self.hinted, self.early = "open", now, True, False
            self.until, self.until_at_most = now + seconds, now + seconds + 10

    def postpone(self, until: float) -> None:
        if self.state == "open" and not self.forced:
            self.until = max(self.until, min(until, self.until_at_most))

    def ready(self, now: float, at: float) -> None:
        if self.state == "open" and not self.forced and not self.misled and at < self.until:
            self.until, self.early = at, True

    def force(self, now: float, forced: Forced) -> None:
        if forced == self.forced:
            return
        self.forced, self.failed_probes = forced, 0
        if forced == "open":
            self.hinted, self.until = False, math.inf
            if self.state != "open":
                self.state, self.changed, self.early = "open", now, False
        else:
            self.close(now)

    def adopt(self, policy: BreakerPolicy) -> None:
        if policy == self.policy:
            return
        self.policy, self.reports = policy, []
        if not policy.enabled and self.state != "closed" and not self.forced:
            self.close(self.changed)


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.running: list[tuple[float, bool]] = []
        """Attempts made: when they began, and whether the breaker was half-open then (a probe)."""

    @initialize(policy=st.sampled_from(POLICIES))
    def begin(self, policy: BreakerPolicy) -> None:
        self.told = 0
        self.breaker = Breaker("t", policy, self.changed)
        self.model = Obvious(policy)

    def changed(self, breaker: Breaker) -> None:
        assert breaker is self.breaker
        self.told += 1

    @rule(ticks=st.one_of(st.integers(1, 64), st.sampled_from([128, 192, 320, 640, 64 * 61])))
    def pass_time(self, ticks: int) -> None:
        self.now += ticks / 64

    @rule(times=st.integers(1, 4))
    def ask(self, times: int) -> None:
        for _ in range(times):
            closed = self.breaker.state == "closed"
            allowed = self.breaker.allows(self.now)
            assert allowed == self.model.ask(self.now)
            if allowed:
                self.running.append((self.now, not closed))

    @precondition(lambda self: self.model.state != "closed")
    @rule()
    def ask_when_its_time_is_over(self) -> None:
        self.now = max(self.now, min(self.breaker.retry_at(), self.now + 100))
        self.ask(2)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 9), word=st.sampled_from(["success", "failure", "failure", "release"]), known=st.booleans())
    def report(self, which: int, word: str, known: bool) -> None:
        began, _ = self.running.pop(which % len(self.running))
        self.say(word, began if known else math.inf)

    @rule(word=st.sampled_from(["success", "failure"]), times=st.integers(1, 6))
    def traffic(self, word: str, times: int) -> None:
        for _ in range(times):
            if self.breaker.state == "closed":
                self.say(word, self.now)

    def say(self, word: str, began: float) -> None:
        if word == "release":
            self.breaker.release(self.now, began)
            if self.model.state == "half_open" and began >= self.model.changed:
                self.model.probe_out_since = None
        elif word == "success":
            self.breaker.success(self.now, began)
            self.model.report(self.now, began, True)
        else:
            self.breaker.failure(self.now, began)
            self.model.report(self.now, began, False)

    @rule(seconds=st.sampled_from([0.5, 2.0, 8.0, 500.0]))
    def hint(self, seconds: float) -> None:
        self.breaker.hint(self.now, seconds)
        self.model.hint(self.now, seconds)

    @rule(later=st.sampled_from([0.0, 0.0, 0.25, 1.0]))
    def ready(self, later: float) -> None:
        self.breaker.ready(self.now, self.now + later)
        self.model.ready(self.now, self.now + later)

    @rule(seconds=st.sampled_from([0.5, 2.0, 100.0]))
    def postpone(self, seconds: float) -> None:
        self.breaker.postpone(self.now + seconds)
        self.model.postpone(self.now + seconds)

    @rule(forced=st.sampled_from(["", "", "open", "closed"]))
    def force(self, forced: Forced) -> None:
        self.breaker.force(self.now, forced)
        self.model.force(self.now, forced)

    @rule(policy=st.sampled_from(POLICIES))
    def adopt(self, policy: BreakerPolicy) -> None:
        if policy != self.breaker.policy:
            self.breaker.adopt(policy)
            self.model.adopt(policy)

    # --- what must hold ------------------------------------------------------------------------------------------------------

    @invariant()
    def it_says_what_the_obvious_one_says(self) -> None:
        breaker, model = self.breaker, self.model
        assert (breaker.state, breaker.forced, breaker.hinted) == (model.state, model.forced, model.hinted)
        assert breaker.usable(self.now) == model.may(self.now)
        if breaker.state == "open":
            assert breaker.retry_at() == model.until
        view = breaker.view(self.now)
        window = model.window(self.now)
        assert (view["attempts"], view["failures"]) == (len(window), window.count(False))
        if model.state == "closed":
            assert view["consecutive"] == model.in_a_row()

    @invariant()
    def at_most_one_probe_is_out(self) -> None:
        if self.breaker.state == "half_open":
            assert sum(probe and began >= self.breaker._since for began, probe in self.running) <= 1

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        if self.breaker.state == "open" and not self.breaker.forced:
            assert self.breaker.retry_at() <= self.now + 70
        if self.breaker.forced != "open":
            assert self.breaker.usable(self.now + 71)

    @invariant()
    def asking_whether_changes_nothing(self) -> None:
        before = (self.breaker.state, self.breaker.retry_at(), self.told)
        self.breaker.usable(self.now)
        assert before == (self.breaker.state, self.breaker.retry_at(), self.told)


BreakerMachine.TestCase.settings = settings(max_examples=examples(80), stateful_step_count=40, deadline=None)
TestBreakerModel = BreakerMachine.TestCase


@given(st.lists(st.tuples(st.sampled_from([0, 1, 16, 64, 100, 128, 200, 320, 448, 512, 600]), st.booleans()), max_size=60))
def test_the_window_counts_what_an_obvious_one_counts(reports: list[tuple[int, bool]]) -> None:
    """Under a policy that never opens, so that nothing but the window is looked at."""
    policy = BreakerPolicy(consecutive=0, failure_percent=0, window_ms=8_000)
    breaker, model, now = Breaker("t", policy), Obvious(policy), 1_000.0
    for ticks, good in reports:
        now += ticks / 64
        (breaker.success if good else breaker.failure)(now)
        model.report(now, math.inf, good)
        window, view = model.window(now), breaker.view(now)
        assert (view["attempts"], view["failures"]) == (len(window), window.count(False))
