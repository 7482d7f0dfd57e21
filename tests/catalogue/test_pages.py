"""Every page of the catalogue: empty, filled, for the wrong person, of another organisation; its queries are committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation, User
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.catalogue import looking, services
from apps.catalogue.models import Entry
from apps.catalogue.tasks import listings_look
from apps.contracts.model_facts import ModelFacts
from apps.providers.models import Provider, ProviderModel
from apps.providers.prices import model_ensure
from apps.publishing.models import Version
from tests.catalogue.conftest import Serve, Upstream, routed

COUNTS = json.loads(Path(__file__).with_name("query_counts.json").read_text())
HOSTILE = '"><script>alert(1)</script>{{7*7}}'


@pytest.fixture
def filled(
    organisation: Organisation, actor: Actor, openai: Provider, serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> ProviderModel:
    """A model of everything that the pages show: known, spoken of, vanished, of a list that could not be read."""
    local = serve({"id": "gpt-4o", "pricing": {"prompt": "0.000001", "completion": "0.000002"}}, {"id": "gone"}, {"id": "odd <b>"})
    routed(actor, organisation, openai, "gpt-4o")
    routed(actor, organisation, local, "gone", name="old")
    model_ensure(actor=actor, provider=local, name="gpt-4o")
    Provider.objects.filter(pk=openai.pk).update(enabled=False)  # nothing is called outside
    listings_look()
    upstream.told["/v1/models"] = (200, {"data": [{"id": "gpt-4o", "pricing": {"prompt": "0.000003", "completion": "0.000002"}}]})
    for _ in range(2):
        listings_look()
    upstream.told["/v1/models"] = (500, {})
    listings_look()
    services.override_set(actor=actor, provider=local, model="gpt-4o", facts=ModelFacts(window=9_000, cannot=("tools",)), note=HOSTILE)
    assert looking.MOST_PAGES
    return ProviderModel.objects.get(provider=local, name="gpt-4o")


def urls(model: ProviderModel) -> dict[str, str]:
    return {
        "list": "/models/",
        "listed": "/models/listed/",
        "notices": "/models/notices/",
        "add": "/models/new/",
        "model": f"/models/{model.pk}/",
        "edit": f"/models/{model.pk}/edit/",
    }


def test_every_page_stands_and_asks_no_more_queries_than_committed(signed: Client, filled: ProviderModel) -> None:
    """A rise is either a mistake, or it is committed: write the number into query_counts.json. Twelve is the ceiling for all."""
    assert urls(filled).keys() == COUNTS.keys()
    for name, url in urls(filled).items():
        assert signed.get(url).status_code == 200, url
        with CaptureQueriesContext(connection) as queries:
            response = signed.get(url)
        assert response.status_code == 200 and HOSTILE not in response.content.decode()
        assert len(queries) <= COUNTS[name] <= 12, (f"{name}: {len(queries)}", "\n".join(query["sql"][:200] for query in queries))


def test_what_the_pages_say(signed: Client, filled: ProviderModel) -> None:
    text = signed.get("/models/").content.decode()
    assert "Vanished" in text and ">yours<" in text.replace("\n", "") and "not known" in text
    listed = signed.get("/models/listed/").content.decode()
    assert "could not be read" in listed and "vanished" in listed
    told = signed.get("/models/notices/").content.decode()
    assert "local: models vanished" in told and "gone, used by old" in told and "$1 in, $2 out" in told and "$3 in" in told
    page = signed.get(f"/models/{filled.pk}/").content.decode()
    assert "9,000 tokens" in page and ">you<" in page and "Who else offers it" in page and "openai" in page


FILTERS: tuple[tuple[str, list[str], list[str]], ...] = (
    ("q=gon", ["gone"], ["gpt-4o"]),
    ("provider=openai", ["gpt-4o"], [">gone<"]),
    ("able=tools", ["openai"], [">gone<"]),
    ("shown=vanished", [">gone<"], [">gpt-4o<"]),
    ("shown=yours", [">gpt-4o<"], [">gone<"]),
    ("shown=unknown", [">gone<"], [">gpt-4o<"]),
    ("shown=deprecated", ["No models match"], [">gone<"]),
    ("shown=nonsense&able=nonsense&sort=nonsense&page=x", [">gone<", ">gpt-4o<"], []),
)
"""What the address asks for, what its table has, and what it has not."""


def test_filters(signed: Client, filled: ProviderModel) -> None:
    for query, there, not_there in FILTERS:
        text = signed.get(f"/models/?{query}").content.decode()
        body = text.partition("<tbody")[2] or text
        assert all(word in body for word in there) and not any(word in body for word in not_there), query
    for seen in ("new", "gone", "used", "unused", ""):
        text = signed.get(f"/models/listed/?seen={seen}").content.decode().partition("<tbody")[2]
        assert (">gpt-4o<" in text) == (seen in ("used", "")) and (">gone<" in text) == (seen in ("gone", "used", "")), seen


def test_csv_is_what_is_shown(signed: Client, filled: ProviderModel) -> None:
    for url in ("/models/?format=csv", "/models/listed/?format=csv&provider=local"):
        lines = b"".join(signed.get(url).streaming_content).decode().splitlines()  # type: ignore[attr-defined]
        assert lines[0].lstrip("\ufeff").startswith("Model,") and len(lines) > 2


def test_empty_pages_say_what_to_do(signed: Client, organisation: Organisation) -> None:
    assert "No model in use yet" in signed.get("/models/").content.decode()
    assert "No list was read yet" in signed.get("/models/listed/").content.decode()
    assert "Nothing has changed since the first look" in signed.get("/models/notices/").content.decode()


def test_only_whose_they_are_and_who_may(client: Client, viewer: User, admin: User, filled: ProviderModel, actor: Actor) -> None:
    other = organisation_ensure(slug="other", name="Other", actor=actor)
    model = ProviderModel.objects.create(provider=Provider.objects.create(organisation=other, name="p", kind="openai"), name="theirs")
    client.force_login(viewer)
    assert client.get(f"/models/{filled.pk}/").status_code == 200 and client.get(f"/models/{filled.pk}/edit/").status_code == 403
    assert client.post(f"/models/{filled.pk}/clear/", {"reason": "no"}).status_code == 403
    assert Entry.objects.get(model=filled).own
    client.force_login(admin)
    for path in (f"/models/{model.pk}/", f"/models/{model.pk}/edit/"):
        assert client.get(path).status_code == 404
    assert client.post("/models/").status_code == 405 and client.get(f"/models/{filled.pk}/clear/").status_code == 405
    client.logout()
    assert client.get("/models/").status_code == 302


def form(client: Client, url: str, **values: Any) -> dict[str, Any]:
    """The page's own controls with the values of a person."""
    context = client.get(url).context
    controls = {name: context[name] for name in ("revision", "submission")}
    return {**{key: value for key, value in (context["form"].initial or {}).items() if value is not None}, **controls, **values}


