"""Changing providers, prices and credentials from their pages: reviewed, published, refused with what to do, done once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.providers import prices, services
from apps.providers.models import Credential, Price, Provider, ProviderModel
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.publishing.selectors import head_number, versions
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_delete, route_ensure
from tests.providers.conftest import SECRET, form_of, review_and_publish

NEW = "sk-new-9876543210zyxwvuABCD"


@pytest.fixture
def routed(openai: Provider, organisation: Organisation, actor: Actor) -> Route:
    route = route_ensure(actor=actor, organisation=organisation, name="chat", targets=[TargetSpec("openai", "gpt-4o-mini")])
    publish(actor=actor, reason="start")
    return route


def messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]] if response.context else []


# --- create and edit


def test_creating_one_by_hand_with_two_endpoints_is_reviewed_and_published(signed: Client, organisation: Organisation) -> None:
    url = "/providers/new/"
    data = form_of(signed.get(url)) | {"name": "two", "endpoints[0].base_url": "https://eu.example.com/v1", "endpoints[0].region": "eu"}
    grown = signed.post(url, {**data, "add_endpoint": "1"})
    assert grown.status_code == 200 and not grown.context["form"].errors
    data |= form_of(grown) | {"endpoints[1].name": "us", "endpoints[1].base_url": "https://us.example.com/v1"}
    reviewed = signed.post(url, data)
    text = reviewed.content.decode()
    assert "https://us.example.com/v1" in text and Provider.objects.count() == 0
    before = head_number()
    done = signed.post(url, {**data, "reviewed": reviewed.context["reviewed"], "publish": "1", "reason": "second region"})
    provider = Provider.objects.get()
    assert done["Location"] == f"/providers/{provider.pk}/" and head_number() == before + 1
    assert [spec.base_url for spec in services.endpoint_specs(provider)] == ["https://eu.example.com/v1", "https://us.example.com/v1"]
    again = signed.post(url, {**data, "reviewed": reviewed.context["reviewed"], "publish": "1"})
    assert again["Location"] == done["Location"] and Provider.objects.count() == 1 and head_number() == before + 1


def test_an_endpoint_is_removed_from_the_middle(signed: Client) -> None:
    url = "/providers/new/"
    data = form_of(signed.get(url))
    for at, name in enumerate("abc"):
        data |= {f"endpoints[{at}].name": name, f"endpoints[{at}].base_url": f"https://{name}/v1", f"endpoints[{at}].max_connections": "1"}
    shrunk = signed.post(url, {**data, "endpoint_count": "3", "remove_endpoint": "1"})
    form = shrunk.context["form"]
    assert form.endpoint_count == 2
    assert [form[f"endpoints[{at}].name"].value() for at in range(2)] == ["a", "c"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:8000/v1", "set allow_private_addresses"),
        ("http://169.254.169.254/latest", "metadata service"),
        ("http://2130706433/v1", "is refused"),
        ("ftp://example.com", "does not start with http"),
        ("https://me:pw@example.com/v1", "keep secrets in a credential"),
        ("example.com", "does not start with http"),
    ],
)
def test_a_wrong_address_is_refused_beside_its_field(signed: Client, organisation: Organisation, url: str, words: str) -> None:
    data = form_of(signed.get("/providers/new/")) | {"name": "p", "endpoints[0].base_url": url}
    response = signed.post("/providers/new/", data)
    assert response.status_code == 400 and words in str(response.context["form"].errors["endpoints[0].base_url"])


def test_editing_shows_the_difference_and_what_others_did_meanwhile(signed: Client, routed: Route, openai: Provider, actor: Actor) -> None:
    url = f"/providers/{openai.pk}/edit/"
    data = form_of(signed.get(url)) | {"endpoints[0].base_url": "https://eu.api.openai.com/v1"}
    text = signed.post(url, data).content.decode()
    assert "https://api.openai.com/v1" in text and "https://eu.api.openai.com/v1" in text and "endpoints[0].base_url" in text
    services.provider_update(actor=actor, provider=openai, price_list="none", reason="someone was faster")
    late = signed.post(url, data)
    assert (
        late.status_code == 409
        and "someone was faster" in late.content.decode()
        and "https://eu.api.openai.com/v1" in late.content.decode()
    )
    assert services.endpoint_specs(openai)[0].base_url == "https://api.openai.com/v1"
    done = review_and_publish(signed, url, "EU residency", **{"endpoints[0].base_url": "https://eu.api.openai.com/v1"})
    assert done.status_code == 302 and services.endpoint_specs(openai)[0].base_url == "https://eu.api.openai.com/v1"
    version = versions().first()
    assert version is not None and version.reason == "EU residency"


def test_the_switch_for_private_addresses_is_in_the_review_and_audited(signed: Client, routed: Route, openai: Provider) -> None:
    url = f"/providers/{openai.pk}/edit/"
    assert "allow_private_addresses" in signed.post(url, form_of(signed.get(url)) | {"allow_private_addresses": "on"}).content.decode()
    review_and_publish(signed, url, "moved to our rack", allow_private_addresses="on")
    openai.refresh_from_db()
    event = AuditEvent.objects.filter(action="provider.update").latest("at")
    assert openai.allow_private_addresses and event.after == {"allow_private_addresses": True} and event.reason == "moved to our rack"
    assert "Private addresses are allowed" in signed.get(f"/providers/{openai.pk}/").content.decode()


# --- disable, enable, remove, check


def test_disabling_takes_a_reason_is_published_and_can_be_undone_once_more(signed: Client, routed: Route, openai: Provider) -> None:
    url = f"/providers/{openai.pk}/disable/"
    before = head_number()
    refused = signed.post(url, {"reason": " "}, follow=True)
    assert "say why" in messages(refused)[-1] and head_number() == before
    done = signed.post(url, {"reason": "outage"}, follow=True)
    openai.refresh_from_db()
    assert not openai.enabled and head_number() == before + 1 and "is disabled" in messages(done)[-1]
    signed.post(url, {"reason": "outage"})
    assert head_number() == before + 1
    signed.post(f"/providers/{openai.pk}/enable/")
    openai.refresh_from_db()
    assert openai.enabled and head_number() == before + 2


def test_removing_is_refused_while_routes_use_it_and_names_them(signed: Client, routed: Route, openai: Provider, actor: Actor) -> None:
    url = f"/providers/{openai.pk}/remove/"
    refused = signed.post(url, {"reason": "gone", "confirmation": "openai"}, follow=True)
    assert "is a target of chat" in messages(refused)[-1] and Provider.objects.filter(pk=openai.pk).exists()
    route_delete(actor=actor, route=routed)
    wrong = signed.post(url, {"reason": "gone", "confirmation": "open"}, follow=True)
    assert "type the provider's name" in messages(wrong)[-1] and Provider.objects.filter(pk=openai.pk).exists()
    done = signed.post(url, {"reason": "gone", "confirmation": "openai"}, follow=True)
    assert done.redirect_chain[0][0] == "/providers/" and not Provider.objects.exists() and not ProviderModel.objects.exists()
    assert signed.post(url, {"reason": "gone", "confirmation": "openai"}).status_code == 404


def test_checking_now_says_what_was_seen(signed: Client, organisation: Organisation, actor: Actor) -> None:
    closed = services.provider_ensure(
        actor=actor, organisation=organisation, name="closed", kind="openai", allow_private_addresses=True,
        endpoints=[EndpointSpec("default", "http://127.0.0.1:1/v1")],
    )  # fmt: skip
    assert "unreachable" in messages(signed.post(f"/providers/{closed.pk}/check/", follow=True))[-1]
    services.provider_update(actor=actor, provider=closed, enabled=False)
    assert "was not checked" in messages(signed.post(f"/providers/{closed.pk}/check/", follow=True))[-1]


# --- prices


def price_url(provider: Provider, name: str = "gpt-4o-mini") -> str:
    return f"/providers/{provider.pk}/models/{ProviderModel.objects.get(provider=provider, name=name).pk}/price/"


def test_a_price_from_a_day_on_says_what_it_means_and_keeps_what_held_before(signed: Client, routed: Route, openai: Provider) -> None:
    """The book's price holds until the day: 1,000 in and 500 out at $0.15 and $0.60 are $0.00045; at $1 and $2 they are $0.002."""
    url, day = price_url(openai), (datetime.now(UTC) + timedelta(days=30)).date()
    data = form_of(signed.get(url)) | {"input": "1", "output": "2", "cache_read": "", "valid_from": day.isoformat()}
    text = signed.post(url, data).content.decode()
    assert "$0.00045" in text and "$0.002" in text and "instead of" in text and f"{day}" in text
    done = review_and_publish(signed, url, "new contract", input="1", output="2", cache_read="", valid_from=day.isoformat())
    assert done.status_code == 302
    rows = list(Price.objects.filter(model__name="gpt-4o-mini", source="manual", retired_at=None).order_by("valid_to"))
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert [(row.input, row.valid_from, row.valid_to) for row in rows] == [(150_000_000, None, start), (10**9, start, None)]


