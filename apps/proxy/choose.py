"""Which targets may answer a request, in which order, and why the others may not.

``choose`` is the plan step's: it fills ``exchange.plan``. On a route without shares or degradation, while the request fits every
window, asks for nothing that a target lacks, and no target is in trouble, the plan is the route's own tuple and nothing is allocated.
Otherwise ``exchange.choice`` says what was dropped and why.

Filters, in this order: what config took out, what the model cannot do, what does not fit its window (``apps.proxy.context``), open
breakers. Then the strategy arranges what is left, and targets that asked to be left alone (Retry-After) go to the end.

Invariants: the plan holds no target twice and only live ones; a target whose breaker is forced open is never in it; where every other
breaker is open the least bad target is in it rather than none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from apps.contracts.model_facts import CAPABILITY_FIELDS, CAPABILITY_WORDS
from apps.proxy.context import fitting, guard, rewrite
from apps.proxy.errors import Refusal
from apps.proxy.lacks import needs_of

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledRoute, CompiledTarget

STEP = "plan"
_CAP_FIELDS = ("max_completion_tokens", "max_tokens")


class Dropped:
    """shut: for its breaker only, which nobody forces: it may still be asked when all others have failed."""

    __slots__ = ("reason", "shut", "target")

    def __init__(self, target: CompiledTarget, reason: str, shut: bool = False) -> None:
        self.target = target
        self.reason = reason
        self.shut = shut


class Choice:
    """dropped: in the route's order. notes: what was changed or given way to. regardless: every breaker is open, so none is asked.
    trimmed: messages left out of the request."""

    __slots__ = ("dropped", "notes", "regardless", "trimmed")

    def __init__(self) -> None:
        self.dropped: tuple[Dropped, ...] = ()
        self.notes: list[str] = []
        self.regardless = False
        self.trimmed = 0

    @property
    def head(self) -> bytes:
        """Reply headers that the app must see; rendered, perhaps empty."""
        return b"x-bulkhead-trimmed: %d messages\r\n" % self.trimmed if self.trimmed else b""


def choose(exchange: Exchange, route: CompiledRoute, time: Callable[[], float]) -> Refusal | None:
    """Fills ``exchange.plan``; ``exchange.max_output`` is set before. time: the loop's, seldom called."""
    lacks = route.lacks
    if route.quick and exchange.input_bound + exchange.max_output <= route.roomy and (lacks is None or not lacks.may_concern(exchange)):
        for target in route.live:
            state = target.state
            if state.breaker.state != "closed" or state.resting_until:
                break
        else:
            exchange.plan = route.live if route.arrange is None else tuple(_by_strategy(route, route.live, exchange, time()))
            return None
    return _choose(exchange, route, time())


def order(
    route: CompiledRoute, targets: Sequence[CompiledTarget], exchange: Exchange, now: float
) -> tuple[tuple[CompiledTarget, ...], tuple[Dropped, ...]]:
    """Survivors of ``targets`` in order, and the dropped with reasons; changes nothing. For what comes after the plan (hedges, rescues).

    Does not take a half-open breaker's probe: ask ``allows`` right before the attempt.
    """
    dropped: list[Dropped] = []
    kept = _capable(exchange, _live(route, targets, dropped), dropped)
    if route.resilience.context != "off":
        kept, small = fitting(exchange, kept)[:2]
        dropped += [Dropped(*pair) for pair in small]
    kept, _ = _ready(kept, now, dropped)
    return tuple(_arranged(route, kept, exchange, now)), tuple(dropped)


def _choose(exchange: Exchange, route: CompiledRoute, now: float) -> Refusal | None:
    choice = exchange.choice = Choice()
    settings = route.resilience
    dropped: list[Dropped] = []
    if settings.level == "limited" and exchange.max_output > settings.limited_max_output:
        _lower_output(exchange, settings.limited_max_output)
        choice.notes.append(f"the output cap was lowered to {settings.limited_max_output} tokens: the route is limited")
    kept = _live(route, route.targets, dropped)
    if not kept:
        return _no_target(route, choice, dropped)
    live, kept = kept, _capable(exchange, kept, dropped)
    if not kept:
        choice.dropped = tuple(dropped)
        missing = "; ".join(f"{drop.target.label}: {drop.reason}" for drop in dropped)
        message = (
            f"No target of the route {route.name!r} can take this request ({missing}). Leave out what it cannot do, or use another model."
        )
        return Refusal("unsupported_operation", STEP, message, _field(exchange, live))
    found = guard(exchange, settings.context, kept)
    if isinstance(found, Refusal):
        choice.dropped = tuple(dropped)
        return found
    dropped += [Dropped(target, reason) for target, reason in found.dropped]
    choice.trimmed = found.trimmed
    if found.note:
        choice.notes.append(found.note)
    kept, choice.regardless = _ready(found.fitting, now, dropped)
    if not kept:
        return _no_target(route, choice, dropped)
    if choice.regardless:
        choice.notes.append("every breaker is open: the target that may be asked soonest is tried rather than none")
    else:
        kept = _arranged(route, kept, exchange, now)
    choice.dropped = tuple(dropped)
    exchange.plan = tuple(kept)
    return None


