"""Event kinds and facts: apps record what happened, timelines and markers read it.

A kind is registered once, in the ``ready()`` of its app; recording an unregistered kind is an error, so that a
reader always finds a title. Facts are written in the caller's transaction and are not part of the audit chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.utils import timezone

from apps.audit.models import Event
from apps.audit.rules import clean_text, redact

Tone = Literal["neutral", "good", "warning", "bad"]


@dataclass(frozen=True, slots=True)
class EventKind:
    """A kind of fact. title: what a timeline shows, in a few words. tone: how it is coloured beside its words."""

    kind: str
    title: str
    tone: Tone = "neutral"
    description: str = ""


_kinds: dict[str, EventKind] = {}


def register_kind(kind: str, title: str, *, tone: Tone = "neutral", description: str = "") -> EventKind:
    """Register a kind; the same registration twice is harmless, a different one raises ValueError."""
    entry = EventKind(kind=kind, title=title, tone=tone, description=description)
    known = _kinds.setdefault(kind, entry)
    if known != entry:
        raise ValueError(f"event kind {kind!r} is already registered as {known!r}")
    return known


def kinds() -> dict[str, EventKind]:
    """Every registered kind by name."""
    return dict(_kinds)


def event_record(
    *,
    kind: str,
    subject_kind: str,
    subject_id: object,
    subject_name: str = "",
    at: datetime | None = None,
    data: Mapping[str, Any] | None = None,
) -> Event:
    """Record one fact. ``at``: when it happened (default: now). Raises ValueError for an unregistered kind."""
    if kind not in _kinds:
        raise ValueError(f"event kind {kind!r} is not registered: call register_kind in its app's ready()")
    return Event.objects.create(
        kind=kind,
        at=at or timezone.now(),
        subject_kind=clean_text(subject_kind, 80),
        subject_id=clean_text(str(subject_id), 200),
        subject_name=clean_text(subject_name, 300),
        data=redact(data or {}),
    )
