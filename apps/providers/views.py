"""The pages of providers that only read: the list, and one provider's overview, models, history; the list of credentials."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import render
from django.urls import reverse

from apps.providers import choices, listing, tables
from apps.providers.live import live_credentials, live_targets
from apps.providers.models import Provider
from apps.publishing.editing import ScopedView
from apps.publishing.selectors import fleet_status_of
from apps.ui.csvfile import csv_response
from apps.ui.status import worst
from apps.ui.tables import MOST_CSV_ROWS, Chip, Empty, listing_build
from apps.ui.timerange import PRESETS, TimeRange, from_query
from apps.usage import plots
from apps.usage import selectors as usage
from apps.usage.requests import request_page

log = logging.getLogger(__name__)

DEFAULT_FROM = "now-24h"
RECENT_ERRORS = 5


def range_of(query: Mapping[str, str]) -> TimeRange:
    """The time range of these pages; the last day, unless the URL says otherwise."""
    return from_query(query, default_from=DEFAULT_FROM)


def text_of(query: Mapping[str, str], name: str) -> str:
    """A filter's text, made harmless."""
    return query.get(name, "").replace("\x00", "").strip()[:200]


class ListView(ScopedView):
    """``/providers/``: every provider with its state, and what it did in a range."""

    permission = "provider.view"
    http_method_names: ClassVar[list[str]] = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponseBase:
        time_range, csv = range_of(request.GET), request.GET.get("format") == "csv"
        shown = tables.providers_list(self.choice, time_range, request.GET, csv=csv)
        if csv:
            return shown.csv("bulkhead-providers.csv")
        context = {
            "listing": shown,
            "range": time_range,
            "presets": PRESETS,
            "choice": self.choice,
            "may_change": self.choice.may("provider.change"),
            "wanted": text_of(request.GET, "q"),
            "state": request.GET.get("state", ""),
            "states": [(value, label) for value, (label, _) in tables.STATE_GROUPS.items()],
        }
        return render(request, "providers/list.html", context)


class ProviderView(ScopedView):
    """A page about one provider. ``tab``: which one is open."""

    permission = "provider.view"
    http_method_names: ClassVar[list[str]] = ["get", "head"]
    tab: ClassVar[str] = ""

    def provider(self, provider_id: UUID) -> Provider:
        """Raises Http404 where the chosen organisation has none of that id."""
        found = listing.provider_of(self.choice.organisation, provider_id)
        if found is None:
            raise Http404("There is no such provider in this organisation.")
        return found

    def tabs(self, provider: Provider) -> list[tuple[str, str, bool, None]]:
        """(label, URL, current, count) of each."""
        kept = QueryDict(mutable=True)
        for name in ("from", "to"):
            if name in self.request.GET:
                kept[name] = self.request.GET[name]
        tail = f"?{kept.urlencode()}" if kept else ""
        places = (("Overview", "detail"), ("Models and prices", "models"), ("History", "history"))
        return [(label, reverse(f"providers:{name}", args=[provider.pk]) + tail, name == self.tab, None) for label, name in places]

    def frame(self, provider: Provider, **more: Any) -> dict[str, Any]:
        """What every tab's template needs."""
        return {
            "provider": provider,
            "choice": self.choice,
            "tabs": self.tabs(provider),
            "crumbs": (("Providers", reverse("providers:list")),),
            "may_change": self.choice.may("provider.change"),
            "may_price": self.choice.may("price.change"),
            **more,
        }


