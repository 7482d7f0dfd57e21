"""How a request and an attempt can end (``apps.contracts.usage.Outcome``), as pages show it."""

from __future__ import annotations

from apps.ui.status import Status

OUTCOMES: dict[str, Status] = {
    status.value: status
    for status in (
        Status("ok", "Answered", "good", hint="A whole answer was given."),
        Status("error", "Failed", "bad", hint="The app got an error or a broken stream."),
        Status("cancelled", "Cancelled", "neutral", "stop", hint="The app left before the answer was whole."),
        Status("refused", "Refused", "warn", "shield", hint="The proxy said no before any upstream was called."),
        Status("unknown", "Outcome unknown", "unknown", hint="The proxy died meanwhile; settled at its reservation."),
    )
}

EXAMPLE_TAG = "demo-traffic"
"""The tag of requests that nobody sent: the demo's own."""
