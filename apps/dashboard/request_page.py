"""Everything known of one request, gathered for its page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.forms.models import model_to_dict

from apps.accounts.scope import Choice
from apps.contracts.errors import CODES
from apps.dashboard import choices
from apps.dashboard.explain import reasons
from apps.dashboard.feedback_lines import feedback_lines
from apps.dashboard.selectors import budget_charges, place
from apps.dashboard.waterfall import waterfall
from apps.keys.models import VirtualKey
from apps.publishing.models import ProxyProcess, Version
from apps.routes.models import Route
from apps.usage.capture_selectors import captured, sample_looks
from apps.usage.models import UsageRequest
from apps.usage.requests import request_neighbours


def raw_record(record: UsageRequest) -> dict[str, Any]:
    """The record as it is stored, in the table's order, with times and ids as text."""
    found = model_to_dict(record)
    return {
        name: value
        if isinstance(value, (str, int, bool, list, dict, type(None)))
        else value.isoformat()
        if hasattr(value, "isoformat")
        else str(value)
        for name, value in ((field.name, found.get(field.name, getattr(record, field.name))) for field in record._meta.concrete_fields)
    }


def request_page_data(record: UsageRequest, choice: Choice) -> dict[str, Any]:
    """The context of ``dashboard/request.html``: the record and at most seven small queries about what it names."""
    attempts: list[dict[str, Any]] = list(record.attempts or [])
    organisation = next(m.organisation for m in choice.memberships if str(m.organisation_id) == record.organisation)
    known = CODES.get(record.error_code)
    key = _by_id(VirtualKey.objects.all(), record.key_id)
    version = Version.objects.filter(number=record.config_version).only("number", "actor_name", "reason", "created_at").first()
    route = (
        Route.objects.filter(organisation=organisation, name=record.route).values_list("pk", flat=True).first() if record.route else None
    )
    before, after = request_neighbours(record)
    sample = captured(getattr(record, "captured_told", None))
    may_read = choice.may("sample.view")
    return {
        "record": record,
        "organisation": organisation,
        "status": choices.outcome(record.outcome),
        "retry": known.retry if known else None,
        "attempts": [{**attempt, "state": choices.outcome(attempt["outcome"])} for attempt in attempts],
        "waterfall": waterfall(total_us=record.total_us, first_token_us=record.first_token_us, attempts=attempts),
        "reasons": reasons(record=record, attempts=attempts),
        "charges": budget_charges(attempts),
        "key": key,
        "version": version,
        "proxy": _by_id(ProxyProcess.objects.only("name", "host", "pid"), record.proxy),
        "before_id": before,
        "after_id": after,
        "route_url": place("routes:detail", route) if route else "",
        "key_url": place("keys:detail", record.key_id) if key else "",
        "version_url": place("publishing:version", record.config_version) if version else "",
        "ours_us": max(record.total_us - record.upstream_us, 0),
        "raw": raw_record(record),
        "feedback": feedback_lines(record),
        "sample": sample,
        "may_read_sample": may_read,
        "looks": sample_looks(record.id) if sample is not None and may_read else [],
    }


def _by_id(rows: Any, text: str) -> Any:
    """The row whose id is this text, or None: records outlive what they name, and may name what never was."""
    try:
        return rows.filter(pk=UUID(text)).first()
    except (ValueError, ValidationError):
        return None
