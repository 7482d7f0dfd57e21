"""The playground: a real proxy and a simulated provider, asked through the page as a key whose secret nobody sends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Membership, Organisation, TeamMembership, User
from apps.audit.models import AuditEvent
from apps.contracts.identifiers import uuid7
from apps.contracts.snapshot import Endpoint, Fragment, KeyFragment, PriceFragment, PriceVersion, ProviderFragment, RouteFragment, Target
from apps.dashboard.playground import MOST_TURNS, Part, gathered, reached_at, turns_read
from apps.keys.models import VirtualKey
from apps.ownership.models import Team
from apps.publishing.models import ProxyProcess
from apps.simulator.harness import SimulatorServer
from tests.dashboard.generate import usage_generate
from tests.dashboard.test_pages import COUNTS
from tests.people import client_of, member
from tests.proxy.standalone import StandaloneProxy

URL = "/playground/"
ORG, KEY, NARROW = str(uuid7()), str(uuid7()), str(uuid7())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneProxy]:
    """A proxy with one good route, one whose provider fails in the middle, and a key of each width."""
    with SimulatorServer("sim-east", process=True) as simulator:
        models = {"chat": "sim-chat", "breaks": "sim-fault/error_event:events=3"}
        price = PriceVersion(version="p-1", input=150_000_000, output=600_000_000)
        endpoint = Endpoint(name="main", base_url=simulator.base_url)
        config: list[Fragment] = [
            ProviderFragment(
                id="p", name="east", kind="openai", organisation=ORG, simulated=True, allow_private_addresses=True, endpoints=[endpoint]
            ),
            PriceFragment(id="east/sim-chat", provider="east", model="sim-chat", versions=[price]),
            *(RouteFragment(id=n, name=n, organisation=ORG, targets=[Target(provider="east", model=m)]) for n, m in models.items()),
            KeyFragment(id=KEY, name="app", public_id="a", organisation=ORG, digests=["aa" * 32], addresses=["192.0.2.0/24"]),
            KeyFragment(id=NARROW, name="narrow", public_id="b", organisation=ORG, digests=["bb" * 32], routes=["breaks"]),
        ]
        pepper = {"BULKHEAD_KEY_PEPPER": os.environ["BULKHEAD_KEY_PEPPER"]}
        with StandaloneProxy(config, tmp_path_factory.mktemp("playground"), environ=pepper) as proxy:
            yield proxy


@pytest.fixture
def place(db: None) -> Organisation:
    """The organisation that the proxy knows, with its keys."""
    organisation = Organisation.objects.create(id=ORG, name="Main", slug="playground-tests", simulated=True)
    for id, name in ((KEY, "app"), (NARROW, "narrow")):
        VirtualKey.objects.create(id=id, organisation=organisation, name=name, public_id=name)
    return organisation


@pytest.fixture
def heard(place: Organisation, running: StandaloneProxy) -> StandaloneProxy:
    proxy_heard(running.url)
    return running


def proxy_heard(url: str) -> None:
    now = timezone.now()
    ProxyProcess.objects.create(
        boot_id=uuid7(), name="p", host="h", pid=1, public_url=url, admin_url="", state="ready", detail={}, version=0, acked_at=now,
        registered_at=now, last_seen_at=now + timezone.timedelta(days=1),
    )  # fmt: skip


def sent(client: Client, **typed: str) -> list[Part]:
    """The parts of the page that come for a message, as a browser with scripts gets them."""
    asked = {"key": "app", "route": "chat", "max_tokens": "40", "message": "Hello <b>there</b>", "turns": "[]", **typed}
    response: Any = client.post(URL, asked, headers={"Accept": "application/x-ndjson"})
    assert response.status_code == 200 and response["Content-Type"] == "application/x-ndjson", response.content[:400]

    async def read() -> bytes:
        return b"".join([part async for part in response.streaming_content])

    return [json.loads(line) for line in async_to_sync(read)().splitlines()]


def html_of(parts: list[Part]) -> dict[str, str]:
    return {part["id"]: part["html"] for part in parts if "html" in part}


def test_a_message_is_explained_streamed_and_audited(heard: StandaloneProxy, place: Organisation) -> None:
    client = client_of(member(place, "on-call"))
    parts = sent(client)
    html = html_of(parts)
    assert "<b>east/main/sim-chat</b> would be called first" in html["play-plan"] and "Costs at most" in html["play-plan"]
    assert parts[0]["id"] == "play-plan" and parts[1]["id"] == "play-told" and "/playground/told/?request=" in parts[1]["html"]
    said = "".join(part["text"] for part in parts if "text" in part)
    assert len([part for part in parts if "text" in part]) > 1 and said
    turns = turns_read(unescape(html["play-turns"].split('value="')[1].split('"')[0]))
    assert turns == [{"role": "user", "content": "Hello <b>there</b>"}, {"role": "assistant", "content": said}]
    assert "<b>there</b>" not in html["play-turns"]
    again = sent(client, turns=json.dumps(turns), message="And then?")
    assert html_of(again)["play-turns"].count("And then?") == 2  # as text, and as what is sent back
    [event, _] = AuditEvent.objects.filter(action="playground.use").order_by("seq")
    assert (event.subject_kind, event.subject_id, event.after) == ("key", KEY, {"route": "chat", "dry_run": False})
    assert "there" not in json.dumps(event.after)


def test_a_dry_run_calls_nobody(heard: StandaloneProxy, place: Organisation) -> None:
    parts = sent(client_of(member(place)), dry="1")
    assert [part["id"] for part in parts] == ["play-plan"]
    assert AuditEvent.objects.get(action="playground.use").after["dry_run"] is True


def test_errors_are_shown_as_an_app_sees_them(heard: StandaloneProxy, place: Organisation) -> None:
    client = client_of(member(place))
    refused = html_of(sent(client, key="narrow"))
    assert "404 model_not_found" in refused["play-failure"] and "&quot;error&quot;" in refused["play-failure"]
    assert "play-turns" not in refused  # what was typed stays
    assert "model_not_found" in html_of(sent(client, route="nowhere"))["play-plan"]
    broken = sent(client, route="breaks")
    assert "Broken off in the middle" in html_of(broken)["play-failure"] and any("text" in part for part in broken)


def test_without_scripts_the_page_comes_whole(heard: StandaloneProxy, place: Organisation) -> None:
    text = client_of(member(place)).post(URL, {"key": "app", "route": "chat", "max_tokens": "9", "message": "Hi"}).content.decode()
    assert "would be called first" in text and 'aria-label="Answer"' in text and "<h1" in text


def test_a_proxy_that_is_gone_is_told(place: Organisation) -> None:
    proxy_heard("http://127.0.0.1:9")
    assert "could not be reached" in html_of(sent(client_of(member(place))))["play-failure"]


def test_what_cannot_be_asked_is_said_beside_its_field(place: Organisation) -> None:
    client = client_of(member(place))
    good = {"key": "app", "route": "chat", "max_tokens": "9", "message": "Hi"}
    for typed, words in (
        ({"key": "nobody"}, "there is no active key"),
        ({"message": ""}, "This field is required"),
        ({"max_tokens": "0"}, "greater than or equal to 1"),
        ({"turns": '[{"role": "system", "content": "x"}]'}, "begin a new one"),
        ({}, "No proxy has been heard of"),
    ):
        response = client.post(URL, {**good, **typed}, headers={"Accept": "application/x-ndjson"})
        assert response.status_code == 400 and words in unescape(response.content.decode()), typed
    assert not AuditEvent.objects.filter(action="playground.use").exists()


def test_a_team_uses_its_own_keys_and_no_others(place: Organisation) -> None:
    team = Team.objects.create(organisation=place, slug="core", name="Core")
    VirtualKey.objects.filter(pk=NARROW).update(team=team)
    mel = User.objects.create(email="mel@example.test", name="Mel")
    membership = Membership.objects.create(user=mel, organisation=place, role="viewer")
    client = client_of(mel)
    assert client.get(URL).status_code == 403
    TeamMembership.objects.create(membership=membership, team_id=team.pk, role="member")
    page = client.get(URL).content.decode()
    assert '<option value="narrow">' in page and '<option value="app">' not in page
    refused = client.post(URL, {"key": "app", "route": "chat", "max_tokens": "9", "message": "Hi"})
    assert refused.status_code == 400 and "You may not use this key here" in refused.content.decode()


def test_what_happened_comes_with_the_record_to_those_who_may_see_it(page: Callable[..., str], organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=20)
    from apps.usage.models import UsageRequest

    record = UsageRequest.objects.filter(organisation=str(organisation.pk), attempt_count__gt=0).first()
    assert record is not None
    with CaptureQueriesContext(connection) as queries:
        text = page(f"{URL}told/?request={record.id}", **{"HX-Request": "true"})
    assert "Its record is on its way" not in text and "hx-get" not in text and "Cost" in text
    assert len(queries) <= json.loads(COUNTS.read_text())["/playground/told/"] <= 12, [query["sql"][:110] for query in queries]
    assert "every 1s" in page(f"{URL}told/?request={uuid7()}", **{"HX-Request": "true"})
    olga = client_of(member(Organisation.objects.create(name="Elsewhere", slug="elsewhere")))
    assert olga.get(f"{URL}told/?request={record.id}", headers={"HX-Request": "true"}).status_code == 404
    assert olga.get(f"{URL}told/?request=x").status_code == 404


def test_the_page_asks_no_more_queries_than_committed(place: Organisation) -> None:
    client = client_of(member(place))
    client.get(URL)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(f"{URL}?key=app&route=chat").status_code == 200
    assert len(queries) <= json.loads(COUNTS.read_text())[URL] <= 12, [query["sql"][:110] for query in queries]


def test_a_conversation_that_was_damaged_is_no_conversation() -> None:
    assert turns_read("") == []
    for text in ("{", "{}", "[1]", '[{"role": "user"}]', '[{"role": "user", "content": 1}]', json.dumps([{}] * (MOST_TURNS + 1))):
        with pytest.raises(ValueError, match=r"."):
            turns_read(text)


def test_where_a_proxy_is_reached() -> None:
    from socket import gethostname

    assert reached_at("http://10.0.0.7:8080", "far") == "http://10.0.0.7:8080"
    assert reached_at("http://0.0.0.0:8080", "far") == "http://far:8080"
    assert reached_at("https://0.0.0.0:8443", gethostname()) == "https://127.0.0.1:8443"


def test_the_parts_exist_for_browsers_without_scripts() -> None:
    async def parts() -> Any:
        yield {"id": "play-answer", "text": "half"}
        yield {"id": "play-failure", "html": "<div>broken</div>"}

    found = async_to_sync(gathered)(parts())
    assert "half" in found["play-answer"] and found["play-failure"] == "<div>broken</div>"