def _live(route: CompiledRoute, targets: Sequence[CompiledTarget], dropped: list[Dropped]) -> list[CompiledTarget]:
    kept = []
    limited = route.resilience.level == "limited" and any(not t.killed and not t.expensive for t in targets)
    for target in targets:
        if target.killed:
            dropped.append(Dropped(target, target.killed))
        elif limited and target.expensive:
            dropped.append(Dropped(target, "it is marked as expensive and the route is limited"))
        else:
            kept.append(target)
    return kept


def _capable(exchange: Exchange, targets: list[CompiledTarget], dropped: list[Dropped]) -> list[CompiledTarget]:
    if all(not target.cannot and not target.max_output for target in targets):
        return targets
    needs = needs_of(exchange)
    output = exchange.max_output if exchange.kind == "chat" and not exchange.cap_injected else 0
    kept = []
    for target in targets:
        missing = needs & target.cannot
        if missing:
            dropped.append(Dropped(target, f"its model does not take {' and '.join(CAPABILITY_WORDS[name] for name in sorted(missing))}"))
        elif target.max_output and output > target.max_output:
            dropped.append(Dropped(target, f"its model gives up to {target.max_output} tokens, and {output} were asked for"))
        else:
            kept.append(target)
    return kept


def _field(exchange: Exchange, targets: Sequence[CompiledTarget]) -> str | None:
    """The field of a request that asked for what none of these targets has."""
    needs = needs_of(exchange)
    for target in targets:
        for name in sorted(needs & target.cannot):
            return CAPABILITY_FIELDS[name]
        if target.max_output and exchange.max_output > target.max_output and not exchange.cap_injected:
            return next((name for name in _CAP_FIELDS if exchange.payload.get(name) is not None), None)
    return None


def _ready(targets: list[CompiledTarget], now: float, dropped: list[Dropped]) -> tuple[list[CompiledTarget], bool]:
    """Targets whose breaker lets requests or a probe through; where there are none, those that may be asked soonest, and True."""
    kept: list[CompiledTarget] = []
    shut: list[CompiledTarget] = []
    reasons: dict[CompiledTarget, str] = {}
    for target in targets:
        breaker = target.state.breaker
        if breaker.usable(now):
            kept.append(target)
        elif breaker.forced == "open":
            reasons[target] = "its breaker is forced open"
        else:
            shut.append(target)
            if breaker.state == "half_open":
                reasons[target] = "its breaker is half-open and a probe is out"
            else:
                reasons[target] = f"its breaker is open for another {max(0.0, breaker.retry_at() - now):.1f} s"
    regardless = not kept and bool(shut)
    if regardless:
        # a probe that is out may bring it back any moment; else the one whose time comes first
        kept = sorted(shut, key=lambda target: (target.state.breaker.state != "half_open", target.state.breaker.retry_at()))
        reasons = {target: reason for target, reason in reasons.items() if target not in shut}
    dropped += [Dropped(target, reasons[target], target in shut) for target in targets if target in reasons]
    return kept, regardless


def _arranged(route: CompiledRoute, targets: list[CompiledTarget], exchange: Exchange, now: float) -> list[CompiledTarget]:
    if route.arrange is not None and len(targets) > 1:
        targets = _by_strategy(route, targets, exchange, now)
    resting = []
    for target in targets:
        state = target.state
        if state.resting_until:
            if state.resting_until > now:
                resting.append(target)
            else:
                state.resting_until = 0.0
    if resting:
        targets = [target for target in targets if target not in resting] + sorted(resting, key=lambda t: t.state.resting_until)
    return targets


def _by_strategy(route: CompiledRoute, targets: Sequence[CompiledTarget], exchange: Exchange, now: float) -> list[CompiledTarget]:
    """``targets`` are in order of rank."""
    arrange = route.arrange
    assert arrange is not None
    if targets[0].rank == targets[-1].rank:
        return arrange(list(targets), route, exchange, now)
    arranged: list[CompiledTarget] = []
    for _, same in groupby(targets, key=lambda target: target.rank):
        group = list(same)
        arranged += arrange(group, route, exchange, now) if len(group) > 1 else group
    return arranged


def _lower_output(exchange: Exchange, cap: int) -> None:
    exchange.max_output = cap
    if not exchange.cap_injected:
        payload = exchange.payload
        rewrite(exchange, {**payload, **{name: cap for name in _CAP_FIELDS if (payload.get(name) or 0) > cap}})


def _no_target(route: CompiledRoute, choice: Choice, dropped: list[Dropped]) -> Refusal:
    choice.dropped = tuple(dropped)
    reasons = "; ".join(f"{drop.target.label}: {drop.reason}" for drop in dropped)
    return Refusal("no_target", STEP, f"No target of the route {route.name!r} may be called now ({reasons}).")
