"""Looking at providers' own lists of models, and telling what is different since: new, vanished, repriced, ending models.

A look is a call (outside any transaction, through the outbound guard) and a short transaction that keeps what it brought. One provider's
trouble is that provider's: it is kept on its listing, and the others are looked at all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Prefetch
from django.utils import timezone

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.catalogue import choices, rules
from apps.catalogue.listing_facts import listed_models, next_page
from apps.catalogue.models import ListedModel, Listing
from apps.catalogue.rules import Found, Look, Was
from apps.catalogue.services import known_take
from apps.contracts.fleet import PROVIDER_PREFIX
from apps.providers import probe
from apps.providers.listing import routes_using
from apps.providers.models import Endpoint, Provider, ProviderModel
from apps.providers.probe import MOST_MODELS, Address, Problem
from apps.providers.rules import MODEL
from apps.providers.services import credential_value
from apps.providers.spoken import spoken
from apps.publishing.services import publish
from controlplane.away import database_away

log = logging.getLogger(__name__)

PARALLEL = 4
MOST_PAGES = 10

Page = Callable[..., Any]


class Reading(NamedTuple):
    """A list that was read. partial: it has more pages than were asked for."""

    models: dict[str, Found]
    partial: bool = False


def listings_look(*, provider_ids: Iterable[UUID] | None = None, page: Page = probe.listing_page) -> dict[str, str]:
    """Look at the lists of every enabled provider (or the given ones); returns provider id -> problem, empty where the list was read.

    What it says of models that are in use is published. Safe to run twice: the same list tells nothing again. Raises nothing for what a
    provider does.
    """
    # What stands for a deployment of our own workers has no list: what runs there is its deployment's matter.
    providers = Provider.objects.filter(enabled=True).exclude(name__startswith=PROVIDER_PREFIX).order_by("name", "pk")
    if provider_ids is not None:
        providers = providers.filter(pk__in=list(provider_ids))
    first = Endpoint.objects.select_related("credential").order_by("position")
    found: dict[str, str] = {}
    work: list[tuple[Provider, Address]] = []
    for provider in providers.prefetch_related(Prefetch("endpoints", queryset=first)):
        try:
            address = address_of(provider)
        except ServiceError as error:
            found[str(provider.pk)] = _failed(provider, error.message)
            continue
        if address is not None:
            work.append((provider, address))
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        for (provider, _), read in zip(work, pool.map(lambda item: listing_read(item[1], page=page), work), strict=True):
            try:
                problem = _failed(provider, read.title) if isinstance(read, Problem) else ""
                if not isinstance(read, Problem):
                    look_keep(provider=provider, reading=read)
                found[str(provider.pk)] = problem
            except Exception as error:
                if database_away(error):
                    raise
                log.exception("the list of models of %s could not be kept", provider.name)
                found[str(provider.pk)] = "it could not be kept: see the worker's log"
    return found


def address_of(provider: Provider) -> Address | None:
    """Where its list is asked for: its first endpoint; None where it has none. Raises ServiceError where the credential cannot be read."""
    endpoint = next(iter(provider.endpoints.all()), None)
    if endpoint is None:
        return None
    return Address(
        base_url=endpoint.base_url,
        secret=credential_value(endpoint.credential) if endpoint.credential else "",
        kind=provider.kind,
        allow_private=provider.allow_private_addresses,
        verify_tls=endpoint.verify_tls,
        ca_file=endpoint.ca_file,
        api_version=endpoint.api_version,
    )


def listing_read(address: Address, *, page: Page = probe.listing_page) -> Reading | Problem:
    """The whole list, page by page. Raises nothing for what an upstream does."""
    models: dict[str, Found] = {}
    more = ""
    for _ in range(MOST_PAGES):
        document = page(address, more=more)
        if isinstance(document, Problem):
            return document
        names = spoken(address.kind).names(document)
        if names is None:
            return Problem("not_a_list", "The answer is not a list of models", "Check the address and the wire format.")
        for name, found in listed_models(document, names).items():
            if MODEL.fullmatch(name):
                models[name] = found
        before, more = more, next_page(document)
        if not more or more == before or len(models) >= MOST_MODELS:
            break
    if not models:
        return Problem("empty", "The list is empty", "Nothing is held to have vanished for that.")
    return Reading(dict(sorted(models.items())[:MOST_MODELS]), bool(more) or len(models) > MOST_MODELS)


def look_keep(*, provider: Provider, reading: Reading, now: datetime | None = None) -> Look:
    """Keep what a look brought, tell what is different, and publish what is known better of models in use."""
    now = now or timezone.now()

    with transaction.atomic():
        Provider.objects.select_for_update().get(pk=provider.pk)  # two looks at once take turns
        listing, _ = Listing.objects.get_or_create(provider=provider, defaults={"looked_at": now})
        rows = {row.name: row for row in ListedModel.objects.filter(provider=provider)}
        before = {name: Was(row.price, row.missed, row.gone_at is not None, row.told_ending) for name, row in rows.items()}
        look = rules.look(before, reading.models, first=listing.read_at is None, partial=reading.partial, today=now.date())
        _store(provider, rows, reading.models, look, now)
        listing.looked_at = listing.read_at = now
        listing.partial, listing.problem = reading.partial, ""
        listing.save()
        _tell(provider, look, reading.models, now)
        differing = known_take(ProviderModel.objects.filter(provider=provider).select_related("provider"))
        if differing:
            # Only then: what others have not published yet is not this look's to publish.
            reason = f"the list of models of {provider.name} says something else of {len(differing)} in use"
            publish(actor=Actor.system("catalogue"), reason=reason)
    return look


def _failed(provider: Provider, why: str) -> str:
    """Keep that a look failed; what was known stays known."""
    Listing.objects.update_or_create(provider=provider, defaults={"looked_at": timezone.now(), "problem": why[:300]})
    return why[:300]


def _store(provider: Provider, rows: Mapping[str, ListedModel], now_there: Mapping[str, Found], look: Look, now: datetime) -> None:
    new, changed, same = [], [], []
    for name, found in now_there.items():
        row = rows.get(name)
        facts, price = rules.stored(found.facts), dict(found.price)
        told = look.ending.get(name, row.told_ending if row is not None else "")
        if row is None:
            new.append(
                ListedModel(provider=provider, name=name, facts=facts, price=price, first_seen_at=now, last_seen_at=now, told_ending=told)
            )
        elif (row.facts, row.price, row.missed, row.gone_at, row.told_ending) == (facts, price, 0, None, told):
            same.append(row.pk)
        else:
            row.facts, row.price, row.missed, row.gone_at, row.told_ending, row.last_seen_at = facts, price, 0, None, told, now
            changed.append(row)
    for name, missed in look.missed.items():
        row = rows[name]
        row.missed = missed
        if name in look.vanished:
            row.gone_at = now
        changed.append(row)
    ListedModel.objects.bulk_create(new, batch_size=1000)
    ListedModel.objects.filter(pk__in=same).update(last_seen_at=now)
    fields = ["facts", "price", "missed", "gone_at", "told_ending", "last_seen_at"]
    ListedModel.objects.bulk_update(changed, fields, batch_size=500)


def _tell(provider: Provider, look: Look, models: Mapping[str, Found], now: datetime) -> None:
    """One notice of each kind, naming the models, and the routes that use those that vanished or end."""
    concerned = [*look.vanished, *look.ending]
    routes: dict[str, list[str]] = {}
    for target in routes_using(provider, models=concerned) if concerned else ():
        if target.route.name not in routes.setdefault(target.model, []):
            routes[target.model].append(target.route.name)
    told: tuple[tuple[str, Sequence[str], dict[str, Any]], ...] = (
        (choices.NEW_EVENT, look.new, {}),
        (choices.VANISHED_EVENT, look.vanished, {"routes": {name: routes[name] for name in look.vanished if name in routes}}),
        (
            choices.REPRICED_EVENT,
            list(look.repriced),
            {
                "prices": {
                    name: {"before": dict(was), "after": dict(is_)}
                    for name, (was, is_) in list(look.repriced.items())[: choices.MOST_NAMED]
                }
            },
        ),
        (
            choices.ENDING_EVENT,
            list(look.ending),
            {"ends_on": look.ending, "routes": {name: routes[name] for name in look.ending if name in routes}},
        ),
    )
    for kind, names, more in told:
        if names:
            event_record(
                kind=kind,
                subject_kind="provider",
                subject_id=provider.pk,
                subject_name=provider.name,
                at=now,
                data={
                    "organisation": str(provider.organisation_id),
                    "models": list(names[: choices.MOST_NAMED]),
                    "count": len(names),
                    **more,
                },
            )
