"""What a replay found: counted while it runs, rendered at its end. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from apps.contracts.money import dollars_text
from controlplane.replay.client import Call


def quantile(values: Sequence[float], q: float) -> float | None:
    """The q-quantile (0..1) of sorted values by nearest rank; None for no values."""
    return values[max(0, math.ceil(q * len(values)) - 1)] if values else None


class Tally:
    """The running counts of a replay. Times in seconds, money in nano-dollars."""

    def __init__(self) -> None:
        self.sent = 0
        self.ok = 0
        self.failed: Counter[str] = Counter()
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_nano = 0
        self.unpriced = 0
        self.simulated = 0
        self.totals: list[float] = []
        self.first_tokens: list[float] = []
        self.lags: list[float] = []

    def count(self, call: Call) -> None:
        """A call that is over. Its cost may still follow (``add_cost``)."""
        self.lags.append(max(0.0, call.sent - call.scheduled))
        self.simulated += call.simulated
        if call.failure:
            self.failed[call.failure] += 1
            return
        self.ok += 1
        self.input_tokens += call.input_tokens
        self.output_tokens += call.output_tokens
        self.totals.append(call.ended - call.sent)
        if call.first_token >= 0:
            self.first_tokens.append(call.first_token - call.sent)

    @property
    def done(self) -> int:
        return self.ok + self.failed.total()


def _milliseconds(values: list[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    found = {name: quantile(ordered, q) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))}
    return {name: None if value is None else round(value * 1000, 3) for name, value in found.items()}


def summary(tally: Tally, *, elapsed: float, broken: int, interrupted: bool) -> dict[str, Any]:
    """The machine-readable summary. Milliseconds, nano-dollars; ``elapsed`` in seconds.

    ``unpriced``: answers whose cost the proxy did not tell; they are not in ``cost_nano``.
    """
    return {
        "sent": tally.sent,
        "ok": tally.ok,
        "failed": tally.failed.total(),
        "failed_by_code": dict(tally.failed.most_common()),
        "unanswered": tally.sent - tally.done,
        "broken_rows": broken,
        "total_ms": _milliseconds(tally.totals),
        "first_token_ms": _milliseconds(tally.first_tokens),
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "cost_nano": tally.cost_nano,
        "cost_usd": dollars_text(tally.cost_nano),
        "unpriced": tally.unpriced,
        "simulated": tally.simulated,
        "elapsed_s": round(elapsed, 3),
        "rate": round(tally.done / elapsed, 2) if elapsed > 0 else 0.0,
        "lag_ms": _milliseconds(tally.lags),
        "interrupted": interrupted,
    }


def render(found: dict[str, Any]) -> str:
    """The summary as people read it."""

    def times(values: dict[str, float | None]) -> str:
        return "  ".join(f"{name} {value:,.1f} ms" for name, value in values.items() if value is not None)

    lines = [f"sent         {found['sent']:,}" + (" (interrupted)" if found["interrupted"] else "")]
    lines.append(f"ok           {found['ok']:,}")
    codes = ", ".join(f"{code} {count:,}" for code, count in found["failed_by_code"].items())
    lines.append(f"failed       {found['failed']:,}" + (f": {codes}" if codes else ""))
    if found["unanswered"]:
        lines.append(f"unanswered   {found['unanswered']:,} (still in flight when it was stopped)")
    if found["broken_rows"]:
        lines.append(f"broken rows  {found['broken_rows']:,} (skipped)")
    if found["ok"]:
        lines.append(f"total        {times(found['total_ms'])}")
    if found["first_token_ms"]["p50"] is not None:
        lines.append(f"first token  {times(found['first_token_ms'])}")
    lines.append(f"tokens       {found['input_tokens']:,} in  {found['output_tokens']:,} out")
    cost = f"cost         ${found['cost_usd']}"
    if found["simulated"]:
        cost += " (simulated)" if found["simulated"] >= found["ok"] else f" ({found['simulated']:,} answers were simulated)"
    if found["unpriced"]:
        cost += f"; {found['unpriced']:,} answers came without a cost"
    lines.append(cost)
    lines.append(f"rate         {found['rate']:,.1f} requests/s over {found['elapsed_s']:,.1f} s")
    if found["lag_ms"]["p50"] is not None:
        lines.append(f"lag          {times(found['lag_ms'])} behind the trace")
    return "\n".join(lines)
