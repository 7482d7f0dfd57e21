"""What all requests of this process share, and how each one ends: answer, record, settlement, in that order of safety.

The record is journalled before the last byte goes to the app; reservations are released after it is journalled.
"""

from __future__ import annotations

import asyncio
import logging
import re
from hashlib import blake2b
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

import msgspec

from apps.contracts.errors import CODES, error_body
from apps.contracts.identifiers import uuid7_bytes, uuid_text
from apps.contracts.journal import MAX_PAYLOAD
from apps.contracts.money import NANO, dollars_text
from apps.contracts.traceparent import trace_accept, trace_unpack
from apps.contracts.usage import Kind, Outcome, TokenDetails, Tokens, UsageRecord, encode_bounded, encode_record, tokens_total
from apps.proxy.attempt import Attempt, approximated_head, constant_head, error_code_of, header_text
from apps.proxy.breaker import Breakers
from apps.proxy.canned import canned_answer, canned_stream
from apps.proxy.context import Size
from apps.proxy.credentials import Credentials
from apps.proxy.dialects.wire_json import written
from apps.proxy.dispatch import serve, serve_in_turn
from apps.proxy.driver import Driver
from apps.proxy.errors import AttemptFailed, Refusal, UpstreamAnswered
from apps.proxy.exchange import Exchange
from apps.proxy.explain import HEADER as EXPLAIN
from apps.proxy.explain import explain
from apps.proxy.fleet.replicas import Fleet
from apps.proxy.http.client import Pool
from apps.proxy.http.dial import Origin as HttpOrigin
from apps.proxy.http.dial import client_tls
from apps.proxy.http.limits import ClientLimits
from apps.proxy.idempotency import Answer, Idempotency, Shared, Taped
from apps.proxy.limits import WAIT, Limits
from apps.proxy.metrics import Metrics
from apps.proxy.mirror import Mirrors
from apps.proxy.pipeline import steps
from apps.proxy.records import usage_template
from apps.proxy.state import States
from apps.proxy.steps.authenticate import Authenticator
from apps.proxy.steps.plan import plan
from apps.proxy.steps.read import read
from apps.proxy.tokens import TokenKeeper

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.proxy.caller import Caller
    from apps.proxy.capture import Recorder
    from apps.proxy.holder import Holder
    from apps.proxy.http.types import Reply, Request
    from apps.proxy.journal import Journal
    from apps.proxy.leases import Leases
    from apps.proxy.limits_shares import ShareKeeper
    from apps.proxy.operations.base import Operation
    from apps.proxy.report import Report
    from apps.proxy.runtime import CompiledTarget, Origin, Runtime

log = logging.getLogger("bulkhead.proxy")

JSON = b"content-type: application/json\r\n"
EVENT_STREAM = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
_JSON_HEAD = (
    b"content-type: application/json\r\nx-request-id: %b\r\nx-bulkhead-request-id: %b\r\nx-bulkhead-attempts: %d\r\n"
    b"x-bulkhead-cost-nano: %d\r\nx-bulkhead-cost-usd: %d.%09d\r\nx-bulkhead-overhead-ms: %d.%03d\r\n%b"
)
COUNTED = b"x-bulkhead-approximated: input_tokens: estimated from the text's size\r\n"
EARLY_SECONDS = 0.02
"""Timers count from when the loop last looked at the clock, so a deadline's timer may fire this much before it."""
_TOLD_WITH_ERRORS = (b"x-should-retry",)
"""What a provider says with an error that the app should know. Its ``retry-after`` is for our scheduling; apps hear that of our limits."""
_CONTENT_TYPE = re.compile(rb"^content-type: ([^\r\n]*)\r\n", re.M)
SWEEP_SECONDS = 0.05
"""How often deadlines are looked at: they are met to this precision."""


