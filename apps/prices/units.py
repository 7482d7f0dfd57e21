"""Prices of units that are no tokens: images, seconds of sound, characters, searches, and tokens of an hour's cache."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import QuerySet

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.contracts.metering import UNITS
from apps.contracts.money import MAX_NANO
from apps.contracts.snapshot import UnitPriceFragment
from apps.prices.unit_fragments import THOUSANDS
from apps.prices.unit_models import UnitPrice
from apps.providers import rules
from apps.providers.models import Provider
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.audit.actors import Actor

MOST = MAX_NANO // THOUSANDS
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def unit_prices_of(organisation: Organisation) -> QuerySet[UnitPrice]:
    """An organisation's prices of units, by model and unit."""
    return UnitPrice.objects.filter(organisation=organisation).select_related("provider")


@transaction.atomic
def unit_price_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    provider: Provider,
    model: str,
    unit: str,
    per_thousand: int,
    quality: str = "",
    size: str = "",
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    reason: str = "",
) -> UnitPrice:
    """Make the organisation's price of that name what is asked; the same again changes nothing. per_thousand: nano-dollars for 1,000.

    Raises ServiceError for a unit that nobody meters, an amount out of range, a quality or size of what has none, and where another price
    of the same holds at the same time.
    """
    permission_require(actor=actor, action="price.change", organisation=organisation)
    rules.check_name(name)
    if unit not in UNITS:
        raise ServiceError(f"{unit!r} is nothing that is metered: use one of {', '.join(UNITS)}", "unit")
    if not 0 <= per_thousand <= MOST:
        raise ServiceError(f"a thousand units cost from 0 to {MOST // 1_000_000_000} dollars", "per_thousand")
    for field, value in (("quality", quality), ("size", size)):
        if value and (unit != "image" or not _WORD.fullmatch(value)):
            hint = "only images have one" if unit != "image" else "write it as the request names it: hd, 1024x1024"
            raise ServiceError(f"{value[:40]!r} is no {field} that can be priced: {hint}", field)
    if not model or len(model) > 200 or any(ord(c) < 32 for c in model):
        raise ServiceError("a model's name has 1 to 200 characters without control characters", "model")
    if valid_from and valid_to and valid_from >= valid_to:
        raise ServiceError("the price ends before it starts", "valid_to")
    if provider.organisation_id != organisation.pk:
        raise ServiceError("the provider belongs to another organisation", "provider")
    # Two at once could overlap unseen: writers of one organisation's prices take turns.
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    row = UnitPrice.objects.filter(organisation=organisation, name=name).select_related("provider").first()
    before = {} if row is None else unit_price_facts(row)
    row = row or UnitPrice(organisation=organisation, name=name)
    row.provider, row.model, row.unit, row.quality, row.size = provider, model, unit, quality, size
    row.per_thousand, row.valid_from, row.valid_to = per_thousand, valid_from, valid_to
    same = UnitPrice.objects.filter(provider=provider, model=model, unit=unit, quality=quality, size=size)
    for other in same.exclude(pk=row.pk):
        if rules.overlap(row, other):
            raise ServiceError(f"the price {other.name!r} of the same holds at the same time: end one before the other begins", "valid_to")
    after = unit_price_facts(row)
    if after != before:
        row.save()
        _record(actor, "unit_price.update" if before else "unit_price.create", row, before, after, reason)
    return row


@transaction.atomic
def unit_price_delete(*, actor: Actor, price: UnitPrice, reason: str = "") -> None:
    """Forget a price: from the next publish on, requests that are billed by it have none."""
    permission_require(actor=actor, action="price.change", organisation=price.organisation)
    _record(actor, "unit_price.delete", price, unit_price_facts(price), {}, reason)
    price.delete()


@transaction.atomic
def unit_price_restore(*, actor: Actor, object_id: str, fragment: UnitPriceFragment | None, reason: str) -> None:
    """A price as an earlier config version had it; None: there was none. One that was deleted since comes back named by its id."""
    row = UnitPrice.objects.filter(pk=object_id).select_related("organisation", "provider").first()
    if fragment is None:
        if row is not None:
            unit_price_delete(actor=actor, price=row, reason=reason)
        return
    provider = Provider.objects.filter(pk=fragment.provider).select_related("organisation").first()
    if provider is None:
        raise ServiceError("the provider of the price is gone: it has to be restored first", "provider")
    if row is None:
        row = UnitPrice(id=object_id, organisation=provider.organisation, name=f"restored-{object_id}")
    before = {} if row._state.adding else unit_price_facts(row)
    row.provider, row.model, row.unit = provider, fragment.model, fragment.unit
    row.quality, row.size, row.per_thousand = fragment.quality, fragment.size, fragment.amount // THOUSANDS
    row.valid_from, row.valid_to = rules.moment(fragment.valid_from_ms or None), rules.moment(fragment.valid_to_ms)
    permission_require(actor=actor, action="config.rollback", organisation=row.organisation)
    row.save()
    _record(actor, "unit_price.restore", row, before, unit_price_facts(row), reason)


def unit_price_facts(row: UnitPrice) -> dict[str, Any]:
    """What the audit keeps of a price."""
    return {
        "provider": row.provider.name,
        "model": row.model,
        "unit": row.unit,
        "quality": row.quality,
        "size": row.size,
        "per_thousand": row.per_thousand,
        "valid_from": row.valid_from and row.valid_from.isoformat(),
        "valid_to": row.valid_to and row.valid_to.isoformat(),
    }


def _record(actor: Actor, action: str, row: UnitPrice, before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    change_record(actor, action, row, before, after, reason)
    section_touch(section="unit_prices", ids=[row.pk])
