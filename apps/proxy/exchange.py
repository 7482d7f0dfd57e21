"""One request's state, from its arrival to its record. Steps fill it; nothing else is passed between them."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from apps.contracts.identifiers import uuid_text
from apps.contracts.usage import Attempt as AttemptRecord
from apps.contracts.usage import Charge, Kind
from apps.proxy.errors import AttemptFailed, ClientGone, Refusal

if TYPE_CHECKING:
    from apps.contracts.traceparent import TraceContext
    from apps.proxy.attempt import Attempt
    from apps.proxy.bounds import Extras
    from apps.proxy.caller import Caller
    from apps.proxy.choose import Choice
    from apps.proxy.driver import Driver
    from apps.proxy.engine import Engine
    from apps.proxy.http.types import Reply, Request
    from apps.proxy.limits import Hold, Window
    from apps.proxy.operations.base import Operation
    from apps.proxy.records import Templates
    from apps.proxy.runtime import CompiledKey, CompiledRoute, CompiledTarget, Runtime

__all__ = ["Exchange", "Refusal"]


_UNATTRIBUTED: tuple[str, list[str], str, dict[str, str]] = ("", [], "", {})


class Exchange:
    """id: UUIDv7 bytes. started_us: database time, microseconds since the epoch. started: ``perf_counter_ns`` at arrival."""

    __slots__ = (
        "answered",
        "attempts",
        "attribution",
        "body",
        "bytes_out",
        "caller",
        "calls",
        "cap_injected",
        "choice",
        "driver",
        "engine",
        "extras",
        "first_error",
        "first_token_ns",
        "held",
        "holds",
        "id",
        "input_bound",
        "key",
        "kind",
        "lent",
        "limits",
        "max_output",
        "n",
        "opens",
        "operation",
        "operation_data",
        "payload",
        "plan",
        "priority",
        "recorded",
        "reply",
        "request",
        "requested_model",
        "route",
        "runtime",
        "started",
        "started_us",
        "stream",
        "streaming",
        "templates",
        "total",
        "trace",
        "unbounded",
        "upstream_ns",
        "usage_asked",
    )

    def __init__(
        self,
        id: bytes,
        kind: Kind,
        request: Request,
        reply: Reply,
        runtime: Runtime,
        started_us: int,
        engine: Engine,
        started: int,
        body: bytes,
    ) -> None:
        self.id = id
        self.kind = kind
        self.request = request
        self.reply = reply
        self.runtime = runtime
        self.started_us = started_us
        self.engine = engine
        self.started = started
        self.body = body
        """What targets are sent: the app's own bytes, unless the context guard or a lower output cap changed them."""
        self.caller: Caller | None = None
        """Its app, where that speaks another format than OpenAI's chat completions; ``reply`` is the same then."""
        self.calls: dict[str, Any] | None = None
        """How targets are asked that are not asked in the app's own words, by label: a ``Call``, or the Unsupported that says why not."""
        self.driver: Driver | None = None
        self.key: CompiledKey | None = None
        self.payload: dict[str, Any] = {}
        self.requested_model = ""
        self.route: CompiledRoute | None = None
        self.plan: tuple[CompiledTarget, ...] = ()
        self.choice: Choice | None = None
        """Why the plan is what it is; None where it is the route's own."""
        self.stream = False
        self.usage_asked = False
        """The app itself asked for the usage chunk of a stream."""
        self.input_bound = 0
        """Upper bound of input tokens: one per UTF-8 byte of the body, and what images may add."""
        self.max_output = 0
        """Upper bound of output tokens of one choice; 0 where the kind has none."""
        self.cap_injected = False
        """The app set no output cap: the upstream call gets the route's."""
        self.n = 1
        self.unbounded = ""
        """Why the cost of this request has no upper bound; empty when it has one."""
        self.operation: Operation | None = None
        """What is asked for, where that is neither chat nor any format of it."""
        self.operation_data: Any = None
        """What the operation has read of the body and needs again for each target."""
        self.extras: Extras | None = None
        """What it can cost beyond the text of its body; None where that is all."""
        self.attribution: tuple[str, list[str], str, dict[str, str]] = _UNATTRIBUTED
        """feature, tags, user, metadata."""
        self.attempts: list[AttemptRecord] = []
        self.held: list[tuple[list[Charge], int]] = []
        """Reservations of finished attempts with what they cost. Released only after the record is journalled: were this process
    killed in between, each attempt's open record would still be settled at its whole reservation."""
        self.answered = False
        self.recorded = False
        """Its full record is in the journal: there must be no second one."""
        self.limits: tuple[Window, ...] = ()
        """Those it falls under."""
        self.holds: Sequence[Hold] = ()
        """What it has taken of them."""
        self.lent: Sequence[tuple[str, AttemptRecord]] = ()
        """Attempts by the credential that they used, of credentials that have limits."""
        self.templates: Templates | None = None
        """Of the target last tried; None before the first attempt."""
        self.first_error: AttemptFailed | None = None
        """Of the first attempt that failed: the answer when all others fail too."""
        self.opens = 0
        """Attempts begun, open records written."""
        self.streaming: Attempt | None = None
        """The attempt whose stream the app was given last."""
        self.trace: TraceContext | None = None
        """The caller's, which upstreams are told and the record keeps; None where it sent none."""
        self.total = 0.0
        """Seconds from its arrival that the request may take."""
        self.priority = 1
        """0 is served before 1 before 2 where requests wait."""
        self.first_token_ns = 0
        self.upstream_ns = 0
        self.bytes_out = 0

    def left_seconds(self) -> float:
        return self.total - (perf_counter_ns() - self.started) / 1e9

    def overdue(self) -> bool:
        return perf_counter_ns() - self.started > self.total * 1e9

    def gone(self) -> None:
        """The app left: interrupt whatever is being waited for."""
        if self.driver is not None:
            self.driver.throw(ClientGone())

    def crashed(self, error: BaseException) -> None:
        """The request's coroutine raised what nobody expected."""
        self.engine.crashed(self, error)

    @property
    def request_id(self) -> str:
        return uuid_text(self.id)
