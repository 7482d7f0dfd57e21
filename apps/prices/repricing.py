"""Pricing a past period again: explicit, audited, and beside the figures that were booked, which never change.

Every attempt of the period is priced as the proxies would have priced it, had the price book been then what it is now: the version in
force when its request began, in its endpoint's region, less what was negotiated and what that hour takes off. What nothing prices, and
what is settled at its reservation because its outcome is unknown, keeps its figure. Usage that is an upper bound stays one.

Two re-pricings in force never cover the same attempt, so their differences can be added up; to correct a correction, withdraw it first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import audit_record
from apps.contracts.money import MAX_NANO, dollars_text
from apps.contracts.usage import TokenDetails, Tokens
from apps.prices.choices import DONE, FAILED, PENDING, REPRICED_EVENT, WITHDRAWN
from apps.prices.models import Repricing, RepricingLine
from apps.prices.selectors import Tariffs
from apps.usage.retention import retention

if TYPE_CHECKING:
    from apps.audit.actors import Actor

AT_ONCE = 20_000
"""Requests of a period that are priced while the person waits; more wait for a worker."""
FETCH = 2_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ROWS = """
    SELECT started_at, simulated, route, key_id, team, service, feature, usage_attempts(r)::text
    FROM usage_request r
    WHERE organisation = %s AND started_at >= %s AND started_at < %s AND attempt_count > 0
