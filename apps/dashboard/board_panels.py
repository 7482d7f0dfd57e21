"""The panels of dashboards: one registry for all kinds of them. Other apps register theirs in ``ready()`` (drills, workers, caches).

A panel that is drawn with the page is a plot of the board's one series. A panel that asks others is fetched by itself once the page is
there, so that it never holds the page up. Whoever has nothing to say about a board says None, and the panel is not shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apps.dashboard import board_plots
from apps.dashboard.board import Board
from apps.ui.plots import Plot
from apps.usage import plots
from apps.usage.measures import Series


@dataclass(frozen=True, slots=True)
class BoardPanel:
    """build: the context of its template, with ``plot`` (a Plot, its table and CSV) where it draws one; None: nothing to say.

    kinds: slugs of ``apps.dashboard.board_kinds.KINDS`` that it is about; empty: all. late: it is fetched by itself. action: the
    permission that it takes beside the page's own.
    """

    name: str
    title: str
    build: Callable[[Board], dict[str, Any] | None]
    kinds: frozenset[str] = field(default_factory=frozenset)
    late: bool = False
    template: str = "dashboard/board/plot.html"
    action: str = "usage.view"

    def about(self, board: Board) -> bool:
        """Whether it stands on this dashboard for this person."""
        return (not self.kinds or board.kind.slug in self.kinds) and board.choice.may(self.action)


BOARD_PANELS: dict[str, BoardPanel] = {}


def board_panel_register(panel: BoardPanel) -> None:
    """Add a panel, in ``ready()``; they stand in the order of registration. The same again is harmless; another of that name raises
    ValueError."""
    if BOARD_PANELS.setdefault(panel.name, panel) != panel:
        raise ValueError(f"dashboards have a panel {panel.name!r} already: choose another name")


def panels_of(board: Board, *, late: bool) -> list[BoardPanel]:
    """The panels of a dashboard that are drawn with it, or those that are fetched by themselves."""
    return [panel for panel in BOARD_PANELS.values() if panel.late == late and panel.about(board)]


def _plot(draw: Callable[[Board], Plot | None]) -> Callable[[Board], dict[str, Any] | None]:
    def build(board: Board) -> dict[str, Any] | None:
        plot = draw(board)
        return None if plot is None else {"plot": plot}

    return build


def _compared(make: Callable[..., Plot | None], **more: Any) -> Callable[[Board], dict[str, Any] | None]:
    return _plot(lambda board: make(board.series, board.before, board.shift, board.marks, **more))


def _rate(board: Board) -> Plot:
    return board_plots.rate(board.series, board.before, board.shift, board.marks, plots.traffic(board.series, board.marks))


def _failures(board: Board) -> Plot | None:
    return board_plots.failures(board.series, board.marks, attempts=board.kind.targets)


def _availability(board: Board) -> Plot | None:
    return board_plots.available(board.series, board.before, board.shift, board.marks, attempts=board.kind.targets)


def _latency(name: str, title: str, which: str) -> Callable[[Board], dict[str, Any] | None]:
    def draw(board: Board) -> Plot | None:
        compared = (board.series, board.before, board.shift, board.marks)
        return board_plots.quantiles(name, title, *compared, lambda point: getattr(point, which))

    return _plot(draw)


def _spend(board: Board) -> Plot | None:
    series: Series = board.series
    return plots.spend(series, board.marks) if series.totals.cost_nano else None


for _panel in (
    BoardPanel("traffic", "Requests per second", _plot(_rate)),
    BoardPanel("failures", "Failures by class", _plot(_failures)),
    BoardPanel("answer", "Time to the whole answer", _latency("answer", "Time to the whole answer", "total")),
    BoardPanel("first-token", "Time to first token", _latency("first-token", "Time to first token", "first_token")),
    BoardPanel("gap", "Time between tokens", _latency("gap", "Time between tokens", "gap")),
    BoardPanel("availability", "Availability", _plot(_availability)),
    BoardPanel("tokens", "Tokens per second", _compared(board_plots.tokens)),
    BoardPanel("spend", "Spend", _plot(_spend)),
    BoardPanel("unit-cost", "Cost of a request and of 1,000 tokens", _compared(board_plots.unit_cost)),
):
    board_panel_register(_panel)
