"""One attempt from its reservation to its record: takes a slot, holds money, calls the upstream, tells the target's breaker and health.

Invariants, whatever happens in between (error, deadline, the app leaving, a crash of a handler): a slot that was taken is given back once,
a reservation is handed to ``exchange.held`` once, the breaker hears once (success, failure or nothing), ``Attempt.close`` runs once.
"""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from apps.contracts.journal import MAX_OPEN_PAYLOAD
from apps.contracts.traceparent import attempt_span
from apps.contracts.usage import Charge, Outcome, Role, encode_bounded, encode_record
from apps.proxy.attempt import Attempt
from apps.proxy.bounds import most_of, priced_by
from apps.proxy.context import calibrate
from apps.proxy.errors import AttemptFailed, Beaten, ClientGone, LimitReached, Refusal, Refused, UpstreamAnswered, UpstreamBroken
from apps.proxy.http.errors import AddressRefused, ConnectFailed, ConnectTimeout, PoolExhausted, TlsFailed
from apps.proxy.leases import Shortage
from apps.proxy.limits import WAIT
from apps.proxy.records import templates_of
from apps.proxy.shortage import TOO_MANY, shortage_refusal
from apps.proxy.translate import call_of
from apps.proxy.verdict import verdict

if TYPE_CHECKING:
    from apps.contracts.pricing import Price
    from apps.proxy.credentials import CredentialPool, Held
    from apps.proxy.dialects.base import StreamWatch
    from apps.proxy.dialects.translation import FrontStream
    from apps.proxy.engine import Engine
    from apps.proxy.exchange import Exchange
    from apps.proxy.hedge import Race
    from apps.proxy.limits_table import LimitTable
    from apps.proxy.operations.base import OperationCall
    from apps.proxy.records import Templates
    from apps.proxy.rescue import Way
    from apps.proxy.runtime import CompiledTarget
    from apps.proxy.spend import Spend
    from apps.proxy.translate import Call


class Ask:
    """What an attempt sends and follows when it is not the app's own request: the continuation of a broken stream."""

    __slots__ = ("added_input", "body", "call", "front", "max_output", "watch", "way")

    def __init__(
        self,
        body: bytes,
        watch: StreamWatch,
        max_output: int,
        added_input: int,
        way: Way,
        call: Call | None = None,
        front: FrontStream | None = None,
    ) -> None:
        self.body = body
        self.front = front
        """Writes the rest for the app, where the beginning passed through in its own format; None: that goes on as it was."""
        self.call = call
        """Where its target speaks another format: ``body`` in that one."""
        self.watch = watch
        self.max_output = max_output
        self.added_input = added_input
        """Upper bound of its input tokens beyond the app's own request."""
        self.way = way


