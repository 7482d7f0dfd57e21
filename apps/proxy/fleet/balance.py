"""Which replica of a deployment a request goes to. Pure: no clock, no sockets; ``random`` is given.

Work is counted in *tokens outstanding*: what was handed to a replica and has not ended, read and written tokens together, divided by the
replica's weight. In order, the first that finds somebody decides:

1. **Session.** With a session, the replica that it hashes to on a ring (the same one in every proxy, and one that comes or goes moves
   only its own sessions), or the next one on it.
2. **Prefix.** With a chain of blocks, whoever has most of it in its cache, if that is worth it (``WORTH``).
3. **Load.** The least outstanding tokens; among more than ``SCAN`` replicas the better of two drawn at random.

1 and 2 hold while the replica's load is *bounded*: at most ``bound`` times the mean, before this request. So affinity cannot pile work up:
after any pick by affinity a replica holds at most ``bound`` x mean + this request.

What always holds (``tests/proxy/fleet/test_balance.py``): nobody is picked who is out, draining or to be avoided; while somebody is in,
somebody is picked; ``outstanding`` is the sum of what was taken and not given back, whatever comes or goes meanwhile, and never negative.
"""

from __future__ import annotations

import random as _random
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, NamedTuple
from zlib import crc32

from apps.proxy.fleet.prefixes import PrefixIndex

Way = Literal["session", "prefix", "load", "only"]

BOUND = 1.25
WORTH = 0.25
"""Of a prompt's blocks: a shorter common beginning (a greeting, a system prompt that everybody has) is no reason to prefer anybody."""
SCAN = 16
"""Up to so many replicas, all are looked at."""
POINTS = 40
"""Of each replica on the ring of sessions."""
BLOCKS = 200_000
"""Remembered per deployment: at 1 KiB of text each, some 50 million tokens."""
_MASK = (1 << 64) - 1


class Seat:
    """A replica as the balancer sees it. weight: its share of the work relative to the others'. capacity: tokens that it can hold at once;
    0: not known. ``outstanding``: tokens taken and not given back. ``open``: it may be picked; of a seat that is in a balancer, changed by
    ``Balancer.turn`` only."""

    __slots__ = ("bit", "capacity", "id", "open", "outstanding", "seed", "taken", "weight")

    def __init__(self, id: str, weight: int = 100, capacity: int = 0) -> None:
        if weight <= 0:
            raise ValueError(f"the replica {id!r} has the weight {weight}: it must be above zero")
        self.id = id
        self.weight = weight
        self.capacity = capacity
        self.outstanding = 0
        self.taken = 0
        """Requests taken and not given back."""
        self.open = True
        self.bit = 0
        self.seed = _mixed(crc32(id.encode()))

    def __repr__(self) -> str:
        return f"Seat({self.id!r}, outstanding={self.outstanding}, open={self.open})"


class Pick(NamedTuple):
    """way: what decided. matched: blocks of the prompt that the seat is believed to have."""

    seat: Seat
    way: Way
    matched: int = 0


