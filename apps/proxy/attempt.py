"""One try at one target: owns its reservation and its upstream connection; ``close`` is called once on every exit.

An attempt is the upstream connection's sink. A JSON answer is collected; a stream in the app's own dialect goes from
transport to transport and wakes nobody until it ends.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING
from urllib.parse import quote

from apps.contracts.pricing import Price
from apps.contracts.usage import Attempt as AttemptRecord
from apps.contracts.usage import Charge, Outcome, Role, Tokens
from apps.proxy.driver import Waiter
from apps.proxy.errors import AttemptFailed, SeamRefused, UpstreamAnswered, UpstreamBroken, UpstreamSilent
from apps.proxy.http import errors as http_errors
from apps.proxy.translate import approximated
from apps.proxy.verdict import in_band_status

if TYPE_CHECKING:
    from apps.proxy.dialects.base import StreamWatch
    from apps.proxy.exchange import Exchange
    from apps.proxy.hedge import Race
    from apps.proxy.http.client import Connection
    from apps.proxy.operations.base import OperationCall
    from apps.proxy.records import Templates
    from apps.proxy.runtime import CompiledTarget
    from apps.proxy.translate import Call

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A JSON answer beyond this is refused: it would be held in memory whole."""
MAX_HELD_BYTES = 256 * 1024
"""How much of a stream's preamble is held back until real output shows."""
MAX_HEADS = 4_096
"""Rendered heads that a route keeps: replicas come and go while a config is in force."""
MAX_NOTES = 1_000
"""Characters of the header that lists what was approximated."""
ESTIMATE_SLACK_TOKENS = 64
"""Tokens that a provider may have produced beyond what reached us before a broken stream was noticed."""


