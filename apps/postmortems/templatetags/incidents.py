"""How pages show incidents."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import template
from django.utils.safestring import SafeString

from apps.ownership.markdown import render
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_models import TimelineEntry
from apps.ui.status import ICON_OF_TONE
from apps.ui.templatetags.ui import icon

register = template.Library()
LATE = timedelta(minutes=5)
_ICONS = {
    choices.NOTE: "edit", choices.UPDATE: "info", choices.ROLE: "person", choices.ATTACHMENT: "file", choices.ALERT_EVENT: "alerts",
    choices.CHECKLIST: "check",
}  # fmt: skip


@register.filter
def markdown(text: str) -> SafeString:
    """A text of people, which can do nothing on the page."""
    return render(text, top=3)


@register.filter
def instant(text: str) -> datetime | None:
    """The moment that evidence wrote down as text; None where it is none."""
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


@register.simple_tag
def entry_icon(entry: TimelineEntry) -> SafeString:
    """What stands on the line: the kind's icon, else the tone's."""
    return icon(_ICONS.get(entry.kind) or ICON_OF_TONE.get(entry.tone, "dash"))  # type: ignore[call-overload]


@register.filter
def late(entry: TimelineEntry) -> bool:
    """Whether it was recorded long after it happened."""
    return bool(entry.source) and entry.recorded_at - entry.at > LATE
