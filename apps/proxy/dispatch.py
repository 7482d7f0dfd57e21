"""Chooses the next attempt until the app has its answer. Together with ``flight.py`` the only place that awaits upstreams.

What a failure means is said in ``verdict.py``. Bounds on all that is tried: the route's ``max_attempts``, the request's deadline, the retry
budget (same-target retries), the hedge budget. When everything fails, the first target's error is the answer. Once the app has seen
output, the stream is continued elsewhere where its seam is safe (``rescue.py``), or ends in an in-band error, never a clean end.
"""

from __future__ import annotations

import asyncio
import random
from itertools import chain
from typing import TYPE_CHECKING, Literal

from apps.contracts.usage import Attempt, Role, Tokens
from apps.proxy.choose import order
from apps.proxy.dialects.translated import followed
from apps.proxy.errors import (
    AttemptFailed,
    Beaten,
    ClientGone,
    LimitReached,
    ProxyError,
    Refusal,
    Refused,
    SeamRefused,
    UpstreamAnswered,
    UpstreamSilent,
)
from apps.proxy.fleet.moving import end_of, fly_among
from apps.proxy.fleet.tries import Tries
from apps.proxy.flight import Ask, fly
from apps.proxy.hedge import Race
from apps.proxy.rescue import Sofar, Way, continuation
from apps.proxy.runtime import MAX_ATTEMPTS
from apps.proxy.slots import QueueTimeout, Shed, Slots
from apps.proxy.splice import Splicer
from apps.proxy.translate import Call, carried_on, sayable, unsayable
from apps.proxy.verdict import MAX_PAUSE_SECONDS, Verdict, verdict

if TYPE_CHECKING:
    from apps.proxy.breaker import Breaker
    from apps.proxy.dialects.translation import FrontStream
    from apps.proxy.engine import Engine
    from apps.proxy.exchange import Exchange
    from apps.proxy.fleet.replicas import Replica
    from apps.proxy.runtime import CompiledRoute, CompiledTarget

RETRY_PAUSE_SECONDS = (0.02, 0.12)
"""Jitter before the same target is tried again."""
HEDGE_LEAST_SECONDS = 0.02


async def serve(exchange: Exchange, engine: Engine) -> None:
    """From the plan to the last byte. Every path out of here has answered the app and written the record."""
    route = exchange.route
    assert route is not None
    route.retries.requests += 1
    try:
        targets = exchange.plan
        role: Role = "first"
        left = route.max_attempts
        index = credentials_dead = 0
        skipped: tuple[CompiledTarget, ...] = ()
        regardless = False
        while index < len(targets):
            target = targets[index]
            if (target.translates or exchange.caller is not None or exchange.operation is not None) and not sayable(exchange, target):
                targets = (*targets[:index], *targets[index + 1 :])
                if index >= len(targets) and not regardless:
                    targets, regardless = (*targets, *skipped, *_shut(exchange)), True
                continue
            slots = target.state.slots
            if slots is not None and index + 1 < len(targets) and 0 < slots.limit <= slots.running:
                skipped += (target,)  # it runs as many as it may, and another one is there
                index += 1
                continue
            breaker = target.state.breaker
            if breaker.state != "closed" and not regardless and not _may_try(exchange, engine, breaker) and index + 1 < len(targets):
                if not breaker.forced:  # it opened meanwhile, or its probe is out
                    skipped += (target,)
                index += 1
                continue
            tries = 0
            while True:
                left -= 1
                tries += 1
                try:
                    if slots is None and not route.resilience.hedge_share:
                        await (fly if target.replicas is None else fly_among)(exchange, engine, target, role)
                    else:
                        await _once(exchange, engine, route, target, role, targets[index + 1 :])
                    return
                except AttemptFailed as error:
                    if exchange.first_token_ns:  # the app has seen the beginning: nothing can be tried again unseen
                        if not await _rescue(exchange, engine, route, error):
                            engine.break_stream(exchange, error)
                        return
                    if exchange.first_error is None:
                        exchange.first_error = error
                    if isinstance(error, LimitReached):  # it was not asked: were it a probe, another may be made
                        breaker.release(engine.loop.time())
                    ruling = verdict(error)
                    if ruling.course == "answer" and isinstance(error, UpstreamAnswered):
                        engine.answer_upstream_error(exchange, error)
                        return
                    if ruling.course == "credential" and isinstance(error, UpstreamAnswered):
                        credentials_dead += 1
                        engine.credential_refused(target, error.status, error.credential)
                    if target.credentials is not None and _other_credential(exchange, engine, target, ruling, left):
                        exchange.first_error = None if exchange.first_error is error else exchange.first_error
                        role, tries = "retry", 0
                        continue
                    if route.resilience.hedge_share:
                        targets = _unhedged(exchange, targets, index + 1)
                    last = index + 1 >= len(targets)
                    pause = _pause(exchange, ruling, last=last)
                    if pause is None or tries > 1 or left <= 0 or exchange.opens >= MAX_ATTEMPTS:
                        break
                    if breaker.state != "closed" and not last:  # it has just opened: nobody asks it again while another is there
                        break
                    if not route.retries.take():
                        break
                    await asyncio.sleep(pause)
                    role = "retry"
                except ProxyError:  # it ended before it was sent, or with the app: were it a probe, another may be made
                    breaker.release(engine.loop.time())
                    raise
            index += 1
            role = "failover"
            if left <= 0 or exchange.opens >= MAX_ATTEMPTS or exchange.overdue():
                break
            if index >= len(targets) and not regardless:  # all failed that seemed well: asking the others is better than refusing
                shut = () if ruling.course == "pause" else _shut(exchange)  # a rate limit is no reason to storm who is down
                targets, regardless = (*targets, *skipped, *shut), True
            if ruling.course in ("larger_window", "other_model"):
                rest = tuple(t for t in targets[index:] if _differs(t, target, ruling))
                targets = (*targets[:index], *rest)
        first = exchange.first_error
        if first is None:  # nobody could be asked: no target's format can say it
            engine.refuse(exchange, unsayable(exchange), outcome="refused")
            return
        if credentials_dead and credentials_dead == len(exchange.attempts):
            message = "Every provider of this route refused its credential. Its owner has been told; nothing is wrong with your key."
            engine.refuse(exchange, Refusal("upstream_credentials_exhausted", "dispatch", message), outcome="error")
        elif isinstance(first, UpstreamAnswered):
            engine.answer_upstream_error(exchange, first)
        elif isinstance(first, LimitReached):
            engine.refuse(exchange, first.refusal, outcome="error" if exchange.attempts else "refused")
        else:
            message = f"The provider could not answer: {first}." + (" No other target could either." if len(exchange.attempts) > 1 else "")
            engine.refuse(exchange, Refusal(first.code, "dispatch", message), outcome="error")
    except Refused as refused:
        _refuse(exchange, engine, refused)
    except ClientGone:
        engine.client_left(exchange)


