"""A route's chains and states, and what it does with a target that has no price under a hard budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from apps.ui.status import Status

if TYPE_CHECKING:
    from apps.routes.resilience import TargetSpec

PRIMARY, FALLBACK = "primary", "fallback"
CHAINS = [(PRIMARY, "Primary"), (FALLBACK, "Fallback")]
SWITCH_EVENT = "route.switch"
"""Kind of the event that all of a route's traffic was sent to one target, or back."""
BREAKER_EVENT = "route.breaker"
"""Kind of the event that a person forced a breaker of a route's target, or let it go."""
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


ON_OFF = [("on", "On"), ("off", "Off")]
RESILIENCE_CHOICES: dict[str, list[tuple[str, str]]] = {
    "strategy": [
        ("priority", "As listed"),
        ("weighted", "By weight"),
        ("least_latency", "Quickest first"),
        ("least_cost", "Cheapest first"),
        ("region", "Nearest region"),
    ],
    "sticky": [("", "No"), ("user", "By user"), ("session", "By session"), ("key", "By key")],
    "rescue": [("off", "Off"), ("same_model", "On the same model"), ("any", "On any target")],
    "context": [
        ("larger", "Larger window"),
        ("trim", "Trimmed"),
        ("refuse", "Refused"),
        ("off", "Sent as it is"),
    ],
    "level": [
        ("full", "Full service"),
        ("limited", "Limited"),
        ("cached", "Cached"),
        ("minimal", "Minimal"),
    ],
}
"""Of each setting with choices, the stored value and how a page says it."""


class Place(NamedTuple):
    """Where a target can be: a provider, or one of its endpoints. ``value``: ``provider`` or ``provider/endpoint``."""

    value: str
    label: str
    enabled: bool


MOST_PLACES = 200
"""Up to so many places are choices; where there are more, a place is typed."""


def target_text(target: TargetSpec) -> str:
    """A target in a line: provider, endpoint where it is not the first, model."""
    return f"{target.provider}/{target.endpoint}/{target.model}" if target.endpoint else f"{target.provider}/{target.model}"


_FLAGS = (
    ("prefill", "continues answers"),
    ("reasoning", "reasoning"),
    ("expensive", "expensive"),
)
_DEADLINES = (
    ("connect_ms", "connect in"),
    ("first_byte_ms", "first byte in"),
    ("first_token_ms", "first token in"),
    ("idle_ms", "idle for at most"),
    ("total_ms", "an attempt takes at most"),
)


def option_words(target: TargetSpec) -> list[str]:
    """A target's options in words, the defaults left out."""
    words = []
    if target.variant:
        words.append(f"variant {target.variant}")
    if target.priority:
        words.append(f"priority {target.priority}")
    if target.weight != 100:
        words.append(f"weight {target.weight}")
    if target.window:
        words.append(f"window {target.window:,} tokens")
    if target.max_concurrency:
        words.append(f"at most {target.max_concurrency:,} at once")
    words += [f"{word} {getattr(target, name) / 1000:g} s" for name, word in _DEADLINES if getattr(target, name)]
    words += [word for name, word in _FLAGS if getattr(target, name)]
    if target.capabilities is not None:
        words.append(f"can {', '.join(target.capabilities) or 'chat only'}")
    return words


def target_line(target: TargetSpec) -> str:
    """A target with its options in a line, as the audit and diffs show it."""
    words = option_words(target)
    return f"{target_text(target)} ({', '.join(words)})" if words else target_text(target)
