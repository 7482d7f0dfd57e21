"""Limits shared by proxies that are killed, cut off and late, with clocks that disagree, against a plain list of what was admitted."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apps.contracts.limits import MEASURES, LimitKind, Shares
from apps.proxy.limits import WAIT
from apps.proxy.limits_fake import FakeBook, FakePool
from tests.proxy.limiting import TTL_MS, Proxy, Request, fragment
from tests.scale import examples


class Member:
    """A proxy, its clock's error in seconds, and the one call that it may have out."""

    def __init__(self, machine: Any, boot: str, skew: float) -> None:
        self.boot = boot
        self.skew = skew
        self.proxy = Proxy(machine.limit, pool=FakePool(machine.book, boot), now=lambda: machine.now + skew)
        self.window = self.proxy.windows[0]
        self.proxy.keeper._filled_soon(self.window)
        self.asked: tuple[list, float] | None = None
        self.answer: Shares | None = None
        self.running: list[Any] = []
        self.silent_until = 0.0
        self.calls = 0


class SharingMachine(RuleBasedStateMachine):
    @initialize(kind=st.sampled_from(("requests_per_minute", "tokens_per_minute")), amount=st.integers(1, 60), skew=st.floats(-50, 50))
    def begin(self, kind: LimitKind, amount: int, skew: float) -> None:
        self.now = 1_000.0
        self.limit = fragment(kind, amount, scope="route")
        self.span = MEASURES[kind].window_ms / 1000
        self.book = FakeBook(lambda: int((self.now + skew) * 1000))
        self.boots = 0
        self.members: list[Member] = []
        self.admitted: list[list[float]] = []
        """[moment, permits] of everything that was let through, by whomever."""
        self.sizes: dict[int, list[float]] = {}

    @precondition(lambda self: len(self.members) < 4)
    @rule(skew=st.floats(-0.5, 0.5))
    def joins(self, skew: float) -> None:
        self.boots += 1
        self.members.append(Member(self, f"boot-{self.boots}", skew))

    @precondition(lambda self: self.members)
    @rule(at=st.integers(0, 3), tokens=st.integers(1, 12), key=st.sampled_from("abc"), times=st.integers(1, 8))
    def asks(self, at: int, tokens: int, key: str, times: int) -> None:
        member = self.members[at % len(self.members)]
        for _ in range(times):
            request = Request(key, tokens=tokens)
            refusal = member.proxy.admit(request)
            if refusal is WAIT:
                assert not request.holds
                self.whole_call(member)
                refusal = member.proxy.admit(request, last=True)
            if refusal is None:
                entry = [self.now, float(sum(hold[1] for hold in request.holds))]
                self.admitted.append(entry)
                self.sizes[id(request)] = entry
                member.running.append(request)
            else:
                assert not request.holds and refusal is not WAIT

    @precondition(lambda self: any(member.running for member in self.members))
    @rule(at=st.integers(0, 3), share=st.sampled_from((0.0, 0.3, 1.0)))
    def ends(self, at: int, share: float) -> None:
        member = self.members[at % len(self.members)]
        if not member.running:
            return
        request = member.running.pop(0)
        entry = self.sizes.pop(id(request))
        if share:
            used = round(request.input_bound * share)
            request.answered(used)
            if member.window.tokens:
                entry[1] = used
        else:  # it never reached a provider
            entry[1] = 0
        member.proxy.end(request)
        assert not request.holds

    # --- the wire: each leg may be late, or never come ---

    @precondition(lambda self: any(member.asked is None for member in self.members))
    @rule(at=st.integers(0, 3))
    def sends(self, at: int) -> None:
        member = self.members[at % len(self.members)]
        if member.asked is None:
            member.proxy.keeper.tick()
            now = self.now + member.skew
            member.calls += 1
            member.asked = ([member.proxy.keeper.ask(member.window, now)], now)

    @precondition(lambda self: any(member.asked and member.answer is None for member in self.members))
    @rule(at=st.integers(0, 3), lost=st.sampled_from((False, False, True)))
    def arrives(self, at: int, lost: bool) -> None:
        member = self.members[at % len(self.members)]
        if member.asked is None or member.answer is not None:
            return
        if lost:
            member.asked = None
            return
        member.answer = self.book.sync(member.boot, member.asked[0], TTL_MS, member.calls)

    @precondition(lambda self: any(member.answer is not None for member in self.members))
    @rule(at=st.integers(0, 3), lost=st.sampled_from((False, False, True)))
    def returns(self, at: int, lost: bool) -> None:
        member = self.members[at % len(self.members)]
        if member.answer is None or member.asked is None:
            return
        if not lost:
            (asks, started), answer = member.asked, member.answer
            member.proxy.keeper.apply(member.window, asks[0], answer.shares[0], started, self.now + member.skew, member.calls)
        member.asked = member.answer = None

    def whole_call(self, member: Member) -> None:
        if member.asked is None:
            self.sends(at=self.members.index(member))
        self.arrives(at=self.members.index(member), lost=False)
        self.returns(at=self.members.index(member), lost=False)

    # --- time and death ---

    @rule(seconds=st.sampled_from((0.01, 0.2, 1.0, 3.0, 7.0, 9.0, 30.0, 61.0)))
    def passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.members)
    @rule(at=st.integers(0, 3))
    def killed(self, at: int) -> None:
        self.members.remove(self.members[at % len(self.members)])

    @invariant()
    def never_above_the_limit(self) -> None:
        if hasattr(self, "limit"):
            recent = sum(n for at, n in self.admitted if at > self.now - self.span)
            assert recent <= self.limit.amount, f"{recent} in {self.span} s of {self.limit.amount}"

    def teardown(self) -> None:
        """No permit is lost: once everybody has gone and all have rested, one proxy gets every one of them."""
        if not hasattr(self, "limit"):
            return
        self.members.clear()
        self.now += self.span * 2 + TTL_MS / 1000 * 2 + 1
        self.joins(skew=0.0)
        member = self.members[0]
        let_through = 0
        for _ in range(self.limit.amount):
            request = Request("a", tokens=1)
            refusal = member.proxy.admit(request)
            if refusal is WAIT:
                self.whole_call(member)
                refusal = member.proxy.admit(request, last=True)
            let_through += refusal is None
        assert let_through == self.limit.amount
        assert member.proxy.admit(Request("a"), last=True) is not None


