"""What pages call what usage knows: how requests and attempts end (``apps.contracts.usage.Outcome``), what spend is looked at by."""

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

RUNAWAY_KEY, PRICE_CHANGE = "runaway_key", "price_change"
ANOMALY_EVENT = "usage.anomaly"
"""The fact that is recorded when one is found."""

ANOMALY_KINDS: dict[str, Status] = {
    status.value: status
    for status in (
        Status(RUNAWAY_KEY, "Runaway key", "bad", hint="It spent far more in an hour than it ever does at that time of day."),
        Status(PRICE_CHANGE, "Price changed", "warn", hint="The price book says another price than before, and the model is in use."),
    )
}

SPEND_DIMENSIONS: dict[str, str] = {
    "team": "Team", "service": "Service", "feature": "Feature", "user": "User", "key_id": "Key", "route": "Route", "model": "Model",
    "provider": "Provider", "region": "Region",
}  # fmt: skip
"""Column of requests and attempts -> what people call it."""

COMBINED = "combined"
"""The dimension whose values are combinations: a JSON list of ``COMBINED_OF``."""
COMBINED_OF = ("team", "service", "feature", "key_id", "model", "provider")

WASTE: dict[str, tuple[str, str]] = {
    "failed": ("Failed requests", "Tokens that were paid for and whose request ended in an error all the same, or nobody knows how."),
    "cancelled": ("Left early", "The app went away before the answer was whole."),
    "replaced": ("Failed attempts", "Another attempt answered the request: a retry, a failover or a rescue."),
    "hedge": ("Hedges' losers", "A second attempt was quicker, or the first one was after all."),
    "mirror": ("Mirrors", "Copies of requests whose answers are compared and thrown away."),
}
"""Why what was paid for reached nobody: (name, what it means)."""
