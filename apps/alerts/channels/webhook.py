"""CloudEvents 1.0 in structured JSON, signed as Standard Webhooks say.

Sources: CloudEvents 1.0.2 with its JSON and HTTP bindings (``id`` and ``source`` together name an event: receivers drop what they know);
Standard Webhooks 1.0 (``webhook-signature: v1,<base64 of HMAC-SHA256 over id.timestamp.body>``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from typing import Any

import msgspec

from apps.alerts.channels.base import Message, Open, Receiver, post

PREFIX = "whsec_"
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


def signed(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers. timestamp: seconds since the epoch, of this try."""
    content = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(secret_key(secret), content, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def secret_made() -> str:
    """A new signing secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_key(secret: str) -> bytes:
    """The key of ``whsec_<base64>``. Raises ValueError for another form, and for fewer than 24 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else b""
    except binascii.Error:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("a signing secret is whsec_ and 24 to 64 bytes as base64")
    return key
