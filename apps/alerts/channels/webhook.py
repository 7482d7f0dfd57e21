"""CloudEvents 1.0 in structured JSON, signed as Standard Webhooks say (``apps.contracts.webhooks``).

Source: CloudEvents 1.0.2 with its JSON and HTTP bindings (``id`` and ``source`` together name an event: receivers drop what they know).
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from apps.alerts.channels.base import Message, Open, Receiver, post
from apps.contracts.webhooks import signed

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


class Webhook:
    """One event a telling."""

    def send(self, message: Message, to: Receiver, *, open_client: Open) -> str:
        """The event, signed where the channel has a secret."""
        body = msgspec.json.encode(event(message, to.id))
        headers = {"content-type": CONTENT_TYPE, **(signed(to.secret, to.id, int(time.time()), body) if to.secret else {})}
        return str(post(to, to.address, body, headers, open_client=open_client).status_code)


def event(message: Message, event_id: str) -> dict[str, Any]:
    """The CloudEvent."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/bulkhead/{message.environment}/{message.organisation}",
        "type": f"io.bulkhead.{message.what if '.' in message.what else f'alert.{message.what}'}.v1",
        "subject": message.key,
        "time": message.at,
        "datacontenttype": "application/json",
        "data": {
            "what": message.what,
            "severity": message.severity,
            "title": message.title,
            "text": message.text,
            "alerts": message.alerts,
            "url": message.url,
            "answer_url": message.answer_url,
            "links": [{"label": label, "url": url} for label, url in message.links],
        },
    }