class Balancer:
    """One per deployment and process. Seats come and go by ``settle``; ``turn`` takes one out or back in."""

    def __init__(self, *, bound: float = BOUND, worth: float = WORTH, blocks: int = BLOCKS, random: _random.Random | None = None) -> None:
        self.bound = bound
        self.worth = worth
        self.index = PrefixIndex(blocks)
        self._random = random or _random.Random()
        self._seats: dict[str, Seat] = {}
        self._ready: list[Seat] = []
        self._by_bit: dict[int, Seat] = {}
        self._ring: list[Seat] = []
        self._points: list[int] = []
        """Where on the ring each of ``_ring`` is, ascending."""
        self._among = 0
        self._weights = 0
        self._total = 0

    @property
    def seats(self) -> Collection[Seat]:
        return self._seats.values()

    @property
    def ready(self) -> Sequence[Seat]:
        """Who may be picked."""
        return self._ready

    @property
    def outstanding(self) -> int:
        """Tokens at all seats, those that are out among them."""
        return sum(seat.outstanding for seat in self._seats.values())

    def settle(self, seats: Iterable[Seat] | None = None) -> None:
        """Who is there from now on (None: the same as before), and who of them is open. What left seats are still owed goes with them."""
        if seats is not None:
            now = {seat.id: seat for seat in seats}
            for id, old in self._seats.items():
                if old.bit and now.get(id) is not old:
                    self.index.forget(old.bit)
                    del self._by_bit[old.bit]
                    old.bit = 0
            self._seats = now
            for seat in now.values():
                if not seat.bit:
                    seat.bit = self._free_bit()
                    self._by_bit[seat.bit] = seat
            ring = sorted((_mixed(seat.seed + point), seat.id) for seat in now.values() for point in range(POINTS))
            self._points = [point for point, _ in ring]
            self._ring = [now[id] for _, id in ring]
        self._ready = [seat for seat in self._seats.values() if seat.open]
        self._among = sum(seat.bit for seat in self._ready)
        self._weights = sum(seat.weight for seat in self._ready)
        self._total = sum(seat.outstanding for seat in self._ready)

    def turn(self, seat: Seat, *, open: bool) -> None:
        """From now on it may be picked, or may not."""
        if seat.open != open:
            seat.open = open
            self.settle()

    def _free_bit(self) -> int:
        bit = 1
        while bit in self._by_bit:
            bit <<= 1
        return bit

    # --- the decision ---

    def pick(self, tokens: int, blocks: Sequence[int] = (), session: bytes = b"", avoid: Collection[Seat] = ()) -> Pick | None:
        """Whom a request of so many tokens goes to; None where nobody is left. Changes nothing: ``take`` does."""
        ready = self._ready
        if avoid:
            ready = [seat for seat in ready if seat not in avoid]
        if not ready:
            return None
        if len(ready) == 1:
            return Pick(ready[0], "only", self._matched(ready[0], blocks))
        if session:
            seat = self._of_session(session, avoid, tokens)
            if seat is not None:
                return Pick(seat, "session", self._matched(seat, blocks))
        if blocks:
            least = self.worth * len(blocks)
            seen = 0
            for depth, held in self.index.match(blocks, self._among):
                if depth < least:
                    break
                best: Seat | None = None
                fresh = held & ~seen
                seen |= held
                while fresh:
                    bit = fresh & -fresh
                    fresh ^= bit
                    seat = self._by_bit[bit]
                    if seat not in avoid and self._bounded(seat, tokens) and (best is None or _lighter(seat, best)):
                        best = seat
                if best is not None:
                    return Pick(best, "prefix", depth)
        seat = self._least(ready, tokens)
        return Pick(seat, "load", self._matched(seat, blocks))

    def _bounded(self, seat: Seat, tokens: int) -> bool:
        if seat.capacity and seat.outstanding + tokens > seat.capacity:
            return False
        return seat.outstanding * self._weights <= self.bound * self._total * seat.weight

    def _of_session(self, session: bytes, avoid: Collection[Seat], tokens: int) -> Seat | None:
        """The first on the ring, from where the session is, that may be picked and is not overloaded."""
        ring = self._ring
        start = bisect_left(self._points, _mixed(crc32(session)))
        passed: set[Seat] = set()
        for at in range(start - len(ring), start):  # from the start on, and from the beginning again
            seat = ring[at]
            if seat in passed:
                continue
            if seat.open and seat not in avoid and self._bounded(seat, tokens):
                return seat
            passed.add(seat)
            if len(passed) == len(self._seats):
                break
        return None

    def _least(self, ready: Sequence[Seat], tokens: int) -> Seat:
        if len(ready) > SCAN:
            one, two = self._random.sample(ready, 2)
            return two if _preferred(two, one, tokens) else one
        best = ready[0]
        start = int(self._random.random() * len(ready))  # equals take turns
        for at in range(len(ready)):
            seat = ready[start - at]
            if at == 0 or _preferred(seat, best, tokens):
                best = seat
        return best

    def _matched(self, seat: Seat, blocks: Sequence[int]) -> int:
        if not blocks:
            return 0
        found = self.index.match(blocks, seat.bit)
        return found[0][0] if found else 0

    # --- the count ---

    def take(self, seat: Seat, tokens: int, blocks: Sequence[int] = ()) -> None:
        """The request goes to ``seat``. Owed: exactly one ``give`` of the same seat and tokens."""
        if tokens < 0:
            raise ValueError("a request has no negative tokens")
        seat.outstanding += tokens
        seat.taken += 1
        if seat.open and self._seats.get(seat.id) is seat:
            self._total += tokens
        if blocks and seat.bit:
            self.index.learn(blocks, seat.bit)

    def give(self, seat: Seat, tokens: int) -> None:
        """It has ended there, however."""
        if tokens > seat.outstanding or seat.taken <= 0:
            raise ValueError(f"{tokens} tokens given back of {seat.outstanding} at {seat.id!r}: more than were taken")
        seat.outstanding -= tokens
        seat.taken -= 1
        if seat.open and self._seats.get(seat.id) is seat:
            self._total -= tokens


def _lighter(one: Seat, two: Seat) -> bool:
    return one.outstanding * two.weight < two.outstanding * one.weight


def _preferred(one: Seat, two: Seat, tokens: int) -> bool:
    """Whether ``one`` is the better place by load: with room for the request before without, then the lighter."""
    full_one = 0 < one.capacity < one.outstanding + tokens
    full_two = 0 < two.capacity < two.outstanding + tokens
    if full_one != full_two:
        return full_two
    return _lighter(one, two)


def _mixed(number: int) -> int:
    """A well spread 64-bit number (SplitMix64's finaliser)."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)
