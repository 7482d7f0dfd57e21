"""The pages of the catalogue that only read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.catalogue import choices, listing, packages, tables
from apps.catalogue.selectors import packages_taken
from apps.publishing.editing import ScopedView
from apps.ui.csvfile import csv_response
from apps.ui.tables import MOST_CSV_ROWS, Chip, Empty, listing_build

PAGES = (("In use", "list"), ("Listed by providers", "listed"), ("Notices", "notices"))


def text_of(query: Any, name: str) -> str:
    """A filter's text, made harmless."""
    return str(query.get(name, "")).replace("\x00", "").strip()[:200]


class CatalogueView(ScopedView):
    """A page of the catalogue. ``tab``: which one is open."""

    permission = "provider.view"
    http_method_names: ClassVar[list[str]] = ["get", "head"]
    tab: ClassVar[str] = ""

    def frame(self, **more: Any) -> dict[str, Any]:
        """What every tab's template needs."""
        return {
            "choice": self.choice,
            "tabs": [(label, reverse(f"catalogue:{name}"), name == self.tab, None) for label, name in PAGES],
            "crumbs": (("Providers", reverse("providers:list")),),
            "may_change": self.choice.may("provider.change"),
            **more,
        }


class ListView(CatalogueView):
    """``/models/``: every model in use, with what is known of it."""

    tab = "list"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        query, organisation = request.GET, self.choice.organisation
        wanted, provider = text_of(query, "q"), text_of(query, "provider")
        shown, able = text_of(query, "shown"), text_of(query, "able")
        chips = [Chip("Name", wanted, "q")] if wanted else []
        chips += [Chip("Provider", provider, "provider")] if provider else []
        chips += [Chip("Shown", listing.SHOWN[shown], "shown")] if shown in listing.SHOWN else []
        chips += [Chip("Can do", choices.LABELS[able], "able")] if able in choices.LABELS else []
        may = self.choice.may("provider.change")
        nothing = Empty(
            "nothing-yet",
            "No model in use yet",
            "A model appears here once a route targets it, or you say something of it.",
            reverse("providers:connect") if may else "",
            "Connect a provider" if may else "",
        )
        found: Any = listing_build(
            query,
            label="models",
            columns=tables.USED,
            rows=listing.models_used(organisation, query=wanted, provider=provider, shown=shown, able=able),
            default_sort="name",
            nothing_yet=nothing,
            chips=chips,
        )
        if query.get("format") == "csv":
            rows = listing.used_rows(list(found.everything[:MOST_CSV_ROWS]))
            lines = ([column.value(row) for column in tables.USED if column.value] for row in rows)
            return csv_response("bulkhead-catalogue.csv", [column.label for column in tables.USED], lines)
        context = self.frame(
            listing=found,
            rows=listing.used_rows(found.rows),
            wanted=wanted,
            provider=provider,
            providers=listing.provider_names(organisation),
            shown=shown,
            shown_words=listing.SHOWN.items(),
            able=able,
            able_words=choices.LABELS.items(),
        )
        return render(request, "catalogue/list.html", context)


class ListedView(CatalogueView):
    """``/models/listed/``: what providers' own lists have, and how the latest look at each went."""

    tab = "listed"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        query, organisation = request.GET, self.choice.organisation
        wanted, provider, seen = text_of(query, "q"), text_of(query, "provider"), text_of(query, "seen")
        chips = [Chip("Name", wanted, "q")] if wanted else []
        chips += [Chip("Provider", provider, "provider")] if provider else []
        chips += [Chip("Shown", listing.SEEN[seen], "seen")] if seen in listing.SEEN else []
        nothing = Empty("nothing-yet", "No list was read yet", "Each enabled provider's own list is read every quarter of an hour.")
        found: Any = listing_build(
            query,
            label="models",
            columns=tables.LISTED,
            rows=listing.models_listed(organisation, query=wanted, provider=provider, seen=seen, now=datetime.now(UTC)),
            default_sort="name",
            nothing_yet=nothing,
            chips=chips,
        )
        if query.get("format") == "csv":
            rows = listing.listed_rows(list(found.everything[:MOST_CSV_ROWS]))
            lines = ([column.value(row) for column in tables.LISTED if column.value] for row in rows)
            return csv_response("bulkhead-listed-models.csv", [column.label for column in tables.LISTED], lines)
        looks = listing.listings_of(organisation)
        context = self.frame(
            listing=found,
            rows=listing.listed_rows(found.rows),
            troubled=[look for look in looks if look.problem],
            latest=max((look.looked_at for look in looks), default=None),
            wanted=wanted,
            provider=provider,
            providers=listing.provider_names(organisation),
            seen=seen,
            seen_words=listing.SEEN.items(),
        )
        return render(request, "catalogue/listed.html", context)


class NoticesView(CatalogueView):
    """``/models/notices/``: what is new, vanished, repriced or ends soon at providers."""

    tab = "notices"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        context = self.frame(entries=listing.notices_of(self.choice.organisation), installed=packages.packages(), taken=packages_taken())
        return render(request, "catalogue/notices.html", context)


class ModelView(CatalogueView):
    """``/models/<id>/``: one model: what it is, what it can do and who says so, what it costs, who uses it, who else offers it."""

    tab = "list"

    def get(self, request: HttpRequest, model_id: UUID) -> HttpResponseBase:
        page = listing.model_page(self.choice.organisation, model_id)
        if page is None:
            raise Http404("There is no such model in this organisation.")
        crumbs = (("Providers", reverse("providers:list")), ("Models", reverse("catalogue:list")))
        may_prices = self.choice.may("budget.view")
        return render(request, "catalogue/model.html", self.frame(page=page, crumbs=crumbs, may_prices=may_prices))
