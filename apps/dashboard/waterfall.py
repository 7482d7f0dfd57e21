"""A request's course as bars: pure geometry, drawn as SVG by ``templates/dashboard/waterfall.html``.

Positions are in thousandths of the chart's width, because a viewBox of 1,000 needs no style attribute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH = 1_000
LEAST = 2
"""A bar is never narrower, so that nothing that happened is invisible."""
TICKS = 4
ROLES = {
    "retry": "again",
    "failover": "failover",
    "hedge": "hedge: the first was late",
    "rescue": "rescue: went on with the stream",
    "mirror": "mirror",
}
"""Why an attempt was made, where it was not the first."""


@dataclass(frozen=True, slots=True)
class Bar:
    """``kind``: ours, wait (until the first byte), receive, failed. ``note``: the bar's title, in words."""

    kind: str
    x: float
    width: float
    note: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line: the whole request, or an attempt."""

    label: str
    hint: str
    us: int
    bars: list[Bar]
    mark: float | None = None
    """Where the first token came, on the whole request's line."""


@dataclass(frozen=True, slots=True)
class Waterfall:
    """``ticks``: times in microseconds at equal distances, from zero to the end."""

    rows: list[Row]
    ticks: list[float]
    grid: list[float] = field(default_factory=list)


def waterfall(*, total_us: int, first_token_us: int, attempts: Sequence[dict[str, Any]]) -> Waterfall:
    """The chart of one request. Attempts as stored (``apps.usage.documents.AttemptDocument``), offsets from the request's start.

    An attempt that ended after the answer (a client that left, a clock's hiccup) widens the chart rather than being cut.
    """
    end = max(total_us, *(int(attempt["ended_us"]) for attempt in attempts), 1) if attempts else max(total_us, 1)

    def bar(kind: str, start: int, stop: int, note: str) -> Bar:
        x = min(max(start, 0) / end * WIDTH, WIDTH - LEAST)
        return Bar(kind, round(x, 2), round(min(max((stop - start) / end * WIDTH, LEAST), WIDTH - x), 2), note)

    rows = [
        Row(
            label="Whole request",
            hint="",
            us=total_us,
            bars=[bar("ours", 0, total_us, "from the request's first byte to the answer's last")],
            mark=round(first_token_us / end * WIDTH, 2) if first_token_us >= 0 else None,
        )
    ]
    for number, attempt in enumerate(attempts, 1):
        sent, first, ended = int(attempt["sent_us"]), int(attempt["first_byte_us"]), int(attempt["ended_us"])
        good = attempt["outcome"] in ("ok", "cancelled")
        if first >= 0:
            bars = [
                bar("wait", sent, first, "waiting for the first byte"),
                bar("receive" if good else "failed", first, ended, "receiving the answer"),
            ]
        else:
            bars = [bar("wait" if good else "failed", sent, ended, "no byte came")]
        rows.append(
            Row(
                label=f"{number}. {attempt['provider']}",
                hint=" · ".join(filter(None, (ROLES.get(attempt.get("role", "")), attempt["endpoint"], attempt["model"]))),
                us=ended - sent,
                bars=bars,
            )
        )
    return Waterfall(
        rows=rows,
        ticks=[end * tick / TICKS for tick in range(TICKS + 1)],
        grid=[WIDTH * tick / TICKS for tick in range(1, TICKS)],
    )
