"""Statuses of what the dashboard shows, in the words and tones of ``apps.ui.status``."""

from __future__ import annotations

from apps.budgets.choices import BUDGET_STATES
from apps.budgets.rules import state_of
from apps.publishing.choices import PROXY_STATES, proxy_state
from apps.ui.status import UNKNOWN, Status
from apps.usage.choices import OUTCOMES

__all__ = ["PROXY_STATES", "budget_state", "outcome", "proxy_state"]


def outcome(value: str) -> Status:
    """The status of a request's outcome."""
    return OUTCOMES.get(value, UNKNOWN)


def budget_state(*, limit: int, spent: int, leased: int, overrun: int) -> Status:
    """How a budget's window stands, by the budgets' own rule. Nano-dollars."""
    return BUDGET_STATES[state_of(limit=limit, spent=spent, leased=leased, overrun=overrun)]
