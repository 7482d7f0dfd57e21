"""The audit as a file: CSV for people, JSON lines for machines, streamed from the newest or oldest on, however long it is.

Rows are read in pages by their number, so that an export holds neither memory nor a transaction while it is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from apps.audit.models import AuditEvent
from apps.audit.rules import timestamp_text
from apps.ui.csvfile import csv_lines

PAGE = 2000
FIELDS = (
    "seq", "id", "at", "actor_kind", "actor_id", "actor_name", "actor_role", "actor_address", "actor_agent", "actor_via", "action",
    "subject_kind", "subject_id", "subject_name", "before", "after", "reason", "config_version", "content_hash", "prev_hash", "hash",
)  # fmt: skip


def event_document(event: AuditEvent) -> dict[str, Any]:
    """One event with everything that is kept of it: enough to walk the chain elsewhere."""
    shown = {name: getattr(event, name) for name in FIELDS}
    return shown | {"id": str(event.id), "at": timestamp_text(event.at)}


def events_in_pages(rows: QuerySet[AuditEvent]) -> Iterator[AuditEvent]:
    """Sealed events of a query, oldest first. What is written meanwhile comes too: it has a higher number."""
    last = 0
    while page := list(rows.filter(seq__gt=last).order_by("seq")[:PAGE]):
        yield from page
        last = page[-1].seq or last


def json_lines(rows: QuerySet[AuditEvent]) -> Iterator[str]:
    """One event per line."""
    for event in events_in_pages(rows):
        yield json.dumps(event_document(event), ensure_ascii=False, separators=(",", ":")) + "\n"


def csv_rows(rows: QuerySet[AuditEvent]) -> Iterator[str]:
    """A spreadsheet's lines; before and after as JSON in one cell."""

    def cells(event: AuditEvent) -> list[Any]:
        document = event_document(event)
        return [json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, dict) else value for value in document.values()]

    return csv_lines(FIELDS, (cells(event) for event in events_in_pages(rows)))
