"""The outbound guard's rules: every special address in every form, and nothing that is ordinary."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.addresses import METADATA, NEVER, host_refusal, kind_of, literal_address, refusal
from apps.contracts.snapshot import ProviderFragment, decode_fragment, encode_fragment

SPECIAL_V4 = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip
any_v4 = st.ip_addresses(v=4)
special_v4 = st.sampled_from(SPECIAL_V4).flatmap(lambda network: st.ip_addresses(v=4, network=network))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.1.1", "100.64.0.1",
        "224.0.0.251", "239.255.255.250", "240.0.0.1", "255.255.255.255", "198.18.0.1", "203.0.113.9", "::", "::1", "fc00::1", "fd12::1",
        "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:10.0.0.1", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "4000::1", "100::1",
    ],
)  # fmt: skip
def test_special_addresses_take_the_switch(address: str) -> None:
    assert refusal(address, allow_private=False)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254",
        "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
    ],
)  # fmt: skip
def test_metadata_services_are_refused_even_with_the_switch(address: str) -> None:
    assert kind_of(address) == METADATA
    assert refusal(address, allow_private=True) and refusal(address, allow_private=False)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "104.18.7.192", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0", "2606:4700::6812:7c0",
        "::ffff:8.8.8.8", "64:ff9b::808:808",
    ],
)  # fmt: skip
def test_ordinary_public_addresses_are_free(address: str) -> None:
    assert refusal(address, allow_private=False) == ""


@given(special_v4)
def test_no_wrapping_in_ipv6_opens_a_special_address(address: IPv4Address) -> None:
    number = int(address)
    for wrapped in (
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0xFFFF << 48) | number),
        IPv6Address((0x0064FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address(number),
    ):
        assert refusal(str(wrapped), allow_private=False), wrapped


@given(st.one_of(any_v4, special_v4))
def test_every_form_of_an_address_is_judged_as_the_address(address: IPv4Address) -> None:
    """As ``inet_aton`` reads them, and so resolvers: one to four parts, decimal, octal, hexadecimal."""
    number, (a, b, c, d) = int(address), address.packed
    plain = bool(refusal(str(address), allow_private=False))
    for form in (
        str(number),
        hex(number),
        f"0{number:o}",
        f"0x{a:x}.0{b:o}.{c}.0x{d:02X}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"[::ffff:{address}]",
        f"{address}.",
    ):
        assert literal_address(form.strip("[]").rstrip(".")) is not None, form
        assert bool(host_refusal(form, allow_private=False)) == plain, form


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_the_standard_library_calls_not_global_is_never_free(address: IPv4Address | IPv6Address) -> None:
    wraps_v4 = isinstance(address, IPv6Address) and int(address) >> 32 in (0xFFFF, 0xFFFF << 16, 0x0064FF9B << 64)  # judged as that
    if not wraps_v4 and (not address.is_global or address.is_multicast or address.is_reserved):
        assert refusal(str(address), allow_private=False)


@given(st.one_of(st.ip_addresses(), special_v4))
def test_the_switch_opens_everything_but_what_no_switch_opens(address: IPv4Address | IPv6Address) -> None:
    assert bool(refusal(str(address), allow_private=True)) == (kind_of(str(address)) in NEVER)


@given(st.text(max_size=40))
def test_text_that_is_no_address_is_refused_and_never_crashes(text: str) -> None:
    host_refusal(text, allow_private=False)
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        assert refusal(text, allow_private=True)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "api.localhost", "ip6-localhost", "localhost.localdomain"])
def test_names_of_this_host_take_the_switch(host: str) -> None:
    assert "this host" in host_refusal(host, allow_private=False)
    assert host_refusal(host, allow_private=True) == ""


def test_other_names_are_left_to_the_dialler() -> None:
    for host in ("api.openai.com", "1e100.net", "127.0.0.1.example.com", "localhost.example.com", "beef", "0x7f.example"):
        assert host_refusal(host, allow_private=False) == ""
    assert host_refusal("metadata.google.internal", allow_private=True)


def test_a_snapshot_from_before_the_switch_reads_and_nobody_has_allowed_it() -> None:
    body = b'{"id": "p", "name": "local", "kind": "openai", "endpoints": [{"name": "main", "base_url": "http://127.0.0.1:8000/v1"}]}'
    fragment = decode_fragment("providers", body)
    assert isinstance(fragment, ProviderFragment) and fragment.allow_private_addresses is False
    assert b"allow_private_addresses" not in encode_fragment(fragment)
