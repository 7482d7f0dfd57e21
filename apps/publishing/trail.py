"""Who changed what of one object, from the audit, as a page's timeline shows it."""

from __future__ import annotations

from collections.abc import Iterable

from apps.audit.models import AuditEvent
from apps.publishing.preview import event_fields
from apps.publishing.state import names_held
from apps.publishing.wording import fields_worded, ids_in_fields
from apps.ui.format import NOTHING
from apps.ui.status import Tone
from apps.ui.timeline import Entry

MOST_FIELDS = 8
LONGEST_VALUE = 120
WORDS: dict[str, tuple[str, Tone, str]] = {
    "create": ("Created", "good", "plus"),
    "update": ("Changed", "info", "edit"),
    "delete": ("Deleted", "bad", "dash"),
    "revoke": ("Revoked", "bad", "block"),
    "rotate": ("Secret replaced", "info", "undo"),
    "switch": ("Traffic switched", "warn", "routes"),
    "request": ("Asked for", "warn", "clock"),
    "schedule": ("Scheduled", "info", "clock"),
    "approve": ("Approved", "good", "check"),
    "reject": ("Rejected", "bad", "cross"),
    "withdraw": ("Withdrawn", "neutral", "undo"),
    "apply": ("Done", "good", "check"),
    "expired": ("Nobody answered", "unknown", "clock"),
    "missed": ("Missed", "bad", "clock"),
    "failed": ("Not done", "bad", "cross"),
    "use": ("Glass broken", "bad", "warning"),
    "review": ("Reviewed", "good", "shield"),
    "switch_back": ("Traffic switched back", "info", "undo"),
}


def trail(events: Iterable[AuditEvent]) -> list[Entry]:
    """Audit events as entries, in the order given: what was done, field by field, and the reason in quotes."""
    found = []
    for event in events:
        verb = event.action.rpartition(".")[2]
        title, tone, icon = WORDS.get(verb, (event.action, "neutral", ""))
        found.append(Entry(at=event.at, title=title, text=_text(event), who=event.actor_name, tone=tone, icon=icon))
    return found


def _text(event: AuditEvent) -> str:
    fields = event_fields(event)
    fields = fields_worded(fields, names_held(ids_in_fields(fields)))
    if event.action.endswith(".create"):
        parts = [f"{item.path}: {_value(item.after)}" for item in fields if item.after is not None]
    else:
        parts = [f"{item.path}: {_value(item.before)} → {_value(item.after)}" for item in fields]
    more = f"; and {len(parts) - MOST_FIELDS} more" if len(parts) > MOST_FIELDS else ""
    reason = f" “{event.reason}”" if event.reason else ""
    return f"{'; '.join(parts[:MOST_FIELDS])}{more}{reason}".strip()


def _value(text: str | None) -> str:
    if text is None:
        return NOTHING
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
