"""Reads of what is known of models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec
from django.db.models import Q, QuerySet

from apps.catalogue import packages
from apps.catalogue.choices import SOURCE_LISTING
from apps.catalogue.models import Entry, ListedModel, Listing, PackagesTaken
from apps.catalogue.packages import Said
from apps.contracts.model_facts import NOTHING, ModelFacts, facts_over, named
from apps.providers.models import Endpoint, Provider, ProviderModel
from apps.providers.pricebook import NO_LIST, price_list_of

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


def overrides_of(organisation: Organisation) -> QuerySet[Entry]:
    """What people said of an organisation's models, by provider and name."""
    rows = Entry.objects.filter(model__provider__organisation=organisation).exclude(own={})
    return rows.select_related("model__provider__organisation").order_by("model__provider__name", "model__name")


def packages_taken() -> str:
    """The packages that facts were last taken from; empty before the first time."""
    return PackagesTaken.objects.values_list("packages", flat=True).first() or ""


def price_lists(providers: Iterable[Provider]) -> dict[UUID, str | None]:
    """The price list of each provider, None for none: one query."""
    rows = {provider.pk: provider for provider in providers}
    first: dict[UUID, str] = {}
    for provider_id, url in Endpoint.objects.filter(provider__in=rows).order_by("position").values_list("provider_id", "base_url"):
        first.setdefault(provider_id, url)
    found: dict[UUID, str | None] = {}
    for pk, provider in rows.items():
        if provider.simulated or provider.price_list == NO_LIST:
            found[pk] = None
        else:
            found[pk] = provider.price_list or (price_list_of(first[pk]) if pk in first else None)
    return found


def known_of(models: Iterable[ProviderModel]) -> dict[UUID, Said]:
    """What packages and providers' lists say of each model now: two queries, whatever their number. models: read with their providers."""
    rows = list(models)
    lists = price_lists(model.provider for model in rows)
    wanted = Q(pk__in=[])
    names: dict[UUID, list[str]] = {}
    for model in rows:
        names.setdefault(model.provider_id, []).append(model.name)
    for provider_id, own in names.items():
        wanted |= Q(provider_id=provider_id, name__in=own)
    listed = {(row.provider_id, row.name): row for row in ListedModel.objects.filter(wanted, gone_at=None)} if rows else {}
    found: dict[UUID, Said] = {}
    for model in rows:
        price_list = lists[model.provider_id]
        said = packages.package_facts(price_list, model.name) if price_list else Said()
        row = listed.get((model.provider_id, model.name))
        above = msgspec.convert(row.facts, ModelFacts) if row is not None else NOTHING
        sources = {**said.sources, **dict.fromkeys(named(above), SOURCE_LISTING)}
        found[model.pk] = Said(facts_over(above, said.facts), sources)
    return found


def facts_by_place(organisation: Organisation, places: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], ModelFacts]:
    """(provider's name, model) -> what holds of it, of those of which anything is known: one query."""
    wanted = Q(pk__in=[])
    for provider, name in set(places):
        wanted |= Q(model__provider__name=provider, model__name=name)
    rows = Entry.objects.filter(wanted, model__provider__organisation=organisation).select_related("model__provider")
    return {(row.model.provider.name, row.model.name): row.facts for row in rows}


class Place(NamedTuple):
    """A model at a provider. listed: whether the provider's list has it, None: nobody has read it. gone: it had it once."""

    facts: ModelFacts = NOTHING
    listed: bool | None = None
    gone: bool = False


def places_of(organisation: Organisation, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Place]:
    """(provider's name, model) -> what is known of it there: three queries, whatever their number."""
    wanted = set(pairs)
    facts = facts_by_place(organisation, wanted)
    providers, names = {provider for provider, _ in wanted}, {name for _, name in wanted}
    read = set(
        Listing.objects.filter(provider__organisation=organisation, provider__name__in=providers, partial=False)
        .exclude(read_at=None)
        .values_list("provider__name", flat=True)
    )
    rows = ListedModel.objects.filter(provider__organisation=organisation, provider__name__in=providers, name__in=names)
    listed = {(provider, name): gone for provider, name, gone in rows.values_list("provider__name", "name", "gone_at")}
    found: dict[tuple[str, str], Place] = {}
    for pair in wanted:
        gone = listed.get(pair) is not None
        there = None if pair[0] not in read else pair in listed and not gone
        found[pair] = Place(facts.get(pair, NOTHING), there, gone)
    return found
