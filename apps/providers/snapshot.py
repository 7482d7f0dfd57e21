"""Rows -> the sections ``providers``, ``credentials``, ``prices`` and ``discounts``, and back when a version is rolled back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast
from uuid import UUID

from django.db.models import Prefetch, Q

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.contracts import snapshot as contract
from apps.contracts.snapshot import CredentialFragment, DiscountFragment, Fragment, PriceFragment, ProviderFragment
from apps.providers import prices as book
from apps.providers import vault
from apps.providers.discounts import discount_restore
from apps.providers.models import Credential, Discount, Endpoint, Price, Provider, ProviderModel
from apps.providers.rules import EndpointSpec, PoolSpec, price_version, unix_ms
from apps.providers.selectors import models_with_prices, price_spec, prices_in_force
from apps.providers.services import provider_delete, provider_restore
from apps.publishing.registry import Section


def _providers(ids: set[str] | None) -> dict[str, Fragment]:
    rows = Provider.objects.all() if ids is None else Provider.objects.filter(pk__in=ids)
    endpoints = Endpoint.objects.order_by("position").prefetch_related("pool__credential")
    rows = rows.prefetch_related(Prefetch("endpoints", queryset=endpoints))
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
                    credentials=[
                        contract.PooledCredential(
                            id=str(row.credential_id),
                            name=row.credential.name,
                            requests_per_minute=row.requests_per_minute,
                            tokens_per_minute=row.tokens_per_minute,
                            concurrent_requests=row.concurrent_requests,
                        )
                        for row in sorted(endpoint.pool.all(), key=lambda row: row.position)
                    ],
                    api_version=endpoint.api_version,
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
        used = [member.id for member in endpoint.credentials] or ([endpoint.credential] if endpoint.credential else [])
        if any(credential not in names for credential in used):
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
                credentials=tuple(
                    PoolSpec(names[member.id], member.requests_per_minute, member.tokens_per_minute, member.concurrent_requests)
                    for member in endpoint.credentials
                ),
                api_version=endpoint.api_version,
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
    pages = (page_of(row) for row in models_with_prices(rows))
    return {page.id: page for page in pages if page is not None}


def page_of(row: ProviderModel, prices: Iterable[Price] | None = None) -> PriceFragment | None:
    """What proxies get of a model that was read with its prices (``models_with_prices``), or with these; None: nothing prices it."""
    held = prices_in_force(row.prices.all() if prices is None else prices)
    versions = [price_version(price_spec(price), price.version) for price in held]
    if not versions and row.like is None:
        return None
    like = book.price_id(row.like) if row.like else ""
    return PriceFragment(id=book.price_id(row), provider=row.provider.name, model=row.name, versions=versions, like=like)


def _discounts(ids: set[str] | None) -> dict[str, Fragment]:
    rows = Discount.objects.all() if ids is None else Discount.objects.filter(pk__in=ids)
    return {str(row.pk): discount_of(row) for row in rows}


def discount_of(row: Discount) -> DiscountFragment:
    """What proxies get of a discount."""
    return DiscountFragment(
        id=str(row.pk),
        organisation=str(row.organisation_id),
        provider=str(row.provider_id),
        model=row.model,
        discount=row.discount,
        valid_from_ms=unix_ms(row.valid_from) or 0,
        valid_to_ms=unix_ms(row.valid_to),
    )


def _restore_discount(*, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
    discount_restore(actor=actor, object_id=object_id, fragment=cast(DiscountFragment | None, fragment), reason=reason)


def _restore_price(*, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
    provider_id, _, name = object_id.partition("/")
    page = cast(PriceFragment, fragment) if fragment is not None else None
    versions = page.versions if page is not None else []
    provider = Provider.objects.filter(pk=provider_id).first()
    if provider is None and page is not None:
        raise ServiceError(f"the provider of {name!r} is gone: it has to be restored first", "provider")
    if provider is not None:
        book.prices_restore(actor=actor, provider=provider, name=name, versions=versions, like=page.like if page else "", reason=reason)


providers = Section(build=_providers, restore=_restore_provider)
credentials = Section(build=_credentials, restore=None)
prices = Section(build=_prices, restore=_restore_price)
discounts = Section(build=_discounts, restore=_restore_discount)
