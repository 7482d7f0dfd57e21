"""Handing out the audit: streamed, and itself audited before the first line leaves."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction
from django.http import StreamingHttpResponse

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.exporting import csv_rows, json_lines
from apps.audit.listing import AuditLog
from apps.audit.services import audit_record
from apps.ui.csvfile import CsvResponse

FORMATS = {"csv": ("text/csv; charset=utf-8", csv_rows), "jsonl": ("application/x-ndjson", json_lines)}


@transaction.atomic
def audit_export(*, actor: Actor, query: Mapping[str, str], form: str) -> StreamingHttpResponse:
    """The events that a query of the log finds, all of them, as ``csv`` or ``jsonl``. Raises KeyError for another form."""
    permission_require(actor=actor, action="audit.export")
    kind, lines = FORMATS[form]
    log = AuditLog(query)
    asked = {name: value for name, value in sorted(query.items()) if name in AuditLog.FILTERS and value}
    audit_record(
        actor=actor, action="audit.export", subject_kind="audit", subject_id=form, subject_name="the audit log",
        after={"format": form, "filters": asked},
    )  # fmt: skip
    response = CsvResponse(lines(log.rows), content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="bulkhead-audit.{form}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response
