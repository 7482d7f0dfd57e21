"""Toasts: said once, after a redirect too, escaped, with an undo that stays on this site."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.contrib.messages.storage.fallback import FallbackStorage
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.test import Client, RequestFactory

from apps.ui.toasts import Toast, toast, toast_announce, toasts_take

HOSTILE = "<img src=x onerror=alert(1)> \"'& {{ 7|add:7 }}"


@pytest.fixture
def ask() -> Callable[[], HttpRequest]:
    def make() -> HttpRequest:
        request = RequestFactory().get("/")
        request.session = {}  # type: ignore[assignment]
        request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
        return request

    return make


def test_a_toast_is_said_once(ask: Callable[[], HttpRequest]) -> None:
    request = ask()
    toast(request, "Route chat disabled", undo_url="/routes/1/enable/")
    toast(request, "Half done", tone="warn")
    assert list(toasts_take(request)) == [Toast("Route chat disabled", "ok", "/routes/1/enable/"), Toast("Half done", "warn")]


def test_it_survives_a_cookie_or_session(ask: Callable[[], HttpRequest]) -> None:
    first, response = ask(), HttpResponse()
    toast(first, HOSTILE, tone="bad", undo_url="/x?a=1&b=2")
    first._messages.update(response)  # type: ignore[attr-defined]
    second = RequestFactory().get("/")
    second.COOKIES = {name: morsel.value for name, morsel in response.cookies.items()}
    second.session = first.session
    second._messages = FallbackStorage(second)  # type: ignore[attr-defined]
    assert list(toasts_take(second)) == [Toast(HOSTILE, "bad", "/x?a=1&b=2")]


def test_the_partial_escapes_and_posts_the_undo(ask: Callable[[], HttpRequest]) -> None:
    request = ask()
    toast(request, HOSTILE, undo_url='/undo/?q="><b>')
    text = render_to_string("ui/toasts.html", request=request)
    assert "<img" not in text and "&lt;img src=x onerror=alert(1)&gt;" in text and "{{ 7|add:7 }}" in text
    assert '<form method="post" action="/undo/?q=&quot;&gt;&lt;b&gt;">' in text and "csrfmiddlewaretoken" in text
    assert 'role="status"' in text and 'id="toasts"' in text
    assert text.count("data-passes") == 1


def test_what_went_wrong_stays_until_it_was_read(ask: Callable[[], HttpRequest]) -> None:
    request = ask()
    toast(request, "The provider refused", tone="bad")
    assert "data-passes" not in render_to_string("ui/toasts.html", request=request)


def test_nothing_waits_without_a_toast(ask: Callable[[], HttpRequest]) -> None:
    assert 'class="toast ' not in render_to_string("ui/toasts.html", request=ask())
    assert 'class="toast ' not in render_to_string("ui/toasts.html")


@pytest.mark.parametrize("url", ["https://elsewhere.test/", "//elsewhere.test/", "javascript:alert(1)", "relative/", "/\\elsewhere.test"])
def test_an_undo_elsewhere_is_an_error_of_the_caller(ask: Callable[[], HttpRequest], url: str) -> None:
    with pytest.raises(ValueError, match="path of this site"):
        toast(ask(), "done", undo_url=url)


def test_an_unknown_tone_is_named(ask: Callable[[], HttpRequest]) -> None:
    with pytest.raises(ValueError, match="ok, info, warn, bad"):
        toast(ask(), "done", tone="green")  # type: ignore[arg-type]


def test_an_answer_to_htmx_makes_the_page_fetch_them() -> None:
    response = HttpResponse()
    assert json.loads(toast_announce(HttpResponse(headers={"HX-Trigger": "saved, refresh"}))["HX-Trigger"]).keys() == {
        "saved",
        "refresh",
        "toast",
    }
    response["HX-Trigger"] = json.dumps({"saved": {"id": 1}})
    assert json.loads(toast_announce(response)["HX-Trigger"]) == {"saved": {"id": 1}, "refresh": {}, "toast": {}}


def test_the_fragment_is_for_people_who_are_signed_in(client: Client) -> None:
    assert client.get("/ui/toasts").status_code == 302
    assert client.post("/ui/toasts").status_code == 405