class Attempt(Waiter):
    """Resolves when the upstream's answer is whole and fails with an AttemptFailed otherwise."""

    __slots__ = (
        "call",
        "charges",
        "chunks",
        "closed",
        "committed",
        "connection",
        "credential",
        "exchange",
        "first_byte_ns",
        "first_token_ns",
        "headers",
        "held",
        "number",
        "paused",
        "pieces",
        "price",
        "race",
        "reserved",
        "reset",
        "reused",
        "role",
        "sent_ns",
        "size",
        "status",
        "target",
        "templates",
        "watch",
    )

    def __init__(
        self,
        exchange: Exchange,
        target: CompiledTarget,
        templates: Templates,
        price: Price | None,
        charges: list[Charge],
        reserved: int,
        call: Call | OperationCall | None = None,
    ) -> None:
        super().__init__()
        self.call = call
        """How it is asked and its answer read; None where app and target both speak OpenAI's format."""
        self.exchange = exchange
        self.target = target
        self.templates = templates
        self.price = price
        self.charges = charges
        self.reserved = reserved
        self.connection: Connection | None = None
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.chunks: list[bytes] = []
        self.size = 0
        self.watch: StreamWatch | None = None
        self.held = b""
        self.credential = ""
        """Whose limits it counts against, where it uses one that has any."""
        self.pieces: list[bytes] = []
        """Of a stream that the app is being given: what the read at hand has brought so far."""
        self.committed = False
        """The app has been given the beginning of this attempt's stream."""
        self.paused = False
        self.reused = False
        self.reset = False
        self.sent_ns = 0
        self.first_byte_ns = 0
        self.first_token_ns = 0
        self.role: Role = "first"
        self.number = 0
        self.race: Race | None = None
        """With other attempts of the same request: it must claim the answer before it gives any of it."""
        self.closed = False

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.first_byte_ns = perf_counter_ns()
        self.status = status
        self.headers = headers
        if self.watch is not None:
            if status != 200 or not self._streams(headers):
                self.watch = None  # it does not continue: an error, or something else than a stream
                self.committed = False
            else:
                self.exchange.streaming = self
            return
        if self.exchange.stream and status == 200 and self._streams(headers):
            self.watch = self.target.dialect.stream(self.exchange) if self.call is None else self.call.stream()

    def _streams(self, headers: dict[bytes, bytes]) -> bool:
        return headers.get(b"content-type", b"").startswith(b"text/event-stream" if self.call is None else self.call.stream_type)

    def data(self, chunk: bytes) -> None:
        watch = self.watch
        if watch is None:
            self.size += len(chunk)
            if self.size > MAX_ANSWER_BYTES:
                self.interrupt(UpstreamBroken(f"the answer is larger than {MAX_ANSWER_BYTES} bytes", code="upstream_malformed", sent=True))
                return
            self.chunks.append(chunk)
            return
        passed = watch.feed(chunk)
        if self.committed:
            if passed:
                self.pieces.append(passed)
            if self.role == "rescue" and watch.failed:
                self.interrupt(SeamRefused("its text is not the rest of the one that broke off"))
            elif watch.error:
                self.flush()
                self.interrupt(UpstreamBroken("the provider reported an error inside the stream", code="stream_interrupted", sent=True))
            return
        if watch.error:
            self.interrupt(UpstreamAnswered(in_band_status(watch.error), self.headers, watch.error.encode(), in_band=True))
            return
        self.held += passed
        if watch.has_output or len(self.held) > MAX_HELD_BYTES:
            self._commit()

    def seen_tokens(self) -> Tokens | None:
        """What its stream has reported so far; None where it reported nothing, or is none."""
        return self.watch.tokens if self.watch is not None else None

    def flush(self) -> None:
        """What one read brought goes to the app in one write."""
        pieces = self.pieces
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self.exchange.bytes_out += len(data)
            self.exchange.reply.write(data)

    def end(self) -> None:
        self.resolve()

    def failed(self, error: Exception) -> None:
        self.flush()
        self.reset = isinstance(error, http_errors.ConnectionReset)
        self.fail(self._translate(error))

    # --- flow: called by the reply when the app reads slower than the provider writes ---

    def pause(self) -> None:
        self.paused = True
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        self.paused = False
        if self.connection is not None:
            self.connection.resume()

    # --- what dispatch does with it ---

    def continue_with(self, watch: StreamWatch) -> None:
        """Before it is sent: this attempt goes on with a stream that the app has seen the beginning of."""
        self.watch = watch
        self.committed = True
        self.exchange.reply.set_flow(self)

    def interrupt(self, error: AttemptFailed) -> None:
        """End the attempt from our side: a deadline, an answer that is too large, an error inside the stream."""
        if self.connection is not None:
            self.connection.abort()
        self.fail(error)

    def overdue(self, now: float, now_ns: int) -> AttemptFailed | None:
        """The deadline that has passed, if one has. now: loop time; now_ns: ``perf_counter_ns``."""
        exchange, target = self.exchange, self.target
        waited = (now_ns - self.sent_ns) / 1e9 if self.sent_ns else 0.0
        if now_ns - exchange.started > exchange.total * 1e9:
            # What the app was in a hurry for, other targets used up or a long answer took is no fault of this one.
            return UpstreamSilent("whole answer", exchange.total, telling=not self.committed and waited > target.total / 2)
        if not self.sent_ns:
            return None
        if waited > target.total and not self.paused:
            return UpstreamSilent("whole answer", target.total, telling=not self.committed)
        if not exchange.stream:
            return None
        if not self.committed or not self.first_byte_ns:
            if not self.first_byte_ns:
                if waited > target.first_byte:
                    return UpstreamSilent("first byte", target.first_byte)
            elif waited > target.first_token:
                return UpstreamSilent("first token", target.first_token)
        elif not self.paused and self.connection is not None and now - self.connection.last_byte_at > target.idle:
            return UpstreamSilent("next event", target.idle)
        return None

    def finish_stream(self) -> bytes:
        """After the upstream's end: what was held back. Raises when the stream was cut, however cleanly it was framed."""
        watch = self.watch
        assert watch is not None
        whole = watch.close()
        if watch.error and not self.committed:
            raise UpstreamAnswered(in_band_status(watch.error), self.headers, watch.error.encode(), in_band=True)
        if watch.failed:
            raise SeamRefused("its text is not the rest of the one that broke off")
        if not whole:
            self.flush()
            raise UpstreamBroken("the stream ended before it was complete", code="stream_interrupted", sent=True)
        if not self.committed:
            self._commit()
        return b"".join((*self.pieces, watch.rest))

    def _commit(self) -> None:
        exchange = self.exchange
        if self.race is not None and not self.race.claim(self):
            return
        self.first_token_ns = exchange.first_token_ns = perf_counter_ns()
        self.committed = True
        exchange.streaming = self
        exchange.reply.set_flow(self)
        held, self.held = self.held, b""
        exchange.bytes_out += len(held)
        head = stream_head(exchange, self.target)
        if exchange.operation is not None:
            head = exchange.operation.typed(exchange, head, self.headers)
        exchange.reply.start(200, head, held)
        writer = exchange.reply.raw_writer()
        if writer is not None and self.connection is not None and self.watch is not None:
            self.connection.raw_to = writer
            self.connection.raw = self.watch.passes

    def close(self, outcome: Outcome, tokens: Tokens | None, error: AttemptFailed | None = None) -> AttemptRecord:
        """Fix tokens and cost, exactly once. tokens None: the provider reported none, an upper bound is taken and marked.

        Nothing is charged for an error the provider answered with, nor for a request that was never written.
        """
        assert not self.closed
        self.closed = True
        now = perf_counter_ns()
        exchange, price = self.exchange, self.price
        estimated = False
        cost = 0
        if tokens is None:
            tokens = Tokens()
            spent = self.sent_ns != 0 and not self.reused_and_silent()
            if error is not None and not error.billable:
                spent = False
            if spent:
                estimated = True
                tokens, whole_bound = self._estimate()
                cost = self.reserved if whole_bound or price is None else min(self.reserved, price.cost(tokens))
        elif price is not None:
            cost = price.cost(tokens)
        started = exchange.started
        if self.sent_ns:
            exchange.upstream_ns += now - self.sent_ns
        if self.watch is not None:
            exchange.bytes_out += self.watch.passed_bytes
        record: AttemptRecord = self.templates.new_attempt()
        if error is not None or outcome != "ok":
            record.outcome = outcome
            record.error_code = "" if error is None else error_code_of(error)
            record.status = self.status
        if self.sent_ns:
            record.sent_us = (self.sent_ns - started) // 1000
        if self.first_byte_ns:
            record.first_byte_us = (self.first_byte_ns - started) // 1000
        record.ended_us = (now - started) // 1000
        record.tokens = tokens
        record.cost_nano = cost
        if price is not None:
            record.price_version = price.version
        record.estimated = estimated
        record.charges = self.charges
        if self.role != "first":
            record.role = self.role
            record.number = self.number
        upstream_id = self.headers.get(b"x-request-id")
        if upstream_id is not None:
            record.upstream_request_id = upstream_id[:128].decode("latin-1")
        exchange.attempts.append(record)
        if self.credential:
            exchange.lent = (*exchange.lent, (self.credential, record))
        return record

    def reused_and_silent(self) -> bool:
        """A kept-alive connection that was reset before a byte of answer: the provider had hung up before it read us."""
        return self.reused and self.reset and not self.first_byte_ns

    def _estimate(self) -> tuple[Tokens, bool]:
        """(upper bound of the tokens used, whether nothing tighter than the reservation is known)."""
        exchange = self.exchange
        ceiling = exchange.max_output * exchange.n
        if exchange.operation is not None:  # it is billed for what was asked, however much of it came
            return Tokens(input=exchange.input_bound, output=ceiling), True
        if self.watch is not None and (self.watch.has_output or (self.role == "rescue" and self.watch.output_bytes())):
            output = min(ceiling, self.watch.output_bytes() + ESTIMATE_SLACK_TOKENS * exchange.n)
            return Tokens(input=exchange.input_bound, output=output), False
        return Tokens(input=exchange.input_bound, output=ceiling), True

    def _translate(self, error: Exception) -> AttemptFailed:
        if isinstance(error, http_errors.MalformedResponse):
            return UpstreamBroken(str(error), code="upstream_malformed", sent=True)
        code = "stream_interrupted" if self.committed else "upstream_error"
        return UpstreamBroken(str(error) or type(error).__name__, code=code, sent=self.sent_ns != 0)


