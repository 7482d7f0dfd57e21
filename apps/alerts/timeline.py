"""What happened to an alert, and whom it was told, as one timeline."""

from __future__ import annotations

from collections.abc import Sequence

from apps.alerts import channel_choices, choices
from apps.alerts.channel_models import Delivery
from apps.alerts.models import Alert, AlertEvent
from apps.alerts.series import SERIES, value_text
from apps.ui.status import Tone
from apps.ui.timeline import Entry

_TONES: dict[str, Tone] = {
    "fired": "bad",
    "worsened": "bad",
    "unsilenced": "warn",
    "uninhibited": "warn",
    "no_data": "unknown",
    "eased": "warn",
    "acknowledged": "info",
    "resolved": "good",
    "cleared": "good",
}
_TOLD: dict[str, Tone] = {"failed": "bad", "unknown": "unknown", "sent": "good"}


def alert_entries(alert: Alert, events: Sequence[AlertEvent]) -> list[Entry]:
    """Its events and deliveries, the newest first: one query."""
    series = SERIES[alert.rule.series]
    found = [
        Entry(
            at=event.at,
            title=choices.EVENT_KINDS[event.kind] + (f" at {value_text(series, event.value)}" if event.value is not None else ""),
            text=event.note + (" Nobody is told." if event.muted and event.kind in choices.TELLING else ""),
            who=event.actor,
            tone=_TONES.get(event.kind, "neutral"),
        )
        for event in events
    ]
    notifications = alert.notification_members.values("notification_id")
    for row in Delivery.objects.filter(notification__in=notifications).order_by("-created_at")[:50]:
        state = channel_choices.STATES[row.state]
        title = f"{channel_choices.WHATS[row.what]}: {row.name}"
        text = f"{state.label}{f': {row.told}' if row.told else ''}"
        found.append(Entry(at=row.ended_at or row.created_at, title=title, text=text, tone=_TOLD.get(row.state, "neutral"), icon="inbox"))
    return sorted(found, key=lambda entry: entry.at, reverse=True)