def test_a_price_is_handed_back_to_the_book(signed: Client, routed: Route, openai: Provider, actor: Actor) -> None:
    prices_set(actor=actor, provider=openai, model="gpt-4o-mini", prices=[PriceSpec(input=1, output=1)])
    review_and_publish(signed, price_url(openai), source="book")
    assert not Price.objects.filter(source="manual", retired_at=None).exists() and Price.objects.filter(source="genai-prices").exists()


@pytest.mark.parametrize("amount", ["abc", "-1", "1,000", "1e400", "99999999999", "NaN", "0.1.2", ""])
def test_a_wrong_price_is_refused_beside_its_field(signed: Client, routed: Route, openai: Provider, amount: str) -> None:
    url = price_url(openai)
    response = signed.post(url, form_of(signed.get(url)) | {"input": amount})
    assert response.status_code == 400 and "input" in response.context["form"].errors, response.context["form"].errors


def test_prices_are_exact_to_the_nano_dollar(signed: Client, routed: Route, openai: Provider) -> None:
    review_and_publish(signed, price_url(openai), input="0.123456789", output="$2", valid_from="")
    assert Price.objects.get(source="manual").input == 123_456_789


def test_a_model_is_added_with_its_price_and_forgotten_unless_a_route_targets_it(signed: Client, routed: Route, openai: Provider) -> None:
    done = review_and_publish(signed, f"/providers/{openai.pk}/models/new/", model="house-model", input="0.05", output="0.1")
    assert done.status_code == 302
    model = ProviderModel.objects.get(name="house-model")
    again = signed.post(f"/providers/{openai.pk}/models/new/", {"model": "house-model", "input": "1", "output": "1", "revision": ""})
    assert again.status_code == 400 and "model" in again.context["form"].errors
    signed.post(f"/providers/{openai.pk}/models/{model.pk}/remove/")
    assert not ProviderModel.objects.filter(name="house-model").exists()
    used = ProviderModel.objects.get(name="gpt-4o-mini")
    kept = signed.post(f"/providers/{openai.pk}/models/{used.pk}/remove/", follow=True)
    assert "is a target of chat" in messages(kept)[-1] and ProviderModel.objects.filter(pk=used.pk).exists()


