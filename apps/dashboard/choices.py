"""Statuses of what the dashboard shows, in the words and tones of ``apps.ui.status``."""

from __future__ import annotations

from apps.budgets.choices import BUDGET_STATES
from apps.budgets.rules import state_of
from apps.ui.status import UNKNOWN, Status
from apps.usage.choices import OUTCOMES

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


def budget_state(*, limit: int, spent: int, leased: int, overrun: int) -> Status:
    """How a budget's window stands, by the budgets' own rule. Nano-dollars."""
    return BUDGET_STATES[state_of(limit=limit, spent=spent, leased=leased, overrun=overrun)]
