"""Handing out files: the audit itself, streamed, and a note of every other; audited before the first line leaves."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse

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
    response.audited = True  # type: ignore[attr-defined]
    return response


def export_record(request: HttpRequest, response: HttpResponseBase) -> None:
    """Audit a file that a page hands out: which, and with which filters. What has audited itself is left alone."""
    if getattr(response, "audited", False) or not request.user.is_authenticated:
        return
    matched = request.resolver_match
    name = response.headers["Content-Disposition"].partition("filename=")[2].strip('"')
    audit_record(
        actor=Actor.of_user(request.user, request), action="export.download", subject_kind="page",
        subject_id=matched.view_name if matched is not None else request.path, subject_name=name,
        after={"path": request.path, "filters": {key: request.GET[key][:200] for key in sorted(request.GET)}},
    )  # fmt: skip
