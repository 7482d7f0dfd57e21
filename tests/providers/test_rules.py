"""Addresses, names, secrets and prices that are taken and refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.errors import ServiceError
from apps.providers import rules
from apps.providers.rules import EndpointSpec, PriceSpec

JAN, FEB, MAR = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3))


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://10.0.0.7/openai/deployments/a%20b", "http://10.0.0.7/openai/deployments/a%20b"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_addresses_taken(url: str, stored: str) -> None:
    assert rules.check_base_url(url) == stored


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "not an address"),
        ("api.openai.com/v1", "http://"),
        ("ftp://host/v1", "http://"),
        ("file:///etc/passwd", "http://"),
        ("https:///v1", "no host"),
        ("https://host/v1?key=1", "query"),
        ("https://host/v1?", "query"),
        ("https://host/v1#x", "query"),
        ("https://host:0/v1", "port 0"),
        ("https://host:99999/v1", "not an address"),
        ("https://host:x/v1", "not an address"),
        ("https://ho st/v1", "printable"),
        ("https://host/v1\r\nx-a: b", "printable"),
        ("https://höst/v1", "printable"),
        ("https://host/a/../b", "plainly"),
        ("https://host\\@evil/v1", "user or password"),
        ("http://[::1/v1", "not an address"),
        ("https://host/" + "a" * 600, "500"),
    ],
)
def test_addresses_refused(url: str, says: str) -> None:
    with pytest.raises(ServiceError, match=says) as caught:
        rules.check_base_url(url)
    assert caught.value.field == "base_url"


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ServiceError) as caught:
        rules.check_base_url("https://me:hunter22@host/v1")
    assert "hunter22" not in caught.value.message


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_refusal(text: str) -> None:
    for url in (text, f"http://{text}", f"https://host/{text}"):
        try:
            stored = rules.check_base_url(url)
        except ServiceError:
            continue
        assert rules.check_base_url(stored) == stored
        assert stored.isascii() and stored.startswith("http")


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "a" * 81, "ä", "a\n"])
def test_names_refused(name: str) -> None:
    with pytest.raises(ServiceError):
        rules.check_name(name)


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak", "ümlaut", "x" * 9000])
def test_secrets_refused_without_repeating_them(value: str) -> None:
    with pytest.raises(ServiceError) as caught:
        rules.check_secret(value)
    assert not value or value not in caught.value.message


def test_endpoints_need_one_and_different_names() -> None:
    with pytest.raises(ServiceError, match="at least one"):
        rules.check_endpoints([])
    with pytest.raises(ServiceError, match="two endpoints") as caught:
        rules.check_endpoints([EndpointSpec("a", "http://h"), EndpointSpec("a", "http://i")])
    assert caught.value.field == "endpoints[1].name"
    with pytest.raises(ServiceError, match="absolute path"):
        rules.check_endpoints([EndpointSpec("a", "http://h", ca_file="ca.pem")])
    with pytest.raises(ServiceError, match="connections"):
        rules.check_endpoints([EndpointSpec("a", "http://h", max_connections=0)])


@pytest.mark.parametrize(
    ("specs", "field"),
    [
        ([PriceSpec(-1, 0)], "prices.input"),
        ([PriceSpec(0, rules.MAX_PRICE + 1)], "prices.output"),
        ([PriceSpec(0, 0, cache_read=-5)], "prices.cache_read"),
        ([PriceSpec(0, 0, tiers=({"from_input_tokens": 0, "input": 1},))], "prices.tiers[0].from_input_tokens"),
        ([PriceSpec(0, 0, tiers=({"from_input_tokens": 9}, {"from_input_tokens": 9}))], "prices.tiers[1].from_input_tokens"),
        ([PriceSpec(0, 0, tiers=({"from_input_tokens": 9, "input": -1},))], "prices.tiers[0].input"),
        ([PriceSpec(0, 0, valid_from=FEB, valid_to=JAN)], "prices.valid_to"),
        ([PriceSpec(0, 0), PriceSpec(1, 1)], "prices.valid_to"),
        ([PriceSpec(0, 0, valid_to=MAR), PriceSpec(1, 1, valid_from=FEB)], "prices.valid_to"),
    ],
)
def test_prices_refused(specs: list[PriceSpec], field: str) -> None:
    with pytest.raises(ServiceError) as caught:
        rules.check_prices(specs)
    assert caught.value.field == field


def test_prices_are_sorted_by_their_start() -> None:
    early, late = PriceSpec(1, 1, valid_to=FEB), PriceSpec(2, 2, valid_from=FEB)
    assert rules.check_prices([late, early]) == [early, late]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (200, "up"),
        (204, "up"),
        (404, "up"),
        (405, "up"),
        (401, "refused"),
        (403, "refused"),
        (500, "failing"),
        (302, "failing"),
        (None, "down"),
    ],
)
def test_what_a_status_means(status: int | None, state: str) -> None:
    assert rules.check_state(status) == state
