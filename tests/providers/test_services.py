"""Providers, endpoints, credentials and prices through their services."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.accounts.services import user_create
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.snapshot import CredentialFragment, PriceFragment, ProviderFragment, encode_fragment
from apps.providers import prices, selectors, services, snapshot
from apps.providers.models import Price, Provider
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.publishing.models import TouchedFragment

SECRET = "sk-live-3141592653"
OPENAI = EndpointSpec("default", "https://api.openai.com/v1")


def touched() -> set[tuple[str, str]]:
    found = set(TouchedFragment.objects.values_list("section", "object_id"))
    TouchedFragment.objects.all().delete()
    return found


@pytest.fixture
def provider(organisation: Organisation, actor: Actor) -> Provider:
    services.credential_set(actor=actor, organisation=organisation, name="openai", value=SECRET, source="env:OPENAI_API_KEY")
    made = services.provider_ensure(
        actor=actor, organisation=organisation, name="openai", kind="openai", endpoints=[OPENAI._replace(credential="openai")]
    )
    touched()
    return made


def test_a_credential_is_encrypted_audited_without_its_value_and_sealed(organisation: Organisation, actor: Actor) -> None:
    row = services.credential_set(actor=actor, organisation=organisation, name="openai", value=SECRET, source="env:OPENAI_API_KEY")
    assert touched() == {("credentials", str(row.pk))}
    assert SECRET not in row.encrypted and services.credential_value(row) == SECRET
    again = services.credential_set(actor=actor, organisation=organisation, name="openai", value=SECRET, source="env:OPENAI_API_KEY")
    assert again.pk == row.pk and touched() == set()
    services.credential_set(actor=actor, organisation=organisation, name="openai", value=SECRET + "x", source="env:OPENAI_API_KEY")
    assert touched() == {("credentials", str(row.pk))}
    events = list(AuditEvent.objects.filter(subject_kind="credential"))
    assert sorted(event.action for event in events) == ["credential.create", "credential.update"]
    assert SECRET not in repr([(event.before, event.after, event.reason, event.subject_name) for event in events])
    fragment = snapshot.credentials.build({str(row.pk)})[str(row.pk)]
    assert isinstance(fragment, CredentialFragment)
    assert SECRET.encode() not in encode_fragment(fragment)
    assert encode_fragment(fragment) == encode_fragment(snapshot.credentials.build(None)[str(row.pk)])


def test_a_credential_in_use_stays(provider: Provider, actor: Actor) -> None:
    credential = selectors.credential_named(provider.organisation, "openai")
    with pytest.raises(ServiceError, match="openai/default"):
        services.credential_delete(actor=actor, credential=credential)
    services.provider_update(actor=actor, provider=provider, endpoints=[OPENAI])
    services.credential_delete(actor=actor, credential=credential)
    assert snapshot.credentials.build(None) == {}


def test_ensure_twice_changes_nothing_and_an_update_says_what_changed(provider: Provider, actor: Actor) -> None:
    endpoints = [OPENAI._replace(credential="openai")]
    services.provider_ensure(actor=actor, organisation=provider.organisation, name="openai", kind="openai", endpoints=endpoints)
    assert touched() == set()
    services.provider_update(actor=actor, provider=provider, enabled=False, reason="maintenance")
    assert touched() == {("providers", str(provider.pk))}
    event = AuditEvent.objects.filter(action="provider.update").get()
    assert (event.before, event.after, event.reason) == ({"enabled": True}, {"enabled": False}, "maintenance")


def test_endpoints_keep_their_rows_by_name(provider: Provider, actor: Actor) -> None:
    first = provider.endpoints.get()
    west = EndpointSpec("west", "http://10.1.2.3/v1/", region="us-west", verify_tls=False)
    both = [west, OPENAI._replace(credential="openai")]
    services.provider_update(actor=actor, provider=provider, endpoints=both, allow_private_addresses=True)
    rows = {row.name: row for row in provider.endpoints.all()}
    assert rows["default"].pk == first.pk and rows["default"].position == 1
    assert rows["west"].base_url == "http://10.1.2.3/v1"
    fragment = snapshot.providers.build({str(provider.pk)})[str(provider.pk)]
    assert isinstance(fragment, ProviderFragment)
    assert [endpoint.name for endpoint in fragment.endpoints] == ["west", "default"]
    services.provider_update(actor=actor, provider=provider, endpoints=[west])
    assert [row.name for row in provider.endpoints.all()] == ["west"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "soap"}, "kind"),
        ({"endpoints": []}, "endpoints"),
        ({"endpoints": [OPENAI._replace(credential="nope")]}, "endpoints[0].credential"),
        ({"endpoints": [OPENAI._replace(base_url="gopher://x")]}, "endpoints[0].base_url"),
        ({"price_list": "no-such-list"}, "price_list"),
        ({"name": "Open AI"}, "name"),
    ],
)
def test_wrong_input_is_refused_and_changes_nothing(organisation: Organisation, actor: Actor, changes: dict, field: str) -> None:
    arguments = {"name": "openai", "kind": "openai", "endpoints": [OPENAI]} | changes
    with pytest.raises(ServiceError) as caught:
        services.provider_ensure(actor=actor, organisation=organisation, **arguments)
    assert caught.value.field == field
    assert not Provider.objects.exists() and not AuditEvent.objects.filter(subject_kind="provider").exists()


def test_a_person_without_the_role_is_refused(provider: Provider, actor: Actor) -> None:
    person = Actor.of_user(user_create(actor=actor, email="v@example.org", password="long enough one"))
    organisation = provider.organisation
    credential = selectors.credential_named(organisation, "openai")
    for call in (
        lambda: services.provider_ensure(actor=person, organisation=organisation, name="x", kind="openai", endpoints=[OPENAI]),
        lambda: services.provider_update(actor=person, provider=provider, enabled=False),
        lambda: services.provider_delete(actor=person, provider=provider),
        lambda: services.credential_set(actor=person, organisation=organisation, name="x", value="y"),
        lambda: services.credential_delete(actor=person, credential=credential),
        lambda: prices.prices_set(actor=person, provider=provider, model="m", prices=[PriceSpec(1, 1)]),
        lambda: prices.prices_refresh(actor=person, organisation=organisation),
    ):
        with pytest.raises(PermissionRefused):
            call()
    assert touched() == set()


def test_a_models_prices_come_from_the_book_at_first_sight(provider: Provider, actor: Actor) -> None:
    model = prices.model_ensure(actor=actor, provider=provider, name="gpt-4o-mini")
    assert touched() == {("prices", f"{provider.pk}/gpt-4o-mini"), ("models", f"{provider.pk}/gpt-4o-mini")}
    row = model.prices.get()
    assert (row.input, row.output, row.cache_read, row.source) == (150_000_000, 600_000_000, 75_000_000, "genai-prices")
    assert row.version.startswith("genai-prices-") and row.created_at.date().isoformat() in row.version
    prices.model_ensure(actor=actor, provider=provider, name="gpt-4o-mini")
    prices.prices_refresh(actor=actor)
    assert touched() == set()
    assert model.prices.get().version == row.version


def test_a_persons_prices_win_and_give_way_again(provider: Provider, actor: Actor) -> None:
    name, object_id = "gpt-4o-mini", f"{provider.pk}/gpt-4o-mini"
    prices.prices_set(actor=actor, provider=provider, model=name, prices=[PriceSpec(7, 8)])
    fragment = snapshot.prices.build({object_id})[object_id]
    assert isinstance(fragment, PriceFragment)
    assert [(v.input, v.output) for v in fragment.versions] == [(7, 8)]
    label = fragment.versions[0].version
    assert label.startswith("manual:")
    touched()
    prices.prices_set(actor=actor, provider=provider, model=name, prices=[PriceSpec(7, 8)])
    assert touched() == set()
    assert selectors.price_of(provider, name, datetime.now(UTC)).version == label
    prices.prices_set(actor=actor, provider=provider, model=name, prices=[])
    assert touched() == {("prices", object_id)}
    assert snapshot.prices.build(None)[object_id].versions[0].input == 150_000_000


def test_simulated_providers_and_unknown_addresses_never_have_the_books_prices(organisation: Organisation, actor: Actor) -> None:
    simulated = services.provider_ensure(
        actor=actor, organisation=organisation, name="sim", kind="openai", endpoints=[OPENAI], simulated=True
    )
    local = services.provider_ensure(
        actor=actor,
        organisation=organisation,
        name="local",
        kind="openai",
        allow_private_addresses=True,
        endpoints=[EndpointSpec("default", "http://127.0.0.1:1/v1")],
    )
    for provider in (simulated, local):
        prices.model_ensure(actor=actor, provider=provider, name="gpt-4o-mini")
    assert not Price.objects.exists() and snapshot.prices.build(None) == {}
    services.provider_update(actor=actor, provider=local, price_list="openai")
    assert snapshot.prices.build(None).keys() == {f"{local.pk}/gpt-4o-mini"}
    services.provider_update(actor=actor, provider=local, price_list="none")
    assert snapshot.prices.build(None) == {}


def test_delete_takes_prices_along_and_restore_brings_everything_back(provider: Provider, actor: Actor) -> None:
    prices.model_ensure(actor=actor, provider=provider, name="gpt-5.6-luna")
    object_id = f"{provider.pk}/gpt-5.6-luna"
    old_provider = snapshot.providers.build(None)[str(provider.pk)]
    old_price = snapshot.prices.build(None)[object_id]
    touched()
    provider_id = str(provider.pk)
    services.provider_delete(actor=actor, provider=provider)
    assert touched() == {("providers", provider_id), ("prices", object_id), ("models", object_id)}
    assert snapshot.providers.build(None) == {} == snapshot.prices.build(None)
    with pytest.raises(ServiceError, match="restored first"):
        snapshot.prices.restore(actor=actor, object_id=object_id, fragment=old_price, reason="rollback")
    snapshot.providers.restore(actor=actor, object_id=provider_id, fragment=old_provider, reason="rollback")
    snapshot.prices.restore(actor=actor, object_id=object_id, fragment=old_price, reason="rollback")
    assert encode_fragment(snapshot.providers.build(None)[provider_id]) == encode_fragment(old_provider)
    assert encode_fragment(snapshot.prices.build(None)[object_id]) == encode_fragment(old_price)
    snapshot.prices.restore(actor=actor, object_id=object_id, fragment=None, reason="rollback")
    snapshot.providers.restore(actor=actor, object_id=provider_id, fragment=None, reason="rollback")
    assert snapshot.providers.build(None) == {} == snapshot.prices.build(None)


def test_restore_says_which_credential_is_gone(provider: Provider, actor: Actor) -> None:
    old = snapshot.providers.build(None)[str(provider.pk)]
    services.provider_update(actor=actor, provider=provider, endpoints=[OPENAI])
    services.credential_delete(actor=actor, credential=selectors.credential_named(provider.organisation, "openai"))
    with pytest.raises(ServiceError, match="never rolled back"):
        snapshot.providers.restore(actor=actor, object_id=str(provider.pk), fragment=old, reason="rollback")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://localhost/v1", "http://192.168.1.9/v1", "http://0x7f.1/v1", "http://[::1]/v1"]
)
def test_private_addresses_take_the_providers_own_switch(organisation: Organisation, actor: Actor, url: str) -> None:
    endpoint = EndpointSpec("default", url)
    with pytest.raises(ServiceError, match="set allow_private_addresses") as refused:
        services.provider_ensure(actor=actor, organisation=organisation, name="local", kind="openai", endpoints=[endpoint])
    assert refused.value.field == "endpoints[0].base_url"
    local = services.provider_ensure(
        actor=actor, organisation=organisation, name="local", kind="openai", endpoints=[endpoint], allow_private_addresses=True
    )
    fragment = snapshot.providers.build({str(local.pk)})[str(local.pk)]
    assert isinstance(fragment, ProviderFragment) and fragment.allow_private_addresses
    event = AuditEvent.objects.filter(subject_kind="provider", subject_id=str(local.pk)).order_by("at").last()
    assert event is not None and event.after["allow_private_addresses"] is True
    with pytest.raises(ServiceError, match="is refused"):
        services.provider_update(actor=actor, provider=local, allow_private_addresses=False)


def test_metadata_services_are_refused_with_the_switch_too(organisation: Organisation, actor: Actor) -> None:
    for url in ("http://169.254.169.254/v1", "http://[fd00:ec2::254]/v1", "http://metadata.google.internal/v1"):
        with pytest.raises(ServiceError, match="metadata service") as refused:
            services.provider_ensure(
                actor=actor,
                organisation=organisation,
                name="p",
                kind="openai",
                endpoints=[EndpointSpec("default", url)],
                allow_private_addresses=True,
            )
        assert "allow_private" not in refused.value.message


def test_a_provider_from_before_the_switch_can_be_disabled_and_rolled_back(organisation: Organisation, actor: Actor) -> None:
    local = services.provider_ensure(
        actor=actor,
        organisation=organisation,
        name="local",
        kind="openai",
        endpoints=[EndpointSpec("default", "http://127.0.0.1:1/v1")],
        allow_private_addresses=True,
    )
    Provider.objects.filter(pk=local.pk).update(allow_private_addresses=False)
    before = snapshot.providers.build({str(local.pk)})[str(local.pk)]
    local = services.provider_update(actor=actor, provider=local, enabled=False)
    assert not local.enabled and not local.allow_private_addresses
    assert snapshot.providers.restore is not None
    snapshot.providers.restore(actor=actor, object_id=str(local.pk), fragment=before, reason="as it was")
    assert Provider.objects.get(pk=local.pk).enabled


def test_a_secrets_last_four_characters_tell_it_by_unless_it_is_short(organisation: Organisation, actor: Actor) -> None:
    long = services.credential_set(actor=actor, organisation=organisation, name="long", value="sk-live-0123456789abWXYZ")
    short = services.credential_set(actor=actor, organisation=organisation, name="short", value="tiny-secret")
    assert (long.last_four, short.last_four) == ("WXYZ", "")
