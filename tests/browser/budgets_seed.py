"""Budgets of every kind, spent, near, over, overridden and alerted, in an organisation of their own."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


def budgets_seed(organisation: Organisation, *, approver: str) -> None:
    """approver: e-mail address of an admin of the organisation."""
    from django.db import connection
    from django.utils import timezone

    from apps.budgets.alerting import alerts_raise
    from apps.budgets.override_services import override_grant
    from apps.budgets.services import budget_set, charges_settle
    from apps.ownership.models import Team
    from tests.budgets.test_grants import Proxy
    from tests.publishing.installation import ACTOR

    team = Team.objects.create(organisation=organisation, name="Search", slug="search")
    rows = [
        ("Everything", "organisation", organisation.pk, "quarter", "hard", "", 9_000, 3_210),
        ("Search per month", "team", team.pk, "month", "throttle", "80: cheaper, 95: limited", 500, 431),
        ("Every user a day", "user", "*", "day", "hard", "", 2, 1),
        (
            "Batch jobs, a name that is rather long for a budget as names of budgets go " + "x" * 5,
            "tag",
            "batch",
            "week",
            "soft",
            "",
            40,
            63,
        ),
        ("GPT", "model", "gpt-4o", "month", "hard", "", 100, 100),
        ("Untouched", "feature", "summaries", "day", "soft", "", 10, 0),
    ]
    for name, scope, scope_id, window, kind, actions, limit, spent in rows:
        budget = budget_set(
            actor=ACTOR, organisation=organisation, name=name, scope=scope, scope_id=scope_id, window=window, kind=kind, actions=actions,
            limit_nano=limit * 10**9, owner_email="owner@example.test" if spent else "",
        )  # fmt: skip
        if spent:
            user = "/u-81723" if scope_id == "*" else ""
            row = Proxy().grant(f"{budget.pk}{user}", spent * 10**9, spent * 10**9 + limit * 10**8)
            with connection.cursor() as cursor:
                charges_settle(cursor=cursor, costs={row["lease"]: spent * 10**9})
        if name == "GPT":
            override_grant(
                actor=ACTOR, budget=budget, amount_nano=25 * 10**9, expires_at=timezone.now() + timedelta(hours=30), approver=approver,
                reason="launch of the new search",
            )  # fmt: skip
    alerts_raise()
