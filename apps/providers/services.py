"""Writes of providers, endpoints and credentials: atomic, audited (never a secret), noted for the next publish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction
from django.db.models import ProtectedError, Q

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.contracts.credentials import AwsDefault, AwsKeys, canonical, credential_read, region_of
from apps.contracts.fleet import deployment_of
from apps.contracts.identifiers import uuid7
from apps.ownership.owned import owner_of
from apps.providers import prices, rules, vault
from apps.providers.models import Credential, Endpoint, PooledCredential, Provider
from apps.providers.pricebook import NO_LIST, price_lists
from apps.providers.rules import EndpointSpec, PoolSpec
from apps.providers.selectors import credential_named
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


# --- credentials ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def credential_set(*, actor: Actor, organisation: Organisation, name: str, value: str, source: str = "", reason: str = "") -> Credential:
    """Create a credential, or give it a new value or source; the same again changes nothing.

    value: the secret as the provider wants it, or an account (``apps.contracts.credentials``). source: the reference it was read from,
    empty for one a person typed.
    """
    permission_require(actor=actor, action="credential.change", organisation=organisation)
    rules.check_name(name)
    given = rules.check_credential(value)
    value = canonical(given)
    digest = _guarded(vault.digest, value)
    credential = Credential.objects.select_for_update().filter(organisation=organisation, name=name).first()
    if credential is not None and credential.digest == digest and credential.source == source:
        return credential
    created = credential is None
    before = {} if credential is None else {"source": credential.source}
    value_changed = credential is None or credential.digest != digest
    if credential is None:
        credential = Credential(organisation=organisation, name=name)
    if value_changed:
        if not created and credential.form != given.form:
            for kind in _kinds_using(credential):
                rules.check_form(kind, given.form, name, "secret")
        credential.encrypted = _guarded(vault.encrypt, value)
        credential.digest = digest
        credential.form = given.form
        credential.last_four = rules.last_four(given.identity)
    credential.source = source
    credential.save()
    after = {"source": source} | ({"value_changed": True} if value_changed else {})
    action = "credential.create" if created else "credential.update"
    change_record(actor, action, credential, before, after, reason)
    if value_changed:
        section_touch(section="credentials", ids=[str(credential.id)])
    return credential


@transaction.atomic
def credential_delete(*, actor: Actor, credential: Credential, reason: str = "") -> None:
    """Delete a credential that no endpoint uses."""
    permission_require(actor=actor, action="credential.change", organisation=credential.organisation)
    using = Q(credential=credential) | Q(pool__credential=credential)
    users = [str(endpoint) for endpoint in Endpoint.objects.filter(using).select_related("provider").distinct()]
    if users:
        raise ServiceError(f"the credential {credential.name!r} is used by {', '.join(users)}: give them another one first", "credential")
    change_record(actor, "credential.delete", credential, {"source": credential.source}, {}, reason)
    section_touch(section="credentials", ids=[str(credential.id)])
    credential.delete()


def credential_value(credential: Credential) -> str:
    """The secret itself, for a call to the provider. Never log or show it."""
    return str(_guarded(vault.decrypt, credential.encrypted))


def _kinds_using(credential: Credential) -> list[str]:
    using = Q(endpoints__credential=credential) | Q(endpoints__pool__credential=credential)
    return list(Provider.objects.filter(using).values_list("kind", flat=True).distinct())


# --- providers -----------------------------------------------------------------------------------------------------------


@transaction.atomic
def provider_ensure(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    kind: str,
    endpoints: Sequence[EndpointSpec],
    simulated: bool = False,
    enabled: bool = True,
    price_list: str = "",
    allow_private_addresses: bool = False,
    reason: str = "",
    id: str | None = None,
    restoring: bool = False,
    deployment: bool = False,
) -> Provider:
    """Create a provider, or make it as given; the same again changes nothing. Endpoints are known by their names.

    id: the one a new provider gets, where an earlier one is brought back. restoring: see ``provider_update``.
    deployment: it stands for a deployment of our own workers, by a name that no person can give (``PROVIDER_PREFIX``).
    """
    rules.check_name((deployment_of(name) or name) if deployment or restoring else name)
    provider = Provider.objects.select_for_update().filter(organisation=organisation, name=name).first()
    if provider is not None:
        return provider_update(
            actor=actor,
            provider=provider,
            kind=kind,
            endpoints=endpoints,
            simulated=simulated,
            enabled=enabled,
            price_list=price_list,
            allow_private_addresses=allow_private_addresses,
            reason=reason,
            restoring=restoring,
        )
    permission_require(actor=actor, action="provider.change", organisation=organisation)
    specs = _check(kind=kind, endpoints=endpoints, price_list=price_list, allow_private=allow_private_addresses or restoring)
    provider = Provider.objects.create(
        id=id or uuid7(),
        organisation=organisation,
        name=name,
        kind=kind,
        simulated=simulated,
        enabled=enabled,
        price_list=price_list,
        allow_private_addresses=allow_private_addresses,
    )
    _endpoints_write(provider, specs)
    change_record(actor, "provider.create", provider, {}, provider_facts(provider), reason)
    section_touch(section="providers", ids=[str(provider.id)])
    return provider


@transaction.atomic
def provider_update(
    *,
    actor: Actor,
    provider: Provider,
    kind: str | None = None,
    endpoints: Sequence[EndpointSpec] | None = None,
    simulated: bool | None = None,
    enabled: bool | None = None,
    price_list: str | None = None,
    allow_private_addresses: bool | None = None,
    reason: str = "",
    restoring: bool = False,
) -> Provider:
    """Change what is given, leave the rest. A provider's name never changes: routes, prices and records refer to it.

    restoring: an earlier config is being brought back as it was: it brings its own prices, and private addresses that it named
    without the switch are written back, for the proxies' guard to refuse.
    """
    permission_require(actor=actor, action="provider.change", organisation=provider.organisation, team=_held_by(provider))
    provider = Provider.objects.select_for_update().get(pk=provider.pk)
    before = provider_facts(provider)
    given: dict[str, Any] = {
        "kind": kind,
        "simulated": simulated,
        "enabled": enabled,
        "price_list": price_list,
        "allow_private_addresses": allow_private_addresses,
    }
    for field, value in given.items():
        if value is not None:
            setattr(provider, field, value)
    # What is neither written nor opened here is not judged anew: a provider from before the switch can still be disabled.
    judged = not restoring and (endpoints is not None or allow_private_addresses is not None)
    specs = _check(
        kind=provider.kind,
        endpoints=endpoint_specs(provider) if endpoints is None else endpoints,
        price_list=provider.price_list,
        allow_private=provider.allow_private_addresses or not judged,
    )
    _endpoints_write(provider, specs)
    after = provider_facts(provider)
    if after == before:
        return provider
    provider.save()
    changed = {key for key in after if after[key] != before[key]}
    change_record(actor, "provider.update", provider, {k: before[k] for k in changed}, {k: after[k] for k in changed}, reason)
    section_touch(section="providers", ids=[str(provider.id)])
    if not restoring and changed & {"endpoints", "simulated", "price_list"}:
        for model in provider.models.all():
            prices.book_refresh(actor=actor, model=model, reason=reason)
    return provider


@transaction.atomic
def provider_restore(
    *,
    actor: Actor,
    id: str,
    organisation: Organisation,
    name: str,
    kind: str,
    endpoints: Sequence[EndpointSpec],
    simulated: bool,
    enabled: bool,
    allow_private_addresses: bool,
    reason: str,
) -> Provider:
    """A provider as an earlier config version had it, under the id it had. Its price list stays what it is."""
    now = Provider.objects.filter(organisation=organisation, name=name).first()
    if now is not None and str(now.pk) != id:
        raise ServiceError(f"another provider is named {name!r} now: delete it first", "name")
    return provider_ensure(
        actor=actor,
        organisation=organisation,
        name=name,
        kind=kind,
        endpoints=endpoints,
        simulated=simulated,
        enabled=enabled,
        price_list=now.price_list if now else "",
        allow_private_addresses=allow_private_addresses,
        reason=reason,
        id=id,
        restoring=True,
    )


@transaction.atomic
def provider_delete(*, actor: Actor, provider: Provider, reason: str = "") -> None:
    """Delete a provider that no route targets, with its endpoints, prices and discounts."""
    permission_require(actor=actor, action="provider.change", organisation=provider.organisation, team=_held_by(provider))
    price_ids = prices.price_ids_of(provider)
    discount_ids = list(provider.discounts.values_list("pk", flat=True))
    facts, provider_id = provider_facts(provider), str(provider.id)
    try:
        with transaction.atomic():
            provider.delete()
    except ProtectedError as error:
        raise ServiceError(f"the provider {provider.name!r} is a target of {_names(error)}: change these first", "provider") from None
    provider.pk = provider_id
    change_record(actor, "provider.delete", provider, facts, {}, reason)
    section_touch(section="providers", ids=[provider_id])
    if price_ids:
        section_touch(section="prices", ids=price_ids)
        section_touch(section="models", ids=price_ids)
    if discount_ids:
        section_touch(section="discounts", ids=discount_ids)


def _held_by(provider: Provider) -> UUID | None:
    """The team that owns a provider, whose roles may allow more."""
    return owner_of(kind="provider", object_id=provider.pk)


def endpoint_specs(provider: Provider) -> list[EndpointSpec]:
    """A provider's endpoints as a person would write them, in order."""
    return [
        EndpointSpec(
            name=row.name,
            base_url=row.base_url,
            region=row.region,
            credential=row.credential.name if row.credential else "",
            max_connections=row.max_connections,
            verify_tls=row.verify_tls,
            ca_file=row.ca_file,
            credentials=pool_of(row),
            api_version=row.api_version,
        )
        for row in Endpoint.objects.filter(provider=provider)
        .select_related("credential")
        .prefetch_related("pool__credential")
        .order_by("position")
    ]


