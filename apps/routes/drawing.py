"""A route's chains as its page draws them: targets in their order, what leads from one to the next, and which chain is in force by what.

Pure. What wins over what is ``docs/adr/0091-what-combines-how.md``: a kill, then a switch, then a fallback flag, then the targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from apps.ui.status import Status

IN_FORCE = Status("in_force", "In force", "good")
PARTLY = Status("partly", "For part of the requests", "warn")
IDLE = Status("idle", "Not in use", "neutral", "dash")
REFUSED = Status("refused", "Requests are refused", "bad", "block")

FIRST = Status("first", "Tried first", "good")
ALL = Status("all", "Takes all traffic", "warn", "routes")
CHOICE = Status("choice", "In the choice", "good")
NEXT = Status("next", "Next on failure", "neutral", "right")
PASSED = Status("passed", "Passed over", "warn", "dash")
LEFT = Status("left", "Left out", "neutral", "dash")
SPARE = Status("spare", "Waits", "neutral", "dash")

OPEN = frozenset({"open", "forced_open"})
"""Breaker states in which nothing is sent to a target while another is left."""


@dataclass(frozen=True, slots=True)
class Link:
    """One target of a chain. options: what was chosen for it, in words. breaker: as proxies say, or a person holds it. blocked: why it
    gets nothing at all, where something keeps it out. place: what its turn is; of a chain as written, ``NEXT``. switched: all traffic
    goes to it."""

    number: int
    label: str
    options: str
    breaker: Status
    blocked: Status | None = None
    switched: bool = False
    place: Status = NEXT


@dataclass(frozen=True, slots=True)
class Chain:
    """title, status, why: which chain it is, whether it is in force, and by what."""

    title: str
    status: Status
    why: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides which chain is in force. refused: why requests are refused before any target, empty where they are not. switch: who sent
    all traffic to one target and why, empty: nobody. failover: the others follow that one. fallback: the flag that is on, empty: none;
    partly: it is for some requests only. ordered: targets are tried as listed; order: how they are chosen, in words."""

    refused: str = ""
    switch: str = ""
    failover: bool = True
    fallback: str = ""
    partly: bool = False
    ordered: bool = True
    order: str = "As listed"


def chains_drawn(primary: Sequence[Link], fallback: Sequence[Link], standing: Standing) -> list[Chain]:
    """The chain of targets, and the fallback chain where there is one, each with what its targets' turn is now."""
    flagged = bool(standing.fallback and fallback)
    by_flag = f"the flag {standing.fallback} is on"
    chains = []
    for name, links in (("Targets", primary), ("Fallback chain", fallback)):
        if not links:
            continue
        chosen = (name == "Targets") != flagged
        if standing.refused:
            status, why, use = REFUSED, standing.refused, "idle"
        elif standing.switch:
            status, why, use = (IN_FORCE if chosen else IDLE), standing.switch, "switched"
        elif flagged and standing.partly:
            status, why, use = PARTLY, f"{by_flag}, for part of the requests", "used"
        else:
            status = IN_FORCE if chosen else IDLE
            why = by_flag if flagged else standing.order if chosen else "used while a fallback flag is on"
            use = "used" if chosen else "idle"
        chains.append(Chain(name, status, why, _placed(links, use, standing)))
    return chains


def _placed(links: Sequence[Link], use: str, standing: Standing) -> tuple[Link, ...]:
    """Each target with its turn. use: idle, used, or switched."""
    found, turn = [], 0
    for link in links:
        if link.blocked is not None:
            place = link.blocked
        elif use == "idle":
            place = SPARE
        elif use == "switched":
            place = ALL if link.switched else NEXT if standing.failover else LEFT
        elif link.breaker.value in OPEN:
            place = PASSED
        else:
            place = CHOICE if not standing.ordered else FIRST if turn == 0 else NEXT
            turn += 1
        found.append(replace(link, place=place))
    return tuple(found)


DeadlineName = Literal["connect_ms", "first_byte_ms", "reasoning_first_byte_ms", "first_token_ms", "idle_ms", "total_ms"]


@dataclass(frozen=True, slots=True)
class Deadline:
    """One of a route's deadlines. ms: 0 where it does not act by itself. source: where the value comes from. own: targets with another one:
    label and milliseconds of each."""

    name: str
    ms: int
    source: str
    help: str
    own: tuple[tuple[str, int], ...] = ()


DEADLINES: tuple[tuple[DeadlineName, str, str], ...] = (
    ("connect_ms", "Connect", "To connect and complete TLS."),
    ("first_byte_ms", "First byte", "Of streams: until the answer begins."),
    ("reasoning_first_byte_ms", "First byte, reasoning", "The same for targets marked as reasoning."),
    ("first_token_ms", "First token", "Of streams: until real output shows."),
    ("idle_ms", "Idle", "Between two pieces of an answer."),
    ("total_ms", "Total", "The whole request with all its attempts; of a target: one attempt there."),
)
"""By the contract's names: what a page calls each, and what it is for."""


def deadlines_drawn(values: dict[str, int], defaults: dict[str, int], own: Sequence[tuple[str, dict[str, int]]]) -> list[Deadline]:
    """A route's deadlines with where each comes from. values, defaults: milliseconds by name. own: of each target its label and what it
    has of its own, 0 where the route's holds. Those of reasoning are left out where no target is marked so."""
    found = []
    for name, title, text in DEADLINES:
        if name not in values:
            continue
        source = "Bulkhead's default" if values[name] == defaults[name] else "set on this route"
        if name == "first_token_ms" and not values[name]:
            source = "Bulkhead's default: as the first byte"
        others = tuple((label, mine[name]) for label, mine in own if mine.get(name))
        found.append(Deadline(title, values[name], source, text, others))
    return found
