"""Events API v2 as PagerDuty defined it and others take it: trigger, acknowledge, resolve under one ``dedup_key``.

Source: PagerDuty, *Events API v2 overview*: ``summary`` has 1,024 characters, the key 255, severities are critical, error, warning, info;
202 is yes, 400 a document that is not liked, 429 too many.
"""

from __future__ import annotations

from typing import Any

import msgspec

from apps.alerts.channels.base import Message, Open, Receiver, cut, post

ACTIONS = {"acknowledged": "acknowledge", "resolved": "resolve"}
"""Everything else triggers, which joins an open incident of the same key."""


class PagerDuty:
    """One event a telling."""

    def send(self, message: Message, to: Receiver, *, open_client: Open) -> str:
        """The event; the channel's secret is the integration's key. A test is resolved at once, so that it leaves no incident open."""
        body = msgspec.json.encode(document(message, to.secret))
        answer = post(to, to.address, body, {"content-type": "application/json"}, open_client=open_client)
        if message.what == "test":
            over = msgspec.json.encode({"routing_key": to.secret, "event_action": "resolve", "dedup_key": cut(message.key, 255)})
            post(to, to.address, over, {"content-type": "application/json"}, open_client=open_client)
        return str(answer.status_code)


def document(message: Message, routing_key: str) -> dict[str, Any]:
    """The event."""
    action = ACTIONS.get(message.what, "trigger")
    found: dict[str, Any] = {"routing_key": routing_key, "event_action": action, "dedup_key": cut(message.key, 255)}
    if action != "trigger":
        return found
    links = [("Acknowledge or silence", message.answer_url), *message.links] if message.answer_url else message.links
    found |= {
        "payload": {
            "summary": cut(message.title, 1024),
            "source": f"bulkhead/{message.environment}/{message.organisation}",
            "severity": message.severity if message.severity in ("critical", "warning") else "info",
            "timestamp": message.at,
            "component": message.organisation,
            "custom_details": {"text": message.text, "alerts": message.alerts},
        },
        "client": "Bulkhead",
        "links": [{"href": url, "text": label} for label, url in links],
    }
    if message.url:
        found["client_url"] = message.url
    return found