def pool_of(endpoint: Endpoint) -> tuple[PoolSpec, ...]:
    """An endpoint's credentials where it has several, in order."""
    return tuple(
        PoolSpec(row.credential.name, row.requests_per_minute, row.tokens_per_minute, row.concurrent_requests)
        for row in sorted(endpoint.pool.all(), key=lambda row: row.position)
    )


def provider_facts(provider: Provider) -> dict[str, Any]:
    """What the audit keeps of a provider: every field, no secret."""
    return {
        "kind": provider.kind,
        "simulated": provider.simulated,
        "enabled": provider.enabled,
        "price_list": provider.price_list,
        "allow_private_addresses": provider.allow_private_addresses,
        "endpoints": [spec.facts() for spec in endpoint_specs(provider)],
    }


def _check(*, kind: str, endpoints: Sequence[EndpointSpec], price_list: str, allow_private: bool) -> list[EndpointSpec]:
    rules.check_kind(kind)
    if price_list and price_list != NO_LIST and price_list not in price_lists():
        raise ServiceError(f"{price_list!r} is not a price list: use {NO_LIST!r}, or one of {', '.join(price_lists())}", "price_list")
    checked = rules.check_endpoints(endpoints, allow_private=allow_private)
    for at, spec in enumerate(checked):
        rules.check_api_version(kind, spec.api_version, f"endpoints[{at}].api_version")
    return checked


