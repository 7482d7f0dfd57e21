"""Toasts: what was done, said once, at the page that follows, with *Undo* where it can be taken back.

They ride on Django's messages, so they survive the redirect after a write and need no table of their own. A page shows
them through ``templates/ui/toasts.html``; after a write by htmx, which loads no page, ``toast_announce`` makes the
open page fetch them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.http import url_has_allowed_host_and_scheme

from apps.ui.status import ICON_OF_TONE
from apps.ui.status import Tone as StatusTone

Tone = Literal["ok", "info", "warn", "bad"]

_LEVELS: dict[Tone, int] = {"ok": messages.SUCCESS, "info": messages.INFO, "warn": messages.WARNING, "bad": messages.ERROR}
_STATUS_TONES: dict[Tone, StatusTone] = {"ok": "good", "info": "info", "warn": "warn", "bad": "bad"}
_UNDO = "undo:"


@dataclass(frozen=True, slots=True)
class Toast:
    """One message as a page draws it. ``undo_url``: a path of ours that takes the act back by POST, or empty."""

    message: str
    tone: Tone
    undo_url: str = ""

    @property
    def status_tone(self) -> StatusTone:
        """Its colour in the vocabulary of statuses."""
        return _STATUS_TONES[self.tone]

    @property
    def icon_name(self) -> str:
        """The icon beside the message."""
        return ICON_OF_TONE[self.status_tone]

    @property
    def passes(self) -> bool:
        """Whether it may go away by itself: what went wrong stays until it was read."""
        return self.tone in ("ok", "info")


def toast(request: HttpRequest, message: str, *, tone: Tone = "ok", undo_url: str | None = None) -> None:
    """Shows ``message`` on the next page (or this one, if it is still to be drawn).

    ``undo_url``: where a POST takes it back; a path of this site. Raises ValueError for an unknown tone or another site's
    address: both are errors of the caller.
    """
    if tone not in _LEVELS:
        raise ValueError(f"unknown tone {tone!r}: use one of {', '.join(_LEVELS)}")
    if undo_url and not (undo_url.startswith("/") and url_has_allowed_host_and_scheme(undo_url, allowed_hosts=None)):
        raise ValueError(f"undo_url must be a path of this site, not {undo_url!r}")
    messages.add_message(request, _LEVELS[tone], message, extra_tags=f"{_UNDO}{undo_url}" if undo_url else "", fail_silently=True)


def toasts_take(request: HttpRequest) -> Iterator[Toast]:
    """What is waiting to be said, each once. Messages that were added by Django's own functions count too."""
    for message in messages.get_messages(request):
        tags = message.extra_tags or ""
        yield Toast(str(message.message), _tone(message.level), tags.removeprefix(_UNDO) if tags.startswith(_UNDO) else "")


def _tone(level: int) -> Tone:
    if level >= messages.ERROR:
        return "bad"
    if level >= messages.WARNING:
        return "warn"
    return "ok" if level >= messages.SUCCESS else "info"


def toast_announce(response: HttpResponse) -> HttpResponse:
    """For the answer to a write made by htmx: the open page shows its toasts and its panels ask anew. Returns ``response``."""
    said = response.headers.get("HX-Trigger", "")
    wanted = json.loads(said) if said.startswith("{") else {name.strip(): {} for name in said.split(",") if name.strip()}
    response["HX-Trigger"] = json.dumps({**wanted, "refresh": {}, "toast": {}})
    return response
