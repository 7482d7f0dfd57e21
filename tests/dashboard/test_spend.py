"""The pages of spend: with nothing, a little, a lot; every dimension; what they say is what was spent."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from django.db import connection
from django.db.models import Sum
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation, User
from apps.accounts.scope import Choice, Role, Scope
from apps.audit.models import AuditEvent
from apps.dashboard.spend_lines import SLUGS, UNKNOWN_TO_CORRECTIONS
from apps.dashboard.spend_page import SpendReads
from apps.dashboard.spend_period import PERIODS, period_read
from apps.prices.models import Repricing, RepricingLine
from apps.usage import counting
from apps.usage.choices import PRICE_CHANGE, RUNAWAY_KEY
from apps.usage.forecast import LEAST_DAYS
from apps.usage.models import SpendAnomaly, SpendForecast, UsageRequest
from tests.dashboard.generate import usage_generate
from tests.people import client_of, member

TODAY = date(2026, 3, 18)
PAGES = ("/spend/", "/spend/by/", "/spend/waste/", "/spend/forecast/", "/spend/anomalies/")
KEY_EVIDENCE = {
    "spent": 9 * 10**9, "usual": 10**9, "highest": 2 * 10**9, "allowed": 3 * 10**9, "days": 14, "hour": "2026-03-17T10:00:00+00:00",
    "requests": 70, "hours": 1,
}  # fmt: skip
PRICE_EVIDENCE = {
    "before": "list-1", "after": "list-2", "before_input": 10**9, "before_output": 2 * 10**9, "after_input": 2 * 10**9,
    "after_output": 4 * 10**9, "tokens_input_day": 10**6, "tokens_output_day": 10**6, "before_day": 3 * 10**9, "after_day": 6 * 10**9,
    "percent": 100.0,
}  # fmt: skip


def spent(organisation: Organisation, count: int = 120, *, over: timedelta = timedelta(minutes=50), end: datetime | None = None) -> None:
    usage_generate(organisation=organisation, count=count, over=over, end=end)
    counting.spend_count(retention_days=300, seconds=60)


def anomaly(organisation: Organisation, kind: str, **more: object) -> SpendAnomaly:
    at = datetime(2026, 3, 17, 10, tzinfo=UTC)
    known: dict[str, object] = {
        "organisation": organisation, "simulated": True, "kind": kind, "subject": "key-x" if kind == RUNAWAY_KEY else "east/m",
        "starts_at": at, "ends_at": at + timedelta(hours=1), "evidence": KEY_EVIDENCE if kind == RUNAWAY_KEY else PRICE_EVIDENCE,
    }  # fmt: skip
    return SpendAnomaly.objects.create(**{**known, **more})


EVERY = (*PAGES, *(f"/spend/by/{slug}/" for slug in SLUGS))


def test_a_page_stands_with_nothing(page: Callable[..., str]) -> None:
    for url in EVERY:
        text = page(url)
        assert "Nothing" in text or (url == "/spend/waste/" and "none measured" in text), url


def test_a_page_asks_no_more_queries_than_committed(page: Callable[..., str], organisation: Organisation) -> None:
    spent(organisation)
    anomaly(organisation, RUNAWAY_KEY)
    anomaly(organisation, PRICE_CHANGE)
    allowed = json.loads(Path(__file__).with_name("query_counts.json").read_text())
    page("/spend/")
    for url in EVERY:
        with CaptureQueriesContext(connection) as queries:
            page(url)
        name = re.sub(r"/by/\w+/", "/by/<dimension>/", url)
        assert len(queries) <= allowed[name] <= 12, (f"{url}: {len(queries)}", [query["sql"][:90] for query in queries])


def test_every_row_leads_to_its_requests_and_is_in_the_csv(client: Client, person: User, organisation: Organisation) -> None:
    spent(organisation)
    client.force_login(person)
    rows = UsageRequest.objects.filter(organisation=str(organisation.pk))
    for slug in SLUGS:
        address = f"/spend/by/{slug}/?period=7d"
        text = client.get(address).content.decode()
        answer = client.get(f"{address}&format=csv")
        listed = list(csv.DictReader(io.StringIO(b"".join(answer).decode().lstrip("\ufeff"))))  # type: ignore[call-overload]
        whole = rows.aggregate(total=Sum("cost_nano"))["total"]
        assert sum(int(line["Nano-dollars"]) for line in listed) == whole, slug
        assert sum(int(line["Requests"]) for line in listed) == rows.count()
        links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/requests/\?[^"]+)"', text)]
        assert len(links) == min(len(listed), 50) > 0, slug
        for link in links[:2]:
            asked = parse_qs(urlsplit(link).query)
            assert asked["sort"] == ["costliest"] and (slug in asked or asked["without"] == [slug])
            assert 'href="/requests/0' in client.get(link).content.decode(), (slug, link)


def test_sort_and_dimension_and_period_are_in_the_url(page: Callable[..., str], organisation: Organisation) -> None:
    spent(organisation, 200)
    down, up = (re.findall(r'title="(user-\d+)"', page(f"/spend/by/user/?sort={sort}&period=7d")) for sort in ("-spend", "spend"))
    assert len(down) == len(up) == 40 and down[:9] == up[:-10:-1]
    text = page("/spend/by/user/?sort=spend&period=7d")
    assert 'href="/spend/by/model/?sort=spend&amp;period=7d"' in text
    assert 'aria-sort="ascending"' in text


def test_an_unknown_dimension_is_no_page_and_a_bad_period_says_what_to_do(client: Client, person: User, organisation: Organisation) -> None:
    client.force_login(person)
    assert client.get("/spend/by/colour/").status_code == 404
    for query in ("from=2026-13-01", "from=yesterday", "period=never", "from=2020-01-01&to=2026-01-01", "from=2026-02-02&to=2026-02-01"):
        response = client.get(f"/spend/by/team/?{query}")
        assert response.status_code == 200 and 'role="status"' in response.content.decode(), query


def test_periods_are_whole_days() -> None:
    found = {name: period_read({"period": name}, today=date(2026, 3, 31)).period for name in PERIODS}
    assert {name: (str(p.first), str(p.last)) for name, p in found.items()} == {
        "today": ("2026-03-31", "2026-03-31"),
        "yesterday": ("2026-03-30", "2026-03-30"),
        "7d": ("2026-03-25", "2026-03-31"),
        "month": ("2026-03-01", "2026-03-31"),
        "last-month": ("2026-02-01", "2026-02-28"),
        "30d": ("2026-03-02", "2026-03-31"),
        "90d": ("2026-01-01", "2026-03-31"),
    }
    typed = period_read({"from": "2026-03-01", "to": "2026-03-04"}, today=TODAY)
    assert (typed.period.days, typed.period.before.first, typed.problem) == (4, date(2026, 2, 25), "")
    zoomed = period_read({"from": "2026-03-01T00:00:00Z", "to": "2026-03-04T00:00:00Z"}, today=TODAY)
    assert (zoomed.period.first, zoomed.period.last) == (date(2026, 3, 1), date(2026, 3, 3))
    assert period_read({"from": "2026-03-01", "to": "2027-01-01"}, today=TODAY).period.last == TODAY
    assert "not begun" in period_read({"from": "2026-04-01"}, today=TODAY).problem


def test_the_overview_says_what_the_days_say(organisation: Organisation) -> None:
    days = {TODAY - timedelta(days=back): 10**9 * (back + 1) for back in range(40)}
    for day, nano in days.items():
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO usage_summary SELECT %s, true, 86400, '', %s, '', 1, 1, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, %s, '{}', '{}'",
                [str(organisation.pk), datetime(day.year, day.month, day.day, tzinfo=UTC), nano],
            )
    choice = Choice(organisation=organisation, simulated=True, role=Role.VIEWER, memberships=())
    reads = SpendReads(choice, now=datetime(2026, 3, 18, 12, tzinfo=UTC))
    assert (reads.spent_today, reads.spent_month) == (10**9, sum(nano for day, nano in days.items() if day.month == 3))
    assert reads.last_month == sum(nano for day, nano in days.items() if day.month == 2)
    assert reads.coming is not None and reads.spent_month <= reads.coming.low < reads.coming.nano < reads.coming.high
    assert [day for day, _ in reads.later_days] == [date(2026, 3, day) for day in range(19, 32)]
    early = SpendReads(choice, now=datetime(2026, 2, 8, 12, tzinfo=UTC))
    assert (early.known_days, early.coming) == (1, None) and early.known_days < LEAST_DAYS


def test_corrections_stand_beside_the_old_figures(page: Callable[..., str], organisation: Organisation) -> None:
    spent(organisation)
    today = datetime.now(UTC)
    text = page("/spend/by/route/?period=7d")
    assert "Correction" not in text
    again = Repricing.objects.create(
        organisation=organisation, starts_at=today - timedelta(hours=1), ends_at=today, reason="r", actor="a", state="done"
    )
    line = {
        "repricing": again, "day": (today - timedelta(minutes=25)).date(), "simulated": True, "provider": "sim-east", "model": "m",
        "key_id": "", "team": "", "service": "", "feature": "search", "price_before": "1", "price_after": "2", "requests": 1,
        "original_nano": 10**9,
    }  # fmt: skip
    RepricingLine.objects.create(**line, route="support-chat", corrected_nano=5 * 10**9)
    RepricingLine.objects.create(**line, route="gone", corrected_nano=0)
    text = page("/spend/by/route/?period=7d")
    assert "+$4.00" in text and "-$1.00" in text and ">gone<" in text  # what nothing was spent on since has its row too
    for slug in ("user", "region"):
        assert SLUGS[slug] in UNKNOWN_TO_CORRECTIONS
        assert f"they are not known by {slug}" in page(f"/spend/by/{slug}/?period=7d")
    Repricing.objects.update(state="withdrawn")
    assert "Correction" not in page("/spend/by/route/?period=7d")


def test_what_was_found_shows_its_evidence_and_is_acknowledged_once_with_a_reason(
    client: Client, organisation: Organisation, other: Organisation, page: Callable[..., str]
) -> None:
    row, price = anomaly(organisation, RUNAWAY_KEY), anomaly(organisation, PRICE_CHANGE)
    gone = anomaly(organisation, PRICE_CHANGE, subject="east/gone", evidence={**PRICE_EVIDENCE, "after": "", "percent": -100.0})
    text = page("/spend/anomalies/")
    assert "Runaway key" in text and "9.0 times its usual" in text and "$6.00" in text and "nothing prices it now" in text
    assert "Acknowledge</button>" not in text  # a viewer sees, and does nothing
    assert "Not as it was" in page("/spend/") or "Nothing spent yet" in page("/spend/")
    address = f"/spend/anomalies/{row.pk}/acknowledge/"
    assert client.post(address, {"reason": "a test"}).status_code == 403
    assert client.get(address).status_code in (403, 405)
    admin = client_of(member(organisation))
    stranger = client_of(member(other))
    assert stranger.post(address, {"reason": "mine"}).status_code in (403, 404)
    admin.post(address, {"reason": " "})
    row.refresh_from_db()
    assert row.acknowledged_at is None
    for reason in ("load test", "another word"):
        assert admin.post(address, {"reason": reason}).status_code == 302
    row.refresh_from_db()
    assert (row.reason, row.acknowledged_by != "") == ("load test", True)
    done = AuditEvent.objects.filter(action="anomaly.acknowledge", subject_id=str(row.pk))
    assert [event.reason for event in done] == ["load test"]
    text = admin.get("/spend/anomalies/").content.decode()
    assert "9.0 times" not in text and str(price.pk) in text and str(gone.pk) in text
    assert "load test" in admin.get("/spend/anomalies/?state=all").content.decode()


def test_past_forecasts_are_shown_beside_what_came(page: Callable[..., str], organisation: Organisation) -> None:
    today = datetime.now(UTC).date()
    scope = Scope(str(organisation.pk), True)
    for back in range(12):
        day = today - timedelta(days=back)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO usage_summary SELECT %s, true, 86400, '', %s, '', 1, 1, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, %s, '{}', '{}'",
                [scope.organisation, datetime(day.year, day.month, day.day, tzinfo=UTC), 100 * 10**9],
            )
    assert "too few: 0 of 5 days" in page("/spend/forecast/")
    for back in range(1, 9):
        nano = (110 if back > 2 else 150) * 10**9
        SpendForecast.objects.create(
            organisation=organisation, simulated=True, made_on=today - timedelta(days=back), days=9, spent_nano=0, day_nano=nano,
            day_low_nano=nano - 20 * 10**9, day_high_nano=nano + 20 * 10**9, month_nano=nano, month_low_nano=0, month_high_nano=nano,
        )  # fmt: skip
    text = page("/spend/forecast/")
    assert "in the mean of 8 forecasts" in text and ">20 %" in text  # six by 10 %, two by 50 %
    assert re.search(r">6 <small>of 8<", text) and text.count("missed") >= 2
