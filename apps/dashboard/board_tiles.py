"""The figures on top of a dashboard, against the time that it is compared with. Pure but for what the board reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apps.dashboard.board import Board, availability, failed_of
from apps.ui.delta import Delta, delta
from apps.ui.format import NOTHING, THIN, compact, dollars, dollars_exact, percent, rate
from apps.usage.measures import Latency, Point, Series


@dataclass(frozen=True, slots=True)
class Tile:
    """As the part ``ui/stat.html`` takes it."""

    name: str
    value: str
    exact: str = ""
    note: str = ""
    delta: Delta | None = None
    values: list[float | None] = field(default_factory=list)
    tone: str = ""
    url: str = ""


def tiles_of(board: Board) -> list[Tile]:
    """Rate, failures, availability, tokens, spend, unit costs; what has no figure is left out."""
    series, before, attempts = board.series, board.before, board.kind.targets
    totals, (failed, whole) = series.totals, board.failed
    past = failed_of(before, attempts=attempts) if before is not None else (0, 0)
    tokens = totals.tokens_input + totals.tokens_output

    def course(value: Callable[[Point], float | None]) -> list[float | None]:
        return [value(point) for point in series.points]

    def share(failures: int, of: int) -> float | None:
        return failures / of if of else None

    found = [
        Tile(
            "Requests / s",
            rate(totals.requests / board.seconds),
            note=f"{compact(totals.requests)} in range",
            delta=board.change(totals.requests, before and before.totals.requests),
            values=course(lambda point: point.totals.requests / point.seconds),
        ),
        Tile(
            "Failed attempts" if attempts else "Failed",
            percent(failed, whole),
            exact=f"{failed} of {whole}",
            note=f"{compact(failed)} failed" + ("" if attempts else f", {compact(totals.refused)} refused"),
            delta=board.change(share(failed, whole), share(*past), "less"),
            values=course(lambda point: share(*failed_of(point, attempts=attempts))),
            tone="bad",
        ),
        Tile(
            "Availability",
            _availability_text(availability(failed, whole)),
            note="of attempts" if attempts else "of requests that ended",
            delta=board.change(availability(failed, whole), availability(*past), "more"),
        ),
        Tile(
            "Tokens in and out",
            compact(tokens),
            exact=f"{totals.tokens_input} in, {totals.tokens_output} out",
            note=f"{compact(totals.tokens_input)} in, {compact(totals.tokens_output)} out",
            delta=board.change(tokens, before and before.totals.tokens_input + before.totals.tokens_output),
            values=course(lambda point: float(point.totals.tokens_input + point.totals.tokens_output)),
        ),
        Tile(
            "Spend",
            dollars(totals.cost_nano),
            exact=dollars_exact(totals.cost_nano),
            note="partly estimated" if totals.estimated else "",
            delta=board.change(totals.cost_nano, before and before.totals.cost_nano),
            values=course(lambda point: float(point.totals.cost_nano)),
        ),
    ]
    if totals.cost_nano:
        found += [_unit("Cost of a request", series, before, 1, lambda one: one.totals.requests)]
        if tokens:
            counted: Callable[[Any], int] = lambda one: one.totals.tokens_input + one.totals.tokens_output  # noqa: E731
            found += [_unit("Cost of 1,000 tokens", series, before, 1_000, counted)]
    if totals.tokens_cache_read:
        text = percent(totals.tokens_cache_read, totals.tokens_input)
        found.append(Tile("Providers' cache", text, exact=f"{totals.tokens_cache_read} of {totals.tokens_input}", note="of the tokens in"))
    return found


def _unit(name: str, series: Series, before: Series | None, each: int, count: Callable[[Any], int]) -> Tile:
    def cost(one: Any) -> float | None:
        return one.totals.cost_nano * each / count(one) if count(one) else None

    now, past = cost(series), cost(before) if before is not None else None
    return Tile(
        name,
        dollars(None if now is None else round(now)),
        delta=delta(now, past, better="less") if before is not None else None,
        values=[cost(point) for point in series.points],
    )


def _availability_text(share: float | None) -> str:
    """Three decimals, because the third nine matters; never 100 where something failed."""
    if share is None:
        return NOTHING
    return f"100{THIN}%" if share == 100 else f"{min(share, 99.999):.3f}{THIN}%"


def latencies_of(board: Board) -> list[tuple[str, Latency, Delta | None, list[float | None]]]:
    """(name, quantiles, change of p95, course of p95) of each duration that was measured."""
    found = []
    for name, which in (("Answer time", "total"), ("First token", "first_token"), ("Between tokens", "gap")):
        latency: Latency = getattr(board.series, which)
        if latency.count:
            past: Latency | None = getattr(board.before, which) if board.before is not None else None
            change = board.change(latency.p95, past.p95 if past else None, "less")
            found.append((name, latency, change, [getattr(point, which).p95 for point in board.series.points]))
    return found
