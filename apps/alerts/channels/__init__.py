"""Channels: each turns a message into what its receiver understands. A new one is a file here and a line below."""

from __future__ import annotations

from apps.alerts import channel_choices as choices
from apps.alerts.channels.base import Channel
from apps.alerts.channels.budget_webhook import BudgetWebhook
from apps.alerts.channels.email import Email
from apps.alerts.channels.ntfy import Ntfy
from apps.alerts.channels.pagerduty import PagerDuty
from apps.alerts.channels.slack import Slack
from apps.alerts.channels.webhook import Webhook

CHANNELS: dict[str, Channel] = {
    choices.EMAIL: Email(),
    choices.WEBHOOK: Webhook(),
    choices.SLACK: Slack(),
    choices.PAGERDUTY: PagerDuty(),
    choices.NTFY: Ntfy(),
}
BUDGET_WEBHOOK: Channel = BudgetWebhook()
"""Not one that people make: budgets name these by themselves."""
