"""Flipping from the page: what it shows before, what it refuses, once however often it is sent, and what came of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from apps.audit.actors import Actor
from apps.flags.flips import flip_measure, flips_measure, outcome_now
from apps.flags.models import ChangeRequest, Flag, FlagFlip, TwoPersonRule
from apps.flags.services import flag_flip
from apps.publishing.selectors import head_number
from tests.flags.conftest import Switches

REASON = {"chip": "Provider outage", "reason": "east is down", "minutes": "60", "part": "all"}


def asked(client: Client, url: str) -> dict[str, str]:
    """What the page's form carries."""
    context = client.get(url).context
    return {name: context[name] for name in ("submission", "shown", "seen")}


def test_the_question_says_what_would_happen(signed_in: Callable[..., Client], switches: Switches) -> None:
    switches.work("east", 600, cost=90_000_000)
    switches.work("west", 100, ttft_ms=300, route="other")
    client = signed_in("on-call")
    response = client.get("/flags/chat-fallback/on", follow=True)  # a link from a pager, without its last slash
    text = response.content.decode()
    assert response.status_code == 200 and "Turn on fallback of route chat?" in text
    assert "more to <b>west/m</b>" in text and "/hour</b>" in text and "later</b>" in text
    assert "data-cancel autofocus" in text and text.count(" checked") == 0
    prediction = response.context["prediction"]
    assert prediction.moved_per_minute == pytest.approx(60, rel=0.1)
    assert prediction.cost_then == pytest.approx(prediction.rate * 60 * 300_000, rel=0.01)  # 100 in and 10 out at west's prices
    assert (
        client.get("/flags/chat-fallback/off/").status_code == 200
        and "off already" in client.get("/flags/chat-fallback/off/").content.decode()
    )


def test_without_traffic_the_question_says_that_nothing_is_known(signed_in: Callable[..., Client], switches: Switches) -> None:
    text = signed_in().get("/flags/chat-fallback/on/").content.decode()
    assert "what would move is not known" in text and "requests/min" not in text


