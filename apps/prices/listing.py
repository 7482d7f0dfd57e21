"""The price book's pages: every model of an organisation with what it costs now, and one model with all it ever cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from apps.prices.selectors import Tariffs, models_priced
from apps.providers import choices, rules
from apps.providers.listing import routes_using
from apps.providers.models import Discount, Price, ProviderModel
from apps.providers.rules import PriceSpec
from apps.providers.selectors import price_spec, prices_in_force

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.contracts.pricing import Price as CompiledPrice


@dataclass(frozen=True, slots=True)
class BookRow:
    """A model in the list. price: of no region in particular, before discounts; None where it has none of its own now.
    label: what records would say of a request that began now; empty where nothing prices it."""

    model: ProviderModel
    price: Price | None
    label: str
    regions: tuple[str, ...]

    @property
    def source(self) -> str:
        """Who says what it costs."""
        if self.price is not None:
            return "yours" if self.price.source == choices.SOURCE_MANUAL else "price book"
        return f"like {self.model.like}" if self.label and self.model.like else "none"

    @property
    def taken_off(self) -> str:
        """What comes off the list price now."""
        return ", ".join(self.label.split("~")[1:]).replace("%-", "% ")

    @property
    def free(self) -> bool:
        """Costs nothing, and so passes every budget."""
        return self.price is not None and not any((self.price.input, self.price.output, self.price.request))


def models_found(organisation: Organisation, *, query: str = "", provider: str = "", priced: str = "") -> QuerySet[ProviderModel]:
    """Models with their prices, by provider and name. priced: ``yours``, ``book``, ``none`` or all."""
    models = models_priced(ProviderModel.objects.filter(provider__organisation=organisation)).order_by("provider__name", "name")
    if query:
        models = models.filter(name__icontains=query)
    if provider:
        models = models.filter(provider__name=provider)
    held = Price.objects.filter(model=OuterRef("pk"), retired_at=None)
    yours = Exists(held.filter(source=choices.SOURCE_MANUAL))
    if priced == "yours":
        models = models.filter(yours)
    elif priced == "book":
        models = models.filter(Exists(held)).exclude(yours)
    elif priced == "none":
        models = models.exclude(Exists(held))
    return models


def book_rows(models: Sequence[ProviderModel], tariffs: Tariffs, *, now: datetime | None = None) -> list[BookRow]:
    """The rows of models that were found and that ``tariffs`` was made of: no query, but for models priced like one priced like another."""
    now = now or datetime.now(UTC)
    rows = []
    for model in models:
        tariff = tariffs.of(model.provider.name, model.name)
        price = tariff.at(rules.unix_ms(now) or 0) if tariff is not None else None
        held = prices_in_force(model.prices.all())
        rows.append(
            BookRow(
                model=model,
                price=_now(held, now),
                label=price.version if price is not None else "",
                regions=tuple(sorted({row.region for row in held if row.region})),
            )
        )
    return rows


def _now(rows: Sequence[Price], now: datetime) -> Price | None:
    spec = rules.price_in_force([price_spec(row) for row in rows], now)
    return None if spec is None else next(row for row in rows if price_spec(row) == spec)


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One model. rows: every price it ever had, newest first. now: what a request that begins now is priced by, discounts taken off."""

    model: ProviderModel
    rows: list[Price]
    held: Price | None
    spec: PriceSpec | None
    now: CompiledPrice | None
    discounts: list[Discount]
    routes: list[str]
    alike: list[ProviderModel]

    @property
    def in_force(self) -> frozenset[UUID]:
        """Of ``rows``, those that count now or later."""
        return frozenset(row.pk for row in prices_in_force(self.rows))


def model_page(organisation: Organisation, model_id: UUID, *, now: datetime | None = None) -> ModelPage | None:
    """One of the organisation's models; None where it has none of that id."""
    now = now or datetime.now(UTC)
    found = models_priced(ProviderModel.objects.filter(provider__organisation=organisation, pk=model_id)).first()
    if found is None:
        return None
    tariffs = Tariffs(organisation, [found])
    rows = sorted(found.prices.all(), key=lambda row: (row.retired_at is None, row.created_at), reverse=True)
    held = _now(prices_in_force(rows), now)
    tariff = tariffs.of(found.provider.name, found.name)
    return ModelPage(
        model=found,
        rows=rows,
        held=held,
        spec=price_spec(held) if held is not None else None,
        now=tariff.at(rules.unix_ms(now) or 0) if tariff is not None else None,
        discounts=[row for row in tariffs.discounts if row.provider_id == found.provider_id and row.model in ("", found.name)],
        routes=list(dict.fromkeys(target.route.name for target in routes_using(found.provider, models=[found.name]))),
        alike=sorted(found.alike.select_related("provider"), key=str),
    )
