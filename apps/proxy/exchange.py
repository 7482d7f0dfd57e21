"""One request's state, from its arrival to its record. Steps fill it; nothing else is passed between them."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import msgspec

from apps.contracts.identifiers import uuid_text
from apps.contracts.usage import Attempt as AttemptRecord
from apps.contracts.usage import Charge, Kind
from apps.proxy.errors import AttemptFailed, ClientGone, Refusal

if TYPE_CHECKING:
    from apps.proxy.attempt import Attempt
    from apps.proxy.choose import Choice
    from apps.proxy.driver import Driver
    from apps.proxy.engine import Engine
    from apps.proxy.http.types import Reply, Request
    from apps.proxy.limits import Hold, Window
    from apps.proxy.records import Templates
    from apps.proxy.runtime import CompiledKey, CompiledRoute, CompiledTarget, Runtime

__all__ = ["Exchange", "Refusal"]


_UNATTRIBUTED: tuple[str, list[str], str, dict[str, str]] = ("", [], "", {})


class Exchange(msgspec.Struct, eq=False):
    """id: UUIDv7 bytes. started_us: database time, microseconds since the epoch. started: ``perf_counter_ns`` at arrival.

    A struct, because it is filled with its defaults by compiled code: forty assignments would be a thirtieth of a request's whole cost.
    """

    id: bytes
    kind: Kind
    request: Request
    reply: Reply
    runtime: Runtime
    started_us: int
    engine: Engine
    started: int
    body: bytes
    """What targets are sent: the app's own bytes, unless the context guard or a lower output cap changed them."""
    driver: Driver | None = None
    key: CompiledKey | None = None
    payload: dict[str, Any] = {}
    requested_model: str = ""
    route: CompiledRoute | None = None
    plan: tuple[CompiledTarget, ...] = ()
    choice: Choice | None = None
    """Why the plan is what it is; None where it is the route's own."""
    stream: bool = False
    usage_asked: bool = False
    """The app itself asked for the usage chunk of a stream."""
    input_bound: int = 0
    """Upper bound of input tokens: one per UTF-8 byte of the body, and what images may add."""
    max_output: int = 0
    """Upper bound of output tokens of one choice; 0 where the kind has none."""
    cap_injected: bool = False
    """The app set no output cap: the upstream call gets the route's."""
    n: int = 1
    unbounded: str = ""
    """Why the cost of this request has no upper bound; empty when it has one."""
    attribution: tuple[str, list[str], str, dict[str, str]] = _UNATTRIBUTED
    """feature, tags, user, metadata."""
    attempts: list[AttemptRecord] = []
    held: list[tuple[list[Charge], int]] = []
    """Reservations of finished attempts with what they cost. Released only after the record is journalled: were this process
    killed in between, each attempt's open record would still be settled at its whole reservation."""
    answered: bool = False
    recorded: bool = False
    """Its full record is in the journal: there must be no second one."""
    limits: tuple[Window, ...] = ()
    """Those it falls under."""
    holds: Sequence[Hold] = ()
    """What it has taken of them."""
    templates: Templates | None = None
    """Of the target last tried; None before the first attempt."""
    first_error: AttemptFailed | None = None
    """Of the first attempt that failed: the answer when all others fail too."""
    opens: int = 0
    """Attempts begun, open records written."""
    streaming: Attempt | None = None
    """The attempt whose stream the app was given last."""
    total: float = 0.0
    """Seconds from its arrival that the request may take."""
    priority: int = 1
    """0 is served before 1 before 2 where requests wait."""
    first_token_ns: int = 0
    upstream_ns: int = 0
    bytes_out: int = 0

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
