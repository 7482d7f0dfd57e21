"""The webhook of a budget: the same document, ``budget.alert``, with which budgets tell of their other thresholds, whoever tells."""

from __future__ import annotations

from typing import Any

import msgspec

from apps.alerts import channel_choices as choices
from apps.alerts.channels.base import Message, Open, Receiver, post

EVENTS = {choices.RESOLVED: "budget.alert.over", choices.ACKNOWLEDGED: "budget.alert.taken"}


class BudgetWebhook:
    """One document a telling. Its receiver knows no signature; ``id`` is the same for every try."""

    def send(self, message: Message, to: Receiver, *, open_client: Open) -> str:
        """The document of the first alert that is about a budget."""
        body = msgspec.json.encode(document(message, to.id))
        return str(post(to, to.address, body, {"content-type": "application/json"}, open_client=open_client).status_code)


def document(message: Message, delivery_id: str) -> dict[str, Any]:
    """What is posted; amounts in nano-dollars, ``percent`` of what a day may spend."""
    alert = next((alert for alert in message.alerts if "budget" in alert), {})
    budget: dict[str, Any] = alert.get("budget", {})
    return {
        "event": EVENTS.get(message.what, "budget.alert"),
        "id": delivery_id,
        "budget": {"id": budget.get("id", ""), "name": alert.get("subject", ""), "organisation": message.organisation}
        | {"window": budget.get("window", "")},
        "kind": "pace",
        "percent": round(alert.get("threshold") or 0),
        "critical": alert.get("severity") == "critical",
        "value_nano": budget.get("spent_nano", 0),
        "day_nano": budget.get("day_nano", 0),
        "limit_nano": budget.get("limit_nano", 0),
        "window": {"starts_at": budget.get("starts_at", ""), "ends_at": budget.get("ends_at", "")},
        "text": message.text,
        "url": message.url,
        "answer_url": message.answer_url,
    }
