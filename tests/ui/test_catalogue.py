"""The catalogue: for those who administer, every part on it, in a chosen scheme; what its forms send does nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Membership, Organisation, User


@pytest.fixture
def admin(db: None, client: Client) -> Client:
    return _signed_in(client, "admin")


def _signed_in(client: Client, role: str) -> Client:
    user = User.objects.create(email=f"{role}@example.test", name="Ada")
    Membership.objects.create(user=user, organisation=Organisation.objects.create(name="O", slug=f"o-{role}"), role=role)
    client.force_login(user)
    return client


def test_it_shows_every_part(admin: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        text = admin.get("/ui/").content.decode()
    assert len(queries) <= 12
    assert text.count("<h1") == 3  # the page's, and the part's twice
    classes = set(re.findall(r'class="([\w-]+)', text))
    for wanted in (
        "page-head",
        "panel",
        "tile",
        "table",
        "chips",
        "segments",
        "menu",
        "field",
        "notice",
        "toast",
        "tabs",
        "pairs",
        "timeline",
    ):
        assert wanted in classes, wanted
    for wanted in ("code-block", "diff", "skeleton", "plot", "pager", "dialog", "hits", "palette"):
        assert wanted in classes, wanted
    for kind in ("nothing-yet", "no-match", "unreachable"):
        assert f'data-empty="{kind}"' in text
    assert "<b>&quot;bold" not in text and "&lt;b&gt;&quot;bold" in text


@pytest.mark.parametrize(("query", "scheme"), [("light", "light"), ("dark", "dark"), ("plaid", None), ("", None)])
def test_it_can_be_seen_in_either_scheme(admin: Client, query: str, scheme: str | None) -> None:
    text = admin.get("/ui/", {"scheme": query}).content.decode()
    assert re.findall(r'<html[^>]*data-theme="(\w+)"', text) == ([scheme] if scheme else [])


@pytest.mark.parametrize("url", ["/ui/", "/ui/live"])
def test_it_is_for_those_who_administer(client: Client, db: None, url: str) -> None:
    assert client.get(url).status_code == 302
    _signed_in(client, "viewer")
    assert client.get(url).status_code == 403
    assert client.post("/ui/try").status_code == 403
    assert client.post(url).status_code == 405


def test_its_forms_do_nothing_but_say_so(admin: Client) -> None:
    assert admin.get("/ui/try").status_code == 405
    text = admin.post("/ui/try", {"reason": "x"}, follow=True).content.decode()
    assert "Nothing was done: this is the catalogue" in text and '<form method="post" action="/ui/try">' in text
    assert "Nothing was done" not in admin.get("/ui/").content.decode()


def test_its_live_panel_can_be_made_to_fail(admin: Client) -> None:
    assert "data-live" in admin.get("/ui/live").content.decode()
    assert admin.get("/ui/live?fail=1").status_code == 503


def test_its_table_sorts_and_comes_as_csv(admin: Client) -> None:
    text = b"".join(admin.get("/ui/?format=csv&sort=name").streaming_content).decode()  # type: ignore[arg-type]
    lines = text.splitlines()
    assert lines[0] == "\ufeffRoute,State,Requests,Spend" and len(lines) == 6


def test_every_icon_that_a_template_names_is_drawn() -> None:
    from apps.ui.icons import ICONS

    for path in (Path(settings.BASE_DIR) / "templates").rglob("*.html"):
        for name in re.findall(r'{% icon "([\w-]+)"', path.read_text()):
            assert name in ICONS, (path.name, name)