class Engine:
    def __init__(
        self,
        *,
        boot_id: str,
        holder: Holder,
        journal: Journal,
        leases: Leases,
        authenticator: Authenticator,
        hash_key: bytes,
        shared: Shared | None = None,
        aws_default: bool = False,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.boot_id = boot_id
        self.holder = holder
        self.journal = journal
        self.leases = leases
        self.authenticator = authenticator
        self.metrics = Metrics()
        self.states = States(self.loop.time, Breakers())
        self.credentials = Credentials(self.loop.time, TokenKeeper(self.loop.time), aws_default=aws_default)
        self.fleet = self.states.fleet = Fleet(self.loop.time)
        self.report: Report | None = None
        """Tells the control plane of targets; None: there is none."""
        self.limits = Limits()
        self.shares: ShareKeeper | None = None
        """Asks for permits that this process does not have; None: limits are this process's alone."""
        holder.attach = self._attach
        self._attach(holder.current)
        self.in_flight: set[Attempt] = set()
        self.background: set[asyncio.Task[None]] = set()
        self.offset_us = 0
        """Database time minus this host's, microseconds, as last measured."""
        self.mirrors = Mirrors()
        self.recorder: Recorder | None = None
        """Keeps samples where config asks for them; None: there is nowhere to keep them."""
        self.idempotency = Idempotency(hash_key, shared, boot_id)
        self.on_hang_up: Callable[[Origin], None] | None = None
        """Told when a server closes a connection that nobody used."""
        self._steps = steps(authenticator)
        self._pools: dict[Origin, Pool] = {}
        self._hash = blake2b(key=hash_key[:64], digest_size=16)

    # --- a request comes in ---

    def handle(self, kind: Kind, request: Request, reply: Reply, caller: Caller | None = None, operation: Operation | None = None) -> None:
        """caller: the app, where it speaks another format than OpenAI's. operation: what it asks for, where that is no chat."""
        runtime = self.holder.current
        now_us = time_ns() // 1000 + self.offset_us
        exchange = Exchange(uuid7_bytes(now_us // 1000), kind, request, reply, runtime, now_us, self, request.arrived, request.body)
        if caller is not None:
            caller.attach(exchange, reply)
        if operation is not None:
            exchange.operation, exchange.calls = operation, {}
        refusal: Refusal | None = None
        for step in self._steps:
            refusal = step(exchange, runtime)
            if refusal is not None:
                break
        headers = request.headers
        if not request.plain:
            traceparent = headers.get(b"traceparent")
            if traceparent is not None:
                exchange.trace = trace_accept(traceparent, headers.get(b"tracestate"))
            if EXPLAIN in headers:
                self._explain(exchange, refusal)
                return
        if refusal is not None:
            if refusal is WAIT:
                self._wait_for_permits(exchange)
            elif (
                refusal.code == "degraded"
                and exchange.operation is None
                and exchange.route is not None
                and exchange.route.resilience.canned
                and self.journal.admit()
            ):
                self._give_canned(exchange, exchange.route.resilience.canned)
            else:
                self._refuse_early(exchange, refusal)
            return
        if request.plain:
            self._go(exchange)
            return
        header = headers.get(b"idempotency-key")
        if header is not None:
            self._once(exchange, header)
        else:
            self._go(exchange)

    def count(self, request: Request, reply: Reply, caller: Caller) -> None:
        """Says how many tokens a request has, by what its first target's answers have taught of it. Nobody is called, nothing is spent."""
        runtime = self.holder.current
        now_us = time_ns() // 1000 + self.offset_us
        exchange = Exchange(uuid7_bytes(now_us // 1000), "chat", request, reply, runtime, now_us, self, request.arrived, request.body)
        caller.attach(exchange, reply)
        for step in (self.authenticator, read, plan):
            refusal = step(exchange, runtime)
            if refusal is not None:
                self.metrics.unrecorded(refusal.code)
                self._answer_refusal(exchange, refusal)
                return
        tokens = Size.of(exchange).tokens(exchange.plan[0])
        caller.inner.send(200, JSON + COUNTED, written(caller.front.counted(tokens)))

    def _attach(self, runtime: Runtime) -> None:
        """With a new config, before it is in force: what this process knows of its targets and limits."""
        self.states.attach(runtime)
        self.credentials.attach(runtime)
        self.limits.keep(runtime.limits)

    def _wait_for_permits(self, exchange: Exchange) -> None:
        """This process's share of a limit is used up: the others may have some to spare."""
        task = self.loop.create_task(self._once_permitted(exchange))
        exchange.reply.on_gone = lambda: None if exchange.answered else _cancel(task)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def _once_permitted(self, exchange: Exchange) -> None:
        assert self.shares is not None
        refusal = await self.shares.wait(exchange, exchange.limits)
        if exchange.reply.gone:
            self.limits.end(exchange)
        elif refusal is not None:
            self._refuse_early(exchange, refusal)
        elif (header := exchange.request.headers.get(b"idempotency-key")) is not None:
            self._once(exchange, header)
        else:
            self._go(exchange)

    def _give_canned(self, exchange: Exchange, text: str) -> None:
        """The route's prepared answer, while it is degraded so far that no provider is called."""
        route = exchange.route
        assert route is not None
        self.metrics.running += 1
        body = canned_stream(exchange, text) if exchange.stream else canned_answer(exchange, text)
        exchange.bytes_out = len(body)
        self._write(exchange, "ok", 200)
        head = self._plain_head(exchange)
        reply = exchange.reply
        self._sent(exchange)
        if exchange.stream:
            reply.start(200, EVENT_STREAM + head)
            reply.finish(body)
        else:
            reply.send(200, JSON + head, body)

    def _explain(self, exchange: Exchange, refusal: Refusal | None) -> None:
        found = explain(exchange, refusal, self.loop.time())
        if isinstance(found, Refusal):
            self._refuse_early(exchange, found)
        else:
            (exchange.reply if exchange.caller is None else exchange.caller.inner).send(200, JSON, found)

    def _go(self, exchange: Exchange) -> None:
        reply = exchange.reply
        if not self.journal.admit():
            reason = self.journal.failed or "it waits for the shipper"
            self._answer_refusal(
                exchange, Refusal("journal_full", "journal", f"Usage cannot be recorded right now ({reason}), so nothing is sent upstream.")
            )
            return
        if exchange.caller is not None:
            exchange.caller.going()
        reply.on_gone = exchange.gone
        route = exchange.route
        assert route is not None
        serving = serve(exchange, self) if route.slots is None else serve_in_turn(exchange, self, route.slots)
        driver = exchange.driver = Driver(serving, exchange.crashed)
        self.metrics.running += 1
        driver.start()

    def _once(self, exchange: Exchange, header: bytes) -> None:
        """A call with an Idempotency-Key: made if it is the first, else given the first one's answer."""
        refusal = self.idempotency.check(header)
        if refusal is not None:
            self._refuse_early(exchange, refusal)
            return
        task = self.loop.create_task(self._once_only(exchange, header))
        exchange.reply.on_gone = lambda: None if exchange.answered else _cancel(task)
        self.background.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self.background.discard(task)
            if exchange.holds and exchange.driver is None:  # the app left before anything was begun
                self.limits.end(exchange)

        task.add_done_callback(over)

    async def _once_only(self, exchange: Exchange, header: bytes) -> None:
        assert exchange.key is not None
        request, reply, idempotency = exchange.request, exchange.reply, self.idempotency
        name = idempotency.name_of(exchange.key.id, header)
        form = exchange.operation_data  # a form that is sent again has another boundary
        fingerprint = idempotency.fingerprint_of(request.path, request.body if form is None else form.digest())
        begun = await idempotency.begin(name, fingerprint, self.loop.time())
        if isinstance(begun, Refusal):
            self._refuse_early(exchange, begun)
            return
        given, scope, answer = begun
        if answer is not None:
            self._give_again(exchange, answer, b"%b; scope=%b" % (given.encode(), scope.encode()))
            return

        def done(status: int, head: bytes, body: bytes, streamed: bool) -> None:
            whole = Answer(fingerprint, status, head, body, streamed, exchange.request_id) if status else None
            idempotency.finish(name, whole, self.loop.time())

        if reply.gone:
            done(0, b"", b"", False)
            return
        added = b"x-bulkhead-idempotency: new; scope=%b\r\n" % scope.encode()
        if exchange.caller is None:
            exchange.reply = Taped(reply, done, lambda: idempotency.joined(name), added)
        else:  # what is kept is the answer as the app gets it
            exchange.caller.inner = Taped(exchange.caller.inner, done, lambda: idempotency.joined(name), added)
        self._go(exchange)

    def _give_again(self, exchange: Exchange, answer: Answer, given: bytes) -> None:
        """An answer that was made for another request with the same Idempotency-Key: recorded, and charged nothing."""
        if exchange.reply.gone:
            return
        if not self.journal.admit():
            self._answer_refusal(
                exchange, Refusal("journal_full", "journal", "Usage cannot be recorded right now, so nothing is answered.")
            )
            return
        self.metrics.running += 1
        exchange.bytes_out = len(answer.body)
        feature, tags, user, metadata = exchange.attribution
        exchange.attribution = (feature, tags, user, {**metadata, "bulkhead.answer_of": answer.request_id})
        self._write(exchange, "ok" if answer.status < 400 else "error", answer.status, "" if answer.status < 400 else "upstream_error")
        head = b"x-bulkhead-idempotency: %b\r\nx-bulkhead-answer-of: %b\r\n%b" % (
            given,
            answer.request_id.encode(),
            self._plain_head(exchange),
        )
        reply = exchange.reply if exchange.caller is None else exchange.caller.inner
        self._sent(exchange)
        if answer.streamed:
            reply.start(answer.status, (content_type_of(answer.head) or EVENT_STREAM) + head)
            reply.finish(answer.body)
        else:
            reply.send(answer.status, (content_type_of(answer.head) or JSON) + head, answer.body)

    def pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = _pool(origin)
            pool.on_hang_up = lambda: self._hung_up(origin)
        return pool

    def _hung_up(self, origin: Origin) -> None:
        if self.on_hang_up is not None:
            self.on_hang_up(origin)

    def forget(self, origin: Origin) -> None:
        """Nobody will be asked there any more: idle connections are closed now, others with their answers."""
        pool = self._pools.pop(origin, None)
        if pool is not None:
            pool.close()

    # --- the ways a request ends ---

    def finish_json(self, exchange: Exchange, target: CompiledTarget, headers: dict[bytes, bytes], body: bytes) -> None:
        exchange.bytes_out = len(body)
        record = self._write(exchange, "ok", 200)
        request_id = exchange.request_id.encode()
        cost = record.cost_nano
        ours = record.total_us - record.upstream_us
        head = _JSON_HEAD % (
            request_id,
            request_id,
            len(exchange.attempts),
            cost,
            cost // NANO,
            cost % NANO,
            ours // 1000,
            ours % 1000,
            constant_head(exchange, target) if exchange.choice is None else constant_head(exchange, target) + exchange.choice.head,
        )
        if exchange.calls is not None:
            head += approximated_head(exchange, target)
            if exchange.operation is not None:
                head = exchange.operation.typed(exchange, head, headers)
        if exchange.limits:
            self.limits.end(exchange)
            head += self.limits.headers(exchange)
        elif b"x-ratelimit-limit-requests" in headers or b"openai-processing-ms" in headers:
            for name, value in headers.items():
                if name.startswith((b"x-ratelimit-", b"openai-")):
                    head += b"%b: %b\r\n" % (name, value)
        self._sent(exchange)
        exchange.reply.send(200, head, body)
        if exchange.runtime.captures is not None and self.recorder is not None:
            self.recorder.take(exchange, 200, body)
        if exchange.route.resilience.mirror is not None:  # type: ignore[union-attr]
            self.mirrors.reflect(exchange, self, body)
        if exchange.caller is not None:
            self._over(exchange)

    def finish_stream(self, exchange: Exchange, rest: bytes) -> None:
        if exchange.caller is not None:
            rest = exchange.caller.ending(rest)
        exchange.bytes_out += len(rest)
        self._write(exchange, "ok", 200)
        self._sent(exchange)
        exchange.reply.finish(rest)
        if exchange.runtime.captures is not None and self.recorder is not None:
            self.recorder.take(exchange, 200, None)
        if exchange.route.resilience.mirror is not None:  # type: ignore[union-attr]
            self.mirrors.reflect(exchange, self, None)
        self._over(exchange)

    def break_stream(self, exchange: Exchange, error: AttemptFailed) -> None:
        """After the first byte: an error event in the stream, and no clean end."""
        message = f"The provider's answer broke off: {error}."
        if isinstance(error, UpstreamAnswered):
            message = "The provider reported an error inside its answer."
        body = error_body("stream_interrupted", message, request_id=exchange.request_id, config_version=exchange.runtime.version)
        event = b"data: %b\n\n" % body if exchange.caller is None else exchange.caller.breaking(body)
        exchange.bytes_out += len(event)
        self._write(exchange, "error", 200, "stream_interrupted", "dispatch")
        self._sent(exchange)
        if exchange.operation is not None and not exchange.operation.tells(exchange):
            exchange.reply.abort()
        elif exchange.caller is None:
            exchange.reply.write(event)
            exchange.reply.abort()
        else:
            exchange.caller.broken(event)
        if exchange.runtime.captures is not None and self.recorder is not None:
            self.recorder.take(exchange, 200, None)
        self._over(exchange)

    def answer_upstream_error(self, exchange: Exchange, error: UpstreamAnswered) -> None:
        """The provider's own error, as it said it."""
        status = error.status if 400 <= error.status <= 599 else 502
        body = error.body
        exchange.bytes_out = len(body)
        content_type = error.headers.get(b"content-type", b"application/json")
        if not body or content_type.startswith(b"text/event-stream"):
            content_type = b"application/json"
        if not body:
            body = error_body("upstream_error", f"The provider answered {error.status} without a body.", request_id=exchange.request_id)
        self._write(exchange, "error", status, error_code_of(error), "dispatch")
        self._sent(exchange)
        head = b"content-type: %b\r\n%b" % (content_type, self._plain_head(exchange))
        if b"x-should-retry" not in error.headers and _tried_enough(exchange, status):
            head += b"x-should-retry: false\r\n"
        for name, value in error.headers.items():
            if name in _TOLD_WITH_ERRORS or (name.startswith(b"x-ratelimit-") and not exchange.limits):
                head += b"%b: %b\r\n" % (name, value)
        if exchange.limits:
            head += self.limits.headers(exchange)
        exchange.reply.send(status, head, body)
        if exchange.runtime.captures is not None and self.recorder is not None:
            self.recorder.take(exchange, status, body)
        self._over(exchange)

    def refuse(self, exchange: Exchange, refusal: Refusal, *, outcome: Outcome) -> None:
        """A refusal or failure after admission to the journal."""
        self._write(exchange, outcome, CODES[refusal.code].status, refusal.code, refusal.step)
        self._answer_refusal(exchange, refusal)

    def client_left(self, exchange: Exchange) -> None:
        self._write(exchange, "cancelled", 499, "client_left", "dispatch")
        self._sent(exchange)
        exchange.reply.abort()  # nobody is there any more; a call that others may ask for again is over
        self._over(exchange)

    def crashed(self, exchange: Exchange, error: BaseException) -> None:
        """A fault of ours inside a request: the app still gets an answer, the record is still written."""
        known = {"request_id": exchange.request_id}
        if exchange.trace is not None:
            known["trace_id"] = exchange.trace.trace_id.hex()
        log.error("request %s failed inside the proxy", exchange.request_id, exc_info=error, extra=known)
        if exchange.answered:
            return
        refusal = Refusal("internal_error", "dispatch", "The proxy failed on this request. It has been logged under this request id.")
        if not exchange.recorded:
            status = 200 if exchange.first_token_ns else CODES[refusal.code].status
            self._write(exchange, "error", status, refusal.code, refusal.step)
        if exchange.first_token_ns:
            self._sent(exchange)
            exchange.reply.abort()
            self._over(exchange)
        else:
            self._answer_refusal(exchange, refusal)

    def credential_refused(self, target: CompiledTarget, status: int, name: str = "") -> None:
        """name: which one, where the endpoint has several."""
        self.metrics.credential_refused(target.label, status)
        if self.report is not None:
            self.report.credential_refused(target, status, name)
        log.warning("the credential %sof %s/%s was refused with %d", f"{name} " if name else "", target.provider, target.endpoint, status)

    # --- inside ---

    def _refuse_early(self, exchange: Exchange, refusal: Refusal) -> None:
        """Before admission. A refusal of a known key is a record; an unknown caller's is only counted: nobody may fill our disk."""
        if exchange.key is not None and self.journal.admit():
            self.metrics.running += 1
            self._write(exchange, "refused", CODES[refusal.code].status, refusal.code, refusal.step)
        else:
            self.metrics.unrecorded(refusal.code)
        self._answer_refusal(exchange, refusal)

    def _answer_refusal(self, exchange: Exchange, refusal: Refusal) -> None:
        self._sent(exchange)
        code = CODES[refusal.code]
        body = error_body(
            refusal.code,
            refusal.message,
            param=refusal.param,
            step=refusal.step,
            config_version=exchange.runtime.version,
            request_id=exchange.request_id,
            **(refusal.detail or {}),
        )
        head = JSON + self._plain_head(exchange)
        if not code.retry or (code.type == "upstream_error" and _tried_enough(exchange, code.status)):
            head += b"x-should-retry: false\r\n"
        elif refusal.detail is not None and (seconds := refusal.detail.get("retry_after_seconds")) is not None:
            head += b"retry-after: %d\r\n" % seconds
            if (exact := refusal.detail.get("retry_after_ms")) is not None:
                head += b"retry-after-ms: %d\r\n" % exact
        if code.status == 401:
            head += b"www-authenticate: Bearer\r\n"
        if exchange.limits:
            head += self.limits.headers(exchange)
        exchange.reply.send(code.status, head, body)
        if exchange.runtime.captures is not None and self.recorder is not None:
            self.recorder.take(exchange, code.status, body)
        self._over(exchange)

    def _plain_head(self, exchange: Exchange) -> bytes:
        request_id = exchange.request_id.encode()
        head = b"x-request-id: %b\r\nx-bulkhead-request-id: %b\r\nx-bulkhead-attempts: %d\r\nx-bulkhead-config: %d\r\n" % (
            request_id,
            request_id,
            len(exchange.attempts),
            exchange.runtime.version,
        )
        route = exchange.route
        if route is None:
            return head
        head += b"x-bulkhead-route: %b\r\nx-bulkhead-degradation: %b\r\nx-bulkhead-cache: off\r\n" % (
            header_text(route.name),
            route.resilience.level.encode(),
        )
        if exchange.attempts:  # whose error it is
            first = exchange.attempts[0]
            head += b"x-bulkhead-target: %b\r\n" % header_text(f"{first.provider}/{first.endpoint}/{first.model}")
        if route.flags:
            head += b"x-bulkhead-flags: %b\r\n" % header_text(",".join(route.flags))
        return head

    def _sent(self, exchange: Exchange) -> None:
        """The answer is on its way: nothing may interrupt it."""
        exchange.answered = True
        exchange.driver = None
        if exchange.holds:
            self.limits.end(exchange)
        reply = exchange.reply
        reply.on_gone = None
        reply.set_flow(None)

    def _over(self, exchange: Exchange) -> None:
        """Nothing is done for it any more. No cycle may be left for the garbage collector, which comes seldom: thousands of streams' events
        would lie about until then, and every new one would be written to memory that no cache holds."""
        exchange.streaming = None
        caller = exchange.caller
        if caller is not None:
            exchange.reply = caller.inner
            exchange.caller = exchange.calls = None

    def _write(self, exchange: Exchange, outcome: Outcome, status: int, code: str = "", step: str = "") -> UsageRecord:
        """Journal the full record, then release what its attempts held. Exactly once per admitted request."""
        request = exchange.request
        attempts = exchange.attempts
        if exchange.templates is not None:
            record = exchange.templates.new_usage()
        else:
            record = usage_template(exchange.kind, exchange.key, exchange.route, exchange.runtime, self.boot_id)
        record.id = exchange.id
        record.started_us = exchange.started_us
        record.requested_model = exchange.requested_model
        record.stream = exchange.stream
        if code or status != 200:
            record.outcome = outcome
            record.status = status
            record.error_code = code
            record.error_step = step
        record.feature, record.tags, record.user, record.metadata = exchange.attribution
        record.attempts = attempts
        if len(attempts) == 1:
            only = attempts[0]
            record.tokens, record.cost_nano, record.estimated = only.tokens, only.cost_nano, only.estimated
        elif attempts:
            record.tokens = tokens_total(attempt.tokens for attempt in attempts)
            record.cost_nano = sum(attempt.cost_nano for attempt in attempts)
            record.estimated = any(attempt.estimated for attempt in attempts)
            record.simulated = any(attempt.simulated for attempt in attempts)
        else:
            record.tokens = Tokens()
        digest = self._hash.copy()
        digest.update(request.body)
        record.input_hash = digest.hexdigest()
        started = exchange.started
        if exchange.first_token_ns:
            record.first_token_us = (exchange.first_token_ns - started) // 1000
        record.total_us = (perf_counter_ns() - started) // 1000
        record.upstream_us = exchange.upstream_ns // 1000
        record.bytes_in = len(request.body)
        record.bytes_out = exchange.bytes_out
        if exchange.trace is not None:
            record.trace = exchange.trace.packed()
        payload = encode_record(record)
        if len(payload) > MAX_PAYLOAD:
            payload = encode_bounded(record)
        self.journal.append(payload)
        exchange.recorded = True
        self.journal.retire()
        for charges, spent in exchange.held:
            if charges:
                self.leases.settle(charges, spent)
        exchange.held = []
        self.metrics.count(record)
        return record

    async def sweep(self) -> None:
        """Ends attempts whose deadline has passed, and flags that have run out; until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now, now_ns = self.loop.time(), perf_counter_ns()
            self.metrics.drain()
            self.states.drain(now)
            self.states.bulkheads.sweep(now)
            good_until_ms = self.holder.current.good_until_ms
            if good_until_ms is not None and (time_ns() // 1000 + self.offset_us) // 1000 >= good_until_ms:
                self.holder.refresh()
            for attempt in tuple(self.in_flight):
                overdue = attempt.overdue(now, now_ns)
                if overdue is not None:
                    attempt.interrupt(overdue)

    def record_view(self, record: UsageRecord) -> dict[str, Any]:
        """A record as ``GET /v1/requests/{id}`` gives it."""
        view: dict[str, Any] = {"object": "bulkhead.request", "settled": False}
        for name in UsageRecord.__struct_fields__:
            view[name] = getattr(record, name)
        view["id"] = uuid_text(record.id)
        trace = trace_unpack(view.pop("trace"))
        view["trace_id"] = trace.trace_id.hex() if trace is not None else None
        view["parent_span"] = trace.parent.hex() if trace is not None else None
        view["trace_sampled"] = trace.sampled if trace is not None else None
        view["cost_usd"] = dollars_text(record.cost_nano)
        view["tokens"] = _counts(record.tokens)
        view["attempts"] = [
            {
                **{name: getattr(attempt, name) for name in attempt.__struct_fields__},
                "tokens": _counts(attempt.tokens),
                "charges": [{"lease_id": c.lease_id, "reserved_nano": c.reserved_nano} for c in attempt.charges],
            }
            for attempt in record.attempts
        ]
        return msgspec.to_builtins(view)  # type: ignore[no-any-return]


def _tried_enough(exchange: Exchange, status: int) -> bool:
    """Whether an SDK that tries again would only multiply what was tried here: again or elsewhere, or until the request's time was up.
    A rate limit passes with time: only who was waited for here already need not be asked again."""
    if status == 429:
        return any(attempt.role == "retry" for attempt in exchange.attempts)
    return status >= 500 and (len(exchange.attempts) > 1 or exchange.left_seconds() < EARLY_SECONDS)


def _counts(tokens: Tokens) -> dict[str, Any]:
    """By name: on the wire they go by position."""
    found = {name: getattr(tokens, name) for name in Tokens.__struct_fields__}
    if tokens.details is not None:
        found["details"] = {name: getattr(tokens.details, name) for name in TokenDetails.__struct_fields__}
    return found


def content_type_of(head: bytes) -> bytes:
    """The line of a rendered head that says it; empty where none does, and where it is JSON or a stream of events, as nearly always."""
    found = _CONTENT_TYPE.search(head)
    if found is None or found.group(1).startswith((b"application/json", b"text/event-stream")):
        return b""
    return found.group(0)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _pool(origin: Origin) -> Pool:
    tls = client_tls(origin.ca_file, verify=origin.verify_tls) if origin.scheme == "https" else None
    where = HttpOrigin(origin.scheme, origin.host, origin.port, allow_private=origin.allow_private)
    return Pool(where, tls, ClientLimits(connections=origin.max_connections))
