from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.ui.timerange import LONGEST, TimeRangeError, from_query, parse, parse_end
from apps.ui.zone import ZoneMiddleware, zone_named

NOW = datetime(2026, 3, 4, 15, 16, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("now-15m", NOW - timedelta(minutes=15)),
        ("now/d", datetime(2026, 3, 4, tzinfo=UTC)),
        ("now-1d/d", datetime(2026, 3, 3, tzinfo=UTC)),
        ("2026-03-01T14:00", datetime(2026, 3, 1, 14, tzinfo=UTC)),
        ("2026-03-01T14:00:00+02:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("1772323200000", datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_an_end(text: str, moment: datetime) -> None:
    assert parse_end(text, now=NOW) == moment


def test_days_and_bare_times_are_meant_in_the_zone_that_the_url_names() -> None:
    found = from_query({"from": "2026-03-01 14:00", "to": "now/d", "zone": "Asia/Tokyo"}, now=NOW)
    assert found.start == datetime(2026, 3, 1, 5, tzinfo=UTC)
    assert found.end == datetime(2026, 3, 4, 15, tzinfo=UTC)  # 2026-03-05 00:00 there
    assert from_query(found.query, now=NOW) == found
    assert found.query == {"from": "2026-03-01 14:00", "to": "now/d", "zone": "Asia/Tokyo"}


def test_what_a_person_edits_is_what_a_person_reads() -> None:
    found = from_query({"from": "1772323200000", "to": "now"}, now=NOW)
    with timezone.override(zoneinfo.ZoneInfo("Asia/Tokyo")):
        assert (found.from_field, found.to_field) == ("2026-03-01 09:00:00", "now")
        assert found.label.endswith("JST")
    assert found.custom and not from_query({}, now=NOW).custom


@pytest.mark.parametrize("name", ["", "UTC", "Mars/Olympus", "../../etc/passwd", "x" * 100, "\x00"])
def test_no_zone_is_utc(name: str) -> None:
    assert zone_named(name) is None
    assert from_query({"from": "2026-03-01 14:00", "zone": name}, now=NOW).start == datetime(2026, 3, 1, 14, tzinfo=UTC)


def test_the_zone_is_remembered_and_goes_back_only_to_ourselves(client: Client) -> None:
    chosen = client.post("/preferences/zone", {"zone": "Europe/Berlin", "next": "/requests/?route=x"})
    assert chosen["Location"] == "/requests/?route=x" and client.cookies["zone"].value == "Europe/Berlin"
    assert client.post("/preferences/zone", {"zone": "nowhere", "next": "//elsewhere.test/"})["Location"] == "/"
    assert client.cookies["zone"].value == "" and client.get("/preferences/zone").status_code == 405


def test_times_are_drawn_in_the_zone_of_the_cookie() -> None:
    request = RequestFactory().get("/")
    request.COOKIES["zone"] = "Asia/Tokyo"

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(Template("{% load ui %}{{ at|moment }} {% zone_name %}").render(Context({"at": NOW})))

    text = ZoneMiddleware(view)(request).content.decode()  # type: ignore[attr-defined]
    assert "2026-03-05 00:16:17</time> Asia/Tokyo" in text and 'datetime="2026-03-04T15:16:17.000+00:00"' in text
    request.COOKIES["zone"] = "nowhere"
    assert "2026-03-04 15:16:17</time> UTC" in ZoneMiddleware(view)(request).content.decode()  # type: ignore[attr-defined]


def test_a_day_that_was_set_as_one_is_the_same_for_every_reader() -> None:
    request = RequestFactory().get("/")
    midnight = datetime(2026, 3, 1, tzinfo=UTC)

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(Template("{% load ui %}{{ at|day }}").render(Context({"at": midnight})))

    for zone in ("America/Los_Angeles", "Asia/Tokyo", ""):
        request.COOKIES["zone"] = zone
        assert ZoneMiddleware(view)(request).content.decode() == "2026-03-01", zone  # type: ignore[attr-defined]


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_gives_a_range_or_a_reason(from_text: str, to_text: str) -> None:
    found = from_query({"from": from_text, "to": to_text}, now=NOW)
    assert timedelta(0) < found.length <= LONGEST
    if found.problem:
        assert found.from_text == "now-1h" and found.live


@pytest.mark.parametrize(
    ("start", "end"), [("now", "now"), ("now-1h", "now-2h"), ("now-999999w", "now"), ("now-500d", "now"), ("9" * 14, "now")]
)
def test_a_wrong_range_says_what_to_do(start: str, end: str) -> None:
    with pytest.raises(TimeRangeError, match=r"set 'from'|choose a shorter|too far back|write now-6h"):
        parse(start, end, now=NOW)
