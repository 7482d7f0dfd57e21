"""The audit log: filters in the URL, CSV, one event, and a chain that says how far it was walked and where it breaks."""

from __future__ import annotations

from html import unescape

import pytest
from django.db import connection
from django.test import Client

from apps.accounts.models import User
from apps.accounts.people import user_rename
from apps.audit.actors import Actor
from apps.audit.checking import chain_check
from apps.audit.models import AuditEvent, ChainCheck


def seal() -> None:
    """Events get their place as a transaction commits; tests never commit."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


@pytest.fixture
def log(admin: Client, ada: User) -> Client:
    user_rename(actor=Actor.command("=cmd() <script>alert(1)</script>"), user=ada, name="Ada")
    user_rename(actor=Actor.command("bob"), user=ada, name="<b>Ada</b>")
    seal()
    return admin


def text(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return unescape(response.content.decode())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?action=user.update", {"user.update"}), ("?action=user.", {"user.create", "user.update"}), ("?who=BOB", {"user.update"}),
        ("?q=Main", {"organisation.create"}), ("?who=nobody", set()), ("?from=now-2d&to=now-1d", set()),
        ("?q=%00&who=bob&sort=seq", {"user.update"}),
    ],
)  # fmt: skip
def test_filters_live_in_the_url(log: Client, query: str, found: set[str]) -> None:
    response = log.get(f"/audit/{query}")
    assert {row.action for row in response.context["listing"].rows} == found


def test_what_people_wrote_is_escaped_and_no_formula(log: Client) -> None:
    assert b"<script>alert" not in log.get("/audit/").content
    csv = b"".join(log.get("/audit/?action=user.update&format=csv").streaming_content).decode()
    assert "'=cmd()" in csv and len(csv.splitlines()) == 3 and "<b>Ada</b>" in csv


def test_a_wrong_range_is_named(log: Client) -> None:
    assert "is no time" in text(log, "/audit/?from=yesterday")


def test_one_event_shows_before_and_after(log: Client) -> None:
    event = AuditEvent.objects.filter(action="user.update").order_by("-seq").first()
    assert event is not None
    page = text(log, f"/audit/{event.seq}/")
    assert "<del>Ada</del>" in page and event.hash in page and "Place not walked yet" in page
    assert b"<b>Ada" not in log.get(f"/audit/{event.seq}/").content
    assert log.get("/audit/999999/").status_code == log.get(f"/audit/{10**30}/").status_code == 404


def test_verifying_says_how_far(log: Client) -> None:
    assert "Chain not walked yet" in text(log, "/audit/")
    assert log.post("/audit/check/").status_code == 302
    page = text(log, "/audit/")
    assert "Unbroken:" in page and "Chain verified to no." in page
    event = AuditEvent.objects.order_by("seq").first()
    assert event is not None and "Verified in its place" in text(log, f"/audit/{event.seq}/")


def test_a_check_walks_on_from_the_last_one(log: Client, ada: User) -> None:
    first = chain_check()
    user_rename(actor=Actor.command("eve"), user=ada, name="Eve")
    seal()
    second = chain_check()
    assert (first.whole, second.whole, second.broken) == (True, False, "") and second.head == first.head + 1 and second.links == second.head


def test_a_changed_event_breaks_the_chain_for_everybody_to_see(log: Client) -> None:
    chain_check()
    event = AuditEvent.objects.filter(action="user.update").order_by("-seq").first()
    assert event is not None
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_event DISABLE TRIGGER USER")
        cursor.execute("UPDATE audit_event SET reason = 'forged' WHERE id = %s", [event.pk])
        cursor.execute("ALTER TABLE audit_event ENABLE TRIGGER USER")
    assert "altered" in text(log, "/audit/"), "the page looks at what it shows, whatever the last walk found"
    assert "Altered since it was written" in text(log, f"/audit/{event.seq}/")
    log.post("/audit/check/")
    page = text(log, "/audit/")
    assert "Chain broken" in page and "its content was changed" in page
    assert chain_check().broken, "it stays reported until a whole walk finds nothing"


def test_a_history_that_was_cut_off_is_found(log: Client) -> None:
    ChainCheck.objects.create(at=AuditEvent.objects.first().at, links=99, head=99999, head_hash="0" * 64, whole=True)  # type: ignore[union-attr]
    assert "is missing" in chain_check().broken


def test_the_wrong_person_and_the_wrong_method(log: Client, viewer: Client, outsider: Client) -> None:
    for client in (viewer, outsider):
        for url in ("/audit/", "/audit/1/"):
            response = client.get(url)
            assert response.status_code == 403 and b"audit.view" in response.content and b"ada@example.com" in response.content
        assert client.post("/audit/check/").status_code == 403
    assert Client().get("/audit/")["Location"].startswith("/login/")
    assert log.post("/audit/").status_code == 405 and log.get("/audit/check/").status_code == 405
