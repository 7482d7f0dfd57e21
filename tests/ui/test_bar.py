"""The counts of the bar: zero until someone tells, words and not only numbers, hostile hints as text."""

from __future__ import annotations

import pytest
from django.http import HttpRequest
from django.template import RequestContext, Template
from django.test import RequestFactory

from apps.ui import bar
from apps.ui.bar import Count, counts_of, register_count

HOSTILE = '"><img src=x onerror=alert(1)>'


@pytest.fixture
def tellers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar, "_tellers", {})


def _drawn() -> str:
    return Template("{% load ui %}{% include 'ui/counts.html' %}").render(RequestContext(RequestFactory().get("/")))


def test_what_nobody_tells_is_zero(tellers: None) -> None:
    assert [count.words for count in counts_of(HttpRequest())] == ["no overrides in force", "no open alerts", "no open incidents"]
    assert _drawn().count("wide-only") == 3  # phones show only what needs someone


def test_a_count_is_told_by_its_app(tellers: None) -> None:
    register_count(
        "incidents", lambda request: Count(1, "open incident", "open incidents", "incidents", "/incidents/?a=1&b=2", HOSTILE, "bad")
    )
    text = _drawn()
    assert "1 open incident<" in text and "tone-bad" in text and 'href="/incidents/?a=1&amp;b=2"' in text
    assert "<img" not in text and text.count("wide-only") == 2


def test_a_count_that_the_bar_does_not_have_is_refused(tellers: None) -> None:
    with pytest.raises(LookupError, match="overrides, alerts, incidents"):
        register_count("drills", lambda request: Count(0, "", "", "flags"))
