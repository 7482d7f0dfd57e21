"""Writes of negotiated discounts: what a provider takes off its prices, for all its models or for one."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.providers import rules
from apps.providers.models import Discount, Provider
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.audit.actors import Actor
    from apps.contracts.snapshot import DiscountFragment


@transaction.atomic
def discount_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    provider: Provider,
    model: str = "",
    discount: int,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    note: str = "",
    reason: str = "",
) -> Discount:
    """Make the organisation's discount of that name what is asked; the same again changes nothing. discount: hundredths of a percent.

    Raises ServiceError for a share out of range, a model that the price book does not know, and where another discount of the same
    provider and model holds at the same time.
    """
    permission_require(actor=actor, action="price.change", organisation=organisation)
    rules.check_name(name)
    rules.check_discount(discount, "discount")
    if len(note) > 300 or any(ord(c) < 32 for c in note):
        raise ServiceError("a note is up to 300 characters without line breaks", "note")
    if valid_from and valid_to and valid_from >= valid_to:
        raise ServiceError("the discount ends before it starts", "valid_to")
    if provider.organisation_id != organisation.pk:
        raise ServiceError("the provider belongs to another organisation", "provider")
    # Two at once could overlap unseen: writers of one organisation's discounts take turns.
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    if model and not provider.models.filter(name=model).exists():
        raise ServiceError(
            f"the price book knows no model {provider.name + '/' + model!r}: name one that a route targets or that has a price", "model"
        )
    row = Discount.objects.filter(organisation=organisation, name=name).first()
    before = {} if row is None else discount_facts(row)
    row = row or Discount(organisation=organisation, name=name)
    row.provider, row.model, row.discount, row.note = provider, model, discount, note
    row.valid_from, row.valid_to = valid_from, valid_to
    for other in Discount.objects.filter(provider=provider, model=model).exclude(pk=row.pk):
        if rules.overlap(row, other):
            what = model or "all models"
            raise ServiceError(
                f"the discount {other.name!r} for {what} of {provider.name} holds at the same time: end one before the other begins",
                "valid_to",
            )
    after = discount_facts(row)
    if after != before:
        row.save()
        _record(actor, "discount.update" if before else "discount.create", row, before, after, reason)
    return row


@transaction.atomic
def discount_delete(*, actor: Actor, discount: Discount, reason: str = "") -> None:
    """Forget a discount: from the next publish on, prices are what they were without it."""
    permission_require(actor=actor, action="price.change", organisation=discount.organisation)
    _record(actor, "discount.delete", discount, discount_facts(discount), {}, reason)
    discount.delete()


@transaction.atomic
def discount_restore(*, actor: Actor, object_id: str, fragment: DiscountFragment | None, reason: str) -> None:
    """A discount as an earlier config version had it; None: there was none. One that was deleted since comes back named by its id."""
    row = Discount.objects.filter(pk=object_id).select_related("organisation").first()
    if fragment is None:
        if row is not None:
            discount_delete(actor=actor, discount=row, reason=reason)
        return
    provider = Provider.objects.filter(pk=fragment.provider).select_related("organisation").first()
    if provider is None:
        raise ServiceError("the provider of the discount is gone: it has to be restored first", "provider")
    if row is None:
        row = Discount(id=object_id, organisation=provider.organisation, name=f"restored-{object_id}")
    before = {} if row._state.adding else discount_facts(row)
    row.provider, row.model, row.discount = provider, fragment.model, fragment.discount
    row.valid_from, row.valid_to = rules.moment(fragment.valid_from_ms or None), rules.moment(fragment.valid_to_ms)
    permission_require(actor=actor, action="config.rollback", organisation=row.organisation)
    row.save()
    _record(actor, "discount.restore", row, before, discount_facts(row), reason)


def discount_facts(row: Discount) -> dict[str, Any]:
    """What the audit keeps of a discount."""
    return {
        "provider": row.provider.name,
        "model": row.model,
        "discount": row.discount,
        "valid_from": row.valid_from and row.valid_from.isoformat(),
        "valid_to": row.valid_to and row.valid_to.isoformat(),
        "note": row.note,
    }


def _record(actor: Actor, action: str, row: Discount, before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    change_record(actor, action, row, before, after, reason)
    section_touch(section="discounts", ids=[row.pk])
