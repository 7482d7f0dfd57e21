"""Rows -> the section ``unit_prices``, and back when a version is rolled back."""

from __future__ import annotations

from typing import cast

from apps.audit.actors import Actor
from apps.contracts.snapshot import Fragment, UnitPriceFragment
from apps.prices.unit_fragments import unit_price_of
from apps.prices.unit_models import UnitPrice
from apps.prices.units import unit_price_restore
from apps.publishing.registry import Section


def _build(ids: set[str] | None) -> dict[str, Fragment]:
    rows = UnitPrice.objects.all() if ids is None else UnitPrice.objects.filter(pk__in=ids)
    return {str(row.pk): unit_price_of(row) for row in rows}


def _restore(*, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
    unit_price_restore(actor=actor, object_id=object_id, fragment=cast(UnitPriceFragment | None, fragment), reason=reason)


unit_prices = Section(build=_build, restore=_restore)