class DetailView(ProviderView):
    """``/providers/<id>/``: how it does, its endpoints and credentials, the routes that use it, what failed lately."""

    tab = "detail"

    def get(self, request: HttpRequest, provider_id: UUID) -> HttpResponseBase:
        time_range, now = range_of(request.GET), datetime.now(UTC)
        endpoints = listing.endpoints_of(self.choice.organisation, provider_id)
        provider = endpoints[0].provider if endpoints else self.provider(provider_id)
        scope = self.choice.scope
        series = usage.traffic_series(
            scope, time_range.start, time_range.end, dimension="provider", value=provider.name, latency=False, now=now
        )
        checks = [check for endpoint in endpoints if (check := getattr(endpoint, "check_state", None))]
        row = tables.ProviderRow(
            pk=provider.pk, name=provider.name, kind=provider.kind, simulated=provider.simulated, enabled=provider.enabled,
            allow_private=provider.allow_private_addresses, totals=series.totals, latency=series.total,
            checks=tuple(listing.check_now(check.state, check.checked_at, now=now) for check in checks), endpoints=endpoints,
        )  # fmt: skip
        targets = listing.routes_using(provider)
        failed: list[Any] = []
        if self.choice.may("request.view") and (series.totals.failed or series.totals.attempt_errors):
            failed = request_page(
                scope, time_range.start, time_range.end, filters={"provider": provider.name, "outcome": "error"}, limit=RECENT_ERRORS
            ).rows
        heard = [proxy["detail"] for proxy in fleet_status_of(request)["proxies"]]
        troubled = [target for target in live_targets(self.choice.organisation, heard) if target.place.provider == provider.name]
        credentials = live_credentials(self.choice.organisation, provider.name, heard)
        context = self.frame(
            provider,
            row=row,
            status=worst([row.status, *(target.status for target in troubled)]) if provider.enabled else row.status,
            troubled=troubled,
            endpoints=[
                (endpoint, listing.endpoint_status(endpoint, now=now), listing.credential_rows(endpoint, credentials))
                for endpoint in endpoints
            ],
            series=series,
            plot=plots.traffic(series) if series.totals.requests else None,
            targets=targets,
            route_names=list(dict.fromkeys(target.route.name for target in targets)),
            failed=failed,
            kind=choices.KINDS.get(provider.kind),
            range=time_range,
            presets=PRESETS,
        )
        return render(request, "providers/detail.html", context)


class ModelsView(ProviderView):
    """``/providers/<id>/models/``: what its models cost and can do, searched and paged."""

    tab = "models"

    def get(self, request: HttpRequest, provider_id: UUID) -> HttpResponseBase:
        provider, query = self.provider(provider_id), request.GET
        wanted, priced = text_of(query, "q"), query.get("priced", "")
        words = {"yours": "Yours", "book": "Price book", "none": "None"}
        chips = ([Chip("Name", wanted, "q")] if wanted else []) + ([Chip("Price", words[priced], "priced")] if priced in words else [])
        may = self.choice.may("price.change")
        nothing = Empty(
            "nothing-yet",
            "No model yet",
            "A model appears here once a route targets it or you price it.",
            reverse("providers:price_add", args=[provider.pk]) if may else "",
            "Add a model" if may else "",
        )
        found = listing_build(
            query,
            label="models",
            columns=tables.MODELS,
            rows=listing.models_found(provider, query=wanted, priced=priced),
            default_sort="name",
            nothing_yet=nothing,
            chips=chips,
        )
        if query.get("format") == "csv":
            rows = listing.model_rows(provider, list(found.everything[:MOST_CSV_ROWS]))
            header = [column.label for column in tables.MODELS]
            lines = ([column.value(row) for column in tables.MODELS if column.value] for row in rows)
            return csv_response("bulkhead-models.csv", header, lines)
        rows = listing.model_rows(provider, found.rows)
        context = self.frame(provider, listing=found, rows=rows, wanted=wanted, priced=priced, price_words=words.items())
        return render(request, "providers/models.html", context)


class HistoryView(ProviderView):
    """``/providers/<id>/history/``: what its checks saw, and who changed what."""

    tab = "history"

    def get(self, request: HttpRequest, provider_id: UUID) -> HttpResponseBase:
        provider = self.provider(provider_id)
        may_audit = self.choice.may("audit.view")
        context = self.frame(
            provider,
            checks=listing.check_history(provider),
            may_audit=may_audit,
            changes=listing.changes_of(provider) if may_audit else [],
        )
        return render(request, "providers/history.html", context)


class CredentialsView(ScopedView):
    """``/providers/credentials/``: names, references and last characters; never a value."""

    permission = "provider.view"
    http_method_names: ClassVar[list[str]] = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponseBase:
        query, may = request.GET, self.choice.may("credential.change")
        wanted = text_of(query, "q")
        nothing = Empty(
            "nothing-yet",
            "No credential yet",
            "A credential is a provider's secret; endpoints refer to it by name.",
            reverse("providers:credential_add") if may else "",
            "Add a credential" if may else "",
        )
        found = listing_build(
            query,
            label="credentials",
            columns=tables.CREDENTIALS,
            rows=listing.credentials_found(self.choice.organisation, query=wanted),
            default_sort="name",
            nothing_yet=nothing,
            chips=[Chip("Name", wanted, "q")] if wanted else [],
        )
        if query.get("format") == "csv":
            return found.csv("bulkhead-credentials.csv")
        context = {
            "listing": found,
            "choice": self.choice,
            "may_change": may,
            "wanted": wanted,
            "crumbs": (("Providers", reverse("providers:list")),),
        }
        return render(request, "providers/credentials.html", context)
