"""A route's chains and states, and what it does with a target that has no price under a hard budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.ui.status import Status

if TYPE_CHECKING:
    from apps.routes.rules import TargetSpec

PRIMARY, FALLBACK = "primary", "fallback"
CHAINS = [(PRIMARY, "Primary"), (FALLBACK, "Fallback")]
SWITCH_EVENT = "route.switch"
"""Kind of the event that all of a route's traffic was sent to one target, or back."""
UNPRICED = [("refuse", "Refuse"), ("zero", "Count as zero")]

STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("active", "Active", "good", hint="Requests go to its targets in order."),
        Status("switched", "Switched", "warn", "routes", hint="All of its traffic goes to one target."),
        Status("flagged", "Fallback", "warn", "flags", hint="A flag sends its traffic down the fallback chain."),
        Status("disabled", "Disabled", "neutral", "stop", hint="Apps that name it get route_disabled."),
        Status("killed", "Stopped", "bad", "block", hint="A kill switch is on: apps that name it get route_killed."),
    )
}


def target_text(target: TargetSpec) -> str:
    """A target in a line: provider, endpoint where it is not the first, model."""
    return f"{target.provider}/{target.endpoint}/{target.model}" if target.endpoint else f"{target.provider}/{target.model}"
