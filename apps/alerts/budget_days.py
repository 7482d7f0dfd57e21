"""Budgets' days among the alerts: the budget's own ways are told with everybody else, and its page learns what became of it.

Invariant: a budget's day is told either by a rule or by the budget itself (``apps.budgets.alerting``), never by both; which, is decided
when the threshold is written down, and stays. Alerts of budgets with ways of their own are told apart: no owner reads of other budgets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings

from apps.alerts import channel_choices as choices
from apps.alerts.channel_models import Delivery
from apps.alerts.channels.base import Receiver, Refused
from apps.alerts.models import Alert, AlertRule
from apps.alerts.receivers import To
from apps.budgets.alerting import day_told
from apps.budgets.models import Budget
from apps.ownership.models import Team
from controlplane.masterkey import decrypt

SERIES = "budget_day_share"
ALSO_TOLD = "also_told"
"""Key of evidence that names the budget's own ways."""
_PREFIX = "budget"
_FIELDS = {choices.WEBHOOK: "webhook", choices.SLACK: "slack_webhook"}


def days_told(budgets: Collection[Budget]) -> dict[UUID, str]:
    """By budget, the rule that is on and looks at its day: one query. ``apps.budgets.neighbours.Watched``."""
    rules: dict[UUID, list[AlertRule]] = {}
    for rule in AlertRule.objects.filter(series=SERIES, enabled=True, deleted_at=None).order_by("-is_default", "name"):
        rules.setdefault(rule.organisation_id, []).append(rule)
    found = {}
    for budget in budgets:
        names = [rule.name for rule in rules.get(budget.organisation_id, ()) if not rule.values or budget.name in rule.values]
        if names:
            found[budget.pk] = names[0]
    return found


def ways_of_budget(budget: Budget) -> dict[str, str]:
    """Kind of channel -> what people call that way of the budget's; nothing where it wants no alerts."""
    if not budget.alert_shares:
        return {}
    ways = {
        choices.EMAIL: budget.owner_email if settings.EMAIL_HOST else "",
        choices.WEBHOOK: f"webhook of {budget.name}" if budget.webhook else "",
        choices.SLACK: f"Slack of {budget.name}" if budget.slack_webhook else "",
    }
    return {kind: name for kind, name in ways.items() if name}


def group_of(rule: AlertRule, evidence: Mapping[str, Any]) -> str:
    """What an alert is told together with: those of its rule, or nothing else where a budget's own ways are told, too."""
    return f"rule:{rule.pk}:{evidence['budget_id']}" if evidence.get(ALSO_TOLD) else f"rule:{rule.pk}"


def ways_beside(alerts: Sequence[Alert], receivers: Sequence[To]) -> list[To]:
    """The own ways of the budgets that these alerts are about, without addresses that are told already. One query where there are any."""
    mine = [alert for alert in alerts if alert.evidence.get(ALSO_TOLD) and alert.group_key == group_of(alert.rule, alert.evidence)]
    rows = Budget.objects.filter(pk__in=[alert.evidence["budget_id"] for alert in mine], deleted_at=None) if mine else ()
    told = {to.address.lower() for to in receivers if to.kind == choices.EMAIL}
    return [
        To(f"{_PREFIX}:{budget.pk}:{kind}", name, kind, address=name if kind == choices.EMAIL else "")
        for budget in rows
        for kind, name in ways_of_budget(budget).items()
        if kind != choices.EMAIL or name.lower() not in told
    ]


def is_way_of_budget(receiver: str) -> bool:
    """Whether a delivery goes to a budget's own way."""
    return receiver.startswith(f"{_PREFIX}:")


def receiver_of_budget(row: Delivery) -> Receiver:
    """Where such a delivery goes, opened. Raises Refused where the budget or the way is gone, VaultError where the key does not open it."""
    _, budget_id, kind = row.receiver.split(":")
    budget = Budget.objects.filter(pk=budget_id, deleted_at=None).first()
    if budget is None:
        raise Refused("the budget was deleted")
    if kind == choices.EMAIL:
        return Receiver(str(row.pk), row.name)
    sealed = getattr(budget, _FIELDS[kind])
    if not sealed:
        raise Refused(f"the budget has no {choices.KINDS[kind].label} any more")
    return Receiver(str(row.pk), decrypt(sealed))


def delivery_note(row: Delivery) -> None:
    """A message is over: the pages of the budgets that it was about say so. Nothing for other alerts, and for other than pages."""
    if row.what not in choices.PAGES or row.notification_id is None or row.state not in (choices.SENT, choices.FAILED, choices.UNKNOWN):
        return
    alerts = Alert.objects.filter(notification_members__notification=row.notification_id, rule__series=SERIES, fired_at__isnull=False)
    for alert in alerts.select_related("rule"):
        if alert.fired_at is not None and "budget_id" in alert.evidence:
            failed = "" if row.state == choices.SENT else row.told or row.state
            day_told(budget=UUID(alert.evidence["budget_id"]), rule=alert.rule.name, fired_at=alert.fired_at, way=row.name, failed=failed)


def acts_on(budget_id: str) -> tuple[str, str]:
    """What a budget walls in, as flags name it (kind, id); empty where no flag can act on it. One query, two of a team's."""
    row = Budget.objects.filter(pk=budget_id).first()
    if row is None or row.scope not in ("key", "route", "provider", "model", "feature", "team"):
        return "", ""
    if row.scope == "team":
        return "team", Team.objects.filter(pk=row.scope_ref).values_list("slug", flat=True).first() or ""
    return row.scope, row.scope_id
