"""Connecting a provider against a real server: tested, models chosen, everything made in one transaction, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import Membership, Organisation, User
from apps.audit.models import AuditEvent
from apps.keys.models import VirtualKey
from apps.providers.models import Credential, Price, Provider
from apps.providers.services import credential_value
from apps.publishing.selectors import head_number
from apps.routes.models import Route, RouteTarget
from tests.serving import QuietHandler, serving

URL = "/providers/connect/"
KEY = "sk-connect-0123456789abcdWXYZ"


class Upstream(ThreadingHTTPServer):
    status = 200
    names: tuple[str, ...] = ("gpt-4o-mini", "house-model")
    asked: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(QuietHandler):
    server: Upstream

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append(f"{self.path} {self.headers.get('authorization', '')}")
        body: dict[str, Any] = {"data": [{"id": name} for name in self.server.names]}
        if self.command == "POST":
            body = {"choices": [{"message": {"content": "ready <b>"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
        if self.headers.get("authorization") not in (f"Bearer {KEY}", None):
            self.server.status = 401
        raw = json.dumps(body if self.server.status == 200 else {"error": {"message": "Incorrect API key"}}).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_POST = do_GET


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream(("127.0.0.1", 0), Handler)
    server.asked = []
    with serving(server):
        yield server


@pytest.fixture
def admin(client: Client, other: Organisation) -> Client:
    user = User.objects.create(email="grace@example.test")
    Membership.objects.create(user=user, organisation=other, role="admin")
    client.force_login(user)
    return client


@pytest.fixture
def filled(admin: Client, upstream: Upstream) -> dict[str, Any]:
    """What a person has typed before they press *Test*."""
    context = admin.get(URL).context
    return {
        "revision": context["revision"], "submission": context["submission"], "reviewed": "", "preset": "custom", "kind": "openai",
        "name": "house", "base_url": upstream.url, "secret": KEY, "allow_private_addresses": "on", "found": "", "search": "", "more": "",
        "routes": "each", "route_name": "", "first": "", "input": "", "output": "",
    }  # fmt: skip


def publish(client: Client, data: dict[str, Any]) -> Any:
    reviewed = client.post(URL, data)
    assert reviewed.status_code == 200, reviewed.context["form"].errors
    return client.post(URL, {**data, "reviewed": reviewed.context["reviewed"], "publish": "1", "reason": "second provider"})


def test_a_test_lists_models_with_latency_and_saves_nothing(admin: Client, upstream: Upstream, filled: dict[str, Any]) -> None:
    answer = admin.post(URL, {**filled, "test": "1"})
    text = answer.content.decode()
    assert "It answers" in text and "lists 2 models" in text and "house-model" in text and not answer.context["form"].errors
    assert upstream.asked == [f"/v1/models Bearer {KEY}"]
    assert not Provider.objects.exists() and not Credential.objects.exists() and head_number() == 0


def test_everything_is_made_in_one_go_and_published_once(admin: Client, upstream: Upstream, filled: dict[str, Any]) -> None:
    found = admin.post(URL, {**filled, "test": "1"}).context["form"].data["found"]
    data = {**filled, "found": found, "model": ["gpt-4o-mini", "house-model"], "input": "0.05", "output": "0.10"}
    done = publish(admin, data)
    provider = Provider.objects.get()
    assert done["Location"] == f"/providers/{provider.pk}/" and head_number() == 1
    assert provider.allow_private_addresses and not provider.simulated
    assert credential_value(Credential.objects.get()) == KEY
    assert sorted(Route.objects.values_list("name", flat=True)) == ["gpt-4o-mini", "house-model"]
    assert {row.model.name: row.input for row in Price.objects.all()} == {"gpt-4o-mini": 50_000_000, "house-model": 50_000_000}
    again = admin.post(URL, {**data, "reviewed": "x", "publish": "1"})
    assert again["Location"] == done["Location"] and Provider.objects.count() == 1 and head_number() == 1
    assert KEY not in "".join(f"{event.before}{event.after}" for event in AuditEvent.objects.all())


def test_one_route_tries_the_chosen_models_in_order(admin: Client, filled: dict[str, Any]) -> None:
    publish(admin, {**filled, "more": "b-model\na-model\n", "routes": "one", "route_name": "house-chat", "first": "a-model"})
    targets = RouteTarget.objects.filter(route__name="house-chat").order_by("position")
    assert [target.model for target in targets] == ["a-model", "b-model"]


def test_a_provider_without_routes_or_key(admin: Client, filled: dict[str, Any]) -> None:
    publish(admin, {**filled, "secret": "", "routes": "none"})
    assert Provider.objects.get().endpoints.get().credential is None and not Route.objects.exists() and not Credential.objects.exists()


def test_a_name_that_is_taken_leaves_nothing_behind(admin: Client, filled: dict[str, Any]) -> None:
    publish(admin, {**filled, "more": "shared", "secret": ""})
    taken = admin.post(URL, {**filled, "name": "house", "more": "x"})
    assert "name" in taken.context["form"].errors
    route = admin.post(URL, {**filled, "name": "second", "more": "fresh\nshared"})
    assert "there is a route 'shared' already" in route.context["form"].errors["more"][0]
    assert Provider.objects.count() == 1 and Route.objects.count() == 1 and not Credential.objects.exists()


def test_a_wrong_key_says_so_and_keeps_what_was_typed(admin: Client, filled: dict[str, Any]) -> None:
    answer = admin.post(URL, {**filled, "secret": "sk-wrong-0123456789abcdef", "more": "my-model", "test": "1"})
    text = answer.content.decode()
    assert "The key was refused (401)" in text and "Incorrect API key" in text and "my-model" in text


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/v1", "not an address", "https://a:b@c/v1"])
def test_a_test_never_calls_what_no_provider_may_be(admin: Client, filled: dict[str, Any], url: str) -> None:
    answer = admin.post(URL, {**filled, "base_url": url, "test": "1"})
    assert "base_url" in answer.context["form"].errors and answer.context["listed"] is None


def test_a_private_address_is_not_called_without_the_switch(admin: Client, upstream: Upstream, filled: dict[str, Any]) -> None:
    del filled["allow_private_addresses"]
    assert "base_url" in admin.post(URL, {**filled, "test": "1"}).context["form"].errors
    by_name = filled["base_url"].replace("127.0.0.1", "localhost")
    assert "base_url" in admin.post(URL, {**filled, "base_url": by_name, "test": "1"}).context["form"].errors
    assert upstream.asked == []


def test_a_completion_is_tried_when_asked(admin: Client, upstream: Upstream, filled: dict[str, Any]) -> None:
    text = admin.post(URL, {**filled, "more": "house-model", "try": "1"}).content.decode()
    assert "ready &lt;b&gt;" in text and upstream.asked == [f"/v1/chat/completions Bearer {KEY}"]
    nothing = admin.post(URL, {**filled, "try": "1"})
    assert "Choose a model first" in str(nothing.context["form"].errors)


def test_a_preset_fills_in_its_address(admin: Client, filled: dict[str, Any]) -> None:
    form = admin.post(URL, {**filled, "preset": "groq", "use_preset": "1"}).context["form"]
    assert form["base_url"].value() == "https://api.groq.com/openai/v1" and not form["allow_private_addresses"].value() and not form.errors
    local = admin.post(URL, {**filled, "preset": "ollama", "use_preset": "1"}).context["form"]
    assert local["allow_private_addresses"].value()


def test_ten_thousand_models_are_searched_and_hostile_names_are_text(admin: Client, upstream: Upstream, filled: dict[str, Any]) -> None:
    upstream.names = ("<script>alert(1)</script>", *(f"model-{n:05}" for n in range(9_000)))
    answer = admin.post(URL, {**filled, "test": "1"})
    text = answer.content.decode()
    assert "<script>alert(1)" not in text and "more are not shown" in text
    found = answer.context["form"].data["found"]
    sought = admin.post(URL, {**filled, "found": found, "search": "08999", "filter": "1", "model": "model-00001"})
    assert [option.name for option in sought.context["options"]] == ["model-00001", "model-08999"]


@pytest.mark.parametrize("found", ["{", "5", '{"a": 1}', "[1, null]", '["\\u0000"]'])
def test_a_forged_list_of_models_is_nothing(admin: Client, filled: dict[str, Any], found: str) -> None:
    assert admin.post(URL, {**filled, "found": found, "filter": "1"}).context["total"] == 0


def test_the_wrong_person_cannot(client: Client, person: User, upstream: Upstream) -> None:
    assert client.get(URL).status_code == 302
    client.force_login(person)
    assert client.get(URL).status_code == 403
    assert client.post(URL, {"base_url": upstream.url, "test": "1"}).status_code == 403 and upstream.asked == []


@pytest.mark.django_db
def test_from_the_demo_it_leads_to_the_real_organisation(client: Client) -> None:
    """What is connected in a simulated organisation would be called simulated, and go when the demo is removed."""
    real = Organisation.objects.create(name="Real one", slug="real-one")
    demo = Organisation.objects.create(name="Demo", slug="a-demo", simulated=True)
    person = User.objects.create(email="two@example.test", name="Two")
    for organisation in (real, demo):
        Membership.objects.create(user=person, organisation=organisation, role="admin")
    client.force_login(person)
    answer = client.get(URL + "?org=a-demo")
    assert answer.status_code == 200
    answer = client.get(URL + "?preset=groq")
    assert answer.status_code == 302
    assert answer["Location"] == f"{URL}?preset=groq&org=real-one"
    page = client.get(answer["Location"]).content.decode()
    assert "You were in Demo" in page


def test_a_key_is_made_with_the_provider_and_shown_once(admin: Client, filled: dict[str, Any], other: Organisation) -> None:
    assert 'value="my-app"' in admin.get(URL).content.decode()  # the first key of an organisation is offered
    data = {**filled, "more": "house-model", "key_name": "my-app"}
    answer = publish(admin, data)
    text = answer.content.decode()
    key = VirtualKey.objects.get(organisation=other)
    assert answer.status_code == 200 and (key.name, key.routes) == ("my-app", ["*"]) and f"bk-{key.public_id}-" in text
    assert "house-model" in text and answer["Cache-Control"].startswith("no-store")
    again = admin.post(URL, {**data, "publish": "1", "reason": "second provider"})
    assert again.status_code == 302 and VirtualKey.objects.count() == Provider.objects.filter(name="house").count() == 1
    assert 'value="my-app"' not in admin.get(URL).content.decode()


def test_a_key_that_cannot_be_made_leaves_nothing_connected(admin: Client, filled: dict[str, Any], other: Organisation) -> None:
    answer = admin.post(URL, {**filled, "more": "house-model", "key_name": "no such name!"})
    assert answer.status_code == 400 and "key_name" in answer.context["form"].errors
    assert not VirtualKey.objects.exists() and not Provider.objects.filter(name="house").exists()
