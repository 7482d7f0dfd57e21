"""How long usage is kept, one answer for the whole installation: what somebody set, else the defaults.

Requests go by whole days; totals of a minute, and of an hour, go with their own time. Totals of a day are kept for good. Shortening
deletes at the next run of the upkeep (``apps.usage.tasks.partitions_maintain``), which cannot be undone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from django.db import connection, transaction

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.contracts.env import Reader
from apps.usage.selectors import rows_of

MOST_DAYS = 3_650


@dataclass(frozen=True, slots=True)
class Retention:
    """Days: of requests one by one, of totals by the minute, of totals by the hour."""

    request_days: int = 30
    minute_days: int = 90
    hour_days: int = 730


LEAST = Retention(request_days=1, minute_days=8, hour_days=400)
WHY_LEAST = {
    "request_days": "at least one day is needed to settle and to count spend by",
    "minute_days": "plots by the minute look back 8 days",
    "hour_days": "pages look back 400 days by the hour",
}
LABELS = {"request_days": "Requests, one by one", "minute_days": "Totals by the minute", "hour_days": "Totals by the hour"}


def retention_default() -> Retention:
    """Before anybody sets it: requests for ``BULKHEAD_USAGE_RETENTION_DAYS``, where that is given."""
    return Retention(request_days=Reader().integer("BULKHEAD_USAGE_RETENTION_DAYS", Retention().request_days, minimum=LEAST.request_days))


def retention() -> Retention:
    """What is in force: one query."""
    found = rows_of("SELECT request_days, minute_days, hour_days FROM usage_retention", [])
    return Retention(*found[0]) if found else retention_default()


@transaction.atomic
def retention_set(*, actor: Actor, request_days: int, minute_days: int, hour_days: int, reason: str = "", sure: bool = False) -> Retention:
    """Set how long usage is kept. sure: what a shorter time deletes may go; without it shortening is refused.

    Raises ServiceError with the field for a number out of bounds, and for a shortening that nobody confirmed or gave a reason for.
    """
    permission_require(actor=actor, action="retention.change")
    new = Retention(request_days, minute_days, hour_days)
    for name, days in asdict(new).items():
        least = getattr(LEAST, name)
        if not least <= days <= MOST_DAYS:
            raise ServiceError(f"{LABELS[name].lower()}: keep {least} to {MOST_DAYS} days; {WHY_LEAST[name]}", name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('usage retention', 0))")
    old = retention()
    if new == old:
        return old
    shorter = [name for name, days in asdict(new).items() if days < getattr(old, name)]
    if shorter and not reason.strip():
        raise ServiceError("say why less is kept: whoever misses it later will ask", "reason")
    if shorter and not sure:
        raise ServiceError(f"this deletes {told(old, new)} within the hour, for good: confirm it", "confirmation")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO usage_retention (request_days, minute_days, hour_days) VALUES (%s, %s, %s) ON CONFLICT (single) DO UPDATE SET "
            "request_days = excluded.request_days, minute_days = excluded.minute_days, hour_days = excluded.hour_days, changed_at = now()",
            [new.request_days, new.minute_days, new.hour_days],
        )
    audit_record(
        actor=actor,
        action="retention.change",
        subject_kind="retention",
        subject_id="usage",
        subject_name="How long usage is kept",
        before={name: days for name, days in asdict(old).items() if days != getattr(new, name)},
        after={name: days for name, days in asdict(new).items() if days != getattr(old, name)},
        reason=reason,
    )
    return new


def told(old: Retention, new: Retention) -> str:
    """What goes when retention becomes shorter, in words."""
    parts = [f"{LABELS[name].lower()} older than {days} days" for name, days in asdict(new).items() if days < getattr(old, name)]
    return " and ".join(parts)