async def fly(
    exchange: Exchange, engine: Engine, target: CompiledTarget, role: Role = "first", ask: Ask | None = None, race: Race | None = None
) -> None:
    """One attempt; returns when the app has its whole answer. Raises AttemptFailed, Refused, Beaten or ClientGone.

    ``apps.proxy.translate.sayable`` was asked before, where it has to be.
    """
    key, route = exchange.key, exchange.route
    assert key is not None and route is not None
    call: Call | OperationCall | None = None
    if ask is not None:
        call = ask.call
    elif exchange.calls is not None:
        call = call_of(exchange, target)
    limited = exchange.runtime.limits
    if limited is not None and limited.models and role != "mirror":
        refusal = engine.limits.admit_model(exchange, limited, target.model)
        if refusal is not None:
            await _wait_for_permits(exchange, engine, limited, target, refusal, hedge=race is not None and role == "hedge")
    held: Held | None = None
    if target.credentials is not None:
        held = await _lent(exchange, engine, target, target.credentials, hedge=race is not None and role == "hedge")
    table = exchange.runtime.spending
    spend = key.spend if table is None else table.applying(exchange, target)
    price, reserved = _priced(exchange, target, ask, spend)
    charges: list[Charge] = []
    if spend.ids and reserved:
        room = engine.leases.reserve(spend.ids, reserved)
        if room is None:
            if race is not None and role == "hedge":
                raise Beaten()
            waited = await _wait_for_room(engine, spend, reserved)
            if isinstance(waited, Shortage):
                raise Refused(shortage_refusal(exchange, waited, reserved, price, spend))
            room = waited
        charges = room
    templates = exchange.templates = templates_of(exchange.kind, key, route, target, exchange.runtime, engine.boot_id)
    attempt = Attempt(exchange, target, templates, price, charges, reserved, call)
    state = target.state
    error: AttemptFailed | None = None
    closed = left = False
    if role != "first":
        attempt.role = role
        attempt.number = exchange.opens
        if ask is not None:
            attempt.continue_with(ask.watch)
    if race is not None:
        race.enter(attempt)
    line = b""
    if held is not None and held.lent.limits:
        attempt.credential = held.lent.limits[0].scope_id
    state.started()
    try:
        engine.journal.append(_open_payload(exchange, templates, price, charges, reserved))
        if call is None:
            head = target.request_heads[exchange.kind]
            body = target.dialect.body(exchange, target) if ask is None else ask.body
        else:
            head, body = call.head, call.body
        if held is not None:
            line = held.line(engine.loop.time())
            if not line:
                line = await held.made(engine, head, body, exchange.left_seconds())
        pool = engine.pool(target.origin)
        connection = pool.take()
        if connection is None:
            patience = max(0.001, min(target.connect, exchange.left_seconds()))
            connection = await _connect(engine, pool, patience)
        else:
            attempt.reused = True
        attempt.connection = connection
        engine.in_flight.add(attempt)
        attempt.sent_ns = perf_counter_ns()
        if exchange.trace is None and held is None:
            data = b"%b%d\r\n\r\n%b" % (head, len(body), body)
        else:
            traced = b"" if exchange.trace is None else exchange.trace.head(attempt_span(exchange.id, attempt.number))
            data = b"%b%d\r\n%b%b\r\n%b" % (head, len(body), line, traced, body)
        connection.send(data, attempt, replay_safe=False)
        await attempt
        watch = attempt.watch
        if watch is not None:
            rest = attempt.finish_stream()
            exchange.held.append((charges, attempt.close("ok", watch.tokens).cost_nano))
            closed = True
            state.succeeded(attempt)
            if held is not None:
                held.worked(target.model, engine.loop.time)
            if target.window and watch.tokens is not None and ask is None:
                calibrate(exchange, target, watch.tokens)
            engine.finish_stream(exchange, rest)
            return
        answer = attempt.chunks[0] if len(attempt.chunks) == 1 else b"".join(attempt.chunks)
        if attempt.status != 200:
            raise UpstreamAnswered(attempt.status, attempt.headers, answer if call is None else call.problem(attempt.status, answer))
        understood = target.dialect.answer(answer) if call is None else call.answer(answer)
        if understood is None:
            raise UpstreamBroken("the provider's answer is not a whole JSON answer", code="upstream_malformed", sent=True)
        if race is not None and not race.claim(attempt):
            raise Beaten()
        exchange.held.append((charges, attempt.close("ok", understood.tokens).cost_nano))
        closed = True
        state.succeeded(attempt)
        if held is not None:
            held.worked(target.model, engine.loop.time)
        if target.window and understood.tokens is not None and ask is None:
            calibrate(exchange, target, understood.tokens)
        engine.finish_json(exchange, target, attempt.headers, answer if understood.body is None else understood.body)
    except AttemptFailed as failed:
        error = failed
        raise
    except (ClientGone, Beaten):
        left = True
        raise
    except ConnectFailed as failed:
        error = UpstreamBroken(
            str(failed).rstrip("."),
            code="upstream_unreachable",
            sent=False,
            again=not isinstance(failed, (AddressRefused, ConnectTimeout, TlsFailed)),
            ours=isinstance(failed, PoolExhausted) or (isinstance(failed, ConnectTimeout) and patience < target.connect),
        )
        raise error from failed
    finally:
        engine.in_flight.discard(attempt)
        if not closed:
            if attempt.connection is not None and not attempt.done:
                attempt.connection.abort()
            outcome: Outcome = "cancelled" if left else "error"
            exchange.held.append((charges, attempt.close(outcome, attempt.seen_tokens(), error).cost_nano))
            if error is not None:
                ruling = verdict(error)
                if held is not None:
                    ruling = held.pool.heard(held, line, target.model, error, ruling, engine.loop.time())
                    error.credential = held.lent.name
                state.failed(attempt, ruling)
            else:
                state.ended(attempt)


