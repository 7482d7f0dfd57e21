"""The provider's own bill: what it believes it served. Tests and drills hold Bulkhead's records against it."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

import msgspec

from apps.contracts.money import MILLION, ceil_div
from apps.simulator.behaviour import Price

KEPT_REQUESTS = 200_000
"""Request lines kept; older ones are dropped and counted."""

RequestOutcome = Literal["ok", "error", "cancelled", "cut"]


class ModelLine(msgspec.Struct):
    """Totals of one model. Tokens as billed, cost in nano-dollars."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0


class RequestLine(msgspec.Struct):
    """One request: the id we gave it, the id it came with (``x-bulkhead-request-id``, else ``x-request-id``).

    begun_at: when its head had been read, seconds since the epoch by this machine's clock.
    """

    id: str
    request_id: str
    operation: str
    model: str
    outcome: RequestOutcome
    status: int
    input_tokens: int
    output_tokens: int
    cost_nano: int
    begun_at: float = 0.0


class Bill:
    """Counts since the start or the last reset. ok + error + cancelled + cut + running = requests."""

    def __init__(self) -> None:
        self.running = 0
        self.reset()

    def reset(self) -> None:
        """Begin anew; requests that are still running are counted again as begun."""
        self.requests = self.running
        self.outcomes: dict[str, int] = {"ok": 0, "error": 0, "cancelled": 0, "cut": 0}
        self.models: dict[str, ModelLine] = {}
        self.lines: deque[RequestLine] = deque(maxlen=KEPT_REQUESTS)
        self.dropped = 0

    def begin(self) -> None:
        self.requests += 1
        self.running += 1

    def end(self, line: RequestLine, price: Price) -> None:
        """Count a request that is over, however it ended; prices its tokens, rounding up once."""
        self.running -= 1
        line.cost_nano = ceil_div(line.input_tokens * price.input + line.output_tokens * price.output, MILLION)
        self.outcomes[line.outcome] += 1
        total = self.models.get(line.model)
        if total is None:
            total = self.models[line.model] = ModelLine()
        total.requests += 1
        total.input_tokens += line.input_tokens
        total.output_tokens += line.output_tokens
        total.cost_nano += line.cost_nano
        if len(self.lines) == KEPT_REQUESTS:
            self.dropped += 1
        self.lines.append(line)

    def as_dict(self, *, requests: bool = True) -> dict[str, Any]:
        totals = self.models.values()
        bill: dict[str, Any] = {
            "requests": self.requests,
            "running": self.running,
            **self.outcomes,
            "input_tokens": sum(total.input_tokens for total in totals),
            "output_tokens": sum(total.output_tokens for total in totals),
            "cost_nano": sum(total.cost_nano for total in totals),
            "models": self.models,
        }
        if requests:
            bill["seen"] = list(self.lines)
            bill["seen_dropped"] = self.dropped
        return bill
