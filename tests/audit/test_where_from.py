"""Where from and with what: the address, the program and the token of every act; files that are handed out; the chain holds them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from apps.accounts.models import Organisation, User
from apps.accounts.people import user_rename
from apps.audit.actors import Actor
from apps.audit.chain import chain_verify
from apps.audit.exporting import PAGE, events_in_pages
from apps.audit.models import AuditEvent
from apps.audit.rules import content_hash
from apps.audit.services import audit_record
from apps.budgets.services import budget_set
from tests.people import client_of, member

AGENT = "Mozilla/5.0 (canary)"


def seal() -> None:
    """Events get their place as a transaction commits; tests never commit."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


@pytest.fixture
def ada(organisation: Organisation) -> User:
    return member(organisation, email="ada@example.test")


@pytest.fixture
def browser(ada: User) -> Client:
    client = client_of(ada)
    client.defaults["HTTP_USER_AGENT"] = AGENT
    return client


def test_what_came_later_is_hashed_where_it_says_something(ada: User) -> None:
    plain = user_rename(actor=Actor.command("before"), user=ada, name="One") and AuditEvent.objects.get(actor_name="before")
    assert "actor_agent" not in plain.content() and plain.content_hash == content_hash(plain.content())
    user_rename(actor=Actor(kind="user", id=str(ada.pk), name="after", agent=AGENT, via="token ci (…abcd)"), user=ada, name="Two")
    told = AuditEvent.objects.get(actor_name="after")
    assert (told.content()["actor_agent"], told.content()["actor_via"]) == (AGENT, "token ci (…abcd)")
    told.actor_via = ""
    assert told.compute_content_hash() != told.content_hash
    seal()
    assert not chain_verify().broken


def test_a_failed_sign_in_says_where_from_and_with_what(browser: Client, ada: User) -> None:
    Client(HTTP_USER_AGENT=AGENT).post("/login/", {"email": ada.email, "password": "wrong"}, REMOTE_ADDR="203.0.113.9")
    event = AuditEvent.objects.get(action="session.refuse", subject_id=str(ada.pk))
    assert (event.actor_address, event.actor_agent) == ("203.0.113.9", AGENT)


def test_every_file_that_is_handed_out_is_audited(browser: Client, ada: User) -> None:
    mine = AuditEvent.objects.filter(actor_id=str(ada.pk), action="export.download")
    assert browser.get("/keys/").status_code == 200 and not mine.exists()
    response = browser.get("/keys/?format=csv&q=x")
    assert response.status_code == 200
    event = mine.get()
    assert (event.subject_name, event.subject_id, event.actor_agent) == ("bulkhead-keys.csv", "keys:list", AGENT)
    assert event.after == {"path": "/keys/", "filters": {"format": "csv", "q": "x"}}


def test_the_audit_is_exported_whole_and_its_export_audited_once(browser: Client, ada: User) -> None:
    for name in ("=cmd()", "Ada"):
        user_rename(actor=Actor.of_user(ada), user=ada, name=name)
    seal()
    lines = b"".join(browser.get(f"/audit/?format=jsonl&kind=user&id={ada.pk}").streaming_content).decode().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["after"]["name"] for event in events] == ["=cmd()", "Ada"]
    stored = AuditEvent.objects.get(seq=events[0]["seq"])
    assert events[0]["hash"] == stored.hash and events[0]["prev_hash"] == stored.prev_hash
    text = b"".join(browser.get(f"/audit/?format=csv&kind=user&id={ada.pk}").streaming_content).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 2 and rows[0]["action"] == "user.update"
    kept = AuditEvent.objects.filter(actor_id=str(ada.pk), action__startswith="export.") | AuditEvent.objects.filter(
        actor_id=str(ada.pk), action="audit.export"
    )
    assert [(event.action, event.after["format"]) for event in kept.order_by("id")] == [("audit.export", "jsonl"), ("audit.export", "csv")]
    assert kept.first().after["filters"] == {"kind": "user", "id": str(ada.pk)}


def test_who_may_not_read_it_may_not_take_it_away(organisation: Organisation, browser: Client) -> None:
    vic = member(organisation, "viewer")
    assert client_of(vic).get("/audit/?format=jsonl").status_code == 403
    assert not AuditEvent.objects.filter(action="audit.export", actor_id=str(vic.pk)).exists()


def test_an_export_reads_in_pages_and_misses_nothing(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.audit.exporting.PAGE", 3)
    for n in range(8):
        user_rename(actor=Actor.command("pager"), user=ada, name=f"n{n}")
    seal()
    found = list(events_in_pages(AuditEvent.objects.filter(actor_name="pager")))
    assert PAGE > 3 and [event.after["name"] for event in found] == [f"n{n}" for n in range(8)]
    assert [event.seq for event in found] == sorted(event.seq or 0 for event in found)


@pytest.mark.parametrize(
    ("query", "found"),
    [("address=203.0.113.", 1), ("address=198.", 0), ("via=deploy", 1), ("via=other", 0), ("kind=user", 1), ("kind=route", 0)],
)
def test_filters_by_place_token_and_object(browser: Client, ada: User, query: str, found: int) -> None:
    actor = Actor(kind="user", id="x", name="finder", address="203.0.113.7", via="token deploy (…abcd)")
    audit_record(actor=actor, action="user.update", subject_kind="user", subject_id=ada.pk, subject_name=ada.email)
    seal()
    rows: Any = browser.get(f"/audit/?who=finder&{query}").context["listing"].rows
    assert len(list(rows)) == found


def test_an_objects_page_leads_to_its_own_trail(browser: Client, organisation: Organisation, actor: Actor) -> None:
    budget = budget_set(
        actor=actor, organisation=organisation, name="b", scope="organisation", scope_id=organisation.pk, window="day", limit_nano=10**9
    )
    where = f"/audit/?kind=budget&amp;id={budget.pk}&amp;from=now-400d"
    assert where in browser.get(f"/budgets/{budget.pk}/").content.decode()
    seal()
    assert [row.action for row in browser.get(where.replace("&amp;", "&")).context["listing"].rows] == ["budget.create"]
    viewer = client_of(member(organisation, "viewer"))
    assert "/audit/?kind=" not in viewer.get(f"/budgets/{budget.pk}/").content.decode()
