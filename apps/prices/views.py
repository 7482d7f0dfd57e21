"""The pages of the price book that only read."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import F, Sum
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.contracts.pricing import KINDS
from apps.prices import listing, tables
from apps.prices.choices import STATES
from apps.prices.models import Repricing
from apps.prices.selectors import UNPRICED_DAYS, Tariffs, book_refreshes, gpu_prices_of, repricings_of, unpriced_traffic
from apps.prices.units import unit_prices_of
from apps.providers import pricebook, rules
from apps.providers.selectors import discounts_of
from apps.publishing.editing import ScopedView
from apps.ui.csvfile import csv_response
from apps.ui.tables import MOST_CSV_ROWS, Chip, Empty, listing_build

PAGES = (
    ("Models", "list"),
    ("Units", "units"),
    ("Discounts", "discounts"),
    ("GPU hours", "gpus"),
    ("Base prices", "base"),
    ("Re-pricing", "repricings"),
)
WORDS = {"yours": "Yours", "book": "Price book", "none": "None"}


def text_of(query: Any, name: str) -> str:
    """A filter's text, made harmless."""
    return str(query.get(name, "")).replace("\x00", "").strip()[:200]


class BookView(ScopedView):
    """A page of the price book. ``tab``: which one is open."""

    permission = "budget.view"
    http_method_names: ClassVar[list[str]] = ["get", "head"]
    tab: ClassVar[str] = ""

    def frame(self, **more: Any) -> dict[str, Any]:
        """What every tab's template needs."""
        return {
            "choice": self.choice,
            "tabs": [(label, reverse(f"prices:{name}"), name == self.tab, None) for label, name in PAGES],
            "may_price": self.choice.may("price.change"),
            **more,
        }


class ListView(BookView):
    """``/prices/``: what every model costs now, and who says so."""

    tab = "list"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        query, organisation = request.GET, self.choice.organisation
        wanted, provider, priced = text_of(query, "q"), text_of(query, "provider"), text_of(query, "priced")
        chips = [Chip("Name", wanted, "q")] if wanted else []
        chips += [Chip("Provider", provider, "provider")] if provider else []
        chips += [Chip("Price", WORDS[priced], "priced")] if priced in WORDS else []
        may = self.choice.may("provider.change")
        nothing = Empty(
            "nothing-yet",
            "No model yet",
            "A model appears here once a route targets it or you price it at its provider.",
            reverse("providers:connect") if may else "",
            "Connect a provider" if may else "",
        )
        found: Any = listing_build(
            query,
            label="models",
            columns=tables.BOOK,
            rows=listing.models_found(organisation, query=wanted, provider=provider, priced=priced),
            default_sort="provider",
            nothing_yet=nothing,
            chips=chips,
        )
        if query.get("format") == "csv":
            rows = listing.book_rows(list(found.everything[:MOST_CSV_ROWS]), Tariffs(organisation))
            lines = ([column.value(row) for column in tables.BOOK if column.value] for row in rows)
            return csv_response("bulkhead-prices.csv", [column.label for column in tables.BOOK], lines)
        tariffs = Tariffs(organisation, found.rows)
        context = self.frame(
            listing=found,
            rows=listing.book_rows(found.rows, tariffs),
            unpriced=unpriced_traffic(self.choice.scope, tariffs),
            unpriced_days=UNPRICED_DAYS,
            wanted=wanted,
            provider=provider,
            providers=tariffs.providers,
            priced=priced,
            price_words=WORDS.items(),
        )
        return render(request, "prices/list.html", context)


class ModelView(BookView):
    """``/prices/models/<id>/``: everything that prices one model, and every price it ever had."""

    tab = "list"

    def get(self, request: HttpRequest, model_id: UUID) -> HttpResponseBase:
        page = listing.model_page(self.choice.organisation, model_id)
        if page is None:
            raise Http404("There is no such model in this organisation.")
        labels = {kind: kind.replace("_", " ").replace("audio", "sound").replace("image", "picture").capitalize() for kind in KINDS}
        held = page.held
        kinds = [(labels[kind], getattr(held, kind), labels.get(KINDS[kind], "").lower()) for kind in KINDS] if held is not None else []
        context = self.frame(
            page=page,
            kinds=kinds,
            example=(rules.EXAMPLE_INPUT, rules.EXAMPLE_OUTPUT),
            example_cost=rules.example_cost_of(page.now) if page.now is not None else None,
        )
        return render(request, "prices/model.html", context)


