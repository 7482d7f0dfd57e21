"""Writes of captures: who is captured (audited, published), samples (stored by the shipper, read with an audit record, forgotten).

Invariants: a sample is stored once a request and never after its rule ended or was full; what is stored is encrypted; nobody
reads one without leaving a record of it in the audit, in the same transaction.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record, change_record
from apps.contracts.captures import Sample
from apps.publishing.services import publish, section_touch
from apps.usage import capture_rules as rules
from apps.usage.capture_models import CapturePatterns, CaptureRule, CaptureSample
from controlplane.masterkey import decrypt, encrypt

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

SECTION = "captures"
STEP = 1_000
"""Samples forgotten in one transaction."""


@transaction.atomic
def capture_route_set(
    *, actor: Actor, organisation: Organisation, route_id: str, route_name: str, percent: float, days: int = rules.DAYS, reason: str = ""
) -> CaptureRule:
    """Keep a share of a route's requests; the same again changes nothing. Raises ServiceError.

    Fewer days hold for what is kept already, too.
    """
    permission_require(actor=actor, action="capture.change", organisation=organisation)
    percent, days = rules.check_percent(percent), rules.check_days(days)
    row = CaptureRule.objects.select_for_update().filter(organisation=organisation, route_id=route_id, ended_at=None).first()
    if row is None:
        row = CaptureRule.objects.create(
            organisation=organisation, route_id=route_id, route_name=route_name, percent=percent, days=days, reason=reason, by=actor.name
        )
        change_record(actor, "capture.create", row, {}, rule_facts(row), reason)
    else:
        before = rule_facts(row)
        row.percent, row.days, row.route_name = percent, days, route_name
        if rule_facts(row) == before:
            return row
        row.save()
        change_record(actor, "capture.update", row, before, rule_facts(row), reason)
        limit = dt.timedelta(days=days)
        CaptureSample.objects.filter(rule=row, expires_at__gt=F("at") + limit).update(expires_at=F("at") + limit)
    section_touch(section=SECTION, ids=[row.pk])
    return row


@transaction.atomic
def capture_key_start(
    *,
    actor: Actor,
    organisation: Organisation,
    key_id: str,
    key_name: str,
    requests: int = rules.REQUESTS,
    minutes: int = rules.MINUTES,
    days: int = rules.DAYS,
    reason: str,
) -> CaptureRule:
    """Keep the next requests of a key, for an hour at most. One that runs is ended first. Raises ServiceError."""
    permission_require(actor=actor, action="capture.change", organisation=organisation)
    if not reason.strip():
        raise ServiceError("say why this key's requests are kept: the audit keeps it", "reason")
    wanted, days = rules.check_requests(requests), rules.check_days(days)
    until = clock.now() + dt.timedelta(minutes=rules.check_minutes(minutes))
    for running in CaptureRule.objects.select_for_update().filter(organisation=organisation, key_id=key_id, ended_at=None):
        _end(actor, running, reason)
    row = CaptureRule.objects.create(
        organisation=organisation, key_id=key_id, key_name=key_name, wanted=wanted, until=until, days=days, reason=reason, by=actor.name
    )
    change_record(actor, "capture.create", row, {}, rule_facts(row), reason)
    section_touch(section=SECTION, ids=[row.pk])
    return row


@transaction.atomic
def capture_end(*, actor: Actor, rule: CaptureRule, reason: str = "") -> CaptureRule:
    """Capture no more by this rule; what is kept stays until it expires. A second time changes nothing."""
    permission_require(actor=actor, action="capture.change", organisation=rule.organisation)
    row = CaptureRule.objects.select_for_update().get(pk=rule.pk)
    if row.ended_at is None:
        _end(actor, row, reason)
    return row


def _end(actor: Actor, row: CaptureRule, reason: str) -> None:
    row.ended_at = clock.now()
    row.save(update_fields=["ended_at"])
    change_record(actor, "capture.end", row, {"ended": False}, {"ended": True, "taken": row.taken}, reason)
    section_touch(section=SECTION, ids=[row.pk])


@transaction.atomic
def captures_finish(*, now: dt.datetime | None = None) -> int:
    """End captures of keys that are full or whose time is over, and publish; how many. Proxies stop by themselves before."""
    over = Q(until__lte=now or clock.now()) | Q(wanted__gt=0, taken__gte=F("wanted"))
    rows = list(CaptureRule.objects.select_for_update().filter(over, ended_at=None))
    if rows:
        actor = Actor.system("capture")
        for row in rows:
            _end(actor, row, "it has what was asked for" if row.taken >= row.wanted else "its time is over")
        publish(actor=actor, reason="Captures that are over")
    return len(rows)


@transaction.atomic
def capture_patterns_set(
    *, actor: Actor, organisation: Organisation, patterns: Sequence[tuple[str, str]], reason: str = ""
) -> CapturePatterns:
    """What is taken out of samples from now on, as ``capture_rules.patterns_read`` reads it; the same again changes nothing."""
    permission_require(actor=actor, action="capture.change", organisation=organisation)
    row, _ = CapturePatterns.objects.select_for_update().get_or_create(organisation=organisation)
    wanted = [list(pair) for pair in patterns]
    if row.patterns != wanted:
        before, row.patterns = row.patterns, wanted
        row.save()
        audit_record(
            actor=actor,
            action="capture.patterns",
            subject_kind="organisation",
            subject_id=organisation.pk,
            subject_name=organisation.name,
            before={"patterns": before},
            after={"patterns": wanted},
            reason=reason,
        )
        running = CaptureRule.objects.filter(organisation=organisation, ended_at=None).values_list("pk", flat=True)
        section_touch(section=SECTION, ids=list(running))
    return row


def rule_facts(row: CaptureRule) -> dict[str, Any]:
    """What the audit keeps of a rule."""
    if row.route_id:
        return {"route": row.route_name, "percent": row.percent, "days": row.days}
    return {"key": row.key_name, "requests": row.wanted, "until": row.until.isoformat() if row.until else None, "days": row.days}


@transaction.atomic
def sample_store(*, sample: Sample) -> bool:
    """Keep a sample that a proxy took; False where its rule is gone, over or full, or the sample is there already."""
    try:
        rule = CaptureRule.objects.select_for_update().filter(pk=UUID(sample.rule)).first()
    except ValueError:
        return False
    at = dt.datetime.fromtimestamp(sample.started_us / 1e6, dt.UTC)
    request_id = UUID(bytes=sample.id)
    if rule is None or str(rule.organisation_id) != sample.organisation or (rule.ended_at is not None and at > rule.ended_at):
        return False
    if (rule.wanted and rule.taken >= rule.wanted) or CaptureSample.objects.filter(pk=request_id).exists():
        return False
    CaptureSample.objects.create(
        request_id=request_id,
        organisation_id=rule.organisation_id,
        rule=rule,
        route=sample.route[:200],
        key_id=sample.key_id[:36],
        at=at,
        status=sample.status,
        body=encrypt(json.dumps({"request": sample.request, "answer": sample.answer})),
        size=len(sample.request) + len(sample.answer),
        found={str(kind): int(count) for kind, count in sample.found.items()},
        cut=sample.cut,
        expires_at=at + dt.timedelta(days=rule.days),
    )
    CaptureRule.objects.filter(pk=rule.pk).update(taken=F("taken") + 1)
    return True


@transaction.atomic
def sample_read(*, actor: Actor, sample: CaptureSample) -> tuple[str, str]:
    """The request and the answer, redacted; the audit has who looked. Raises VaultError where no master key opens it."""
    permission_require(actor=actor, action="sample.view", organisation=sample.organisation)
    content = json.loads(decrypt(sample.body))
    audit_record(
        actor=actor,
        action="sample.view",
        subject_kind="sample",
        subject_id=sample.request_id,
        subject_name=sample.route,
        after={"route": sample.route, "key": sample.key_id, "characters": sample.size},
    )
    return str(content["request"]), str(content["answer"])


@transaction.atomic
def sample_delete(*, actor: Actor, sample: CaptureSample, reason: str = "") -> None:
    """Forget a sample before its time, unread. A second time changes nothing."""
    permission_require(actor=actor, action="capture.change", organisation=sample.organisation)
    deleted, _ = CaptureSample.objects.filter(pk=sample.pk).delete()
    if deleted:
        audit_record(
            actor=actor,
            action="sample.delete",
            subject_kind="sample",
            subject_id=sample.request_id,
            subject_name=sample.route,
            before={"route": sample.route, "key": sample.key_id, "characters": sample.size},
            reason=reason,
        )


def samples_expire(*, now: dt.datetime | None = None) -> int:
    """Forget samples whose time is over, in short transactions; how many."""
    total = 0
    while True:
        old = CaptureSample.objects.filter(expires_at__lte=now or clock.now()).values("pk")[:STEP]
        deleted = CaptureSample.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()[0]
        total += deleted
        if deleted < STEP:
            return total


@transaction.atomic
def captures_forget(*, organisation: str) -> int:
    """Everything of an organisation that is given up: its samples, its rules (proxies are told by the next publish), its patterns."""
    forgotten = CaptureSample.objects.filter(organisation_id=organisation).delete()[0]
    rows = CaptureRule.objects.filter(organisation_id=organisation)
    section_touch(section=SECTION, ids=list(rows.filter(ended_at=None).values_list("pk", flat=True)))
    rows.delete()
    CapturePatterns.objects.filter(organisation_id=organisation).delete()
    return int(forgotten)
