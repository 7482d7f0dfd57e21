"""Endpoints with several credentials, accounts instead of keys, and what each kind takes: rules, rows, fragments, forms, pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.providers import listing, rules, services, snapshot
from apps.providers.forms import pool_read, pool_written
from apps.providers.live import live_credentials
from apps.providers.models import Credential, PooledCredential
from apps.providers.presets import PRESETS
from apps.providers.rules import EndpointSpec, PoolSpec
from tests.contracts.test_credentials import AWS, ENTRA, GOOGLE

POOL = (PoolSpec("one", requests_per_minute=60), PoolSpec("two"))
URL = "https://api.example.com/v1"


def credential(actor: Actor, organisation: Organisation, name: str, value: object = "sk-0123456789abcdef") -> Credential:
    text = value if isinstance(value, str) else json.dumps(value, indent=1)
    return services.credential_set(actor=actor, organisation=organisation, name=name, value=text)


def test_a_pool_is_stored_published_and_brought_back(actor: Actor, organisation: Organisation) -> None:
    for name in ("one", "two"):
        credential(actor, organisation, name)
    endpoint = EndpointSpec("default", URL, credentials=POOL)
    made = {"actor": actor, "organisation": organisation, "name": "p", "kind": "openai"}
    provider = services.provider_ensure(**made, endpoints=[endpoint])
    assert services.endpoint_specs(provider) == [endpoint._replace(credential="one")]
    (fragment,) = snapshot.providers.build({str(provider.pk)}).values()
    (published,) = fragment.endpoints
    assert [(m.name, m.requests_per_minute) for m in published.credentials] == [("one", 60), ("two", None)]
    assert published.credential == published.credentials[0].id
    with pytest.raises(ServiceError, match="used by p/default"):
        services.credential_delete(actor=actor, credential=Credential.objects.get(name="two"))
    services.provider_ensure(**made, endpoints=[EndpointSpec("default", URL, credential="two")])
    assert not PooledCredential.objects.exists()
    assert snapshot.providers.restore is not None
    snapshot.providers.restore(actor=actor, object_id=str(provider.pk), fragment=fragment, reason="back")
    assert services.pool_of(provider.endpoints.get()) == POOL


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (EndpointSpec("a", URL, credentials=(PoolSpec("x"), PoolSpec("x"))), "named twice"),
        (EndpointSpec("a", URL, credential="y", credentials=POOL), "not two different ones"),
        (EndpointSpec("a", URL, credentials=(PoolSpec("x", tokens_per_minute=0),)), "at least 1"),
        (EndpointSpec("a", URL, credentials=tuple(PoolSpec(f"c{n}") for n in range(51))), "up to 50"),
    ],
)
def test_pools_that_are_none(spec: EndpointSpec, told: str) -> None:
    with pytest.raises(ServiceError, match=told):
        rules.check_pool(spec, "endpoints[0]")


def test_a_pool_of_one_without_limits_is_one_credential() -> None:
    assert rules.check_pool(EndpointSpec("a", URL, credentials=(PoolSpec("x"),)), "e") == EndpointSpec("a", URL, credential="x")


def test_a_kind_takes_its_own_forms(actor: Actor, organisation: Organisation) -> None:
    values = {"aws": {**AWS, "region": ""}, "google": GOOGLE, "entra": ENTRA, "key": "sk-0123456789abcdef"}
    for name, value in values.items():
        assert credential(actor, organisation, name, value).form == name

    def make(kind: str, name: str, url: str = URL, version: str = "") -> None:
        endpoint = EndpointSpec("default", url, credential=name, api_version=version)
        services.provider_ensure(actor=actor, organisation=organisation, name="p", kind=kind, endpoints=[endpoint])

    make("bedrock", "aws", "https://bedrock-runtime.eu-west-1.amazonaws.com")
    make("vertex", "google", "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4")
    make("azure-deployments", "entra", "https://x.openai.azure.com/openai", "2024-10-21")
    for kind, name, told in (
        ("openai", "google", "takes Key"),
        ("bedrock", "entra", "takes Key or AWS"),
        ("bedrock", "aws", "names an AWS region"),
    ):
        with pytest.raises(ServiceError, match=told):
            make(kind, name)
    for kind, version, told in (("azure-deployments", "latest", "is not an api-version"), ("openai", "2024-10-21", "has no api_version")):
        with pytest.raises(ServiceError, match=told):
            make(kind, "key", version=version)
    make("bedrock", "key", "https://bedrock-runtime.eu-west-1.amazonaws.com")
    with pytest.raises(ServiceError, match="Amazon Bedrock"):
        credential(actor, organisation, "key", GOOGLE)


def test_an_account_shows_the_end_of_what_identifies_it(actor: Actor, organisation: Organisation) -> None:
    row = credential(actor, organisation, "google", GOOGLE)
    assert row.last_four == "cdef" and "PRIVATE" not in row.encrypted
    again = credential(actor, organisation, "google", {**GOOGLE, "universe_domain": "elsewhere"})
    assert again.digest == row.digest, "what says nothing changes nothing"


def test_a_persons_text_is_a_pool_and_back() -> None:
    text = "one requests_per_minute=60 concurrent_requests=4\ntwo"
    assert pool_written(pool_read(text, "f")) == text
    for wrong, told in (("one rpm=5", "is no limit"), ("one requests_per_minute=many", "not an amount")):
        with pytest.raises(ServiceError, match=told):
            pool_read(wrong, "f")


def test_the_page_shows_the_worst_that_a_proxy_says(actor: Actor, organisation: Organisation) -> None:
    for name in ("one", "two"):
        credential(actor, organisation, name)
    endpoint = EndpointSpec("default", URL, credentials=POOL)
    provider = services.provider_ensure(actor=actor, organisation=organisation, name="p", kind="openai", endpoints=[endpoint])
    key = f"{organisation.pk}/p/default"
    until = int(datetime(2031, 1, 1, tzinfo=UTC).timestamp() * 1000)
    details = [
        {
            "credentials": [
                {"key": key, "name": "one", "state": "resting_model", "until_ms": until},
                {"key": "other/p/default", "name": "one", "state": "no_token"},
            ]
        },
        {"credentials": [{"key": key, "name": "one", "state": "resting", "until_ms": until, "text": "refused with 401"}, {"nonsense": 1}]},
    ]
    live = live_credentials(organisation, "p", details)
    (row,) = listing.endpoints_of(organisation, provider.pk)
    first, second = listing.credential_rows(row, live)
    assert first.live is not None and first.live.status.value == "resting" and first.limits == "60 requests per minute"
    assert second.live is None and second.name == "two"


def test_every_preset_is_a_provider_that_may_be_written() -> None:
    for name, preset in PRESETS.items():
        rules.check_kind(preset.kind)
        if name != "custom":
            rules.check_base_url(preset.base_url, allow_private=preset.private)
            rules.check_api_version(preset.kind, preset.api_version, "v")


def test_pages_show_every_credential_of_a_pool(signed: Client, actor: Actor, organisation: Organisation) -> None:
    for name in ("one", "two"):
        credential(actor, organisation, name)
    endpoint = EndpointSpec("default", URL, credentials=POOL)
    provider = services.provider_ensure(actor=actor, organisation=organisation, name="p", kind="openai", endpoints=[endpoint])
    shown = signed.get(reverse("providers:detail", args=[provider.pk])).content.decode()
    assert "60 requests per minute" in shown and "two" in shown
    listed = signed.get(reverse("providers:credentials")).content.decode()
    assert listed.count("p/default") == 2
    form = signed.get(reverse("providers:edit", args=[provider.pk])).content.decode()
    assert "one requests_per_minute=60\ntwo" in form