def _priced(exchange: Exchange, target: CompiledTarget, ask: Ask | None, spend: Spend) -> tuple[Price | None, int]:
    """The price in force and the most the attempt can cost. Raises Refused where a hard budget applies and that is not known."""
    prices = target.prices
    price = prices.at(exchange.started_us // 1000) if prices is not None else None
    if price is not None and not price.tokens:
        price = priced_by(exchange, price)
    if price is None:
        if spend.hard:
            message = (
                f"The model {target.model!r} at {target.provider!r} has no price, and a hard budget applies to this request. "
                "Set a price, or let the route name a default_price or say 'unpriced: zero'."
            )
            raise Refused(Refusal("unpriced_model", "reserve", message))
        return None, 0
    why = exchange.unbounded
    if exchange.extras is not None:
        if ask is None:
            reserved, why = most_of(exchange, target, price)
        else:
            reserved, why = most_of(exchange, target, price, added_input=ask.added_input, max_output=ask.max_output)
    elif ask is None:
        reserved = price.bound(exchange.input_bound, exchange.max_output, exchange.n)
    else:
        reserved = price.bound(exchange.input_bound + ask.added_input, ask.max_output, exchange.n)
    if spend.hard and reserved and (why or spend.too_many):
        if spend.too_many:
            raise Refused(Refusal("unbounded_cost", "reserve", TOO_MANY))
        message = f"A hard budget applies to this request, and the cost of this request has no upper bound: {why}."
        raise Refused(Refusal("unbounded_cost", "reserve", message))
    return price, reserved


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
    record.attempt = exchange.opens
    exchange.opens += 1
    record.feature, record.tags, record.user, _ = exchange.attribution
    payload = encode_record(record)
    if len(payload) > MAX_OPEN_PAYLOAD:
        payload = encode_bounded(record)
    return payload


async def _connect(engine: Engine, pool: Any, timeout: float) -> Any:
    """A new connection. When the app leaves meanwhile, what still arrives is closed, not leaked."""
    task = engine.loop.create_task(pool.connect(timeout))
    try:
        return await task
    except BaseException:
        if task.done() and not task.cancelled() and task.exception() is None:
            task.result().abort()
        raise


async def _lent(exchange: Exchange, engine: Engine, target: CompiledTarget, pool: CredentialPool, *, hedge: bool) -> Held:
    """A credential of the target's endpoint, with permits of its own limits. Raises LimitReached, or Beaten for a hedge, which waits for
    nothing."""
    taken = pool.take(exchange, engine, target.model)
    if not isinstance(taken, tuple):
        return taken
    if hedge:
        raise Beaten()
    limits = exchange.limits
    refusal: Refusal | None = WAIT
    if engine.shares is not None:
        task = engine.loop.create_task(engine.shares.wait(exchange, taken, more=True))
        try:
            refusal = await asyncio.shield(task)
        except BaseException:
            task.cancel()
            raise
        finally:
            exchange.limits = limits
    if refusal is not None:
        raise LimitReached(refusal)
    return pool.waited(taken)


async def _wait_for_permits(
    exchange: Exchange, engine: Engine, limited: LimitTable, target: CompiledTarget, refusal: Refusal, *, hedge: bool
) -> None:
    """This process's share of a limit of the target's model is used up: others may have some to spare. Raises LimitReached, or Beaten for a
    hedge, which waits for nothing."""
    if hedge:
        raise Beaten()
    final: Refusal | None = refusal
    if refusal is WAIT and engine.shares is not None and exchange.key is not None:
        windows = engine.limits.windows_of(limited.models[exchange.key.organisation, target.model], limited.version)
        task = engine.loop.create_task(engine.shares.wait(exchange, windows, more=True))
        try:
            final = await asyncio.shield(task)
        except BaseException:
            task.cancel()  # what it had taken by then is with what the request holds
            raise
    if final is not None:
        raise LimitReached(final)


async def _wait_for_room(engine: Engine, spend: Spend, amount: int) -> list[Charge] | Shortage:
    """Waits for settlements, recalls and grants. When the app leaves meanwhile, what was reserved is released."""
    task = engine.loop.create_task(engine.leases.reserve_wait(spend.ids, amount, soft=spend.soft, passing=spend.open))
    try:
        return await asyncio.shield(task)
    except BaseException:

        def release(done: asyncio.Task[list[Charge] | Shortage]) -> None:
            if not done.cancelled() and done.exception() is None and not isinstance(result := done.result(), Shortage):
                engine.leases.settle(result, 0)

        if not (task.done() and task.cancelled()):
            task.add_done_callback(release)
        raise