async def serve_in_turn(exchange: Exchange, engine: Engine, slots: Slots) -> None:
    """The same inside the route's cap."""
    route = exchange.route
    assert route is not None
    if not slots.take():
        try:
            await _queue(exchange, engine, slots, f"the route {route.name!r}")
        except Refused as refused:
            _refuse(exchange, engine, refused)
            return
        except ClientGone:
            engine.client_left(exchange)
            return
    try:
        await serve(exchange, engine)
    finally:
        slots.give()


def _may_try(exchange: Exchange, engine: Engine, breaker: Breaker) -> bool:
    """Takes a half-open breaker's probe. A plan that was made regardless of breakers does not ask them."""
    return (exchange.choice is not None and exchange.choice.regardless) or breaker.allows(engine.loop.time())


def _shut(exchange: Exchange) -> tuple[CompiledTarget, ...]:
    """Targets that the plan left out for their breakers only; who may be asked soonest, first."""
    if exchange.choice is None:
        return ()
    shut = [drop.target for drop in exchange.choice.dropped if drop.shut]
    return tuple(sorted(shut, key=lambda target: target.state.breaker.retry_at()))


def _refuse(exchange: Exchange, engine: Engine, refused: Refused) -> None:
    first = exchange.first_error
    if isinstance(first, UpstreamAnswered) and first.status not in (401, 402, 403):
        engine.answer_upstream_error(exchange, first)
    else:
        engine.refuse(exchange, refused.refusal, outcome="error" if exchange.attempts else "refused")


async def _once(
    exchange: Exchange, engine: Engine, route: CompiledRoute, target: CompiledTarget, role: Role, others: tuple[CompiledTarget, ...]
) -> None:
    """One attempt at one target inside its cap, with a hedge where the route has them."""
    slots = target.state.slots
    if slots is not None and not slots.take():
        await _queue(exchange, engine, slots, target.label)
    try:
        if route.resilience.hedge_share and role == "first" and others:
            await _hedged(exchange, engine, route, target, others[0])
        else:
            await (fly if target.replicas is None else fly_among)(exchange, engine, target, role)
    finally:
        if slots is not None:
            slots.give()


def _unhedged(exchange: Exchange, targets: tuple[CompiledTarget, ...], following: int) -> tuple[CompiledTarget, ...]:
    """The plan without the one that follows, where that has failed as a hedge already."""
    if following < len(targets):
        other = targets[following]
        for attempt in exchange.attempts:
            if attempt.role == "hedge" and attempt.outcome == "error" and _is_at(attempt, other):
                return (*targets[:following], *targets[following + 1 :])
    return targets