def error_code_of(error: AttemptFailed) -> str:
    """What the record says of a failed attempt: ``http_503``, ``upstream_timeout``, ``upstream_unreachable`` ..."""
    return f"http_{error.status}" if isinstance(error, UpstreamAnswered) else error.code


def header_text(text: str) -> bytes:
    """Any text as a header's value: printable ASCII, the rest percent-encoded (RFC 3986), so that no name can forge a header."""
    return quote(text, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~").encode()


def constant_head(exchange: Exchange, target: CompiledTarget) -> bytes:
    """Reply headers that are the same for every request of this config by route and target, rendered once."""
    route = exchange.route
    assert route is not None
    head = route.reply_heads.get(target.label)
    if head is None:
        fallback = target.route_label != route.targets[0].label
        if len(route.reply_heads) >= MAX_HEADS:
            route.reply_heads.clear()
        head = (
            b"x-bulkhead-route: %b\r\nx-bulkhead-target: %b\r\nx-bulkhead-config: %d\r\n"
            b"x-bulkhead-fallback: %b\r\nx-bulkhead-degradation: %b\r\nx-bulkhead-cache: off\r\n"
        ) % (
            header_text(route.name),
            header_text(target.label),
            exchange.runtime.version,
            b"true" if fallback else b"false",
            route.resilience.level.encode(),
        )
        if target.simulated:
            head += b"x-bulkhead-simulated: true\r\n"
        if route.flags:
            head += b"x-bulkhead-flags: %b\r\n" % header_text(",".join(route.flags))
        route.reply_heads[target.label] = head
    return head


def approximated_head(exchange: Exchange, target: CompiledTarget) -> bytes:
    """What of the request this target was told only nearly; perhaps empty."""
    notes = approximated(exchange, target)
    return b"x-bulkhead-approximated: %b\r\n" % header_text("; ".join(notes)[:MAX_NOTES]) if notes else b""


_STREAM_HEAD = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: %b\r\nx-bulkhead-request-id: %b\r\nx-bulkhead-attempts: %d\r\n%b"
)


def stream_head(exchange: Exchange, target: CompiledTarget) -> bytes:
    """Headers of a streamed answer; what it cost is known only at its end (``GET /v1/requests/{id}``)."""
    request_id = exchange.request_id.encode()
    head = constant_head(exchange, target)
    if exchange.choice is not None:
        head += exchange.choice.head
    if exchange.calls is not None:
        head += approximated_head(exchange, target)
    if exchange.limits:
        head += exchange.engine.limits.headers(exchange)
    return _STREAM_HEAD % (request_id, request_id, len(exchange.attempts) + 1, head)