SharingMachine.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=50, deadline=None)
TestSharing = SharingMachine.TestCase


class Storm:
    """Four proxies under a load that moves from one to the other, with calls that are late or lost, proxies that are killed or cut off."""

    def __init__(self, random: Random, kind: LimitKind, amount: int) -> None:
        self.random = random
        self.now = 1_000.0
        self.limit = fragment(kind, amount, scope="route")
        self.span = MEASURES[kind].window_ms / 1000
        self.skew = random.uniform(-0.5, 0.5)
        self.book = FakeBook(lambda: int((self.now + self.skew) * 1000))
        self.boots = 0
        self.members = [self.member() for _ in range(4)]
        self.admitted: deque[list[float]] = deque()
        self.recent = 0.0
        self.moved = 0

    def member(self) -> Member:
        self.boots += 1
        return Member(self, f"boot-{self.boots}", self.random.uniform(-0.5, 0.5))

    def run(self, steps: int) -> None:
        for step in range(steps):
            self.now += 0.15
            if step % 60 == 0:
                self.load = [self.random.choice((0, 0, 1, 6)) for _ in self.members]
            for at, member in enumerate(self.members):
                chance = self.random.random()
                if chance < 0.003:
                    member = self.members[at] = self.member()
                elif chance < 0.008:
                    member.silent_until = self.now + self.random.uniform(3, 20)
                for _ in range(self.load[at]):
                    self.ask(member)
                while member.running and self.random.random() < 0.5:
                    self.end(member)
                if self.now >= member.silent_until and chance < 0.9:
                    self.call(member)
            while self.admitted and self.admitted[0][0] <= self.now - self.span:
                self.admitted.popleft()
            self.recent = sum(n for _, n in self.admitted)
            assert self.recent <= self.limit.amount

    def ask(self, member: Member) -> None:
        request = Request(self.random.choice("ab"), tokens=self.random.randint(1, 4))
        if member.proxy.admit(request, last=True) is None:
            entry = [self.now, float(sum(hold[1] for hold in request.holds))]
            self.admitted.append(entry)
            member.running.append((request, entry))

    def end(self, member: Member) -> None:
        request, entry = member.running.pop(0)
        if self.random.random() < 0.8:
            used = self.random.randint(1, request.input_bound)
            request.answered(used)
            entry[1] = float(used) if member.window.tokens else entry[1]
        else:
            entry[1] = 0.0
        member.proxy.end(request)

    def call(self, member: Member) -> None:
        """Each leg in a step of its own, or at once, or never."""
        if member.asked is None:
            member.proxy.keeper.tick()
            now = self.now + member.skew
            member.calls += 1
            ask = member.proxy.keeper.ask(member.window, now)
            self.moved += len(ask.back)
            member.asked = ([ask], now)
        if self.random.random() < 0.6 and member.answer is None:
            member.answer = self.book.sync(member.boot, member.asked[0], TTL_MS, member.calls)
        if self.random.random() < 0.6 and member.answer is not None:
            (asks, started), answer = member.asked, member.answer
            if self.random.random() > 0.05:
                member.proxy.keeper.apply(member.window, asks[0], answer.shares[0], started, self.now + member.skew, member.calls)
            member.asked = member.answer = None


@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@example(48, "requests_per_minute", 4)
@given(st.integers(0, 1 << 32), st.sampled_from(("requests_per_minute", "tokens_per_minute")), st.integers(3, 60))
def test_a_storm(seed: int, kind: LimitKind, amount: int) -> None:
    Storm(Random(seed), kind, amount).run(600)
