"""What a page says when the database is away: since when, and what works without it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError
from django.db.backends.signals import connection_created
from django.test import RequestFactory

from apps.ui import outage
from apps.ui.views import server_error


@pytest.fixture(autouse=True)
def _after() -> object:
    yield
    outage.answered()


def _page() -> str:
    try:
        raise OperationalError("connection refused")
    except OperationalError:
        response = server_error(RequestFactory().get("/spend/"))
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    return response.content.decode()


def test_the_page_says_since_when_and_what_still_works() -> None:
    first = outage.failed()
    text = _page()
    assert "since <time" in text and first.strftime("%H:%M:%S") in text
    assert "What still works" in text and "Try again" in text and 'href="/spend/"' in text
    assert outage.failed() == first  # a later failure is the same outage


def test_a_new_connection_ends_the_outage() -> None:
    first = outage.failed()
    connection_created.send(sender=None, connection=None)
    assert outage.failed() > first
    assert datetime.now(UTC) - outage.failed() < timedelta(seconds=30)
