"""Reads of what is known of models."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec
from django.db import connection
from django.db.models import Q, QuerySet

from apps.catalogue import packages
from apps.catalogue.choices import SOURCE_LISTING
from apps.catalogue.models import Entry, ListedModel, PackagesTaken
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


class Place(NamedTuple):
    """A model at a provider. listed: whether the provider's list has it, None: nobody has read it. gone: it had it once."""

    facts: ModelFacts = NOTHING
    listed: bool | None = None
    gone: bool = False


def places_of(organisation: Organisation, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Place]:
    """(provider's name, model) -> what is known of it there: one query, whatever their number."""
    wanted = sorted(set(pairs))
    found: dict[tuple[str, str], Place] = {}
    with connection.cursor() as cursor:
        cursor.execute(_PLACES, [[provider for provider, _ in wanted], [name for _, name in wanted], organisation.pk])
        for provider, name, known, own, read, listed, gone in cursor.fetchall():
            facts = facts_over(*(msgspec.convert(json.loads(said or "{}"), ModelFacts) for said in (own, known)))
            found[provider, name] = Place(facts, listed and not gone if read else None, gone)
    return found


_PLACES = """
SELECT p.name, w.model, e.known::text, e.own::text,
       l.read_at IS NOT NULL AND NOT l.partial, s.id IS NOT NULL, s.gone_at IS NOT NULL
FROM unnest(%s::text[], %s::text[]) AS w (provider, model)
JOIN providers_provider p ON p.name = w.provider
LEFT JOIN providers_providermodel m ON m.provider_id = p.id AND m.name = w.model
LEFT JOIN catalogue_entry e ON e.model_id = m.id
LEFT JOIN catalogue_listing l ON l.provider_id = p.id
LEFT JOIN catalogue_listedmodel s ON s.provider_id = p.id AND s.name = w.model
WHERE p.organisation_id = %s
"""
