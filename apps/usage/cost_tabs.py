"""The pages that review costs, in the order of their tabs. They belong to several apps, so URL names stand here as text."""

from __future__ import annotations

from django.urls import reverse

TABS = (
    ("Daily review", "reviews:day"),
    ("Weekly e-mail", "reviews:weekly"),
    ("Reconciliation", "costs:reconciliations"),
    ("Export", "costs:export"),
)


def cost_tabs(current: str) -> list[tuple[str, str, bool, None]]:
    """For ``ui/tabs.html``; current: the URL name of the open one."""
    return [(label, reverse(name), name == current, None) for label, name in TABS]
