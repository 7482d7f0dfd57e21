"""How pages show the values of a diff."""

from __future__ import annotations

import json
from typing import Any

from django import template

from apps.audit.models import AuditEvent
from apps.publishing import preview
from apps.ui.format import NOTHING

register = template.Library()

SECTION_NOUNS = {
    "organisations": "Organisation",
    "credentials": "Credential",
    "providers": "Provider",
    "prices": "Price",
    "routes": "Route",
    "keys": "Key",
    "budgets": "Budget",
    "flags": "Flag",
}
CHANGE_WORDS = {"added": "New", "changed": "Changed", "removed": "Removed"}
CHANGE_TONES = {"added": "good", "changed": "info", "removed": "bad"}
CHANGE_ICONS = {"added": "plus", "changed": "edit", "removed": "dash"}


@register.filter
def diff_value(value: Any) -> str:
    """A field's value for people: nothing as a dash, lists with commas, what has parts as JSON."""
    if value is None or value == "" or value == [] or value == {}:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)) and all(isinstance(item, (str, int, float)) for item in value):
        return ", ".join(str(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@register.filter
def section_noun(section: str) -> str:
    """What one object of a section is called: ``routes`` is ``Route``."""
    return SECTION_NOUNS.get(section, section.removesuffix("s").capitalize())


@register.filter
def change_word(kind: str) -> str:
    """``New``, ``Changed`` or ``Removed``."""
    return CHANGE_WORDS.get(kind, kind)


@register.filter
def change_tone(kind: str) -> str:
    """The tone of a change: colour beside its word."""
    return CHANGE_TONES.get(kind, "neutral")


@register.filter
def change_icon(kind: str) -> str:
    """The icon of a change."""
    return CHANGE_ICONS.get(kind, "dash")


@register.filter
def worth_showing(fields: Any) -> list[Any]:
    """Of a new or removed object's fields those that say something: neither absent nor empty on both sides."""
    return [item for item in fields if diff_value(item.before) != NOTHING or diff_value(item.after) != NOTHING]


@register.filter
def counts_text(counts: dict[str, dict[str, int]]) -> str:
    """A version's counts in a line: ``2 routes changed, 1 key added``."""
    parts = []
    for section, tally in counts.items():
        for kind in ("added", "changed", "removed"):
            number = tally.get(kind, 0)
            if number:
                parts.append(f"{number} {section if number != 1 else section.removesuffix('s')} {kind}")
    return ", ".join(parts) or "nothing"


@register.filter
def event_fields(event: AuditEvent) -> tuple[preview.FieldChange, ...]:
    """What an audit event changed."""
    return preview.event_fields(event)
