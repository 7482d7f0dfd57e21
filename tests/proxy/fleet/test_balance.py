"""Whom a request goes to, whatever comes and goes: the invariants that ``apps.proxy.fleet.balance`` names."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from apps.proxy.fleet.balance import Balancer, Seat
from tests.scale import examples


def balancer(*seats: Seat, **options: object) -> Balancer:
    found = Balancer(random=random.Random(1), **options)  # type: ignore[arg-type]
    found.settle(seats)
    return found


def test_the_least_loaded_is_picked_by_weight() -> None:
    small, large = Seat("small", weight=100), Seat("large", weight=300)
    fleet = balancer(small, large)
    fleet.take(small, 100)
    fleet.take(large, 200)
    picked = fleet.pick(10)
    assert picked is not None and picked.seat is large and picked.way == "load"


def test_nobody_is_picked_of_nobody() -> None:
    assert balancer().pick(10) is None
    seat = Seat("a")
    fleet = balancer(seat)
    assert fleet.pick(10, avoid={seat}) is None
    fleet.turn(seat, open=False)
    assert fleet.pick(10) is None


def test_a_session_stays_and_moves_only_when_its_replica_leaves() -> None:
    seats = [Seat(f"r{number}") for number in range(5)]
    fleet = balancer(*seats)
    before = {}
    for number in range(200):
        picked = fleet.pick(1, session=b"user %d" % number)
        assert picked is not None and picked.way == "session"
        before[number] = picked.seat
    assert len({seat.id for seat in before.values()}) == 5
    gone = seats[2]
    fleet.settle([seat for seat in seats if seat is not gone])
    for number, seat in before.items():
        picked = fleet.pick(1, session=b"user %d" % number)
        assert picked is not None
        assert picked.seat is not gone
        if seat is not gone:
            assert picked.seat is seat


def test_a_session_goes_elsewhere_while_its_replica_is_overloaded() -> None:
    fleet = balancer(*[Seat(f"r{number}") for number in range(4)])
    picked = fleet.pick(1, session=b"somebody")
    assert picked is not None
    fleet.take(picked.seat, 1_000)
    other = fleet.pick(1, session=b"somebody")
    assert other is not None and other.way == "session" and other.seat is not picked.seat
    fleet.give(picked.seat, 1_000)
    again = fleet.pick(1, session=b"somebody")
    assert again is not None and again.seat is picked.seat


def test_who_has_read_the_beginning_is_asked_for_the_rest() -> None:
    fleet = balancer(*[Seat(f"r{number}") for number in range(4)])
    first = fleet.pick(100, [1, 2, 3, 4])
    assert first is not None and first.way == "load" and first.matched == 0
    fleet.take(first.seat, 100, [1, 2, 3, 4])
    fleet.give(first.seat, 100)
    second = fleet.pick(100, [1, 2, 3, 5])
    assert second is not None and second.seat is first.seat and second.way == "prefix" and second.matched == 3
    short = fleet.pick(100, [1, *range(100, 109)])
    assert short is not None and short.way == "load", "one block of ten is no reason"


def test_a_prefix_is_left_where_it_would_pile_up() -> None:
    fleet = balancer(*[Seat(f"r{number}") for number in range(4)])
    home = fleet.pick(100, [1, 2])
    assert home is not None
    fleet.take(home.seat, 100, [1, 2])
    other = fleet.pick(100, [1, 2])
    assert other is not None and other.seat is not home.seat and other.way == "load"


def test_who_has_room_comes_before_who_has_less_to_do() -> None:
    narrow, wide = Seat("narrow", capacity=1_000), Seat("wide", capacity=100_000)
    fleet = balancer(narrow, wide)
    fleet.take(wide, 5_000)
    picked = fleet.pick(2_000)
    assert picked is not None and picked.seat is wide
    fleet.take(wide, 95_000)
    picked = fleet.pick(2_000)
    assert picked is not None and picked.seat is narrow, "nobody has room: the lighter one queues it"


def test_a_replica_that_comes_again_has_read_nothing() -> None:
    one, two = Seat("one"), Seat("two")
    fleet = balancer(one, two)
    fleet.take(one, 1, [1, 2, 3])
    fleet.give(one, 1)
    fresh = Seat("one")
    fleet.settle([fresh, two])
    picked = fleet.pick(1, [1, 2, 3])
    assert picked is not None and picked.matched == 0


def test_more_given_back_than_taken_is_said() -> None:
    seat = Seat("a")
    fleet = balancer(seat)
    fleet.take(seat, 10)
    with pytest.raises(ValueError, match="more than were taken"):
        fleet.give(seat, 11)
    fleet.give(seat, 10)
    with pytest.raises(ValueError, match="more than were taken"):
        fleet.give(seat, 0)
    with pytest.raises(ValueError, match="must be above zero"):
        Seat("b", weight=0)


def test_two_choices_keep_a_large_fleet_even() -> None:
    fleet = balancer(*[Seat(f"r{number}") for number in range(100)])
    for _ in range(10_000):
        picked = fleet.pick(10)
        assert picked is not None
        fleet.take(picked.seat, 10)
    loads = [seat.outstanding for seat in fleet.seats]
    assert sum(loads) == 100_000 and max(loads) <= 1.1 * 1_000


CHAINS = st.lists(st.integers(0, 6), max_size=6).map(lambda parts: [hash(tuple(parts[: at + 1])) for at in range(len(parts))])


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), CHAINS, st.sampled_from([b"", b"a", b"b", b"c"])), max_size=80), st.integers(2, 20))
def test_affinity_is_bounded(requests: list[tuple[int, list[int], bytes]], count: int) -> None:
    """After a pick by affinity a replica holds at most bound x mean (before) + the request."""
    fleet = balancer(*[Seat(f"r{number}", weight=100 + 50 * (number % 3)) for number in range(count)])
    weights = sum(seat.weight for seat in fleet.seats)
    for tokens, blocks, session in requests:
        picked = fleet.pick(tokens, blocks, session)
        assert picked is not None
        if picked.way in ("session", "prefix"):
            fair = fleet.outstanding * picked.seat.weight / weights
            assert picked.seat.outstanding <= fleet.bound * fair + 1e-6
        fleet.take(picked.seat, tokens, blocks)


class Fleet(RuleBasedStateMachine):
    """Replicas come, go, fall silent and come back while requests run; each ends once, in any order, also at replicas that are gone."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.balancer = Balancer(random=random.Random(7), blocks=32)
        self.here: list[Seat] = []
        self.every: list[Seat] = []
        self.owed: dict[int, int] = {}

    @rule(count=st.integers(0, 5))
    def fleet_changes(self, count: int) -> None:
        self.here = self.here[-2:] + [Seat(f"r{len(self.every) + number}", weight=50 * (1 + number % 3)) for number in range(count)]
        self.every += [seat for seat in self.here if seat not in self.every]
        self.balancer.settle(self.here)

    @rule(which=st.integers(0, 10), open=st.booleans())
    def replica_turns(self, which: int, open: bool) -> None:
        if self.here:
            self.balancer.turn(self.here[which % len(self.here)], open=open)

    @rule(
        target=running,
        tokens=st.integers(0, 1_000),
        blocks=CHAINS,
        session=st.sampled_from([b"", b"a", b"b"]),
        shunned=st.sets(st.integers(0, 4), max_size=3),
    )
    def request_comes(self, tokens: int, blocks: list[int], session: bytes, shunned: set[int]) -> tuple[Seat, int] | None:
        avoid = {self.here[at % len(self.here)] for at in shunned} if self.here else set()
        picked = self.balancer.pick(tokens, blocks, session, avoid)
        possible = [seat for seat in self.here if seat.open and seat not in avoid]
        assert (picked is not None) == bool(possible)
        if picked is None:
            return None
        assert picked.seat in possible
        assert 0 <= picked.matched <= len(blocks)
        self.balancer.take(picked.seat, tokens, blocks)
        self.owed[id(picked.seat)] = self.owed.get(id(picked.seat), 0) + tokens
        return picked.seat, tokens

    @rule(request=consumes(running))
    def request_ends(self, request: tuple[Seat, int] | None) -> None:
        if request is not None:
            self.balancer.give(*request)
            self.owed[id(request[0])] -= request[1]

    @invariant()
    def nothing_leaks(self) -> None:
        for seat in self.every:
            assert seat.outstanding == self.owed.get(id(seat), 0) >= 0
        assert self.balancer._total == sum(seat.outstanding for seat in self.here if seat.open)
        assert len({seat.bit for seat in self.here}) == len(self.here)
        assert len(self.balancer.index) <= 32


Fleet.TestCase.settings = settings(max_examples=examples(30), stateful_step_count=30, deadline=None)
TestFleet = Fleet.TestCase
