"""Finding keys that run away, keeping what was found, and the person's word on it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.accounts.selectors import permission_require
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import audit_record
from apps.usage.anomaly_rules import HISTORY_DAYS, KeyEvidence, beside_hours, judged_hours, longer, runaway, same_hours
from apps.usage.choices import ANOMALY_EVENT, RUNAWAY_KEY
from apps.usage.covering import DAY, HOUR
from apps.usage.models import SpendAnomaly
from apps.usage.selectors import rows_of

if TYPE_CHECKING:
    from apps.audit.actors import Actor

AN_HOUR = timedelta(hours=1)


def anomalies_of(scope: Scope) -> QuerySet[SpendAnomaly]:
    """A scope's anomalies, newest first."""
    return SpendAnomaly.objects.filter(organisation_id=scope.organisation, simulated=scope.simulated)


def runaways_find(scope: Scope, *, now: datetime) -> dict[tuple[str, datetime], KeyEvidence]:
    """Keys that spend out of proportion in an hour that is judged, by key and hour: two queries over the summaries."""
    place = "organisation = %s AND simulated = %s AND seconds = %s AND dimension = %s"
    judged = judged_hours(now)
    looked_at = sorted({at for hour in judged for at in (hour, *same_hours(hour), *beside_hours(hour))})
    hours: dict[str, dict[datetime, tuple[int, int]]] = {}
    for key, at, cost, requests in rows_of(
        f"SELECT value, bucket, cost_nano, requests FROM usage_summary WHERE {place} AND bucket = ANY (%s)",
        [scope.organisation, scope.simulated, HOUR, "key_id", looked_at],
    ):
        hours.setdefault(key, {})[at.astimezone(UTC)] = (cost, requests)
    suspects = [key for key, spent in hours.items() if key and any(at in spent for at in judged)]
    if not suspects:
        return {}
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    used: dict[str, datetime] = {}
    spent_days = 0
    for dimension, value, first, cost in rows_of(
        f"SELECT dimension, value, min(bucket), sum(cost_nano) FILTER (WHERE bucket < %s) FROM usage_summary WHERE "
        f"({place} OR ({place} AND value = ANY (%s))) AND bucket >= %s GROUP BY 1, 2",
        [
            midnight, scope.organisation, scope.simulated, DAY, "", scope.organisation, scope.simulated, DAY, "key_id", suspects,
            midnight - timedelta(days=HISTORY_DAYS),
        ],
    ):  # fmt: skip
        used[value if dimension else ""] = first.astimezone(UTC)
        spent_days = spent_days if dimension else int(cost or 0)
    days = max(1, (midnight - used.get("", midnight)).days)
    found = {}
    for key in suspects:
        spent = hours[key]
        for hour in judged:
            cost, requests = spent.get(hour, (0, 0))
            evidence = runaway(
                hour=hour,
                spent=cost,
                requests=requests,
                same=[spent.get(at, (0, 0))[0] for at in same_hours(hour) if at >= used.get(key, now)],
                beside=[spent.get(at, (0, 0))[0] for at in beside_hours(hour)],
                mean_day=spent_days // days,
            )
            if evidence is not None:
                found[key, hour] = evidence
    return found


def runaways_keep(*, now: datetime | None = None) -> int:
    """Find and keep the keys that run away, of every organisation; returns how many are new. Safe to run at any time, and twice."""
    now = now or datetime.now(UTC)
    new = 0
    for organisation in Organisation.objects.all():
        for simulated in (False, True):
            found = runaways_find(Scope(str(organisation.pk), simulated), now=now)
            for (key, hour), evidence in sorted(found.items(), key=lambda pair: pair[0][1]):
                new += _runaway_keep(organisation, simulated, key, hour, evidence)
    return new


@transaction.atomic
def _runaway_keep(organisation: Organisation, simulated: bool, key: str, hour: datetime, evidence: KeyEvidence) -> bool:
    """A runaway that touches one that is known makes that one longer; also one that somebody has acknowledged already."""
    same = SpendAnomaly.objects.select_for_update().filter(
        organisation=organisation, simulated=simulated, kind=RUNAWAY_KEY, subject=key, starts_at__lte=hour, ends_at__gte=hour
    )
    known = same.first()
    if known is None:
        return anomaly_keep(
            organisation=organisation, simulated=simulated, kind=RUNAWAY_KEY, subject=key, starts_at=hour, ends_at=hour + AN_HOUR,
            evidence=evidence.document,
        )  # fmt: skip
    another = known.ends_at == hour
    known.evidence = longer(known.evidence, evidence, another=another)
    known.ends_at = max(known.ends_at, hour + AN_HOUR)
    known.save(update_fields=["evidence", "ends_at"])
    return False


def anomaly_keep(
    *,
    organisation: Organisation,
    simulated: bool,
    kind: str,
    subject: str,
    starts_at: datetime,
    ends_at: datetime,
    evidence: Mapping[str, Any],
) -> bool:
    """Keep what was found, once; a fact tells of it. True where it is new."""
    row, new = SpendAnomaly.objects.get_or_create(
        organisation=organisation,
        simulated=simulated,
        kind=kind,
        subject=subject,
        starts_at=starts_at,
        defaults={"ends_at": ends_at, "evidence": dict(evidence)},
    )
    if new:
        event_record(
            kind=ANOMALY_EVENT,
            subject_kind=kind,
            subject_id=row.pk,
            subject_name=subject,
            at=starts_at,
            data={"organisation": str(organisation.pk), "simulated": simulated, **evidence},
        )
    return new


@transaction.atomic
def anomaly_acknowledge(*, actor: Actor, organisation: Organisation, anomaly_id: UUID, reason: str) -> SpendAnomaly:
    """Say why an anomaly is all right, or what was done: it is open no more. A second time changes nothing.

    Raises SpendAnomaly.DoesNotExist for another organisation's, ServiceError without a reason.
    """
    permission_require(actor=actor, action="anomaly.acknowledge", organisation=organisation)
    if not reason.strip():
        raise ServiceError("say why it is all right, or what was done: whoever sees the next one will ask", "reason")
    row = SpendAnomaly.objects.select_for_update().get(pk=anomaly_id, organisation=organisation)
    if row.acknowledged_at is not None:
        return row
    row.acknowledged_at, row.acknowledged_by, row.reason = timezone.now(), actor.name, reason.strip()[:2000]
    row.save(update_fields=["acknowledged_at", "acknowledged_by", "reason"])
    audit_record(
        actor=actor,
        action="anomaly.acknowledge",
        subject_kind="anomaly",
        subject_id=row.pk,
        subject_name=str(row),
        before={"acknowledged": False},
        after={"acknowledged": True, "evidence": row.evidence},
        reason=row.reason,
    )
    return row
