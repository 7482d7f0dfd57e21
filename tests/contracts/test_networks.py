"""Ranges of client addresses, and whose word about a client is taken."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.networks import NetworkError, Networks, client_address, network_read


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (" 192.0.2.0/24 ", "192.0.2.0/24"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_ranges_are_stored_in_one_spelling(text: str, stored: str) -> None:
    assert network_read(text) == stored == network_read(stored)


@pytest.mark.parametrize("text", ["", "office", "192.0.2.0/33", "192.0.2/24", "1.2.3.4/-1", "2001:db8::/129", "192.0.2.0/24, 10.0.0.0/8"])
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(NetworkError, match="CIDR"):
        network_read(text)


def test_an_address_beyond_its_range_is_refused_with_both_meanings() -> None:
    with pytest.raises(NetworkError, match=r"192\.0\.2\.0/24 for the whole range, or 192\.0\.2\.7"):
        network_read("192.0.2.7/24")


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_range_holds_what_the_standard_library_says(address: object, length: int) -> None:
    network = ip_network((address, min(length, 32 if ip_address(str(address)).version == 4 else 128)), strict=False)
    inside = Networks([str(network)])
    for other in (str(address), "10.1.2.3", "2001:db8::9", str(network.network_address), str(network.broadcast_address)):
        mapped = ip_address(other)
        expected = mapped in network if mapped.version == network.version else False
        if getattr(mapped, "ipv4_mapped", None) is None:
            assert inside.holds(other) is expected


def test_a_mapped_address_is_the_ipv4_one() -> None:
    assert Networks(["192.0.2.0/24"]).holds("::ffff:192.0.2.9") and not Networks(["::/0"]).holds("::ffff:192.0.2.9")
    assert not Networks(["0.0.0.0/0"]).holds("") and not Networks([]).holds("192.0.2.1")


TRUSTED = Networks(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", "203.0.113.9", "198.51.100.1"),  # anybody can write the header
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "192.0.2.1, 203.0.113.9", "203.0.113.9"),  # the left one was written by the client
        ("10.0.0.1", "192.0.2.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("fd00::1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "192.0.2.1, unknown", ""),
        ("", "192.0.2.1", ""),
    ],
)
def test_a_forwarded_address_is_believed_from_trusted_peers_only(peer: str, forwarded: str, client: str) -> None:
    assert client_address(peer, forwarded, TRUSTED) == client
    assert client_address("198.51.100.1", forwarded, None) == "198.51.100.1"
