"""Statuses of what the dashboard shows, in the words and tones of ``apps.ui.status``."""

from __future__ import annotations

from apps.ui.status import UNKNOWN, Status

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
PROXY_STATES: dict[str, Status] = {
    status.value: status
    for status in (
        Status("ready", "Ready", "good"),
        Status("starting", "Starting", "info", "progress"),
        Status("draining", "Draining", "neutral", "progress", hint="Finishes what it has, takes nothing new."),
        Status("unready", "Not ready", "bad"),
        Status("silent", "Silent", "unknown", hint="No heartbeat for a while; its lease stays held until its journal is settled."),
    )
}


def outcome(value: str) -> Status:
    """The status of a request's outcome."""
    return OUTCOMES.get(value, UNKNOWN)


def proxy_state(value: str) -> Status:
    """The status of a proxy's state."""
    return PROXY_STATES.get(value, UNKNOWN)


BUDGET_STATES: dict[str, Status] = {
    status.value: status
    for status in (
        Status("within", "Within", "good"),
        Status("near", "Nearly used", "warn"),
        Status("exhausted", "Exhausted", "bad", "block"),
        Status("overrun", "Overrun", "bad", hint="A provider billed more than was reserved; see the requests of this window."),
    )
}


def budget_state(*, limit: int, spent: int, overrun: int) -> Status:
    """How a budget's window stands, by what is settled; nearly used from nine tenths on. Nano-dollars."""
    if overrun:
        return BUDGET_STATES["overrun"]
    if spent >= limit:
        return BUDGET_STATES["exhausted"]
    return BUDGET_STATES["near" if spent * 10 >= limit * 9 else "within"]
