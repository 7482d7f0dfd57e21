"""Prices of units: written, refused, published, rolled back, and what past requests would have cost by them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.snapshot import UnitPriceFragment
from apps.contracts.usage import TokenDetails, Tokens
from apps.prices.models import UnitPrice
from apps.prices.selectors import Tariffs
from apps.prices.units import MOST, unit_price_delete, unit_price_set
from apps.providers.models import Provider
from apps.publishing.registry import sections

pytestmark = pytest.mark.django_db
CENT = 10_000_000


def price(actor: Actor, organisation: Organisation, local: Provider, **changes: Any) -> UnitPrice:
    facts: dict[str, Any] = {"name": "hd", "provider": local, "model": "dall-e-3", "unit": "image", "per_thousand": 8_000 * CENT}
    return unit_price_set(actor=actor, organisation=organisation, **{**facts, **changes})


def built() -> dict[str, Any]:
    return dict(sections()["unit_prices"].build(None))


def test_a_price_is_what_proxies_get(actor: Actor, organisation: Organisation, local: Provider) -> None:
    row = price(actor, organisation, local, quality="hd", size="1024x1024", valid_from=datetime(2026, 1, 1, tzinfo=UTC))
    fragment = built()[str(row.pk)]
    assert isinstance(fragment, UnitPriceFragment)
    assert (fragment.provider, fragment.model, fragment.unit, fragment.quality) == (str(local.pk), "dall-e-3", "image", "hd")
    assert fragment.amount == 8 * CENT * 1_000_000 and fragment.valid_from_ms == 1_767_225_600_000
    again = price(actor, organisation, local, quality="hd", size="1024x1024", valid_from=datetime(2026, 1, 1, tzinfo=UTC))
    assert again.pk == row.pk and AuditEvent.objects.filter(subject_id=str(row.pk)).count() == 1, "the same again changes nothing"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"unit": "pixel"}, "unit"),
        ({"per_thousand": -1}, "per_thousand"),
        ({"per_thousand": MOST + 1}, "per_thousand"),
        ({"unit": "second", "quality": "hd"}, "quality"),
        ({"size": "a b"}, "size"),
        ({"size": "x:y"}, "size"),
        ({"model": ""}, "model"),
        ({"name": "No Name"}, "name"),
        ({"valid_from": datetime(2026, 2, 1, tzinfo=UTC), "valid_to": datetime(2026, 1, 1, tzinfo=UTC)}, "valid_to"),
        ({"name": "other"}, "valid_to"),
    ],
)
def test_what_is_refused(actor: Actor, organisation: Organisation, local: Provider, changes: dict[str, Any], field: str) -> None:
    price(actor, organisation, local)
    with pytest.raises(ServiceError) as caught:
        price(actor, organisation, local, **changes)
    assert caught.value.field == field


def test_a_rollback_brings_it_back_and_takes_it_away(actor: Actor, organisation: Organisation, local: Provider) -> None:
    row = price(actor, organisation, local)
    then = built()[str(row.pk)]
    restore = sections()["unit_prices"].restore
    assert restore is not None
    price(actor, organisation, local, per_thousand=1)
    restore(actor=actor, object_id=str(row.pk), fragment=then, reason="back")
    assert built()[str(row.pk)] == then
    unit_price_delete(actor=actor, price=row)
    assert not built()
    restore(actor=actor, object_id=then.id, fragment=then, reason="back")
    assert built() == {then.id: then}
    restore(actor=actor, object_id=then.id, fragment=None, reason="forth")
    assert not built()


def test_the_past_is_priced_by_units_too(actor: Actor, organisation: Organisation, local: Provider) -> None:
    price(actor, organisation, local)
    tariff = Tariffs(organisation)._book.tariff(f"{local.pk}/dall-e-3", "")
    assert tariff is not None
    held = tariff.at(1_767_225_600_000)
    assert held is not None and not held.tokens and held.version.startswith("units+u")
    assert held.cost(Tokens(details=TokenDetails(meters={"image:hd:1024x1024": 3}))) == 24 * CENT
