"""How pages show what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template

from apps.audit.models import AuditEvent
from apps.publishing import preview
from apps.publishing.history import counts_text as _counts_text
from apps.publishing.state import names_held
from apps.publishing.wording import fields_worded, ids_in_fields

register = template.Library()


@register.filter
def counts_text(counts: dict[str, Any]) -> str:
    """A version's counts in a line."""
    return _counts_text(counts)


@register.filter
def event_fields(event: AuditEvent) -> tuple[preview.FieldChange, ...]:
    """What an audit event changed, as people read it; with the names of what this process's config knows."""
    fields = preview.event_fields(event)
    return fields_worded(fields, names_held(ids_in_fields(fields)))


@register.simple_tag
def running_on(counts: Mapping[int, int], number: int, total: int) -> str:
    """How many proxies run a version now, of how many; nothing where none does."""
    return f"{counts[number]} of {total}" if counts.get(number) else ""
