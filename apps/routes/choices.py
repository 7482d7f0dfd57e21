"""A route's chains, and what it does with a target that has no price under a hard budget."""

from __future__ import annotations

PRIMARY, FALLBACK = "primary", "fallback"
CHAINS = [(PRIMARY, "Primary"), (FALLBACK, "Fallback")]
SWITCH_EVENT = "route.switch"
"""Kind of the event that all of a route's traffic was sent to one target, or back."""
UNPRICED = [("refuse", "Refuse"), ("zero", "Count as zero")]