class KeptView(BookView):
    """A list of what people wrote into the book. A class names what is listed, where one is added, and says so where nothing is."""

    label: ClassVar[str]
    template: ClassVar[str]
    columns: ClassVar[Any]
    sort: ClassVar[str]
    add: ClassVar[str]
    nothing: ClassVar[tuple[str, str, str]]
    """Title, sentence and button of the empty list."""

    def rows(self) -> Any:
        """All of the organisation's."""
        raise NotImplementedError

    def get(self, request: HttpRequest) -> HttpResponseBase:
        title, sentence, button = self.nothing
        may = self.choice.may("price.change")
        found = listing_build(
            request.GET,
            label=self.label,
            columns=self.columns,
            rows=self.rows(),
            default_sort=self.sort,
            nothing_yet=Empty("nothing-yet", title, sentence, reverse(self.add) if may else "", button if may else ""),
        )
        if request.GET.get("format") == "csv":
            return found.csv(f"bulkhead-{self.label.lower().replace(' ', '-')}.csv")
        return render(request, self.template, self.frame(listing=found))


class DiscountsView(KeptView):
    """``/prices/discounts/``: what was negotiated."""

    tab, label, template, columns = "discounts", "discounts", "prices/discounts.html", tables.DISCOUNTS
    sort, add = "name", "prices:discount_add"
    nothing = ("No discount yet", "What a provider takes off its list prices for you, for all its models or one.", "Add a discount")

    def rows(self) -> Any:
        return discounts_of(self.choice.organisation)


class GpusView(KeptView):
    """``/prices/gpus/``: what hours of our own GPUs cost."""

    tab, label, template, columns = "gpus", "GPU prices", "prices/gpus.html", tables.GPUS
    sort, add = "gpu", "prices:gpu_add"
    nothing = (
        "No GPU price yet",
        "What an hour of your own hardware costs, so that self-hosted models can be compared with bought ones.",
        "Add a GPU price",
    )

    def rows(self) -> Any:
        return gpu_prices_of(self.choice.organisation)


class UnitsView(KeptView):
    """``/prices/units/``: what is billed by images, seconds, characters and searches."""

    tab, label, template, columns = "units", "unit prices", "prices/units.html", tables.UNITS
    sort, add = "model", "prices:unit_add"
    nothing = (
        "No unit price yet",
        "What images, seconds of sound, characters and searches cost, at models that do not bill them by tokens.",
        "Add a unit price",
    )

    def rows(self) -> Any:
        return unit_prices_of(self.choice.organisation)


class BaseView(BookView):
    """``/prices/base/``: where the base prices come from, and each time that they were taken anew."""

    tab = "base"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        refreshes = book_refreshes()
        installed = pricebook.book_version()
        context = self.frame(
            installed=installed,
            taken=refreshes[0].book if refreshes else "",
            refreshes=refreshes,
            may_take=self.choice.may_installation("price.change"),
        )
        return render(request, "prices/base.html", context)


class RepricingsView(BookView):
    """``/prices/repricing/``: past periods that were priced again."""

    tab = "repricings"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        may = self.choice.may("price.change")
        nothing = Empty(
            "nothing-yet",
            "Nothing was priced again",
            "When a price was wrong, price the period again: the booked figures stay, the difference stands beside them.",
            reverse("prices:repricing_add") if may else "",
            "Price a period again" if may else "",
        )
        found = listing_build(
            request.GET,
            label="re-pricings",
            columns=tables.REPRICINGS,
            rows=repricings_of(self.choice.organisation),
            default_sort="-asked",
            nothing_yet=nothing,
        )
        if request.GET.get("format") == "csv":
            return found.csv("bulkhead-repricings.csv")
        rows = [(row, STATES[row.state]) for row in found.rows]
        return render(request, "prices/repricings.html", self.frame(listing=found, rows=rows))


class RepricingView(BookView):
    """``/prices/repricing/<id>/``: one re-pricing by day and model; its lines as CSV."""

    tab = "repricings"

    def get(self, request: HttpRequest, repricing_id: UUID) -> HttpResponseBase:
        row: Repricing | None = repricings_of(self.choice.organisation).filter(pk=repricing_id).first()
        if row is None:
            raise Http404("There is no such re-pricing in this organisation.")
        if request.GET.get("format") == "csv":
            columns = [column for column in tables.LINES if column.value]
            lines = ([column.value(line) for column in columns if column.value] for line in row.lines.all()[:MOST_CSV_ROWS].iterator())
            return csv_response("bulkhead-repricing.csv", [column.label for column in columns], lines)
        sums = (
            row.lines.values("day", "provider", "model", "simulated", "price_before", "price_after")
            .annotate(count=Sum("requests"), original=Sum("original_nano"), corrected=Sum("corrected_nano"))
            .annotate(difference=F("corrected") - F("original"))
            .order_by("day", "provider", "model", "price_before")[:500]
        )
        context = self.frame(row=row, state=STATES[row.state], lines=list(sums), crumbs=(("Re-pricing", reverse("prices:repricings")),))
        return render(request, "prices/repricing.html", context)
