"""Writes of GPU-hour prices, and of the base prices as a whole."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import change_record
from apps.contracts.money import MAX_NANO
from apps.prices.choices import BOOK_EVENT
from apps.prices.models import BookRefresh, GpuPrice
from apps.prices.selectors import newest_book
from apps.providers import pricebook, rules
from apps.providers.prices import prices_refresh
from apps.publishing.preview import change_publish

if TYPE_CHECKING:
    from apps.audit.actors import Actor

GPU = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._+/-]{0,78}[A-Za-z0-9])?")
MAX_PER_HOUR = MAX_NANO // 1_000_000
"""Dearest hour in nano-dollars: a million GPUs for an hour still fit int64."""


@transaction.atomic
def gpu_price_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    gpu: str,
    region: str = "",
    per_hour: int,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    reason: str = "",
) -> GpuPrice:
    """Make the organisation's GPU-hour price of that name what is asked; the same again changes nothing. per_hour: nano-dollars.

    Raises ServiceError for an amount out of range and where another price of the same GPU and region holds at the same time.
    """
    permission_require(actor=actor, action="price.change", organisation=organisation)
    rules.check_name(name)
    if not GPU.fullmatch(gpu):
        raise ServiceError(f"{gpu!r} is not a GPU: write its name as workers report it, such as 'NVIDIA H200'", "gpu")
    if len(region) > 80 or any(ord(c) < 32 for c in region):
        raise ServiceError("a region is up to 80 characters without control characters", "region")
    if not 0 <= per_hour <= MAX_PER_HOUR:
        raise ServiceError(f"a GPU hour costs from 0 to {MAX_PER_HOUR // 1_000_000_000} dollars", "per_hour")
    if valid_from and valid_to and valid_from >= valid_to:
        raise ServiceError("the price ends before it starts", "valid_to")
    # Two at once could overlap unseen: writers of one organisation's prices take turns.
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    row = GpuPrice.objects.filter(organisation=organisation, name=name).first()
    before = {} if row is None else gpu_price_facts(row)
    row = row or GpuPrice(organisation=organisation, name=name)
    row.gpu, row.region, row.per_hour, row.valid_from, row.valid_to = gpu, region, per_hour, valid_from, valid_to
    for other in GpuPrice.objects.filter(organisation=organisation, gpu=gpu, region=region).exclude(pk=row.pk):
        if rules.overlap(row, other):
            raise ServiceError(f"the price {other.name!r} of {gpu} holds at the same time: end one before the other begins", "valid_to")
    after = gpu_price_facts(row)
    if after != before:
        row.save()
        change_record(actor, "gpu_price.update" if before else "gpu_price.create", row, before, after, reason)
    return row


@transaction.atomic
def gpu_price_delete(*, actor: Actor, price: GpuPrice, reason: str = "") -> None:
    """Forget a GPU-hour price."""
    permission_require(actor=actor, action="price.change", organisation=price.organisation)
    change_record(actor, "gpu_price.delete", price, gpu_price_facts(price), {}, reason)
    price.delete()


def gpu_price_facts(row: GpuPrice) -> dict[str, Any]:
    """What the audit keeps of a GPU-hour price."""
    return {
        "gpu": row.gpu,
        "region": row.region,
        "per_hour": row.per_hour,
        "valid_from": row.valid_from and row.valid_from.isoformat(),
        "valid_to": row.valid_to and row.valid_to.isoformat(),
    }


@transaction.atomic
def book_take(*, actor: Actor, reason: str) -> BookRefresh:
    """Take the base prices of every model from the installed ``genai-prices``; a person's prices stay. Publish afterwards."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('prices book', 0))")
    before = newest_book()
    changed = prices_refresh(actor=actor, reason=reason)
    row = BookRefresh.objects.create(book=pricebook.book_version(), before=before, changed=changed, actor=actor.name)
    if changed or row.before != row.book:
        event_record(
            kind=BOOK_EVENT,
            subject_kind="prices",
            subject_id=row.pk,
            subject_name=row.book,
            data={"before": before, "changed": len(changed)},
        )
    return row


def book_follow(*, actor: Actor) -> BookRefresh | None:
    """After an upgrade of ``genai-prices``: its prices are taken, audited and published, once. None where there was no upgrade.

    Raises PublishError where the new prices do not compile; then nothing was changed, and the next run tries again.
    """
    book = pricebook.book_version()
    before = newest_book()
    if before == book:
        return None
    reason = f"base prices: {before or 'none'} → {book}"
    row, version = change_publish(actor=actor, reason=reason, change=lambda: book_take(actor=actor, reason=reason))
    if version is not None:
        row.published = version.number
        row.save(update_fields=["published"])
    return row
