"""The guided minute: break sim-east, watch the failover, switch the route, undo. Steps tick themselves off from what is measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.demo.state import DemoState


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured. ``broken``: whether sim-east fails everything now, None where it does not answer.

    ``switched``: whether all of the route goes to sim-west now. ``last_minute``: requests. Since the break: ``rescued``, answered by
    another target after sim-east failed; ``failed``, not answered; ``direct``, answered by sim-west at the first try after the switch.
    ``current`` of ``total`` proxies run the newest config.
    """

    broken: bool | None
    switched: bool
    last_minute: int
    rescued: int
    failed: int
    direct: int
    current: int
    total: int
    version: int


@dataclass(frozen=True, slots=True)
class Step:
    """``state``: done, now (the next thing to do) or later. ``note``: what was measured."""

    title: str
    note: str
    state: str = "later"

    @property
    def done(self) -> bool:
        return self.state == "done"


@dataclass(frozen=True, slots=True)
class Tour:
    """The steps, and the one button that belongs now: ``break``, ``switch``, ``undo``, or empty."""

    steps: Sequence[Step]
    action: str
    running: bool
    """Whether sim-east is broken or the route switched: there is something to undo."""


def tour(state: DemoState, facts: Facts) -> Tour:
    """Where the tour stands. A step is done when its fact holds, or held before the tour was undone."""
    begun = state.broken_at > 0
    undone = state.undone_at > state.broken_at
    switched = begun and state.switched_at >= state.broken_at and (undone or facts.switched)
    told = facts.total and facts.current == facts.total
    whole = undone and not facts.switched and facts.broken is False
    done = (
        facts.last_minute > 0,
        begun and (undone or facts.broken is True),
        begun and facts.rescued > 0,
        switched and (undone or bool(told)),
        whole,
    )
    steps = (
        ("Traffic flows", f"{facts.last_minute} requests in the last minute" if facts.last_minute else "waiting for the first request"),
        ("Break sim-east", _broken(facts, begun, undone)),
        ("Apps notice nothing", _survived(facts) if begun else "sim-west answers what sim-east fails"),
        ("Switch the route", _switched(facts, switched, undone)),
        ("Undo", "sim-east answers again, the route chooses again" if whole else "mends sim-east and switches the route back"),
    )
    at = next((number for number, is_done in enumerate(done) if not is_done), len(done))
    made = [
        Step(title, note, "done" if is_done else "now" if number == at else "later")
        for number, ((title, note), is_done) in enumerate(zip(steps, done, strict=True))
    ]
    running = facts.broken is True or facts.switched
    action = "break" if not running else "undo" if facts.switched else "switch"
    return Tour(made, action, running)


def _broken(facts: Facts, begun: bool, undone: bool) -> str:
    if facts.broken is None:
        return "sim-east's simulator does not answer"
    if facts.broken:
        return "it answers 503 to every request"
    return "done and mended" if begun and undone else "it will answer 503 to every request"


def _survived(facts: Facts) -> str:
    if not facts.rescued and not facts.failed:
        return "waiting for the next request"
    return f"{facts.rescued} answered by sim-west after sim-east failed, {facts.failed or 'none'} lost"


def _switched(facts: Facts, switched: bool, undone: bool) -> str:
    if undone and switched:
        return f"{facts.direct} answered by sim-west at the first try"
    if facts.switched:
        return f"v{facts.version} on {facts.current}/{facts.total} proxies, {facts.direct} answered by sim-west at the first try"
    return "sends all of demo-chat to sim-west, within a second"
