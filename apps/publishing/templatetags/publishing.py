"""How pages show what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django import template
from django.template.loader import render_to_string

from apps.accounts.scope import scope_choose
from apps.audit.models import AuditEvent
from apps.publishing import preview
from apps.publishing.history import counts_text as _counts_text
from apps.publishing.managed import marks_of
from apps.publishing.managed_models import ManagedThing
from apps.publishing.selectors import page_facts_of
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


@register.simple_tag(takes_context=True)
def managed_mark(context: template.Context, kind: str, object_id: object, rows: Iterable[Any] = (), path: str = "pk") -> str:
    """Beside a name: that a document manages the thing. rows, path: the other things on the page and where in one its id is
    (``budget.pk``), so that one query asks for all. They are looked at once, for the first of them."""
    mark = mark_of(context, kind, object_id, (_at(row, path) for row in rows))
    return "" if mark is None else render_to_string("publishing/managed_mark.html", {"mark": mark})


@register.inclusion_tag("publishing/managed_notice.html", takes_context=True)
def managed_notice(context: template.Context, kind: str, object_id: object, editing: bool = False) -> dict[str, Any]:
    """On a thing's own page, and over its form (``editing``): which document manages it, since when, by whom."""
    return {"mark": mark_of(context, kind, object_id), "editing": editing}


@register.simple_tag(takes_context=True)
def managed_says(context: template.Context, kind: str, object_id: object, name: str) -> Any:
    """What the document says of one field of the thing that it manages; None where none manages it."""
    mark = mark_of(context, kind, object_id)
    return None if mark is None else Said(mark, mark.said.get(name) if isinstance(mark.said, dict) else None)


@dataclass(frozen=True, slots=True)
class Said:
    """A field as a document has it."""

    mark: ManagedThing
    value: Any


def mark_of(context: template.Context, kind: str, object_id: object, others: Iterable[object] = ()) -> ManagedThing | None:
    """The thing's mark: no query where documents manage nothing in this organisation, else one for all that a page shows of a kind."""
    request, asked = context.get("request"), str(object_id or "")
    if request is None or not asked or not getattr(request, "user", None) or not request.user.is_authenticated:
        return None
    organisation = scope_choose(request).organisation
    managing = page_facts_of(request).get("managed") or ()  # nothing is known, nor asked, before anything was published
    if str(organisation.pk) not in {str(found) for found in managing}:
        return None
    known: dict[tuple[str, str], ManagedThing | None] = request.__dict__.setdefault("_managed", {})
    if (kind, asked) not in known:
        ids = {asked, *(str(one) for one in others if one)}
        found = marks_of(organisation, kind, ids)
        known |= {(kind, one): found.get(one) for one in ids}
    return known[kind, asked]


def _at(row: Any, path: str) -> Any:
    """``row.budget.pk``, ``row[0].pk``: a part of a row by its path; empty where there is none."""
    for part in path.split("."):
        row = row[int(part)] if part.isdigit() else getattr(row, part, "")
    return row