def test_a_flip_is_done_once_published_and_kept_with_what_was_shown(signed_in: Callable[..., Client], switches: Switches) -> None:
    switches.work("east", 600, cost=90_000_000)
    client = signed_in("on-call")
    form, before = asked(client, "/flags/chat-fallback/on/"), head_number()
    done = client.post("/flags/chat-fallback/on/", {**form, **REASON})
    assert done["Location"] == f"/flags/chat-fallback/?version={before + 1}"
    assert client.post("/flags/chat-fallback/on/", {**form, **REASON})["Location"] == done["Location"]  # sent twice
    flag, [flip] = Flag.objects.get(name="chat-fallback"), FlagFlip.objects.all()
    assert flag.on and flag.reason == "Provider outage: east is down" and flag.until is not None and head_number() == before + 1
    assert (flip.version, flip.turn_on, bool(flip.by)) == (before + 1, True, True)
    assert flip.predicted["moved_per_minute"] > 0
    page = client.get(done["Location"]).content.decode()
    assert "Measuring" in page and "Turn off again" in page and f"v{before + 1}" in page and 'id="spread"' in page
    assert client.get("/flags/chat-fallback/watch/", headers={"HX-Request": "true"}).status_code == 200
    assert client.get("/flags/chat-fallback/watch/")["Location"] == "/flags/chat-fallback/"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"chip": "", "reason": " "}, "Say why"),
        ({"chip": "nonsense"}, "Select a valid choice"),
        ({"minutes": "7"}, "Select a valid choice"),
        ({"reason": "x" * 299}, "300 characters"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_lost(
    signed_in: Callable[..., Client], switches: Switches, sent: dict[str, str], said: str
) -> None:
    client = signed_in()
    response = client.post("/flags/chat-fallback/on/", {**asked(client, "/flags/chat-fallback/on/"), **REASON, **sent})
    assert response.status_code == 400 and said in response.content.decode()
    assert not Flag.objects.get(name="chat-fallback").on and not FlagFlip.objects.exists()
    if sent.get("minutes") == "7":
        assert 'value="east is down"' in response.content.decode()


def test_who_looked_at_something_else_looks_again(signed_in: Callable[..., Client], switches: Switches, actor: Actor) -> None:
    client = signed_in()
    form = asked(client, "/flags/chat-fallback/on/")
    flag_flip(actor=actor, organisation=switches.organisation, name="chat-fallback", on=True, reason="I was first")
    response = client.post("/flags/chat-fallback/on/", {**form, **REASON})
    text = response.content.decode()
    assert response.status_code == 409 and "I was first" in text and 'value="east is down"' in text
    assert Flag.objects.get(name="chat-fallback").reason == "I was first"


def test_a_session_that_ended_loses_nothing(signed_in: Callable[..., Client], switches: Switches) -> None:
    form = asked(signed_in(), "/flags/chat-fallback/on/")
    lost = Client().post("/flags/chat-fallback/on/", {**form, **REASON})
    assert lost.status_code == 401 and 'name="carried"' in lost.content.decode()
    back = signed_in("manager").post("/flags/chat-fallback/on/", {**form, **REASON, "restored": "1"}).content.decode()
    assert "You are signed in again" in back and 'value="east is down"' in back and 'value="Provider outage" checked' in back
    assert not Flag.objects.get(name="chat-fallback").on


def test_a_route_left_without_a_target_takes_saying_so(signed_in: Callable[..., Client], switches: Switches) -> None:
    client = signed_in()
    form = asked(client, "/flags/stop-east/on/")
    refused = client.post("/flags/stop-east/on/", {**form, **REASON})
    text = refused.content.decode()
    assert refused.status_code == 400 and 'name="acknowledge"' in text and 'value="east is down"' in text
    assert not Flag.objects.get(name="stop-east").on and not FlagFlip.objects.exists()
    assert client.post("/flags/stop-east/on/", {**form, **REASON, "acknowledge": "on"}).status_code == 302
    assert Flag.objects.get(name="stop-east").acknowledged


def test_what_takes_two_persons_is_asked_for(signed_in: Callable[..., Client], switches: Switches) -> None:
    TwoPersonRule.objects.create(organisation=switches.organisation, kind="fallback", turning="on", created_by="test")
    client = signed_in("on-call")
    page = client.get("/flags/chat-fallback/on/").content.decode()
    assert "This takes two persons" in page and "Ask to turn on" in page
    client.post("/flags/chat-fallback/on/", {**asked(client, "/flags/chat-fallback/on/"), **REASON})
    assert not Flag.objects.get(name="chat-fallback").on and ChangeRequest.objects.get().state == "waiting"
    assert "Waits for a second person" in client.get("/flags/chat-fallback/").content.decode()
    glass = {**asked(client, "/flags/chat-fallback/on/"), **REASON, "reason": "now", "glass": "on"}
    client.post("/flags/chat-fallback/on/", glass)
    assert Flag.objects.get(name="chat-fallback").on and FlagFlip.objects.count() == 1


def test_who_may_only_look_cannot_flip(signed_in: Callable[..., Client], switches: Switches) -> None:
    assert signed_in("viewer").get("/flags/chat-fallback/on/").status_code == 403
    assert signed_in("auditor").post("/flags/chat-fallback/on/", REASON).status_code == 403
    assert not Flag.objects.get(name="chat-fallback").on


def test_what_came_of_a_flip_is_kept_beside_what_was_predicted(signed_in: Callable[..., Client], switches: Switches) -> None:
    switches.work("east", 600, cost=90_000_000)
    client, said = signed_in(), StringIO()
    client.post("/flags/chat-fallback/on/", {**asked(client, "/flags/chat-fallback/on/"), **REASON})
    flip = FlagFlip.objects.get()
    assert outcome_now(flip, now=flip.at) is None and flips_measure(now=flip.at) == 0
    at = flip.at - timedelta(minutes=6)
    FlagFlip.objects.filter(pk=flip.pk).update(at=at)
    flip.refresh_from_db()
    switches.work("west", 300, cost=90_000_000, at=at + timedelta(seconds=30))
    flip_measure(flip, now=timezone.now())
    assert flip.measured is not None and flip.measured["targets"] == {"west/m": pytest.approx(60, rel=0.05)}
    text = client.get("/flags/chat-fallback/?tab=flips").content.decode()
    assert "To west/m" in text and "Provider outage" in text
    call_command("flips", organisation="flips", stdout=said)
    assert "chat-fallback on" in said.getvalue() and "within 15%" in said.getvalue()
    with pytest.raises(CommandError, match="--organisation"):
        call_command("flips", organisation="nobody", stdout=said)
