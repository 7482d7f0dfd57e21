"""The command palette: pages and actions a person may use, objects of the apps' sources, one broken source among good ones."""

from __future__ import annotations

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Membership, Organisation, User
from apps.ui import palette
from apps.ui.palette import Hit, matches, palette_find, register_source

HOSTILE = '<script>alert("x")</script>&\'"'


def _everything(action: str, *, installation: bool = False) -> bool:
    return True


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> dict[str, palette.Source]:
    kept: dict[str, palette.Source] = {}
    monkeypatch.setattr(palette, "_sources", kept)
    return kept


@pytest.fixture
def person(db: None, client: Client) -> User:
    user = User.objects.create(email="ada@example.test", name="Ada")
    Membership.objects.create(user=user, organisation=Organisation.objects.create(name="O", slug="o-tests"), role="viewer")
    client.force_login(user)
    return user


def test_an_empty_query_shows_pages_and_asks_no_source(sources: dict[str, palette.Source]) -> None:
    register_source("Routes", lambda user, query, limit: pytest.fail("asked for nothing"))
    assert next(group.name for group in palette_find(None, "  ", may=_everything)) == "Pages"


def test_sources_are_asked_with_person_query_and_limit(sources: dict[str, palette.Source]) -> None:
    asked = []

    def routes(user: object, query: str, limit: int) -> list[Hit]:
        asked.append((user, query, limit))
        return [Hit(f"chat-{at}", "route", f"/routes/{at}/", "routes") for at in range(20)]

    register_source("Routes", routes)
    register_source("Routes", routes)  # ready() may run twice
    found = palette_find("ada", " chat\x00 ", may=_everything, limit=3)
    assert asked == [("ada", "chat", 3)]
    assert [len(group.hits) for group in found if group.name == "Routes"] == [3]
    with pytest.raises(ValueError, match="another name"):
        register_source("Routes", lambda user, query, limit: [])


def test_a_broken_source_takes_nothing_else_with_it(sources: dict[str, palette.Source]) -> None:
    def broken(user: object, query: str, limit: int) -> list[Hit]:
        raise RuntimeError("no")

    register_source("Broken", broken)
    register_source("Keys", lambda user, query, limit: [Hit("checkout", "key", "/keys/1/", "keys")])
    found = {group.name: group for group in palette_find(None, "checkout", may=_everything)}
    assert found["Broken"].failed and found["Keys"].hits


def test_only_pages_that_the_person_may_see() -> None:
    found = palette_find(None, "requests", may=lambda action, installation=False: False)
    assert not any(hit.title == "Requests" for group in found for hit in group.hits)


@pytest.mark.parametrize(
    ("query", "found"), [("req", True), ("REQ", True), ("live req", True), ("quest", True), ("ue", False), ("x", False), ("", True)]
)
def test_what_matches(query: str, found: bool) -> None:
    assert matches(query, "Live requests") is found


@given(st.text(max_size=300))
def test_any_text_is_answered(query: str) -> None:
    assert isinstance(palette_find(None, query, may=_everything), list)


def test_the_fragment_and_the_page_escape_what_they_show(client: Client, person: User, sources: dict[str, palette.Source]) -> None:
    register_source(
        "Keys", lambda user, query, limit: [Hit(HOSTILE, HOSTILE, '/keys/?a=1&b="', "keys"), Hit("Undo", "", "/undo/", "undo", post=True)]
    )
    for headers in ({}, {"HX-Request": "true"}):
        text = client.get("/ui/palette", {"q": HOSTILE}, headers=headers).content.decode()
        assert "<script>alert" not in text and "&lt;script&gt;alert" in text
        assert 'href="/keys/?a=1&amp;b=&quot;"' in text
        assert '<form method="post" action="/undo/"' in text and "csrfmiddlewaretoken" in text
        assert ("<h1>" in text) is not bool(headers)


def test_nothing_found_says_so(client: Client, person: User, sources: dict[str, palette.Source]) -> None:
    assert "Nothing answers “zzzz”" in client.get("/ui/palette?q=zzzz", headers={"HX-Request": "true"}).content.decode()


def test_strangers_and_other_methods_are_refused(client: Client, person: User) -> None:
    assert client.post("/ui/palette").status_code == 405
    client.logout()
    assert client.get("/ui/palette?q=a").status_code == 302
