"""States of budgets and leases; the calendar windows a budget can have."""

from __future__ import annotations

from apps.ui.status import Status

SCOPES = {
    "organisation": "Organisation",
    "team": "Team",
    "service": "Service",
    "user": "User",
    "key": "Key",
    "route": "Route",
    "model": "Model",
    "provider": "Provider",
    "feature": "Feature",
    "tag": "Tag",
}
WINDOWS = {"day": "day", "week": "week", "month": "month", "quarter": "quarter"}
KINDS = {"hard": "Hard: refuse", "soft": "Soft: count and alert"}
"""What happens to a request that does not fit."""

LEASE_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("open", "Open", "good"),
        Status("released", "Released", "neutral"),
        Status("written_off", "Written off", "warn"),
    )
}

BUDGET_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("within", "Within", "good"),
        Status("near", "Nearly used", "warn"),
        Status("exhausted", "Exhausted", "bad", "block"),
        Status("over", "Over its limit", "bad", hint="A soft budget refuses nothing: it counts, and tells its owner."),
        Status("overrun", "Overrun", "bad", hint="A provider billed more than was reserved; see the requests of this window."),
    )
}
NEAR_FRACTION = (9, 10)
"""Spent and leased from this part of the limit on counts as nearly used."""

OVERRUN_EVENT = "budget.overrun"
"""Kind of the event that a provider billed beyond what was reserved."""
