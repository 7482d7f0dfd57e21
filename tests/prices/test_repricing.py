"""Pricing a past period again: what it corrects, what it leaves alone, who may, and that the booked figures never change."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.accounts.models import Organisation, User
from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.contracts.pricing import Price
from apps.contracts.usage import TokenDetails, Tokens
from apps.prices import repricing
from apps.prices.models import Repricing
from apps.prices.selectors import Tariffs, corrections_of
from apps.prices.tasks import repricings_run
from apps.providers.discounts import discount_set
from apps.providers.models import Provider
from apps.providers.prices import price_change, prices_set
from apps.providers.rules import PriceSpec, price_version
from apps.ui.csvfile import csv_lines
from apps.usage.focus import FOCUS, header_of, rows_of_charges
from apps.usage.focus_rules import file_wrong
from apps.usage.focus_selectors import charges, charges_total
from apps.usage.models import UsageRequest
from tests.prices.conftest import YESTERDAY, Book, attempt
from tests.scale import examples

DAY = {"starts_at": YESTERDAY.replace(hour=0), "ends_at": YESTERDAY.replace(hour=23)}


def again(actor: Actor, organisation: Organisation, **facts: Any) -> Repricing:
    return repricing.repricing_create(actor=actor, organisation=organisation, reason="the price was wrong", **(DAY | facts))


def price(actor: Actor, provider: Provider, **facts: Any) -> None:
    prices_set(actor=actor, provider=provider, model="m", prices=[PriceSpec(**({"input": 10**9, "output": 2 * 10**9} | facts))])


def test_with_the_same_prices_nothing_is_corrected(actor: Actor, organisation: Organisation, local: Provider, book: Book) -> None:
    book()
    row = again(actor, organisation)
    assert (row.state, row.requests, row.kept, row.original_nano, row.difference_nano) == ("done", 1, 0, 2_000_000, 0)
    assert not row.lines.exists()


def test_the_difference_is_a_correction_beside_what_was_booked(
    actor: Actor, organisation: Organisation, local: Provider, book: Book
) -> None:
    for _ in range(3):
        book(team="platform")
    price(actor, local, output=4 * 10**9)
    row = again(actor, organisation)
    [line] = row.lines.all()
    assert (line.requests, line.original_nano, line.corrected_nano, line.team) == (3, 6_000_000, 9_000_000, "platform")
    assert line.price_before == "manual:old" and line.price_after.startswith("manual:")
    scope = Scope(organisation=str(organisation.pk), simulated=False)
    assert corrections_of(scope, YESTERDAY.date(), YESTERDAY.date()) == row.difference_nano == 3_000_000
    assert corrections_of(Scope(organisation=str(organisation.pk), simulated=True), YESTERDAY.date(), YESTERDAY.date()) == 0
    assert set(UsageRequest.objects.values_list("cost_nano", "price_version")) == {(2_000_000, "manual:old")}
    assert AuditEvent.objects.filter(action="repricing.create", reason="the price was wrong").exists()
    assert Event.objects.filter(kind="prices.repriced").exists()


def test_each_request_is_priced_as_of_its_own_time(actor: Actor, organisation: Organisation, local: Provider, book: Book) -> None:
    book(at=YESTERDAY.replace(hour=9))
    book(at=YESTERDAY.replace(hour=11))
    price_change(
        actor=actor, provider=local, model="m", price=PriceSpec(input=3 * 10**9, output=2 * 10**9, valid_from=YESTERDAY.replace(hour=10))
    )
    assert again(actor, organisation).difference_nano == 2_000_000


def test_discounts_regions_and_kinds_count_as_they_do_in_the_proxy(
    actor: Actor, organisation: Organisation, local: Provider, book: Book
) -> None:
    sound = Tokens(input=1_000, output=500, details=TokenDetails(audio_input=400))
    book(attempt(tokens=sound))
    book(attempt(region="us"))
    plain, regional = PriceSpec(input=10**9, output=2 * 10**9), PriceSpec(input=10**9, output=2 * 10**9, audio_input=5 * 10**9, region="eu")
    prices_set(actor=actor, provider=local, model="m", prices=[plain, regional])
    discount_set(actor=actor, organisation=organisation, name="deal", provider=local, discount=5_000)
    row = again(actor, organisation)
    assert row.corrected_nano == Price(price_version(regional, ""), negotiated=5_000).cost(sound) + 1_000_000 == 1_800_000 + 1_000_000


def test_what_nothing_prices_or_nobody_knows_keeps_its_figure(
    actor: Actor, organisation: Organisation, local: Provider, book: Book
) -> None:
    book(attempt(provider="gone"))
    book(attempt(model="other", cost_nano=0, price_version=""))
    book(attempt(outcome="unknown", tokens=Tokens(), estimated=True, cost_nano=7))
    book(attempt(outcome="error", tokens=Tokens(), cost_nano=0, status=500))
    price(actor, local, input=9 * 10**9, request=10**12)
    row = again(actor, organisation)
    assert (row.requests, row.kept, row.difference_nano) == (4, 4, 0)


def test_every_attempt_of_a_request_is_priced_and_an_upper_bound_stays_one(
    actor: Actor, organisation: Organisation, local: Provider, book: Book
) -> None:
    bound = attempt(estimated=True, outcome="cancelled")
    book(attempt(outcome="error", status=0), bound)
    price(actor, local, cache_write=3 * 10**9)
    row = again(actor, organisation)
    assert (row.requests, row.original_nano, row.corrected_nano) == (2, 4_000_000, 2_000_000 + 4_000_000)


def test_one_model_only(actor: Actor, organisation: Organisation, local: Provider, book: Book) -> None:
    prices_set(actor=actor, provider=local, model="n", prices=[PriceSpec(input=0, output=0)])
    book()
    book(attempt(model="n"))
    row = again(actor, organisation, provider="local", model="n")
    assert (row.requests, row.difference_nano) == (1, -2_000_000)


def test_two_in_force_never_cover_the_same_and_a_withdrawn_one_counts_no_more(
    actor: Actor, organisation: Organisation, local: Provider, book: Book
) -> None:
    book()
    price(actor, local, output=0)
    first = again(actor, organisation, model="m")
    for facts in ({}, {"provider": "local"}, {"provider": "local", "model": "m"}):
        with pytest.raises(ServiceError, match="covers some of this already: withdraw"):
            again(actor, organisation, **facts)
    again(actor, organisation, model="n")
    repricing.repricing_withdraw(actor=actor, repricing=first, reason="mistake")
    repricing.repricing_withdraw(actor=actor, repricing=first, reason="again")
    assert AuditEvent.objects.filter(action="repricing.withdraw").count() == 1
    scope = Scope(organisation=str(organisation.pk), simulated=False)
    assert corrections_of(scope, YESTERDAY.date(), YESTERDAY.date()) == 0
    assert again(actor, organisation, model="m").difference_nano == first.difference_nano == -1_000_000


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"ends_at": DAY["starts_at"]}, "ends before it starts"),
        ({"ends_at": timezone.now() + timedelta(days=1)}, "not over"),
        ({"starts_at": timezone.now() - timedelta(days=4_000)}, "requests are kept since"),
        ({"provider": "nobody"}, "there is no provider 'nobody'"),
        ({"reason": " "}, "say why"),
    ],
)
def test_bad_input_is_refused(actor: Actor, organisation: Organisation, facts: dict[str, Any], says: str) -> None:
    with pytest.raises(ServiceError, match=says):
        repricing.repricing_create(actor=actor, organisation=organisation, **({"reason": "x"} | DAY | facts))
    assert not Repricing.objects.exists()


def test_it_takes_the_permission(organisation: Organisation, viewer: User) -> None:
    with pytest.raises(ServiceError, match=r"price\.change"):
        again(Actor.of_user(viewer), organisation)


def test_a_long_period_waits_for_a_worker_and_is_computed_once(
    actor: Actor, organisation: Organisation, local: Provider, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        book()
    monkeypatch.setattr(repricing, "AT_ONCE", 2)
    row = again(actor, organisation)
    assert row.state == "pending"
    assert repricings_run() == 1
    assert repricings_run() == 0
    row.refresh_from_db()
    assert (row.state, row.requests) == ("done", 3)


NUMBERS = st.integers(0, 5_000)


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(NUMBERS, NUMBERS, st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10_000))
def test_by_unchanged_prices_every_answer_costs_what_it_was_booked_at(
    actor: Actor, organisation: Organisation, local: Provider, given_in: int, given_out: int, input: int, output: int, share: int
) -> None:
    """The control plane and the proxy have one arithmetic."""
    spec = PriceSpec(input=input, output=output)
    prices_set(actor=actor, provider=local, model="m", prices=[spec])
    discount_set(actor=actor, organisation=organisation, name="deal", provider=local, discount=share)
    booked = Price(price_version(spec, ""), negotiated=share).cost(Tokens(input=given_in, output=given_out))
    counts = {"input": given_in, "output": given_out, "cache_read": 0, "cache_write": 0, "reasoning": 0}
    said = {"provider": "local", "model": "m", "region": "eu", "outcome": "ok", "estimated": False, "cost_nano": booked, "tokens": counts}
    assert repricing.cost_again(said, Tariffs(organisation), YESTERDAY)[0] == booked


def test_exports_add_up_to_the_corrected_spend_and_conform(actor: Actor, organisation: Organisation, local: Provider, book: Book) -> None:
    """Corrections are rows of their own, up and down; a re-pricing that is withdrawn has none."""
    for team in ("platform", "platform", "search"):
        book(team=team)
    price(actor, local, output=4 * 10**9)
    row = again(actor, organisation)
    scope, day = Scope(organisation=str(organisation.pk), simulated=False), YESTERDAY.date()

    def exported() -> list[dict[str, str]]:
        found = charges(organisation, simulated=False, first=day, last=day)
        lines = csv_lines(header_of(FOCUS), rows_of_charges(FOCUS, found), mark="")
        reader = csv.DictReader(io.StringIO("".join(lines), newline=""))
        rows = list(reader)
        assert file_wrong(list(reader.fieldnames or []), rows) == []
        return rows

    rows = exported()
    booked, corrections, days = charges_total(scope, first=day, last=day)
    assert (booked, corrections, days) == (6_000_000, row.difference_nano, 1)
    assert sum(Decimal(one["BilledCost"]) for one in rows) == Decimal(booked + corrections).scaleb(-9)
    corrected = [one for one in rows if one["ChargeClass"] == "Correction"]
    assert [(one["SubAccountId"], one["BilledCost"]) for one in corrected] == [("platform", "0.002000000"), ("search", "0.001000000")]
    assert all(one["ConsumedQuantity"] == one["PricingQuantity"] == "" and one["x_Requests"] == "0" for one in corrected)
    assert "2 calls priced by manual:" in corrected[0]["ChargeDescription"] and "not by manual:old" in corrected[0]["ChargeDescription"]
    repricing.repricing_withdraw(actor=actor, repricing=row, reason="it was right")
    assert [one["ChargeClass"] for one in exported()] == ["", ""]
    price(actor, local, output=10**9)
    assert again(actor, organisation).difference_nano < 0
    assert sum(Decimal(one["BilledCost"]) for one in exported()) < Decimal(booked).scaleb(-9)
