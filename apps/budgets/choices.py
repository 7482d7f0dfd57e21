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
KINDS = {"hard": "Hard: refuse", "soft": "Soft: count and alert", "throttle": "Throttle: make cheaper"}
"""What happens to a request that does not fit."""

RELIEF_WORDS = {
    "cheaper": "use the cheapest targets",
    "limited": "limit: cap output, leave expensive targets out",
    "cached": "give stored answers only",
    "minimal": "call nobody: the route's canned answer",
}
"""What a threshold does, mildest first (``apps.contracts.snapshot.RELIEFS``)."""
ALERT_SHARES = (50, 80, 100)
"""Percent of the limit, actual and forecast, at which owners are told unless a budget says otherwise."""
PACE_WARN, PACE_CRITICAL = 120, 150
"""Percent of a day's money: of a soft daily limit spent, of a hard daily one forecast, of a longer window's share for a day spent today."""
PACE = "pace"
PASSED_OVER = "passed over"
"""How it begins what is said of a threshold that was not told, because a higher one was."""
ALERT_KINDS = {"actual": "Spent", "forecast": "Forecast", PACE: "Today"}

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

ALERT_EVENT = "budget.alert"
"""Kind of the event that a threshold of a window was reached."""
OVERRUN_EVENT = "budget.overrun"
"""Kind of the event that a provider billed beyond what was reserved."""
