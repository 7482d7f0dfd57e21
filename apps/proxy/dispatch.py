"""Chooses the next attempt until the app has its answer. The only place that awaits upstreams.

Failure classes (one retry and failover before the first byte; after the first byte an in-band error, never a clean end):

=====================================  =======================================================================
401, 402, 403                          this credential is dead for this request: next target, never shown to the app
408, 429                               next target
5xx, reset, refused                    once more on the same target after a jittered pause, then the next
other 4xx                              the app's own mistake: its answer, at once
silence (first byte, idle, total)      never again on the silent target: next target
=====================================  =======================================================================

When all fail, the first target's error is the answer.
"""

from __future__ import annotations

import asyncio
import random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from apps.contracts.journal import MAX_OPEN_PAYLOAD
from apps.contracts.money import dollars_text
from apps.contracts.snapshot import BudgetFragment
from apps.contracts.usage import Charge, Outcome, Tokens, encode_bounded, encode_record
from apps.proxy.attempt import Attempt
from apps.proxy.errors import AttemptFailed, ClientGone, Refusal, Refused, UpstreamAnswered, UpstreamBroken, UpstreamSilent
from apps.proxy.http.errors import ConnectFailed
from apps.proxy.leases import Shortage
from apps.proxy.records import templates_of

if TYPE_CHECKING:
    from apps.proxy.engine import Engine
    from apps.proxy.exchange import Exchange
    from apps.proxy.pricing import Price
    from apps.proxy.records import Templates
    from apps.proxy.runtime import CompiledTarget

RETRY_PAUSE_SECONDS = (0.02, 0.12)
"""Jitter before the same target is tried again."""


async def dispatch(exchange: Exchange, engine: Engine) -> None:
    """From the plan to the last byte. Every path out of here has answered the app and written the record."""
    route = exchange.route
    assert route is not None
    first: AttemptFailed | None = None
    credentials_dead = 0
    left = route.max_attempts
    try:
        for target in exchange.plan:
            tries = 0
            while left > 0:
                left -= 1
                tries += 1
                try:
                    await _try(exchange, engine, target)
                    return
                except AttemptFailed as error:
                    if exchange.first_token_ns:  # the app has seen the beginning: nothing can be tried again unseen
                        engine.break_stream(exchange, error)
                        return
                    first = first or error
                    if isinstance(error, UpstreamAnswered):
                        status = error.status
                        if status in (401, 402, 403):
                            credentials_dead += 1
                            engine.credential_refused(target, status)
                            break
                        if 400 <= status < 500 and status not in (408, 429):
                            engine.answer_upstream_error(exchange, error)
                            return
                        if status < 500:
                            break
                    elif isinstance(error, UpstreamSilent):
                        break
                    if tries > 1 or left == 0:
                        break
                    await asyncio.sleep(random.uniform(*RETRY_PAUSE_SECONDS))
            if left == 0 or perf_counter_ns() - exchange.started > route.total * 1e9:
                break
        assert first is not None
        if credentials_dead == len(exchange.attempts):
            message = "Every provider of this route refused its credential. Its owner has been told; nothing is wrong with your key."
            engine.refuse(exchange, Refusal("upstream_credentials_exhausted", "dispatch", message), outcome="error")
        elif isinstance(first, UpstreamAnswered):
            engine.answer_upstream_error(exchange, first)
        else:
            message = f"The provider could not answer: {first}." + (" No other target could either." if len(exchange.attempts) > 1 else "")
            engine.refuse(exchange, Refusal(first.code, "dispatch", message), outcome="error")
    except Refused as refused:
        if first is not None and isinstance(first, UpstreamAnswered) and first.status not in (401, 402, 403):
            engine.answer_upstream_error(exchange, first)
        else:
            engine.refuse(exchange, refused.refusal, outcome="error" if exchange.attempts else "refused")
    except ClientGone:
        engine.client_left(exchange)


