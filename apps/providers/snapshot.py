"""Rows -> the sections ``providers``, ``credentials`` and ``prices``, and back when a version is rolled back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast
from uuid import UUID

from django.db.models import Prefetch, Q

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.contracts import snapshot as contract
from apps.contracts.snapshot import CredentialFragment, Fragment, PriceFragment, PriceTier, PriceVersion, ProviderFragment
from apps.providers import prices as book
from apps.providers import vault
from apps.providers.models import Credential, Endpoint, Provider, ProviderModel
from apps.providers.rules import EndpointSpec
from apps.providers.selectors import models_with_prices, prices_in_force
from apps.providers.services import provider_delete, provider_restore
from apps.publishing.registry import Section


def _providers(ids: set[str] | None) -> dict[str, Fragment]:
    rows = Provider.objects.all() if ids is None else Provider.objects.filter(pk__in=ids)
    rows = rows.prefetch_related(Prefetch("endpoints", queryset=Endpoint.objects.order_by("position")))
    return {
        str(row.pk): ProviderFragment(
            id=str(row.pk),
            name=row.name,
            kind=row.kind,
            organisation=str(row.organisation_id),
            simulated=row.simulated,
            enabled=row.enabled,
            allow_private_addresses=row.allow_private_addresses,
            endpoints=[
                contract.Endpoint(
                    name=endpoint.name,
                    base_url=endpoint.base_url,
                    region=endpoint.region,
                    credential=str(endpoint.credential_id) if endpoint.credential_id else None,
                    max_connections=endpoint.max_connections,
                    verify_tls=endpoint.verify_tls,
                    ca_file=endpoint.ca_file or None,
                )
                for endpoint in row.endpoints.all()
            ],
        )
        for row in rows
    }


def _restore_provider(*, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
    if fragment is None:
        provider = Provider.objects.filter(pk=object_id).first()
        if provider is not None:
            provider_delete(actor=actor, provider=provider, reason=reason)
        return
    then = cast(ProviderFragment, fragment)
    names = {str(row.pk): row.name for row in Credential.objects.filter(organisation_id=then.organisation)}
    for endpoint in then.endpoints:
        if endpoint.credential and endpoint.credential not in names:
            raise ServiceError(
                f"the credential of {then.name}/{endpoint.name} was deleted since; credentials are never rolled back: "
                f"set one and choose it for the endpoint",
                "credential",
            )
    provider_restore(
        actor=actor,
        id=object_id,
        organisation=Organisation.objects.get(pk=then.organisation),
        name=then.name,
        kind=then.kind,
        simulated=then.simulated,
        enabled=then.enabled,
        allow_private_addresses=then.allow_private_addresses,
        endpoints=[
            EndpointSpec(
                name=endpoint.name,
                base_url=endpoint.base_url,
                region=endpoint.region,
                credential=names[endpoint.credential] if endpoint.credential else "",
                max_connections=endpoint.max_connections,
                verify_tls=endpoint.verify_tls,
                ca_file=endpoint.ca_file or "",
            )
            for endpoint in then.endpoints
        ],
        reason=reason,
    )


def _credentials(ids: set[str] | None) -> dict[str, Fragment]:
    rows = Credential.objects.all() if ids is None else Credential.objects.filter(pk__in=ids)
    return {str(row.pk): CredentialFragment(id=str(row.pk), sealed=vault.seal(str(row.pk), vault.decrypt(row.encrypted))) for row in rows}


def _prices(ids: set[str] | None) -> dict[str, Fragment]:
    rows = ProviderModel.objects.all()
    if ids is not None:
        wanted = Q(pk__in=[])
        for object_id in ids:
            provider, _, name = object_id.partition("/")
            wanted |= Q(provider_id=UUID(provider), name=name)
        rows = rows.filter(wanted)
    fragments: dict[str, Fragment] = {}
    for row in models_with_prices(rows):
        versions = [
            PriceVersion(
                version=price.version,
                input=price.input,
                output=price.output,
                cache_read=price.cache_read,
                cache_write=price.cache_write,
                request=price.request,
                tiers=[PriceTier(**tier) for tier in price.tiers],
                valid_from_ms=_ms(price.valid_from) or 0,
                valid_to_ms=_ms(price.valid_to),
            )
            for price in prices_in_force(row.prices.all())
        ]
        if versions:
            fragments[book.price_id(row)] = PriceFragment(
                id=book.price_id(row), provider=row.provider.name, model=row.name, versions=versions
            )
    return fragments


def _restore_price(*, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
    provider_id, _, name = object_id.partition("/")
    versions = cast(PriceFragment, fragment).versions if fragment is not None else []
    provider = Provider.objects.filter(pk=provider_id).first()
    if provider is None and versions:
        raise ServiceError(f"the provider of {name!r} is gone: it has to be restored first", "provider")
    if provider is not None:
        book.prices_restore(actor=actor, provider=provider, name=name, versions=versions, reason=reason)


def _ms(at: datetime | None) -> int | None:
    return None if at is None else int((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


providers = Section(build=_providers, restore=_restore_provider)
credentials = Section(build=_credentials, restore=None)
prices = Section(build=_prices, restore=_restore_price)
