"""Looks at real loopback servers: no storm at first, notices once, troubles kept apart, what is known better published."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import Event
from apps.catalogue import looking
from apps.catalogue.choices import ENDING_EVENT, NEW_EVENT, REPRICED_EVENT, VANISHED_EVENT
from apps.catalogue.models import Entry, ListedModel, Listing
from apps.catalogue.tasks import listings_look
from apps.providers.models import Provider
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.publishing.models import TouchedFragment, Version
from apps.publishing.services import publish, section_touch
from apps.publishing.state import head_state
from tests.catalogue.conftest import Serve, Upstream, routed


def row(name: str, **facts: Any) -> dict[str, Any]:
    return {"id": name, "object": "model", **facts}


def told(kind: str) -> list[dict[str, Any]]:
    return [event.data for event in Event.objects.filter(kind=kind).order_by("at", "id")]


def say(upstream: Upstream, *rows: dict[str, Any]) -> None:
    upstream.told["/v1/models"] = (200, {"object": "list", "data": list(rows)})


def test_from_the_first_look_to_models_that_come_and_go(actor: Actor, organisation: Organisation, serve: Serve, upstream: Upstream) -> None:
    provider = serve(row("a"), row("b"))
    routed(actor, organisation, provider, "b", name="chat")
    assert listings_look() == {str(provider.pk): ""}
    assert not Event.objects.filter(kind__startswith="model.").exists(), "no storm on the first look"
    assert set(ListedModel.objects.values_list("name", flat=True)) == {"a", "b"}
    say(upstream, row("a"), row("c"), row("d"))
    listings_look()
    [new] = told(NEW_EVENT)
    assert new["models"] == ["c", "d"] and new["count"] == 2 and new["organisation"] == str(organisation.pk)
    assert not told(VANISHED_EVENT), "one incomplete list takes nothing away"
    listings_look()
    listings_look()
    [gone] = told(VANISHED_EVENT)
    assert gone["models"] == ["b"] and gone["routes"] == {"b": ["chat"]} and len(told(NEW_EVENT)) == 1
    assert ListedModel.objects.get(name="b").gone_at is not None
    say(upstream, row("a"), row("b"), row("c"), row("d"))
    listings_look()
    assert told(NEW_EVENT)[1]["models"] == ["b"] and ListedModel.objects.get(name="b").gone_at is None


def test_prices_and_ends_are_told_once_each(actor: Actor, organisation: Organisation, serve: Serve, upstream: Upstream) -> None:
    cheap, dear = ({"prompt": text, "completion": "0.00001"} for text in ("0.000001", "0.000002"))
    provider = serve(row("a", pricing=cheap))
    routed(actor, organisation, provider, "a", name="chat")
    listings_look()
    say(upstream, row("a", pricing=dear, deprecation="2020-01-01"))
    listings_look()
    listings_look()
    [repriced], [ending] = told(REPRICED_EVENT), told(ENDING_EVENT)
    assert repriced["prices"]["a"]["before"]["input"] == 10**9 and repriced["prices"]["a"]["after"]["input"] == 2 * 10**9
    assert ending["ends_on"] == {"a": "2020-01-01"} and ending["routes"] == {"a": ["chat"]}


def test_what_a_list_says_of_a_model_in_use_is_published_and_nothing_else(
    actor: Actor, organisation: Organisation, serve: Serve, upstream: Upstream
) -> None:
    provider = serve(row("a"), row("b", max_model_len=4_096))
    routed(actor, organisation, provider, "a")
    publish(actor=actor)
    versions = Version.objects.count()
    section_touch(section="routes", ids=["01a1fe21-9097-7958-b402-d51e211ec558"])
    listings_look()
    assert Version.objects.count() == versions and TouchedFragment.objects.exists(), "others' marks are not a look's to publish"
    say(upstream, row("a", max_model_len=8_192), row("b", max_model_len=4_096))
    listings_look()
    assert Version.objects.count() == versions + 1
    [fragment] = head_state().fragments["models"].values()
    assert fragment.known.window == 8_192  # type: ignore[attr-defined]
    assert Entry.objects.get().sources == {"window": "provider's list"}
    listings_look()
    assert Version.objects.count() == versions + 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((401, {"error": {"message": "no"}}), "asks for a key"),
        ((200, b"<html>hello</html>"), "web page"),
        ((200, {"data": [{"nothing": 1}]}), "not a list"),
        ((200, {"data": []}), "empty"),
        ((500, {}), "problem of its own"),
        ((302, {}), "redirects"),
    ],
)
def test_what_goes_wrong_is_kept_and_takes_nothing_away(serve: Serve, upstream: Upstream, answer: tuple[int, Any], says: str) -> None:
    provider = serve(row("a"))
    listings_look()
    upstream.told["/v1/models"] = answer
    for _ in range(3):
        assert says in listings_look()[str(provider.pk)]
    listing = Listing.objects.get()
    assert says in listing.problem and listing.read_at is not None and ListedModel.objects.get().gone_at is None
    say(upstream, row("a"))
    listings_look()
    assert Listing.objects.get().problem == "" and not told(VANISHED_EVENT)


def test_one_providers_trouble_is_not_the_others(
    actor: Actor, organisation: Organisation, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = serve(row("a"))
    away = provider_ensure(
        actor=actor, organisation=organisation, name="away", kind="openai", endpoints=[EndpointSpec("default", "https://10.1.2.3/v1")],
        allow_private_addresses=True,
    )  # fmt: skip
    Provider.objects.filter(pk=away.pk).update(allow_private_addresses=False)
    broken = serve(row("a"), name="broken")
    real = looking.look_keep

    def keep(*, provider: Provider, **facts: Any) -> Any:
        if provider.pk == broken.pk:
            raise RuntimeError("the database hiccups")
        return real(provider=provider, **facts)

    monkeypatch.setattr(looking, "look_keep", keep)
    found = looking.listings_look()
    assert found[str(well.pk)] == "" and "could not be kept" in found[str(broken.pk)]
    assert "refused" in found[str(away.pk)].lower() or "private" in found[str(away.pk)].lower(), "the outbound guard stands"
    assert ListedModel.objects.filter(provider=well).exists() and not ListedModel.objects.exclude(provider=well).exists()


def test_what_stands_for_a_deployment_of_our_own_and_what_is_disabled_is_not_asked(serve: Serve, upstream: Upstream) -> None:
    own, off = serve(row("a"), name="own"), serve(row("a"), name="off")
    Provider.objects.filter(pk=own.pk).update(name="deployment:own")
    Provider.objects.filter(pk=off.pk).update(enabled=False)
    assert listings_look() == {} and upstream.seen == [] and not Listing.objects.exists()


def test_every_page_is_read_and_a_list_without_end_is_partial(actor: Actor, organisation: Organisation, upstream: Upstream) -> None:
    base = f"http://127.0.0.1:{upstream.server_port}/v1"
    provider = provider_ensure(
        actor=actor, organisation=organisation, name="claude", kind="anthropic", endpoints=[EndpointSpec("default", base)],
        allow_private_addresses=True,
    )  # fmt: skip
    first = "/v1/models?limit=1000"
    upstream.told[first] = (200, {"data": [row("a")], "has_more": True, "last_id": "a"})
    upstream.told[f"{first}&after_id=a"] = (200, {"data": [row("b")], "has_more": False, "last_id": "b"})
    listings_look()
    assert set(ListedModel.objects.values_list("name", flat=True)) == {"a", "b"} and not Listing.objects.get().partial
    upstream.told[f"{first}&after_id=a"] = (200, {"data": [row("b")], "has_more": True, "last_id": "a"})
    upstream.told[first] = (200, {"data": [row("c")], "has_more": True, "last_id": "a"})
    for _ in range(3):
        assert listings_look()[str(provider.pk)] == ""
    assert Listing.objects.get().partial and not told(VANISHED_EVENT)
    assert len(upstream.seen) < 60
