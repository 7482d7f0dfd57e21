"""From the replicas there are to those that are wanted: what to start and what to drain next. Pure.

Asked again and again: each answer is one step that is safe now, and the steps end where every wanted replica is of the newest revision and
nothing else runs. Held in every step, whatever starts, fails or vanishes between two:

- no step makes more than ``wanted + surge`` replicas stand (not counting those that drain);
- no step takes a ready replica away unless ``wanted - unavailable`` ready ones remain.

**surge** starts the new beside the old; **in_place** takes an old one away first, for machines without room to spare; **auto** surges,
and goes in place where the extra replica found no worker (``room`` False). A new revision that never gets ready stops the rollout by
itself: the old ones that still serve are not taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Strategy = Literal["auto", "surge", "in_place"]


@dataclass(frozen=True, slots=True)
class Member:
    """A replica that has not ended. ready: it serves. leaving: it drains or stops already. age: greater is older."""

    id: str
    revision: int
    ready: bool = False
    leaving: bool = False
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now. start: how many of the newest revision. drain: which, with the reason of each. text: where the rollout stands."""

    start: int = 0
    drain: tuple[tuple[str, str], ...] = ()
    text: str = ""

    @property
    def done(self) -> bool:
        return not self.start and not self.drain


def step(
    members: Iterable[Member],
    *,
    revision: int,
    wanted: int,
    strategy: Strategy = "auto",
    surge: int = 1,
    unavailable: int = 0,
    room: bool = True,
) -> Step:
    """room: False where the last attempt to place one more found no worker for it."""
    standing = [member for member in members if not member.leaving]
    new = [member for member in standing if member.revision == revision]
    old = [member for member in standing if member.revision != revision]
    in_place = strategy == "in_place" or (strategy == "auto" and not room)
    if in_place or surge < 1:
        surge = 0
        unavailable = max(1, unavailable)
    ready = sum(member.ready for member in standing)
    floor = max(0, wanted - unavailable)
    drain: list[tuple[str, str]] = []

    def take(candidates: Sequence[Member], most: int, why: str) -> None:
        """Those that do not serve first: taking them away costs nothing. Of the others the youngest, whose caches are coldest."""
        nonlocal ready
        for member in sorted(candidates, key=lambda member: (member.ready, member.age, member.id)):
            if most <= 0:
                return
            if member.ready:
                if ready - 1 < floor:
                    continue
                ready -= 1
            drain.append((member.id, why))
            most -= 1

    surplus = len(standing) - wanted - surge
    if len(new) > wanted:
        take(new, len(new) - wanted, "one more than wanted")
    if old:
        # What is not ready of an old revision serves nobody. What serves goes when the new ones carry the load, or first, where in place.
        idle = [member for member in old if not member.ready]
        take(idle, len(idle), "an older revision that does not serve")
        serving = [member for member in old if member.ready]
        fresh = sum(member.ready for member in new)
        spare = len(serving) - max(0, wanted - fresh)
        if in_place and len(new) < wanted and spare <= 0 and len(new) == fresh:
            spare = 1  # one goes so that one can come; the next waits until that one serves
        take(serving, max(spare, surplus - len(drain)), "replaced by a newer revision")
    gone = len(drain)
    start = max(0, min(wanted - len(new), wanted + surge - (len(standing) - gone)))
    return Step(start, tuple(drain), _text(len(new), sum(member.ready for member in new), len(old), wanted, revision))


def _text(new: int, ready: int, old: int, wanted: int, revision: int) -> str:
    if not old:
        return f"{ready} of {wanted} ready" if wanted or new else "scaled to zero"
    return f"revision {revision}: {ready} of {wanted} ready, {old} of an older revision to go"
