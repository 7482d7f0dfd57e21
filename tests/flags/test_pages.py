"""Pages of flags: the list, one flag, its form, what is overridden; to whom, with how many queries, empty and wrong."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.budgets.services import budget_set
from apps.flags.models import Flag
from apps.flags.services import flag_flip
from apps.flags.words import contexts_read, rules_read, rules_words, tried
from apps.publishing.services import publish
from apps.routes.breakers import breaker_force
from apps.routes.rules import TargetSpec
from apps.routes.services import route_switch
from tests.flags.conftest import Switches

COUNTS = json.loads(Path(__file__).with_name("query_counts.json").read_text())
ROLLOUT = {
    "strategies": [
        {
            "name": "flexibleRollout",
            "parameters": {"rollout": "25", "stickiness": "userId"},
            "constraints": [{"contextName": "region", "operator": "IN", "values": ["eu", "us"]}],
        },
        {"name": "userWithId", "parameters": {"userIds": "ada, bob"}},
    ]
}


def body(client: Client, url: str, **headers: str) -> str:
    response = client.get(url, headers=headers)
    assert response.status_code == 200, (url, response.status_code)
    return b"".join(response.streaming_content).decode() if response.streaming else response.content.decode()


def test_pages_ask_no_more_queries_than_committed(signed_in: Callable[..., Client], switches: Switches, actor: Actor) -> None:
    switches.work("east", 600, cost=60_000_000)
    budget_set(
        actor=actor, organisation=switches.organisation, name="wall", scope="organisation", scope_id=switches.organisation.pk,
        window="day", limit_nano=10**9,
    )  # fmt: skip
    client = signed_in()
    for name, allowed in COUNTS.items():
        url, _, fragment = name.partition(" ")
        headers = {"HX-Request": "true"} if fragment else {}
        body(client, url, **headers)
        with CaptureQueriesContext(connection) as queries:
            body(client, url, **headers)
        assert len(queries) <= allowed <= 12, (f"{name}: {len(queries)}", [query["sql"][:110] for query in queries])


def test_the_list_shows_how_each_stands_and_filters(signed_in: Callable[..., Client], switches: Switches, actor: Actor) -> None:
    flag_flip(actor=actor, organisation=switches.organisation, name="stop-east", on=True, reason="east burns")
    Flag.objects.filter(name="chat-fallback").update(created_at=timezone.now() - timedelta(days=90), expires_at=timezone.now())
    client = signed_in()
    text = body(client, "/flags/")
    assert text.index("stop-east") < text.index("chat-fallback")  # what is on comes first
    assert "east burns" in text and "Stale" in text and "Expired" in text and "New flag" in text
    for state, found in (("on", "stop-east"), ("off", "chat-fallback"), ("stale", "chat-fallback"), ("expired", "chat-fallback")):
        rows = list(csv.DictReader(io.StringIO(body(client, f"/flags/?state={state}&format=csv").removeprefix("\ufeff"))))
        assert [row["Flag"] for row in rows] == [found], state
    assert "No flags match" in body(client, "/flags/?q=nothing&kind=release")
    viewer = body(signed_in("viewer"), "/flags/")
    assert "New flag" not in viewer and "stop-east" in viewer


def test_a_flag_tells_what_it_does_and_who_may_do_what(signed_in: Callable[..., Client], switches: Switches) -> None:
    text = body(signed_in(), "/flags/chat-fallback/")
    assert "Sends route chat down its fallback chain" in text and "when east is down" in text
    assert f"/routes/{switches.route.pk}/" in text and "Turn on…" in text and "Everybody, while it is on." in text
    viewer = body(signed_in("viewer"), "/flags/chat-fallback/")
    assert "Turn on…" not in viewer and "/edit/" not in viewer
    assert signed_in("member").get(f"/flags/{switches.stop.pk}/").status_code == 200  # by its id, too
    assert signed_in("auditor").get("/flags/nothing/").status_code == 404


def test_a_flag_is_made_with_rules_that_were_tried(signed_in: Callable[..., Client], switches: Switches) -> None:
    client = signed_in()
    form = {
        "name": "chat-for-some", "kind": "kill", "subject": "feature:", "named": "search", "level": "full", "default": "off",
        "rules": json.dumps(ROLLOUT), "callers": "userId=ada\nuserId=zoe region=asia", "stale_after_days": "30", "submission": "n1",
    }  # fmt: skip
    page = client.post("/flags/new/", {**form, "try": "1"}).content.decode()
    assert "userId=ada" in page and page.count("tone-good") >= 1 and not Flag.objects.filter(name="chat-for-some").exists()
    assert "write name=value" in client.post("/flags/new/", {**form, "callers": "ada", "try": "1"}).content.decode()
    refused = client.post("/flags/new/", {**form, "rules": "strategies: [", "submission": "n2"})
    assert refused.status_code == 400 and "not YAML in line 1" in refused.content.decode()
    reviewed = client.post("/flags/new/", form)
    assert reviewed.status_code == 200 and reviewed.context["review"].changes
    done = client.post("/flags/new/", {**form, "publish": "1", "reviewed": reviewed.context["reviewed"], "reason": "canary"})
    assert done["Location"] == "/flags/chat-for-some/"
    made = Flag.objects.get(name="chat-for-some")
    assert (made.subject_kind, made.subject_id, made.on, made.rules) == ("feature", "search", False, ROLLOUT)
    text = body(client, "/flags/chat-for-some/")
    assert "25% of users" in text and "region is one of eu, us" in text and "Users ada, bob" in text
    again = client.post("/flags/new/", {**form, "submission": "n3"})
    assert again.status_code == 400 and "already" in again.content.decode()


def test_an_edit_leaves_how_it_stands(signed_in: Callable[..., Client], switches: Switches, actor: Actor) -> None:
    flag_flip(actor=actor, organisation=switches.organisation, name="stop-east", on=True, reason="east burns", share=10)
    client = signed_in()
    form = client.get("/flags/stop-east/edit/").context["form"]
    sent = {name: form[name].value() or "" for name in form.fields} | {"purpose": "fire", "submission": "e1"}
    sent["revision"] = client.get("/flags/stop-east/edit/").context["revision"]
    reviewed = client.post("/flags/stop-east/edit/", sent)
    done = client.post("/flags/stop-east/edit/", {**sent, "publish": "1", "reviewed": reviewed.context["reviewed"]})
    assert done.status_code == 302, done.content.decode()
    flag = Flag.objects.get(name="stop-east")
    assert (flag.purpose, flag.on, flag.share, flag.reason) == ("fire", True, 10, "east burns")


def test_only_a_flag_that_is_off_is_deleted(signed_in: Callable[..., Client], switches: Switches, actor: Actor) -> None:
    client = signed_in()
    flag_flip(actor=actor, organisation=switches.organisation, name="stop-east", on=True, reason="east burns")
    client.post("/flags/stop-east/delete/", {"reason": "gone"})
    assert Flag.objects.filter(name="stop-east").exists()
    flag_flip(actor=actor, organisation=switches.organisation, name="stop-east", on=False, reason="back")
    assert client.post("/flags/stop-east/delete/", {"reason": "gone"})["Location"] == "/flags/"
    assert not Flag.objects.filter(name="stop-east").exists()


def test_every_page_tells_what_is_on_by_whom_and_why(signed_in: Callable[..., Client], switches: Switches, actor: Actor) -> None:
    client = signed_in()
    assert "no overrides in force" in body(client, "/keys/") and "stop-east" not in body(client, "/keys/")
    until = timezone.now() + timedelta(hours=1)
    flag_flip(actor=actor, organisation=switches.organisation, name="stop-east", on=True, reason="east <burns>", until=until, share=5)
    publish(actor=actor, reason="flip")
    text = body(client, "/keys/")
    assert "1 override in force" in text and "east &lt;burns&gt;" in text and "5% of its requests" in text and actor.name in text
    flag_flip(actor=actor, organisation=switches.organisation, name="stop-east", on=False, reason="back")
    assert "stop-east" not in body(client, "/keys/")


def test_overrides_of_every_kind_stand_on_one_page_the_strongest_first(
    signed_in: Callable[..., Client], switches: Switches, actor: Actor
) -> None:
    assert "Nothing is overridden" in body(signed_in("viewer"), "/overrides/")
    common = {"actor": actor, "reason": "because"}
    breaker_force(**common, route=switches.route, target=TargetSpec("east", "m"), state="open")
    route_switch(**common, route=switches.route, target=TargetSpec("east", "m"))
    flag_flip(**common, organisation=switches.organisation, name="chat-fallback", on=True)
    flag_flip(**common, organisation=switches.organisation, name="stop-east", on=True, acknowledge=True)
    publish(actor=actor, reason="all of it")
    text = body(signed_in(), "/overrides/")
    said = ["Stops provider east", "Sends it nothing", "Sends all traffic of route chat to east/m", "Sends route chat down"]
    places = [text.index(words) for words in said]
    assert places == sorted(places) and "What wins" in text
    elsewhere = body(signed_in("member"), "/keys/")
    assert "4 overrides in force" in elsewhere


def test_rules_are_read_and_tried() -> None:
    assert [rule.who for rule in rules_words(ROLLOUT)] == ["25% of userIds", "Users ada, bob"] or rules_words(ROLLOUT)[
        0
    ].who == "25% of users"
    assert rules_read("") == {} and rules_read("strategies: []") == {"strategies": []}
    for text in ("- a", "1: 2", "a: [", "just words"):
        with pytest.raises(ServiceError):
            rules_read(text)
    parent = {"dependencies": [{"feature": "parent"}]}
    assert [one.said for one in tried("child", parent, "userId=1", {"parent": (False, {})})] == ["off"]
    variants = {"variants": [{"name": "blue", "weight": 1000}]}
    assert [one.said for one in tried("v", variants, "userId=1\n\nuserId=2", {})] == ["blue", "blue"]
    with pytest.raises(ServiceError, match="at most"):
        contexts_read("userId=1\n" * 21)
