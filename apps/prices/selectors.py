"""Reads across the price book: tariffs as the proxies have them, GPU hours, corrections of the past."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from django.db.models import F, Max, Q, QuerySet, Sum

from apps.contracts.tariff import PriceBook, Tariff
from apps.prices import choices
from apps.prices.models import BookRefresh, GpuPrice, Repricing, RepricingLine
from apps.providers.models import Discount, ProviderModel
from apps.providers.rules import unix_ms
from apps.providers.selectors import models_with_prices
from apps.providers.snapshot import discount_of, page_of
from apps.usage.focus_selectors import Correction
from apps.usage.selectors import rows_of

UNPRICED_DAYS = 7

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.accounts.scope import Scope


class Tariffs:
    """What an organisation's models cost, by the fragments that proxies would get if everything was published now: three queries at
    once, none later. models: with provider and prices, replaced ones too, by id."""

    def __init__(self, organisation: Organisation) -> None:
        found = models_with_prices(ProviderModel.objects.filter(provider__organisation=organisation))
        self.models: dict[UUID, ProviderModel] = {row.pk: row for row in found}
        self._providers = {row.provider.name: str(row.provider_id) for row in self.models.values()}
        pages = {page.id: page for row in self.models.values() if (page := page_of(row)) is not None}
        self.discounts = list(Discount.objects.filter(organisation=organisation))
        self._book = PriceBook(pages.get, [discount_of(row) for row in self.discounts])
        self._made: dict[tuple[str, str, str], Tariff | None] = {}

    @property
    def providers(self) -> list[str]:
        """Names of the providers that have a model."""
        return sorted(self._providers)

    def of(self, provider: str, model: str, region: str = "") -> Tariff | None:
        """The tariff of a model of the provider with this name; None where nothing ever prices it."""
        key = (provider, model, region)
        if key not in self._made:
            own = self._providers.get(provider)
            self._made[key] = self._book.tariff(f"{own}/{model}", region) if own else None
        return self._made[key]


def gpu_prices_of(organisation: Organisation) -> QuerySet[GpuPrice]:
    """An organisation's prices of GPU hours, by GPU, region and start."""
    return GpuPrice.objects.filter(organisation=organisation)


def gpu_price_of(organisation: Organisation, *, gpu: str, region: str = "", at: datetime) -> GpuPrice | None:
    """What an hour of a GPU costs at a moment: the region's own price first; None where there is none."""
    begun = Q(valid_from=None) | Q(valid_from__lte=at)
    lasts = Q(valid_to=None) | Q(valid_to__gt=at)
    return gpu_prices_of(organisation).filter(begun, lasts, gpu=gpu, region__in={"", region}).order_by("-region").first()


def book_refreshes(*, limit: int = 50) -> list[BookRefresh]:
    """The last times that base prices were taken anew, newest first."""
    return list(BookRefresh.objects.all()[:limit])


def repricings_of(organisation: Organisation) -> QuerySet[Repricing]:
    """An organisation's re-pricings, newest first."""
    return Repricing.objects.filter(organisation=organisation)


def corrections_of(scope: Scope, first: date, last: date) -> int:
    """Nano-dollars that re-pricings in force add to what was booked on the days (UTC) ``first`` to ``last``, both included."""
    lines = RepricingLine.objects.filter(
        repricing__organisation_id=scope.organisation, repricing__state=choices.DONE, simulated=scope.simulated, day__range=(first, last)
    )
    found = lines.aggregate(total=Sum(F("corrected_nano") - F("original_nano")))["total"]
    return int(found or 0)


CORRECTED_BY = ("team", "service", "feature", "key_id", "route", "model", "provider")
"""What a line of corrections says; not by which user or in which region."""


def corrections_by(scope: Scope, first: date, last: date, dimension: str) -> dict[str, int]:
    """``corrections_of`` by one of ``CORRECTED_BY``; by any other dimension all of them under an empty value. One query."""
    lines = RepricingLine.objects.filter(
        repricing__organisation_id=scope.organisation, repricing__state=choices.DONE, simulated=scope.simulated, day__range=(first, last)
    )
    difference = Sum(F("corrected_nano") - F("original_nano"))
    if dimension not in CORRECTED_BY:
        total = lines.aggregate(total=difference)["total"]
        return {"": int(total)} if total else {}
    return {value: int(total) for value, total in lines.order_by().values_list(dimension).annotate(total=difference) if total}


class ExportedCorrections:
    """Corrections as exports of costs have them (``apps.usage.focus_selectors.Corrections``)."""

    def of_day(self, scope: Scope, day: date) -> list[Correction]:
        """One query."""
        lines = RepricingLine.objects.filter(
            repricing__organisation_id=scope.organisation, repricing__state=choices.DONE, simulated=scope.simulated, day=day
        ).order_by("team", "service", "feature", "key_id", "provider", "model", "route", "id")
        return [
            Correction(
                team=line.team,
                service=line.service,
                feature=line.feature,
                key_id=line.key_id,
                provider=line.provider,
                model=line.model,
                route=line.route,
                cost_nano=line.corrected_nano - line.original_nano,
                words=f"{line.requests} calls priced by {line.price_after} and not by {line.price_before or 'nothing'}",
            )
            for line in lines
        ]

    def total(self, scope: Scope, first: date, last: date) -> int:
        """One query."""
        return corrections_of(scope, first, last)


class Unpriced(NamedTuple):
    """What went to a model that nothing prices: attempts and tokens that were booked at nothing."""

    provider: str
    model: str
    attempts: int
    tokens: int


def unpriced_traffic(scope: Scope, tariffs: Tariffs, *, days: int = UNPRICED_DAYS, now: datetime | None = None) -> list[Unpriced]:
    """Models that nothing prices now and that were used lately, booked at nothing, the busiest first: one query. Only what was booked at
    nothing is looked up in the book: thousands of prices are compiled for nobody's question."""
    now = now or datetime.now(UTC)
    at = unix_ms(now) or 0
    rows = rows_of(
        "SELECT provider, model, sum(attempts), sum(tokens_input + tokens_output) FROM usage_rollup_1h "
        "WHERE organisation = %s AND simulated = %s AND bucket >= %s GROUP BY provider, model "
        "HAVING sum(cost_nano) = 0 AND sum(tokens_input + tokens_output) > 0 ORDER BY 3 DESC",
        [scope.organisation, scope.simulated, now - timedelta(days=days)],
    )
    known = {(row.provider.name, row.name) for row in tariffs.models.values()}
    bare = [row for row in rows if row[:2] in known and ((tariff := tariffs.of(*row[:2])) is None or tariff.at(at) is None)]
    return [Unpriced(provider, model, int(attempts), int(tokens)) for provider, model, attempts, tokens in bare]


def newest_book() -> str:
    """The version of the base prices that was taken last; empty before the first time."""
    newest = BookRefresh.objects.aggregate(at=Max("at"))["at"]
    row = BookRefresh.objects.filter(at=newest).first() if newest else None
    return row.book if row else ""