async def _try(exchange: Exchange, engine: Engine, target: CompiledTarget) -> None:
    """One attempt; returns when the app has its whole answer. Raises AttemptFailed, Refused or ClientGone."""
    key, route = exchange.key, exchange.route
    assert key is not None and route is not None
    prices = target.prices
    price = prices.at(exchange.started_us // 1000) if prices is not None else None
    reserved = 0
    charges: list[Charge] = []
    if price is not None:
        reserved = price.bound(exchange.input_bound, exchange.max_output, exchange.n)
    elif key.budgets and not route.unpriced_is_zero:
        message = (
            f"The model {target.model!r} at {target.provider!r} has no price, and a hard budget applies to this key. "
            "Set a price, or let the route say 'unpriced: zero'."
        )
        raise Refused(Refusal("unpriced_model", "reserve", message))
    if key.budgets and reserved:
        if exchange.unbounded:
            message = f"A hard budget applies to this key, and the cost of this request has no upper bound: {exchange.unbounded}."
            raise Refused(Refusal("unbounded_cost", "reserve", message))
        room = engine.leases.reserve(key.budgets, reserved)
        if room is None:
            waited = await _wait_for_room(engine, key.budgets, reserved)
            if isinstance(waited, Shortage):
                raise Refused(_shortage(exchange, waited, reserved))
            room = waited
        charges = room
    templates = exchange.templates = templates_of(exchange.kind, key, route, target, exchange.runtime, engine.boot_id)
    attempt = Attempt(exchange=exchange, target=target, templates=templates, price=price, charges=charges, reserved=reserved)
    error: AttemptFailed | None = None
    closed = left = False
    try:
        engine.journal.append(_open_payload(exchange, templates, price, charges, reserved))
        pool = engine.pool(target.origin)
        connection = pool.take()
        if connection is None:
            connection = await _connect(engine, pool, target, route.connect)
        else:
            attempt.reused = True
        attempt.connection = connection
        body = target.dialect.body(exchange, target)
        engine.in_flight.add(attempt)
        attempt.sent_ns = perf_counter_ns()
        connection.send(b"%b%d\r\n\r\n%b" % (target.request_heads[exchange.kind], len(body), body), attempt, replay_safe=False)
        await attempt
        if attempt.watch is not None:
            rest = attempt.finish_stream()
            exchange.held.append((charges, attempt.close("ok", attempt.watch.tokens).cost_nano))
            closed = True
            engine.finish_stream(exchange, rest)
            return
        answer = attempt.chunks[0] if len(attempt.chunks) == 1 else b"".join(attempt.chunks)
        if attempt.status != 200:
            raise UpstreamAnswered(attempt.status, attempt.headers, answer)
        understood = target.dialect.answer(answer)
        if understood is None:
            raise UpstreamBroken("the provider's answer is not a whole JSON answer", code="upstream_malformed", sent=True)
        exchange.held.append((charges, attempt.close("ok", understood.tokens).cost_nano))
        closed = True
        engine.finish_json(exchange, target, attempt.headers, answer)
    except AttemptFailed as failed:
        error = failed
        raise
    except ClientGone:
        left = True
        raise
    except ConnectFailed as failed:
        error = UpstreamBroken(str(failed).rstrip("."), code="upstream_unreachable", sent=False)
        raise error from failed
    finally:
        engine.in_flight.discard(attempt)
        if not closed:
            if attempt.connection is not None and not attempt.done:
                attempt.connection.abort()
            tokens: Tokens | None = attempt.watch.tokens if attempt.watch is not None else None
            outcome: Outcome = "cancelled" if left else "error"
            exchange.held.append((charges, attempt.close(outcome, tokens, error).cost_nano))


def _open_payload(exchange: Exchange, templates: Templates, price: Price | None, charges: list[Charge], reserved: int) -> bytes:
    """The open record: what may have been spent if this process dies before the full record."""
    record = templates.new_open()
    record.id = exchange.id
    record.started_us = exchange.started_us
    record.requested_model = exchange.requested_model
    record.stream = exchange.stream
    if price is not None:
        record.price_version = price.version
    record.charges = charges
    record.reserved_nano = reserved
    record.attempt = len(exchange.attempts)
    record.feature, record.tags, record.user, _ = exchange.attribution
    payload = encode_record(record)
    if len(payload) > MAX_OPEN_PAYLOAD:
        payload = encode_bounded(record)
    return payload


async def _connect(engine: Engine, pool: Any, target: CompiledTarget, timeout: float) -> Any:
    """A new connection. When the app leaves meanwhile, what still arrives is closed, not leaked."""
    task = engine.loop.create_task(pool.connect(timeout))
    try:
        return await task
    except BaseException:
        if task.done() and not task.cancelled() and task.exception() is None:
            task.result().abort()
        raise


async def _wait_for_room(engine: Engine, budgets: tuple[str, ...], amount: int) -> list[Charge] | Shortage:
    """Waits for settlements, recalls and grants. When the app leaves meanwhile, what was reserved is released."""
    task = engine.loop.create_task(engine.leases.reserve_wait(budgets, amount))
    try:
        return await asyncio.shield(task)
    except BaseException:

        def release(done: asyncio.Task[list[Charge] | Shortage]) -> None:
            if not done.cancelled() and done.exception() is None and not isinstance(result := done.result(), Shortage):
                engine.leases.settle(result, 0)

        if not (task.done() and task.cancelled()):
            task.add_done_callback(release)
        raise


def _shortage(exchange: Exchange, shortage: Shortage, amount: int) -> Refusal:
    if shortage.kind == "unavailable":
        message = "Spending cannot be checked right now, and a hard budget applies to this key. Try again in a moment."
        return Refusal("budget_unavailable", "reserve", message)
    fragment = exchange.runtime.fragments["budgets"].get(shortage.budget)
    name = fragment.name if isinstance(fragment, BudgetFragment) else shortage.budget
    message = (
        f"The budget {name!r} has no room for this request: limit ${dollars_text(shortage.limit)}, "
        f"spent ${dollars_text(shortage.spent)}, reserved ${dollars_text(shortage.leased)}, "
        f"this request could cost up to ${dollars_text(amount)}. "
        "Ask for fewer tokens (max_tokens), or have the budget raised."
    )
    detail = {
        "budget": name,
        "limit_nano": shortage.limit,
        "spent_nano": shortage.spent,
        "reserved_nano": shortage.leased,
        "bound_nano": amount,
    }
    return Refusal("budget_exceeded", "reserve", message, None, detail)