def test_tiers_are_kept_or_dropped_as_the_person_says(signed: Client, routed: Route, openai: Provider, actor: Actor) -> None:
    tiers = ({"from_input_tokens": 200_001, "input": 5},)
    prices.prices_set(actor=actor, provider=openai, model="gpt-4o-mini", prices=[PriceSpec(input=1, output=1, tiers=tiers)])
    review_and_publish(signed, price_url(openai), input="1", output="1", valid_from="")
    assert Price.objects.get(source="manual", retired_at=None).tiers == list(tiers)
    review_and_publish(signed, price_url(openai), input="2", output="1", valid_from="", tiers="")
    assert Price.objects.get(source="manual", retired_at=None).tiers == []


# --- credentials


def test_a_credential_is_added_rotated_and_never_shown(signed: Client, organisation: Organisation) -> None:
    done = review_and_publish(signed, "/providers/credentials/new/", name="groq", secret=SECRET)
    assert done["Location"] == "/providers/credentials/"
    row = Credential.objects.get()
    assert services.credential_value(row) == SECRET
    url = f"/providers/credentials/{row.pk}/rotate/"
    review_and_publish(signed, url, "leaked", secret=NEW)
    row.refresh_from_db()
    assert services.credential_value(row) == NEW and row.last_four == "ABCD"
    text = signed.get("/providers/credentials/").content.decode()
    assert "…ABCD" in text and NEW not in text
    kept = "".join(str(event.before) + str(event.after) for event in AuditEvent.objects.all())
    assert NEW not in kept and SECRET not in kept and "leaked" in AuditEvent.objects.filter(action="credential.update").latest("at").reason


@pytest.mark.parametrize("secret", ["", "two words", "line\nbreak", "ключ", "x" * 8200])
def test_a_secret_that_no_header_carries_is_refused_without_repeating_it(signed: Client, organisation: Organisation, secret: str) -> None:
    data = form_of(signed.get("/providers/credentials/new/")) | {"name": "c", "secret": secret}
    response = signed.post("/providers/credentials/new/", data)
    assert response.status_code == 400 and "secret" in response.context["form"].errors and Credential.objects.count() == 0


def test_a_name_is_given_once(signed: Client, openai: Provider) -> None:
    data = form_of(signed.get("/providers/credentials/new/")) | {"name": "openai", "secret": NEW}
    assert "name" in signed.post("/providers/credentials/new/", data).context["form"].errors
    assert services.credential_value(Credential.objects.get()) == SECRET


def test_a_credential_in_use_is_not_removed(signed: Client, openai: Provider, actor: Actor) -> None:
    url = f"/providers/credentials/{Credential.objects.get().pk}/remove/"
    assert "is used by openai/default" in messages(signed.post(url, {"reason": "x"}, follow=True))[-1]
    services.provider_update(actor=actor, provider=openai, endpoints=[EndpointSpec("default", "https://api.openai.com/v1")])
    signed.post(url, {"reason": "x"})
    assert not Credential.objects.exists()
