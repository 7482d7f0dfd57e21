"""The tokens' contrast, the error pages, the theme, and that no template carries a style or a script."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import mock

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client

from apps.ui.status import UNKNOWN, Status, worst

ROOT = Path(settings.BASE_DIR)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
TOKENS = (ROOT / "static/css/tokens.css").read_text()


def test_a_rollup_shows_the_worst_and_silence_is_not_health() -> None:
    good, bad = Status("a", "A", "good"), Status("b", "B", "bad")
    assert worst([good, bad, good]) is bad
    assert worst([good, UNKNOWN]) is UNKNOWN
    assert worst([]) is UNKNOWN


def _colours(scheme: int) -> dict[str, tuple[int, ...]]:
    found = {}
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", TOKENS):
        text = (light, dark)[scheme]
        found[name] = tuple(int(text[at : at + 2], 16) for at in (1, 3, 5))
    return found


def _luminance(colour: tuple[int, ...]) -> float:
    red, green, blue = ((c / 255 / 12.92) if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_every_surface(scheme: int) -> None:
    colours = _colours(scheme)
    pairs = [(ink, back) for ink in ("ink", "ink-2", "ink-3", "accent") for back in ("canvas", "surface", "hover", "raised", "selected")]
    pairs += [(tone, back) for tone in ("good", "warn", "bad", "unknown", "neutral") for back in ("surface", "hover", f"{tone}-soft")]
    for ink, back in pairs:
        high, low = sorted((_luminance(colours[ink]), _luminance(colours[back])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, back, round((high + 0.05) / (low + 0.05), 2))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_template_needs_more_than_the_strict_policy(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:|hx-on|\|safe\b|mark_safe|autoescape off|hx-vals='?js", text), path
    assert all("src=" in tag and 'nonce="{{ csp_nonce }}"' in tag for tag in re.findall(r"<script[^>]*>", text))


def test_the_policy_is_strict(client: Client, db: None) -> None:
    policy = client.get("/login/")["Content-Security-Policy"]
    assert "unsafe" not in policy and "style-src 'self'" in policy and "default-src 'self'" in policy
    assert "script-src 'strict-dynamic'" in policy  # no page for strangers has a script, so none has a nonce


def test_error_pages_ask_the_database_nothing(client: Client) -> None:
    client.raise_request_exception = False
    missing = client.get("/no/such/<b>page</b>")
    assert missing.status_code == 404 and b"&lt;b&gt;page" in missing.content
    with mock.patch("apps.dashboard.views.connection.cursor", side_effect=ValueError("broken")):
        broken = client.get("/healthz")
    assert broken.status_code == 500 and b"This page broke" in broken.content


def test_an_unreachable_database_is_said_with_what_still_works(client: Client) -> None:
    client.raise_request_exception = False
    with mock.patch("apps.dashboard.views.connection.cursor", side_effect=OperationalError("connection refused")):
        health = client.get("/healthz")
    assert (health.status_code, health.json()["status"]) == (503, "unavailable")
    client.cookies["sessionid"] = "whatever"
    with mock.patch("django.db.backends.base.base.BaseDatabaseWrapper.ensure_connection", side_effect=OperationalError("refused")):
        page = client.get("/")
    assert page.status_code == 503 and page["Retry-After"]
    assert b"What still works" in page.content


def test_the_theme_is_remembered_and_goes_back_only_to_ourselves(client: Client) -> None:
    chosen = client.post("/preferences/theme", {"theme": "dark", "next": "/requests/?route=x"})
    assert chosen["Location"] == "/requests/?route=x" and client.cookies["theme"].value == "dark"
    assert client.post("/preferences/theme", {"theme": "system", "next": "https://elsewhere.test/"})["Location"] == "/"
    assert client.cookies["theme"].value == ""