def published(client: Client, url: str, data: dict[str, Any]) -> Any:
    """Reviewed, then published."""
    review = client.post(url, data)
    assert review.status_code == 200, review.content.decode()
    return client.post(url, {**data, "reviewed": review.context["reviewed"], "publish": "1", "reason": "measured"})


def test_a_word_is_reviewed_published_and_taken_back(signed: Client, filled: ProviderModel) -> None:
    url, versions = f"/models/{filled.pk}/edit/", Version.objects.count()
    assert "As known" in signed.get(url).content.decode()
    answer = published(
        signed, url, form(signed, url, window="32000", able_tools="yes", able_seed="no", deprecated="no", ends_on="", note="")
    )
    assert answer.status_code == 302 and answer["location"] == f"/models/{filled.pk}/"
    assert Version.objects.count() == versions + 1
    own = Entry.objects.get(model=filled).own_facts
    assert own == ModelFacts(window=32_000, can=("tools",), cannot=("seed",), deprecated=False)
    assert signed.post(f"/models/{filled.pk}/clear/", {"reason": "they know better"}).status_code == 302
    assert Entry.objects.filter(model=filled).first() is None or not Entry.objects.get(model=filled).own


def test_a_model_that_no_route_targets_is_added_and_nonsense_is_refused_beside_its_field(signed: Client, filled: ProviderModel) -> None:
    url = "/models/new/"
    bad = signed.post(url, form(signed, url, provider="local", model="new", ends_on="tomorrow"))
    assert bad.status_code == 400 and "is not a day" in bad.content.decode()
    twice = signed.post(url, form(signed, url, provider="local", model="gpt-4o", window="1"))
    assert twice.status_code == 400 and "in use already" in twice.content.decode()
    answer = published(signed, url, form(signed, url, provider="local", model="new", able_images="yes"))
    assert answer.status_code == 302 and Entry.objects.get(model__name="new").own_facts == ModelFacts(can=("images",))


def test_the_form_of_a_route_says_what_speaks_against_its_targets(
    signed: Client, filled: ProviderModel, organisation: Organisation
) -> None:
    route = organisation.routes.get(name="old")
    text = signed.get(f"/routes/{route.pk}/edit/").content.decode()
    assert "local/gone: its provider&#x27;s list has it no more." in text
    other = organisation.routes.get(name="chat")
    assert "says of its targets" not in signed.get(f"/routes/{other.pk}/edit/").content.decode()
