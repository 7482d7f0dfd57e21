"""States of a re-pricing, and the facts that this room records."""

from __future__ import annotations

from apps.ui.status import Status

BOOK_EVENT = "prices.book"
REPRICED_EVENT = "prices.repriced"

PENDING, DONE, WITHDRAWN, FAILED = "pending", "done", "withdrawn", "failed"

STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status(PENDING, "Waiting", "warn", "clock", hint="A worker computes it within a minute."),
        Status(DONE, "In force", "good", hint="Its difference counts as a correction beside the original figures."),
        Status(WITHDRAWN, "Withdrawn", "neutral", "block", hint="Kept to be read; its difference counts no more."),
        Status(FAILED, "Failed", "bad", hint="Nothing was computed; see why, and ask again."),
    )
}
