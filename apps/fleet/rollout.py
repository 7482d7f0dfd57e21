"""From the replicas there are to those that are wanted: what to start and what to drain next. Pure.

Asked again and again: each answer is one step that is safe now, and the steps end where every wanted replica is of the newest revision and
nothing else runs. Held in every step, whatever starts, fails or vanishes between two:

- no step makes more than ``wanted + surge`` replicas stand (not counting those that drain);
- no step takes a replica that serves away unless ``wanted - unavailable`` remain that serve;
- a replica of the newest revision that proxies cannot reach is kept, as long as those that serve are fewer than wanted without it.

**surge** starts the new beside the old; **in_place** takes an old one away first, for machines without room to spare; **auto** surges,
and goes in place where the extra replica found no worker (``room`` False). A new revision that never gets ready stops the rollout by
itself: the old ones that still serve are not taken away.

A ready replica that proxies cannot reach (``unreachable``) does not serve. A substitute is started beside it, whatever the strategy, and
never in its place: it may be back at any time. It goes once others serve; where it is reached again before, there is one more than wanted,
and what does not serve yet goes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Strategy = Literal["auto", "surge", "in_place"]
UNREACHED = "proxies cannot reach it"
"""Why a replica drains that a substitute has taken the place of."""


@dataclass(frozen=True, slots=True)
class Member:
    """A replica that has not ended. ready: its worker says so. unreachable: proxies say that they cannot reach it. leaving: it drains or
    stops already. age: greater is older."""

    id: str
    revision: int
    ready: bool = False
    leaving: bool = False
    age: float = 0.0
    unreachable: bool = False

    @property
    def serves(self) -> bool:
        return self.ready and not self.unreachable

    @property
    def cut(self) -> bool:
        return self.ready and self.unreachable


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now. start: how many of the newest revision; beside: how many of these are substitutes for what proxies cannot reach,
    which nobody misses where they find no place. drain: which, with the reason of each. text: where the rollout stands."""

    start: int = 0
    drain: tuple[tuple[str, str], ...] = ()
    text: str = ""
    beside: int = 0

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
    cut = [member for member in new if member.cut]
    well = [member for member in new if not member.cut]
    most = wanted + max(0, surge)
    in_place = strategy == "in_place" or (strategy == "auto" and not room)
    if in_place or surge < 1:
        surge = 0
        unavailable = max(1, unavailable)
    serving = sum(member.serves for member in standing)
    floor = max(0, wanted - unavailable)
    drain: list[tuple[str, str]] = []

    def take(candidates: Sequence[Member], most: int, why: str) -> None:
        """Those that do not serve first: taking them away costs nothing. Of the others the youngest, whose caches are coldest."""
        nonlocal serving
        for member in sorted(candidates, key=lambda member: (member.serves, member.ready, member.age, member.id)):
            if most <= 0:
                return
            if member.serves:
                if serving - 1 < floor:
                    continue
                serving -= 1
            drain.append((member.id, why))
            most -= 1

    surplus = len(standing) - wanted - surge
    if len(well) > wanted:
        take(well, len(well) - wanted, "one more than wanted")
    # Of what cannot be reached as much is kept as may be needed when it is back; of an older revision it goes first.
    needed = max(0, wanted - serving)
    kept = min(len(cut), needed)
    stale = [member for member in old if member.cut]
    take(stale, len(stale) - (needed - kept), UNREACHED)
    take(cut, len(cut) - kept, UNREACHED)
    if old:
        # What is not ready of an old revision serves nobody. What serves goes when the new ones carry the load, or first, where in place.
        idle = [member for member in old if not member.ready]
        take(idle, len(idle), "an older revision that does not serve")
        gone = {id for id, _ in drain}
        carrying = [member for member in old if member.ready and member.id not in gone]
        fresh = sum(member.serves for member in new)
        spare = len(carrying) - max(0, wanted - fresh)
        if in_place and len(new) < wanted and spare <= 0 and len(new) == fresh:
            spare = 1  # one goes so that one can come; the next waits until that one serves
        take(carrying, max(spare, surplus - len(drain)), "replaced by a newer revision")
    left = len(standing) - len(drain)
    start = max(0, min(wanted - len(new), wanted + surge - left))
    beside = max(0, min(kept, wanted - len(well) - start, most - left - start))
    text = _text(len(new), sum(member.serves for member in new), len(old), len(cut), wanted, revision)
    return Step(start + beside, tuple(drain), text, beside)


def _text(new: int, ready: int, old: int, cut: int, wanted: int, revision: int) -> str:
    cut_off = f", {cut} cannot be reached" if cut else ""
    if not old:
        return f"{ready} of {wanted} ready{cut_off}" if wanted or new else "scaled to zero"
    return f"revision {revision}: {ready} of {wanted} ready{cut_off}, {old} of an older revision to go"
