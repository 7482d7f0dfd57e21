"""The FOCUS 1.2 export: accepted by our rule set, its costs add up to what was booked; the rule set finds what breaks a rule."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.keys.services import key_create
from apps.ownership.models import Service, Team
from apps.ui.csvfile import csv_lines
from apps.usage.focus import FOCUS, SHOWBACK, Charge, PeriodError, header_of, period_read, rows_of_charges
from apps.usage.focus_rules import AI_SUBCATEGORIES, MANDATORY, columns_wrong, file_wrong, row_wrong
from tests.people import client_of, member
from tests.usage.hours import hour_add

NAMES = st.text(max_size=20).map(lambda text: text.replace("\x00", ""))
CHARGES = st.builds(
    Charge,
    day=st.dates(date(2024, 1, 1), date(2027, 12, 31)),
    account_id=st.just("o"),
    account=NAMES,
    **dict.fromkeys(("team", "team_name", "service", "service_name", "feature", "environment", "key_id", "key", "model", "route"), NAMES),
    provider=st.sampled_from(["", "openai", "=cmd", "-x"]),
    **dict.fromkeys(("requests", "attempts", "tokens_cache_read", "tokens_cache_write", "tokens_reasoning"), st.integers(0, 9)),
    tokens_input=st.integers(0, 2**53),
    tokens_output=st.integers(0, 2**53),
    cost_nano=st.integers(-(2**62), 2**62),
)


def parsed(lines: Any) -> tuple[list[str], list[dict[str, str]]]:
    reader = csv.DictReader(io.StringIO("".join(lines), newline=""))
    rows = list(reader)
    return list(reader.fieldnames or []), rows


@given(st.lists(CHARGES, max_size=4))
def test_whatever_was_used_the_file_conforms_and_no_cent_is_lost(charges: list[Charge]) -> None:
    columns, rows = parsed(csv_lines(header_of(FOCUS), rows_of_charges(FOCUS, charges), mark=""))
    wrong = [each for each in file_wrong(columns, rows) if "another SkuId" not in each]
    assert wrong == []
    assert sum(Decimal(row["BilledCost"]) for row in rows) == sum((charge.cost for charge in charges), Decimal(0))
    for row in rows:
        assert not row["ProviderName"].startswith(("=", "-")) and json.loads(row["Tags"]) is not None


GOOD = dict(
    zip(
        header_of(FOCUS),
        next(csv.reader(io.StringIO(list(csv_lines(["h"], rows_of_charges(FOCUS, [Charge(
            date(2026, 2, 28), "o", "Acme", "t", "Team", "s", "Service", "f", "production", "k", "Key", "openai", "gpt-4o", "chat",
            1, 1, 10, 20, 0, 0, 0, 15,
        )]), mark=""))[1]))),
        strict=True,
    )
)  # fmt: skip


def test_the_periods_are_the_day_and_its_month_in_utc() -> None:
    assert row_wrong(GOOD) == []
    assert [GOOD[name] for name in ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")] == [
        "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z",
    ]  # fmt: skip
    assert (GOOD["BilledCost"], GOOD["PricingQuantity"], GOOD["ChargeClass"]) == ("0.000000015", "30", "")
    assert set(header_of(FOCUS)) >= MANDATORY and GOOD["ServiceSubcategory"] in AI_SUBCATEGORIES


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("BilledCost", "", "null"),
        ("BilledCost", "1,5", "no decimal"),
        ("BilledCost", "NaN", "no decimal"),
        ("BillingCurrency", "usd", "ISO 4217"),
        ("ChargePeriodStart", "2026-02-28", "no date and time in UTC"),
        ("ChargePeriodStart", "2026-02-30T00:00:00Z", "there is"),
        ("ChargePeriodEnd", "2026-02-28T00:00:00Z", "not after"),
        ("ChargePeriodEnd", "2026-03-02T00:00:00Z", "outside the billing period"),
        ("ChargeCategory", "usage", "not allowed"),
        ("ChargeClass", "None", "not allowed"),
        ("ChargeCategory", "Tax", "not null for a tax"),
        ("ChargeCategory", "Purchase", "not null for Purchase"),
        ("ServiceCategory", "AI", "not allowed"),
        ("ServiceSubcategory", "Chat", "none of its category's"),
        ("PricingQuantity", "", "null for Usage"),
        ("PricingUnit", "", "null for Usage"),
        ("ConsumedUnit", "", "null beside ConsumedQuantity"),
        ("SkuId", "", "null for Usage"),
        ("SubAccountId", "", "SubAccountName: not null without SubAccountId"),
        ("ResourceId", "", "not null without ResourceId"),
        ("Tags", "[]", "no flat object"),
        ("Tags", '{"a": {}}', "no flat object"),
        ("Tags", "a=b", "no JSON"),
        ("ProviderName", "", "null"),
        ("InvoiceIssuerName", "", "null"),
        ("ContractedUnitPrice", "2", "not ContractedUnitPrice times PricingQuantity"),
    ],
)
def test_the_rule_set_finds_a_broken_rule(column: str, value: str, says: str) -> None:
    assert any(says in wrong for wrong in row_wrong({**GOOD, column: value})), row_wrong({**GOOD, column: value})


def test_the_rule_set_finds_wrong_columns() -> None:
    names = header_of(FOCUS)
    assert columns_wrong(names) == []
    assert columns_wrong([name for name in names if name != "ListCost"]) == ["ListCost: mandatory, and missing"]
    assert "Tags: twice" in columns_wrong([*names, "Tags"])
    assert any("x_Name" in wrong for wrong in columns_wrong([*names, "Feature"]))
    assert any("another SkuId" in wrong for wrong in file_wrong(names, [GOOD, {**GOOD, "SkuId": "other"}]))


NOW = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)


def test_periods() -> None:
    assert period_read("", "", now=NOW) == (date(2026, 11, 1), date(2026, 11, 21))
    assert period_read("2026-02", "", now=NOW) == (date(2026, 2, 1), date(2026, 2, 28))
    assert period_read("2026-01", "2026-02", now=NOW) == (date(2026, 1, 1), date(2026, 2, 28))
    for first, last in (("2026-13", ""), ("x", ""), ("2026-02-02", "2026-02-01"), ("2020-01-01", "2026-01-01"), ("9999-12", "")):
        with pytest.raises(PeriodError):
            period_read(first, last, now=NOW)


@pytest.fixture
def acme(db: None) -> Organisation:
    acme = Organisation.objects.create(name="Acme", slug="acme-focus")
    team = Team.objects.create(organisation=acme, name="Search team", slug="search")
    Service.objects.create(team=team, name="Finder", slug="finder")
    key, _ = key_create(actor=Actor.command("test"), organisation=acme, name="app")
    of = {"team": "search", "service": "finder", "key_id": str(key.pk), "feature": "=SUM(A1)"}
    hour_add(acme, "2026-01-31", hour=1, tokens_input=10, tokens_output=5, cost_nano=123, **of)
    hour_add(acme, "2026-01-31", hour=23, tokens_input=1, tokens_output=1, cost_nano=10**9, **of)
    hour_add(acme, "2026-02-01", hour=0, cost_nano=7)
    hour_add(acme, "2026-02-01", hour=0, provider="", model="", attempts=0, refused=1, ok=0)
    hour_add(acme, "2026-02-01", simulated=True, cost_nano=99)
    return acme


def test_the_file_of_the_page_and_of_the_command_are_one_and_conform(acme: Organisation) -> None:
    client = client_of(member(acme, "viewer"))
    page = client.get("/costs/export/?from=2026-01-01&to=2026-02-28").content.decode()
    assert "from=2026-01-01&amp;to=2026-02-28" in page and "$1" in page
    response = client.get("/costs/export/focus.csv?from=2026-01-01&to=2026-02-28")
    assert response.streaming and response["Content-Disposition"] == 'attachment; filename="bulkhead-focus-2026-01-01-2026-02-28.csv"'
    text = b"".join(response.streaming_content).decode()
    columns, rows = parsed([text])
    assert file_wrong(columns, rows) == []
    assert [(row["ChargePeriodStart"], row["BilledCost"], row["SubAccountName"], row["ResourceName"]) for row in rows] == [
        ("2026-01-31T00:00:00Z", "1.000000123", "Search team", "app"),
        ("2026-02-01T00:00:00Z", "0.000000007", "", ""),
    ]
    assert rows[0]["x_Feature"] == "'=SUM(A1)" and json.loads(rows[0]["Tags"])["Service"] == "Finder"
    out = io.StringIO(newline="")
    call_command("export_costs", organisation=acme.slug, first="2026-01", last="2026-02", stdout=out)
    assert out.getvalue() == text


def test_showback_names_what_has_no_team(acme: Organisation) -> None:
    client = client_of(member(acme, "viewer"))
    lines = b"".join(client.get("/costs/export/showback.csv?from=2026-02").streaming_content).decode().splitlines()
    assert lines[0].removeprefix("\ufeff").split(",") == header_of(SHOWBACK)
    assert lines[1] == "2026-02-01,(no team),(no service),(untagged),,(no key),openai,gpt-4o,,1,0,0,0,0.000000007,"
    assert len(lines) == 2


def test_a_period_that_is_none_is_said_on_the_page(acme: Organisation) -> None:
    client = client_of(member(acme))
    for url in ("/costs/export/?from=nonsense", "/costs/export/focus.csv?from=2026-02-02&to=2026-02-01"):
        answer = client.get(url)
        assert answer.status_code == 400 and 'role="alert"' in answer.content.decode()
    with pytest.raises(CommandError, match="no day such as"):
        call_command("export_costs", organisation=acme.slug, first="x")
