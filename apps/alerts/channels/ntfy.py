"""Push by ntfy, ntfy.sh's or one's own: JSON to the server's root, which names the topic.

Source: ntfy, *Publish as JSON*: priorities 1 to 5 (5 rings through), ``actions`` of type ``view`` open an address with one tap.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from apps.alerts.channels.base import Message, Open, Receiver, Refused, cut, post

PRIORITIES = {"critical": 5, "warning": 4}


class Ntfy:
    """One push a telling."""

    def send(self, message: Message, to: Receiver, *, open_client: Open) -> str:
        """The push; the channel's secret is an access token, where the topic takes one."""
        root, topic = split(to.address)
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {to.secret}"} if to.secret else {})}
        return str(post(to, root, msgspec.json.encode(document(message, topic)), headers, open_client=open_client).status_code)


def split(address: str) -> tuple[str, str]:
    """(root, topic) of ``https://ntfy.example.com/topic``. Raises Refused where there is no topic."""
    parts = urlsplit(address)
    before, _, topic = parts.path.rstrip("/").rpartition("/")
    if not topic:
        raise Refused("its address names no topic: https://ntfy.sh/your-topic")
    return urlunsplit((parts.scheme, parts.netloc, f"{before}/", "", "")), unquote(topic)


def document(message: Message, topic: str) -> dict[str, Any]:
    """The push. What is over makes no sound."""
    calls = message.what in ("firing", "escalation", "reminder", "test")
    found: dict[str, Any] = {
        "topic": topic,
        "title": cut(message.title, 250),
        "message": cut(message.text, 3500),
        "priority": PRIORITIES.get(message.severity, 3) if calls else 2,
        "tags": ["rotating_light" if message.severity == "critical" else "warning"] if calls else ["white_check_mark"],
    }
    if message.url:
        found["click"] = message.url
    if message.answer_url and calls:
        found["actions"] = [{"action": "view", "label": "Acknowledge", "url": message.answer_url, "clear": True}]
    return found
