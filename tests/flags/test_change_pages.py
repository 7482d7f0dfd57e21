"""Pages of flips that wait: what each person sees and may do there; their queries are committed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.flags import change_choices as choices
from apps.flags import foretelling
from apps.flags.change_rules import moment_in
from apps.flags.change_upkeep import change_run
from apps.flags.changes import flip_submit
from apps.flags.flips import prediction_of
from apps.flags.models import ChangeRequest, Flag, FlagFlip, TwoPersonRule
from apps.flags.services import flag_set
from apps.flags.two_person_rules import two_person_rule_add, two_person_rule_remove
from apps.publishing.models import Version
from apps.publishing.services import publish
from tests.flags.conftest import Switches
from tests.people import client_of, member

pytestmark = pytest.mark.django_db
COUNTS = json.loads(Path(__file__).with_name("change_query_counts.json").read_text())
HOSTILE = '"><script>alert(1)</script>{{7*7}}'


class Site:
    """An organisation with a flag that takes two persons, and the browsers of its people."""

    def __init__(self, organisation: Organisation, actor: Actor) -> None:
        self.organisation = organisation
        self.users = {role: member(organisation, role) for role in ("admin", "manager", "on-call", "viewer")}
        self.clients = {role: client_of(user) for role, user in self.users.items()}
        self.flag = flag_set(
            actor=actor, organisation=organisation, name="new-answers", kind="release", subject_kind="organisation",
            subject_id=organisation.pk, purpose=HOSTILE, expires_at=clock.now() + timedelta(days=9),
        )  # fmt: skip
        self.rule = two_person_rule_add(actor=actor, organisation=organisation, kind="release", reason=HOSTILE)

    def ask(self, role: str, **more: object) -> ChangeRequest:
        by = Actor.of_user(self.users[role])
        row = flip_submit(actor=by, organisation=self.organisation, name=self.flag.name, on=True, reason=HOSTILE, **more)  # type: ignore[arg-type]
        assert isinstance(row, ChangeRequest)
        return row

    def on(self) -> bool:
        return Flag.objects.get(pk=self.flag.pk).on


@pytest.fixture
def site(organisation: Organisation, actor: Actor) -> Site:
    return Site(organisation, actor)


def text_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, url
    return response.content.decode()


def test_every_page_stands_and_asks_no_more_queries_than_committed(site: Site, actor: Actor) -> None:
    """A rise is either a mistake, or it is committed: write the number into change_query_counts.json. Twelve is the ceiling for all."""
    row = site.ask("manager")
    site.ask("on-call", break_glass=True)
    rule = two_person_rule_add(actor=actor, organisation=site.organisation, kind="kill", environment="production")
    two_person_rule_remove(actor=actor, rule=rule, reason="was a try")
    Flag.objects.filter(pk=site.flag.pk).update(exercised_at=clock.now() - timedelta(days=99))
    stop = flag_set(
        actor=actor, organisation=site.organisation, name="stop", kind="kill", subject_kind="model", subject_id="m",
    )  # fmt: skip
    by = Actor.of_user(site.users["manager"])
    kill = flip_submit(actor=by, organisation=site.organisation, name=stop.name, on=True, reason="m is wrong")
    publish(actor=actor, reason="first")
    urls = {
        "list": "/changes/",
        "mine": "/changes/?show=mine",
        "history": "/changes/?show=history",
        "detail": f"/changes/{row.pk}/",
        "detail of a switch": f"/changes/{kill.pk}/",
        "ask": "/changes/new/?flag=new-answers&on=on",
        "stale": "/changes/stale/",
        "rules": "/changes/rules/",
        "badge": "/changes/badge/",
    }
    assert urls.keys() == COUNTS.keys()
    client = site.clients["admin"]
    rose = {}
    for name, url in urls.items():
        client.get(url)
        with CaptureQueriesContext(connection) as queries:
            page = text_of(client, url)
        assert "<script>alert" not in page, url
        if name == "detail of a switch":
            assert "Measured over the last hour" in page
        if len(queries) > min(COUNTS[name], 12):
            rose[name] = (len(queries), [query["sql"][:160] for query in queries])
    assert rose == {}


def test_the_tabs_tell_each_what_waits_for_them(site: Site) -> None:
    site.ask("manager")
    for role, mine in (("manager", 0), ("admin", 1), ("on-call", 0)):
        page = text_of(site.clients[role], "/changes/?show=mine")
        assert ("Nothing waits for you" in page) == (not mine), role
        assert ("for you</span>" in text_of(site.clients[role], "/changes/badge/")) == bool(mine), role
    assert site.clients["admin"].get("/changes/?format=csv").getvalue().decode().splitlines()[1].startswith("new-answers,on,Waits for")
    assert "new-answers" in text_of(site.clients["viewer"], "/changes/")
    assert "Turn on new-answers" in text_of(site.clients["viewer"], "/ui/palette?q=new-answ")
    assert "Clear the filters" in text_of(site.clients["viewer"], "/changes/?q=nothing-like-it")


def test_the_asker_cannot_approve_and_somebody_else_can(site: Site) -> None:
    row = site.ask("manager")
    page = text_of(site.clients["manager"], f"/changes/{row.pk}/")
    assert "somebody else" in page and f"/changes/{row.pk}/approve/" not in page and f"/changes/{row.pk}/withdraw/" in page
    refused = site.clients["manager"].post(f"/changes/{row.pk}/approve/", follow=True).content.decode()
    assert "you asked for it yourself" in refused and not site.on()
    assert site.clients["on-call"].post(f"/changes/{row.pk}/approve/").status_code == 403
    page = text_of(site.clients["admin"], f"/changes/{row.pk}/")
    assert f"/changes/{row.pk}/approve/" in page and f"/changes/{row.pk}/reject/" in page
    done = site.clients["admin"].post(f"/changes/{row.pk}/approve/", {"reason": "fine"}, follow=True).content.decode()
    assert "new-answers: done" in done and site.on()
    again = site.clients["admin"].post(f"/changes/{row.pk}/approve/", follow=True).content.decode()
    assert "nothing to approve" in again


def test_what_changed_since_stands_on_the_page_and_is_approved_as_seen(site: Site, actor: Actor) -> None:
    row = site.ask("manager")
    flag_set(
        actor=actor, organisation=site.organisation, name=site.flag.name, kind="release", subject_kind="organisation",
        subject_id=site.organisation.pk, default="on",
    )  # fmt: skip
    url = f"/changes/{row.pk}/"
    page = text_of(site.clients["admin"], url)
    assert "The flag changed since this was asked for" in page
    seen = page.partition('name="seen" value="')[2].partition('"')[0]
    refused = site.clients["admin"].post(f"{url}approve/", {"seen": "older"}, follow=True).content.decode()
    assert "look at the differences" in refused and not site.on()
    site.clients["admin"].post(f"{url}approve/", {"seen": seen})
    assert site.on()


def test_a_flip_is_scheduled_in_its_zone(site: Site) -> None:
    day = (clock.now() + timedelta(days=3)).date()
    sent = {
        "name": "new-answers", "on": "on", "at": f"{day}T12:00", "until": f"{day}T13:00", "zone": "Europe/Berlin",
        "late": "15", "share": "100", "reason": "the campaign starts",
    }  # fmt: skip
    TwoPersonRule.objects.all().delete()
    client = site.clients["on-call"]
    response = client.post("/changes/new/", sent)
    row = ChangeRequest.objects.get()
    assert response["Location"] == f"/changes/{row.pk}/"
    assert row.at == moment_in(datetime(day.year, day.month, day.day, 12), "Europe/Berlin")
    assert (row.late_minutes, row.zone, row.state) == (15, "Europe/Berlin", choices.SCHEDULED)
    assert "said in Europe/Berlin" in text_of(client, f"/changes/{row.pk}/")
    for wrong, says in (
        ({"at": "2020-01-01T00:00", "until": ""}, "the time has passed"),
        ({"zone": "Mars/Olympus"}, "is no time zone"),
        ({"at": "tomorrow"}, "Write a day and a time"),
        ({"until": sent["at"]}, "end before it begins"),
        ({"share": "101"}, "less than or equal to 100"),
        ({"name": "nothing"}, "not one of the available choices"),
    ):
        answer = client.post("/changes/new/", {**sent, **wrong})
        assert answer.status_code == 400 and says in answer.content.decode(), wrong
    assert ChangeRequest.objects.count() == 1


def test_rules_are_set_by_admins_only(site: Site) -> None:
    sent = {"kind": "kill", "subject_kind": "provider", "environment": "production", "team": "", "turning": "either", "reason": "dear"}
    assert site.clients["manager"].post("/changes/rules/", sent).status_code == 403
    assert "Add a rule" not in text_of(site.clients["manager"], "/changes/rules/")
    assert site.clients["admin"].post("/changes/rules/", {**sent, "kind": "fallback"}).status_code == 400
    page = site.clients["admin"].post("/changes/rules/", sent, follow=True).content.decode()
    assert "Turning on or off any kill of a provider in production" in page
    rule = TwoPersonRule.objects.get(kind="kill")
    assert site.clients["manager"].post(f"/changes/rules/{rule.pk}/remove/", {"reason": "no"}).status_code == 403
    page = site.clients["admin"].post(f"/changes/rules/{rule.pk}/remove/", {"reason": "too slow"}, follow=True).content.decode()
    assert "Keep it" in page and TwoPersonRule.objects.get(pk=rule.pk).ends_at is not None


def test_a_review_is_closed_on_its_page(site: Site) -> None:
    row = site.ask("on-call", break_glass=True)
    page = text_of(site.clients["on-call"], f"/changes/{row.pk}/")
    assert "broke glass" in page and "Somebody else closes the review" in page
    assert site.clients["on-call"].post(f"/changes/{row.pk}/review/", {"reason": "x", "verdict": "justified"}).status_code == 403
    sent = {"reason": "the outage was real", "verdict": "justified"}
    page = site.clients["manager"].post(f"/changes/{row.pk}/review/", sent, follow=True).content.decode()
    assert "It was right to do it alone" in page
    assert AuditEvent.objects.get(action="breakglass.review", subject_id=str(row.pk)).reason == "the outage was real"


def test_another_organisations_requests_are_nobodys(site: Site) -> None:
    row = site.ask("manager")
    stranger = client_of(member(Organisation.objects.create(name="Other", slug="other"), email="olga@example.test"))
    assert stranger.get(f"/changes/{row.pk}/").status_code == 404
    assert stranger.post(f"/changes/{row.pk}/approve/").status_code == 404
    assert stranger.get(f"/changes/{row.pk}/approve/").status_code == 405


def test_an_approval_and_a_schedule_keep_what_they_were_foretold(switches: Switches, actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    organisation = switches.organisation
    two_person_rule_add(actor=actor, organisation=organisation, kind="fallback")
    switches.work("east", 600)
    asker = Actor.of_user(member(organisation, "manager"))
    flip = {"actor": asker, "organisation": organisation, "name": "chat-fallback", "reason": "east is slow"}
    row = flip_submit(on=True, **flip)  # type: ignore[arg-type]
    client_of(member(organisation)).post(f"/changes/{row.pk}/approve/?org=flips", {"reason": "so it is"})
    kept = FlagFlip.objects.get()
    assert kept.turn_on and kept.version == Version.objects.latest("number").number and kept.by == "admin-flips@example.test"
    assert prediction_of(kept).moved_per_minute > 0, "what would move to west, measured before it did"
    at = clock.now() + timedelta(hours=1)
    planned = flip_submit(on=False, at=at, **flip)  # type: ignore[arg-type]
    assert FlagFlip.objects.count() == 1, "of a flip to come nothing is measured yet"
    assert change_run(planned.pk, now=at)
    assert list(FlagFlip.objects.order_by("at").values_list("turn_on", "by")) == [(True, kept.by), (False, "scheduled flips")]

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(foretelling, "flip_foretell", broken)
    row = flip_submit(on=True, **flip)  # type: ignore[arg-type]
    client_of(member(organisation, email="eve@example.test")).post(f"/changes/{row.pk}/approve/?org=flips", {"reason": "so it is"})
    row.refresh_from_db()
    assert (row.state, FlagFlip.objects.count()) == (choices.APPLIED, 2), "a forecast that fails holds no flip up"
