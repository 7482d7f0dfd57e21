"""Incoming webhooks as Slack defined them and Mattermost, Rocket.Chat and Discord (``/slack``) take them: text and one attachment.

Blocks are left out, because the compatible ones know attachments only. Source: Slack, *Formatting text* (what has to be escaped) and
*Legacy secondary attachments*.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from apps.alerts.channels.base import Message, Open, Receiver, cut, post

COLOURS = {"critical": "#c62828", "warning": "#e09000", "over": "#2e7d32"}


class Slack:
    """One message a telling."""

    def send(self, message: Message, to: Receiver, *, open_client: Open) -> str:
        """The message; these receivers know no signature, the address is the secret."""
        body = msgspec.json.encode(document(message))
        return str(post(to, to.address, body, {"content-type": "application/json"}, open_client=open_client).status_code)


def document(message: Message) -> dict[str, Any]:
    """What is posted: ``text`` is what a notification on a phone shows."""
    links = [("Acknowledge or silence", message.answer_url), *message.links] if message.answer_url else message.links
    attachment: dict[str, Any] = {
        "fallback": cut(escaped(message.title), 500),
        "color": COLOURS.get("over" if message.what in ("resolved", "acknowledged") else message.severity, "#607080"),
        "title": cut(escaped(message.title), 500),
        "text": cut("\n".join([escaped(message.text), " · ".join(f"<{url}|{escaped(label)}>" for label, url in links)]).strip(), 3000),
        "ts": int(datetime.fromisoformat(message.at).timestamp()),
    }
    if message.url:
        attachment["title_link"] = message.url
    return {"text": cut(escaped(message.title), 500), "attachments": [attachment]}


def escaped(text: str) -> str:
    """Nothing that people named can become a mention (``<!channel>``) or a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
