"""Feedback in words: what was said of one request, and how answers of a route were received, as a panel of dashboards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.dashboard.board import Board
from apps.dashboard.board_panels import BoardPanel, board_panel_register
from apps.ui.status import Status
from apps.usage.feedback_selectors import FeedbackSaid, feedback_by_route, feedback_told
from apps.usage.models import UsageRequest

GOOD = Status("good", "Good", "good", "check")
BAD = Status("bad", "Bad", "bad", "cross")
MIXED = Status("mixed", "In between", "neutral", "dash")
UNSCORED = Status("unscored", "Not scored", "unknown")
MOST_ROWS = 50
"""Routes and variants shown; of more, the panel says so."""


def score_status(score: float | None) -> Status:
    """-1 to 1 in a word."""
    if score is None:
        return UNSCORED
    return GOOD if score > 0 else BAD if score < 0 else MIXED


@dataclass(frozen=True, slots=True)
class Line:
    """One key's feedback as shown. own: the key that made the request. client_us: the user's wait, elsewhere_us: what of it was not
    spent here; None where no wait was told, or a shorter one than the request took."""

    said: FeedbackSaid
    status: Status
    own: bool
    client_us: int | None
    elsewhere_us: int | None


def feedback_lines(record: UsageRequest) -> list[Line]:
    """What was said of a request that ``apps.usage.requests.request_get`` gave."""
    found = []
    for said in feedback_told(getattr(record, "feedback_told", None)):
        client_us = None if said.client_ms is None else said.client_ms * 1000
        elsewhere = None if client_us is None or client_us < record.total_us else client_us - record.total_us
        found.append(Line(said, score_status(said.score), said.key_id == record.key_id, client_us, elsewhere))
    return found


def _panel(board: Board) -> dict[str, Any] | None:
    """By route and variant; of one route's dashboard its variants alone. Nothing where nobody said anything."""
    route = board.value if board.kind.slug == "route" else None
    rows = feedback_by_route(board.choice.scope, board.range.start, min(board.range.end, board.now), route=route)
    if not rows:
        return None
    return {"rows": [(row, score_status(row.score)) for row in rows[:MOST_ROWS]], "more": max(0, len(rows) - MOST_ROWS)}


def feedback_register() -> None:
    """Called by the app's ``ready()``."""
    board_panel_register(
        BoardPanel(
            "feedback",
            "Feedback from apps",
            _panel,
            frozenset({"", "route"}),
            late=True,
            template="dashboard/board/feedback.html",
            action="request.view",
        )
    )