def _is_at(attempt: Attempt, target: CompiledTarget) -> bool:
    return (attempt.provider, attempt.endpoint, attempt.model) == (target.provider, target.endpoint, target.model)


def _other_credential(exchange: Exchange, engine: Engine, target: CompiledTarget, ruling: Verdict, left: int) -> bool:
    """Whether the same target is asked at once by another of its endpoint's credentials."""
    pool = target.credentials
    if pool is None or ruling.course not in ("credential", "pause") or left <= 0 or exchange.opens >= MAX_ATTEMPTS:
        return False
    return not exchange.overdue() and pool.another(target.model, engine.loop.time())


def _pause(exchange: Exchange, ruling: Verdict, *, last: bool) -> float | None:
    """Seconds until the same target is tried again; None: not again."""
    if ruling.course == "again":
        return random.uniform(*RETRY_PAUSE_SECONDS)
    if last and ruling.pause and ruling.course in ("pause", "next"):
        wait = ruling.pause + random.uniform(*RETRY_PAUSE_SECONDS)
        if wait < min(exchange.left_seconds(), MAX_PAUSE_SECONDS):
            return wait
    return None


def _differs(candidate: CompiledTarget, failed: CompiledTarget, ruling: Verdict) -> bool:
    if ruling.course == "larger_window":
        return candidate.window > failed.window
    return candidate.model != failed.model or candidate.provider != failed.provider


async def _queue(exchange: Exchange, engine: Engine, slots: Slots, what: str) -> None:
    """Waits for a slot, best priority first, no longer than the route lets anyone wait. Raises Refused when shed."""
    route, key = exchange.route, exchange.key
    assert route is not None and key is not None
    now = engine.loop.time()
    patience = min(route.resilience.queue, exchange.left_seconds())
    waiter = slots.wait(exchange.priority, now + patience, now)
    try:
        if waiter is None:
            raise Shed(slots.retry_after())
        try:
            await waiter
        finally:
            slots.waited(engine.loop.time() - now)
    except (Shed, QueueTimeout) as error:
        seconds = error.retry_after_seconds
        message = f"Too much is asked of {what} at once: {slots.running} run, {slots.waiting} wait. Try again in {seconds} s."
        raise Refused(Refusal("overloaded", "queue", message, None, {"retry_after_seconds": seconds})) from error


# --- hedging ---


async def _hedged(exchange: Exchange, engine: Engine, route: CompiledRoute, target: CompiledTarget, other: CompiledTarget) -> None:
    """The attempt, and when it is late a second one at ``other``."""
    budget = engine.states.hedges(route)
    budget.request()
    delay = route.resilience.hedge_after or target.state.health.p95()
    first = fly if target.replicas is None else fly_among
    if delay is None:
        await first(exchange, engine, target)
        return
    race = Race()

    def late() -> None:
        if (other.translates or exchange.caller is not None or exchange.operation is not None) and not sayable(exchange, other):
            return
        slots, breaker = other.state.slots, other.state.breaker
        if not race.alone or exchange.first_token_ns or exchange.opens >= MAX_ATTEMPTS or (slots is not None and not slots.take()):
            return
        allowed = breaker.allows(engine.loop.time())
        if not allowed or not budget.take():
            if allowed:
                breaker.release(engine.loop.time())
            if slots is not None:
                slots.give()
            return

        async def second() -> None:
            try:
                await (fly if other.replicas is None else fly_among)(exchange, engine, other, "hedge", race=race)
            except (Refused, Beaten) as error:  # there may be no money for it: then the first attempt decides alone
                breaker.release(engine.loop.time())
                raise Beaten() from error
            finally:
                if slots is not None:
                    slots.give()

        race.start(second)

    timer = engine.loop.call_later(max(delay, HEDGE_LEAST_SECONDS), late)
    try:
        race.start(lambda: first(exchange, engine, target, race=race))
        await race
    except ClientGone as gone:
        race.stop(gone)
        raise
    finally:
        timer.cancel()


# --- rescue ---


