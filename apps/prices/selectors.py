"""Reads across the price book: tariffs as the proxies have them, GPU hours, corrections of the past."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet, Sum

from apps.contracts.snapshot import PriceFragment
from apps.contracts.tariff import PriceBook, Tariff
from apps.prices import choices
from apps.prices.models import BookRefresh, GpuPrice, Repricing, RepricingLine, UnitPrice
from apps.prices.unit_fragments import unit_price_of
from apps.providers.choices import SOURCE_MANUAL
from apps.providers.models import Discount, Price, Provider, ProviderModel
from apps.providers.prices import price_id
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
    """What an organisation's models cost, by the fragments that proxies would get if everything was published now.

    rows: models that are shown anyway, read by ``models_priced``; without them every model is read at once, with the prices of units, four
    queries. With them, what tokens cost alone, and one query for the discounts; what else is asked for, or what a model is priced like, is
    read when it is needed, a query or two each time.
    """

    def __init__(self, organisation: Organisation, rows: Iterable[ProviderModel] | None = None) -> None:
        self._organisation, self._whole = organisation, rows is None
        self.providers: list[str] = []
        """Names of the providers that have a model."""
        self._provider_ids: dict[str, str] = {}
        self.discounts: list[Discount] = []
        self._read_providers()
        self.models: dict[UUID, ProviderModel] = {}
        """Those that were read, with provider and prices, replaced ones too."""
        self._pages: dict[str, PriceFragment | None] = {}
        self._take(models_with_prices(ProviderModel.objects.filter(provider__organisation=organisation)) if rows is None else rows)
        units = UnitPrice.objects.filter(organisation=organisation) if self._whole else ()
        self._book = PriceBook(self._page, [discount_of(row) for row in self.discounts], [unit_price_of(row) for row in units])
        self._made: dict[tuple[str, str, str], Tariff | None] = {}

    def _read_providers(self) -> None:
        """Providers and discounts in one query."""
        fields = ("id", "name", "model", "discount", "valid_from", "valid_to")
        rows = Provider.objects.filter(Exists(ProviderModel.objects.filter(provider=OuterRef("pk"))), organisation=self._organisation)
        columns = ("pk", "name", *(f"discounts__{field}" for field in fields))
        for pk, name, *facts in rows.order_by("name", "discounts__name").values_list(*columns):
            if name not in self._provider_ids:
                self._provider_ids[name] = str(pk)
                self.providers.append(name)
            if facts[0] is not None:
                given = dict(zip(fields, facts, strict=True))
                self.discounts.append(Discount(organisation_id=self._organisation.pk, provider_id=pk, **given))

    def _take(self, rows: Iterable[ProviderModel]) -> None:
        for row in rows:
            self.models[row.pk] = row
            self._pages[price_id(row)] = page_of(row)
            if row.like is not None and not self._whole and price_id(row.like) not in self._pages:
                self._pages[price_id(row.like)] = page_of(row.like)

    def _page(self, page_id: str) -> PriceFragment | None:
        """The page with an id; read where it is not known yet."""
        if page_id not in self._pages and not self._whole:
            provider, _, name = page_id.partition("/")
            prices = list(
                Price.objects.filter(model__provider=provider, model__name=name).select_related("model__provider", "model__like__provider")
            )
            row = prices[0].model if prices else self._bare(provider, name)
            self._pages[page_id] = None if row is None else page_of(row, prices)
            if row is not None:
                self.models[row.pk] = row
        return self._pages.get(page_id)

    @staticmethod
    def _bare(provider: str, name: str) -> ProviderModel | None:
        """A model without any price."""
        rows = ProviderModel.objects.select_related("provider", "like__provider")
        return rows.filter(provider=provider, name=name).first()

    def knows(self, provider: str, model: str) -> bool:
        """Whether the provider of this name has this model, priced or not."""
        own = self._provider_ids.get(provider)
        if own is None:
            return False
        self._page(f"{own}/{model}")
        return f"{own}/{model}" in {price_id(row) for row in self.models.values()}

    def of(self, provider: str, model: str, region: str = "") -> Tariff | None:
        """The tariff of a model of the provider with this name; None where nothing ever prices it."""
        key = (provider, model, region)
        if key not in self._made:
            own = self._provider_ids.get(provider)
            self._made[key] = self._book.tariff(f"{own}/{model}", region) if own else None
        return self._made[key]


def models_priced(models: QuerySet[ProviderModel]) -> QuerySet[ProviderModel]:
    """Models as ``Tariffs`` reads them: with provider and prices, and those of the model that each is priced like."""
    return models_with_prices(models).prefetch_related("like__prices")


def model_names(organisation: Organisation, *, most: int) -> list[str]:
    """The first models of an organisation as ``provider/model``, by name: one query."""
    rows = ProviderModel.objects.filter(provider__organisation=organisation).order_by("provider__name", "name")
    return [f"{provider}/{name}" for provider, name in rows.values_list("provider__name", "name")[:most]]


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


_BARE = f"""
    WITH bare AS MATERIALIZED (
        SELECT owner.name AS provider, found.name AS model, found.like_id IS NULL AS alone
        FROM {Provider._meta.db_table} AS owner JOIN {ProviderModel._meta.db_table} AS found ON found.provider_id = owner.id
        WHERE owner.organisation_id = %(organisation)s::uuid AND NOT EXISTS (
            SELECT FROM {Price._meta.db_table} AS own WHERE own.model_id = found.id AND own.retired_at IS NULL AND own.region = ''
              AND (own.valid_from IS NULL OR own.valid_from <= %(now)s) AND (own.valid_to IS NULL OR own.valid_to > %(now)s)
              AND (own.source = %(manual)s OR NOT EXISTS (
                SELECT FROM {Price._meta.db_table} AS other
                WHERE other.model_id = found.id AND other.retired_at IS NULL AND other.source = %(manual)s))
        )
    )
    SELECT used.provider, used.model, used.attempts, used.tokens, bare.alone
    FROM (
        SELECT provider, model, sum(attempts) AS attempts, sum(tokens_input + tokens_output) AS tokens FROM usage_rollup_1h
        WHERE organisation = %(organisation)s AND simulated = %(simulated)s AND bucket >= %(since)s
          AND EXISTS (SELECT FROM bare)  -- asked once, before anything is read: mostly everything has its price
        GROUP BY provider, model HAVING sum(cost_nano) = 0 AND sum(tokens_input + tokens_output) > 0
    ) AS used JOIN bare ON bare.provider = used.provider AND bare.model = used.model
    ORDER BY used.attempts DESC
"""


def unpriced_traffic(scope: Scope, tariffs: Tariffs, *, days: int = UNPRICED_DAYS, now: datetime | None = None) -> list[Unpriced]:
    """Models that nothing prices now and that were used lately, booked at nothing, the busiest first: one query; what is priced like
    another model and was booked at nothing all the same is looked up in the book."""
    now = now or datetime.now(UTC)
    at = unix_ms(now) or 0
    asked = {"organisation": scope.organisation, "simulated": scope.simulated, "since": now - timedelta(days=days), "now": now}
    rows = rows_of(_BARE, {**asked, "manual": SOURCE_MANUAL})
    bare = [row for row in rows if row[4] or (tariff := tariffs.of(row[0], row[1])) is None or tariff.at(at) is None]
    return [Unpriced(provider, model, int(attempts), int(tokens)) for provider, model, attempts, tokens, _ in bare]


def newest_book() -> str:
    """The version of the base prices that was taken last; empty before the first time."""
    newest = BookRefresh.objects.aggregate(at=Max("at"))["at"]
    row = BookRefresh.objects.filter(at=newest).first() if newest else None
    return row.book if row else ""