"""


class Whose(NamedTuple):
    """What a line of corrections is about."""

    day: date
    simulated: bool
    provider: str
    model: str
    route: str
    key_id: str
    team: str
    service: str
    feature: str
    price_before: str
    price_after: str


@transaction.atomic
def repricing_create(
    *, actor: Actor, organisation: Organisation, starts_at: datetime, ends_at: datetime, provider: str = "", model: str = "", reason: str
) -> Repricing:
    """Price ``[starts_at, ends_at)`` again: all of it, or one provider's or model's part. A short one is computed at once.

    Raises ServiceError for a period that is not over or whose requests are no longer kept, without a reason, and where a re-pricing in
    force covers some of the same.
    """
    permission_require(actor=actor, action="price.change", organisation=organisation)
    if not reason.strip():
        raise ServiceError("say why the period is priced again: whoever reads the bill later will ask", "reason")
    now = timezone.now()
    if starts_at >= ends_at:
        raise ServiceError("the period ends before it starts", "ends_at")
    if ends_at > now:
        raise ServiceError("the period is not over: only what has been booked can be priced again", "ends_at")
    oldest = now - timedelta(days=retention().request_days)
    if starts_at < oldest:
        raise ServiceError(f"requests are kept since {oldest:%Y-%m-%d}: begin there", "starts_at")
    # Two at once could overlap unseen: re-pricings of one organisation take turns.
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    if provider and provider not in organisation.providers.values_list("name", flat=True):
        raise ServiceError(f"there is no provider {provider!r}", "provider")
    same = Repricing.objects.filter(organisation=organisation, state__in=(PENDING, DONE), starts_at__lt=ends_at, ends_at__gt=starts_at)
    for field, value in (("provider", provider), ("model", model)):
        if value:
            same = same.filter(Q(**{field: value}) | Q(**{field: ""}))
    other = same.first()
    if other is not None:
        raise ServiceError(
            f"the re-pricing of {other} to {other.ends_at:%Y-%m-%d %H:%M} UTC covers some of this already: withdraw that one first",
            "starts_at",
        )
    row = Repricing.objects.create(
        organisation=organisation,
        provider=provider,
        model=model,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=reason.strip(),
        actor=actor.name,
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({_ROWS} LIMIT %s) few", [str(organisation.pk), starts_at, ends_at, AT_ONCE + 1])
        [few] = cursor.fetchone()
    if few <= AT_ONCE:
        repricing_run(repricing_id=row.pk)
        row.refresh_from_db()
    _record(actor, "repricing.create", row, {}, _facts(row), reason)
    return row


@transaction.atomic
def repricing_run(*, repricing_id: object) -> bool:
    """Compute one that waits; False where there is nothing left to do, whoever did it."""
    row = Repricing.objects.select_for_update(of=("self",)).select_related("organisation").filter(pk=repricing_id, state=PENDING).first()
    if row is None:
        return False
    tariffs = Tariffs(row.organisation)
    sums: dict[Whose, list[int]] = {}
    for whose, original, corrected in _priced(row, tariffs):
        row.requests += 1
        row.original_nano += original
        row.corrected_nano += original if corrected is None else corrected
        if corrected is None:
            row.kept += 1
        elif corrected != original:
            cell = sums.setdefault(whose, [0, 0, 0])
            cell[0] += 1
            cell[1] += original
            cell[2] += corrected
    if max(row.original_nano, row.corrected_nano) > MAX_NANO:
        row.state, row.detail = FAILED, "the total is more than can be counted: choose a shorter period"
    else:
        row.state = DONE
        RepricingLine.objects.bulk_create(
            (
                RepricingLine(repricing=row, **whose._asdict(), requests=count, original_nano=original, corrected_nano=corrected)
                for whose, (count, original, corrected) in sums.items()
            ),
            batch_size=1_000,
        )
    if row.state == FAILED:
        row.original_nano = row.corrected_nano = 0
    row.finished_at = timezone.now()
    row.save()
    event_record(
        kind=REPRICED_EVENT,
        subject_kind="repricing",
        subject_id=row.pk,
        subject_name=str(row),
        data={
            "organisation": str(row.organisation_id),
            "state": row.state,
            "requests": row.requests,
            "difference_nano": row.difference_nano,
        },
    )
    return True


@transaction.atomic
def repricing_withdraw(*, actor: Actor, repricing: Repricing, reason: str) -> Repricing:
    """From now on its difference counts no more; it stays to be read. A second time changes nothing."""
    permission_require(actor=actor, action="price.change", organisation=repricing.organisation)
    row = Repricing.objects.select_for_update(of=("self",)).select_related("organisation").get(pk=repricing.pk)
    if row.state in (WITHDRAWN, FAILED):
        return row
    before = _facts(row)
    row.state, row.detail = WITHDRAWN, reason[:300]
    row.save(update_fields=["state", "detail"])
    _record(actor, "repricing.withdraw", row, before, _facts(row), reason)
    return row


def _priced(row: Repricing, tariffs: Tariffs) -> Iterator[tuple[Whose, int, int | None]]:
    """Every attempt of the period: whose it is, what was booked, what it costs by the price book; None: it keeps its figure."""
    names = Whose._fields
    with connection.chunked_cursor() as cursor:
        cursor.itersize = FETCH
        cursor.execute(_ROWS, [str(row.organisation_id), row.starts_at, row.ends_at])
        for started_at, simulated, route, key_id, team, service, feature, attempts in cursor:
            for attempt in msgspec.json.decode(attempts):
                provider, model = attempt["provider"], attempt["model"]
                if (row.provider and provider != row.provider) or (row.model and model != row.model):
                    continue
                cost, label = cost_again(attempt, tariffs, started_at)
                values = (started_at.date(), simulated, provider, model, route, key_id, team, service, feature, attempt["price_version"])
                yield Whose(**dict(zip(names, (*values, label), strict=True))), attempt["cost_nano"], cost


def cost_again(attempt: Mapping[str, Any], tariffs: Tariffs, started_at: datetime) -> tuple[int | None, str]:
    """(nano-dollars, label of the price) of an attempt (``apps.usage.documents.AttemptDocument`` as plain values) by the price book; None
    where it keeps its figure."""
    counts = attempt["tokens"]
    details = counts.get("details")
    tokens = Tokens(
        input=counts["input"],
        output=counts["output"],
        cache_read=counts["cache_read"],
        cache_write=counts["cache_write"],
        reasoning=counts["reasoning"],
        details=TokenDetails(**details) if details else None,
    )
    used = any(counts[kind] for kind in ("input", "output", "cache_read", "cache_write", "reasoning"))
    if attempt["outcome"] == "unknown" or not (used or attempt["cost_nano"] or attempt["outcome"] == "ok"):
        return None, ""
    tariff = tariffs.of(attempt["provider"], attempt["model"], attempt["region"])
    price = tariff.at(int((started_at - _EPOCH).total_seconds() * 1000)) if tariff is not None else None
    if price is None or (attempt["estimated"] and not used):
        return None, ""
    return (price.bound(tokens.input, tokens.output) if attempt["estimated"] else price.cost(tokens)), price.version


def _facts(row: Repricing) -> dict[str, Any]:
    return {
        "provider": row.provider,
        "model": row.model,
        "starts_at": row.starts_at.isoformat(),
        "ends_at": row.ends_at.isoformat(),
        "state": row.state,
        "attempts": row.requests,
        "booked": f"${dollars_text(row.original_nano)}",
        "correction": f"${dollars_text(row.difference_nano)}",
    }


def _record(actor: Actor, action: str, row: Repricing, before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    audit_record(
        actor=actor,
        action=action,
        subject_kind="repricing",
        subject_id=str(row.pk),
        subject_name=str(row),
        before=before,
        after=after,
        reason=reason,
    )