async def _rescue(exchange: Exchange, engine: Engine, route: CompiledRoute, error: AttemptFailed) -> bool:
    """Goes on with a stream that broke off after output began. True when the app has the rest of its answer."""
    mode = route.resilience.rescue
    if mode == "off" or exchange.streaming is None or exchange.operation is not None:  # nothing but chat can be taken up where it broke off
        return False
    broken = exchange.streaming.target  # not always who was asked first: a hedge may have been quicker
    well, shut = [], []
    own = {target.label for target in route.targets}
    named = [target for target in exchange.plan if target.label not in own]  # the app's own fallbacks, in its order
    for candidates in (route.targets, named):
        ordered, dropped = order(route, candidates, exchange, engine.loop.time())
        ready = ordered if candidates is route.targets else [target for target in candidates if target in ordered]
        well += [target for target in ready if target.label != broken.label]
        shut += [drop.target for drop in dropped if drop.shut and drop.target.label != broken.label]
    # of a deployment only the replica broke: the target has others, and is among those that are well
    first = well if isinstance(error, UpstreamSilent) or broken.seat is not None else [*well, broken]
    for target, regardless in chain(((target, False) for target in first), ((target, True) for target in shut)):
        if mode == "same_model" and target.model != broken.model:
            continue
        tried: list[Way] = []
        fell = _fallen(target, broken, error, engine)
        while True:
            asked = exchange.opens
            if asked >= MAX_ATTEMPTS or exchange.overdue():
                return False
            ask = _ask(exchange, target, tried)
            if ask is None:
                break
            if not regardless and not target.state.breaker.allows(engine.loop.time()):
                if not target.state.breaker.forced:
                    shut.append(target)  # asked when nobody else can go on: the rest is lost otherwise
                break
            slots = target.state.slots
            if slots is not None and not slots.take():
                target.state.breaker.release(engine.loop.time())
                break
            try:
                end = await _gone_on(exchange, engine, target, ask, fell)
            finally:
                if slots is not None:
                    slots.give()
            if end == "seam":
                tried.append(ask.way)
                continue
            if end == "failed" and fell is not None and exchange.opens > asked:
                continue  # it broke off in its turn: a third replica goes on from where that one came
            if end == "failed":
                break
            return end == "whole"
    return False


def _fallen(target: CompiledTarget, broken: CompiledTarget, error: AttemptFailed, engine: Engine) -> Tries[Replica] | None:
    """Where this stream has broken off among the target's replicas; None where it has none."""
    if target.replicas is None:
        return None
    found: Tries[Replica] = Tries()
    if broken.seat is not None and broken.seat.where is target.replicas:
        found.failed(broken.seat, engine.loop.time(), end_of(error))
    return found


async def _gone_on(
    exchange: Exchange, engine: Engine, target: CompiledTarget, ask: Ask, fell: Tries[Replica] | None
) -> Literal["whole", "seam", "failed", "refused"]:
    """Asks one target for the rest of a broken stream and says how that ended."""
    if ask.front is not None and exchange.caller is not None:
        exchange.caller.resume(ask.front)
    try:
        if target.replicas is None:
            await fly(exchange, engine, target, "rescue", ask)
        else:
            await fly_among(exchange, engine, target, "rescue", ask, tries=fell)
    except SeamRefused:
        return "seam"
    except LimitReached:
        target.state.breaker.release(engine.loop.time())
        return "failed"
    except AttemptFailed:
        return "failed"
    except Refused:  # the rest may not be paid for: the app has its beginning, and hears that it broke off
        target.state.breaker.release(engine.loop.time())
        return "refused"
    return "whole"


def _ask(exchange: Exchange, target: CompiledTarget, tried: list[Way]) -> Ask | None:
    """The surest way left to ask this target for the rest; None where the seam would not be safe."""
    last = exchange.streaming
    watch = followed(last.watch) if last is not None else None
    front: FrontStream | None = None
    if watch is None:  # it passed through in a format of its own
        resumed = last.call.resumed(last.watch) if last is not None and isinstance(last.call, Call) and last.watch is not None else None
        if resumed is None:
            return None
        watch, front = resumed
    sofar = Sofar.of(watch)
    if sofar is None:
        return None
    while True:
        way = continuation(exchange.payload, sofar, target, max_output=exchange.max_output, tried=tried)
        if way is None:
            return None
        splicer = Splicer(sofar, way, usage_asked=exchange.usage_asked, before=_tokens_so_far(exchange))
        cap = way.max_output or exchange.max_output
        if not target.translates and exchange.caller is None:
            return Ask(way.body, splicer, cap, way.added_input, way.kind)
        call = carried_on(exchange, target, way.body)
        if call is not None:
            return Ask(way.body, call.follow(splicer, bare=True), cap, way.added_input, way.kind, call, front)
        tried.append(way.kind)  # its format cannot say it that way


def _tokens_so_far(exchange: Exchange) -> Tokens:
    """Of the parts that the app was given, as far as they are known."""
    total = Tokens()
    for attempt in exchange.attempts:
        if attempt.first_byte_us >= 0:
            total.input = max(total.input, attempt.tokens.input)
            total.output += attempt.tokens.output
    return total