def _endpoints_write(provider: Provider, specs: Sequence[EndpointSpec]) -> None:
    """Make the rows as the specs say; rows keep their ids by name, because routes point at them."""
    rows = {row.name: row for row in provider.endpoints.select_related("credential")}
    for row in list(rows.values()):
        if row.name not in {spec.name for spec in specs}:
            try:
                with transaction.atomic():
                    row.delete()
            except ProtectedError as error:
                raise ServiceError(f"the endpoint {row.name!r} is a target of {_names(error)}: change these first", "endpoints") from None
    for position, spec in enumerate(specs):
        field = f"endpoints[{position}].credential"
        credential = credential_named(provider.organisation, spec.credential, field=field) if spec.credential else None
        pool = [credential_named(provider.organisation, member.name, field=f"{field}s") for member in spec.credentials]
        for each in pool or ([credential] if credential else []):
            rules.check_form(provider.kind, each.form, each.name, field)
            _check_region(each, spec.base_url, field)
        row = rows.get(spec.name) or Endpoint(provider=provider, name=spec.name)
        row.position, row.credential = position, credential
        row.base_url, row.region, row.ca_file = spec.base_url, spec.region, spec.ca_file
        row.max_connections, row.verify_tls, row.api_version = spec.max_connections, spec.verify_tls, spec.api_version
        row.save()
        if row.name in rows:
            row.pool.all().delete()
        PooledCredential.objects.bulk_create(
            PooledCredential(
                endpoint=row,
                credential=each,
                position=at,
                requests_per_minute=member.requests_per_minute,
                tokens_per_minute=member.tokens_per_minute,
                concurrent_requests=member.concurrent_requests,
            )
            for at, (each, member) in enumerate(zip(pool, spec.credentials, strict=True))
        )


def _check_region(credential: Credential, base_url: str, field: str) -> None:
    """Requests to AWS are signed for a region, which the address or the credential has to name."""
    if credential.form not in ("aws", "aws-default"):
        return
    account = credential_read(credential_value(credential))
    if isinstance(account, (AwsKeys, AwsDefault)) and not region_of(urlsplit(base_url).hostname or "", account):
        raise ServiceError(
            f"neither the address {base_url!r} nor the credential {credential.name!r} names an AWS region: "
            'add "region" to the credential, such as eu-central-1',
            field,
        )


def _names(error: ProtectedError) -> str:
    """What still refers to a row, by name: the rows that a ProtectedError carries."""
    found = sorted({str(getattr(row, "route", row)) for row in error.protected_objects})
    return ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")


def _guarded(function: Any, value: str) -> Any:
    """A vault function whose failure is the operator's to mend."""
    try:
        return function(value)
    except vault.VaultError as error:
        raise ServiceError(str(error)) from None
