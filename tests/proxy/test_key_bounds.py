"""What opens a key, from where, and what a request's record says of the secret that did."""

from __future__ import annotations

import time
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest

from apps.contracts.env import SettingError
from apps.contracts.identifiers import uuid7
from apps.contracts.networks import Networks
from apps.contracts.passes import LIFETIME_MS, new_pass
from apps.contracts.snapshot import KeyFragment
from apps.contracts.tokens import SECRET_PRESENT, SECRET_REPLACED, token_digest
from apps.proxy.compiler import CompileError, compile_config
from apps.proxy.errors import Refusal
from apps.proxy.process import ProxySettings
from apps.proxy.records import usage_template
from apps.proxy.steps.authenticate import Authenticator
from tests.proxy.fragments import ORG, provider, route, table

PEPPER = b"pepper"
FAR = 1 << 52


def digest(token: bytes) -> str:
    return token_digest(PEPPER, token).hex()


def key(**changes: Any) -> KeyFragment:
    return KeyFragment(
        **{"id": "k-1", "name": "app", "public_id": "abc", "organisation": ORG, "digests": [digest(b"token-one")], **changes}
    )


def asked(keys: Any, token: bytes = b"token-one", *, peer: str = "", forwarded: str = "", trusted: Networks | None = None) -> Any:
    headers = {b"authorization": b"Bearer " + token}
    if forwarded:
        headers[b"x-forwarded-for"] = forwarded.encode()
    return Authenticator(PEPPER, trusted).key_of(headers, keys, peer)


def test_a_key_with_ranges_opens_from_there_only_every_time() -> None:
    runtime = compile_config(table(key(addresses=["192.0.2.0/24", "2001:db8::/32"])), version=1)
    step = Authenticator(PEPPER)
    headers = {b"authorization": b"Bearer token-one"}
    for peer, opens in [("192.0.2.7", True), ("198.51.100.1", False), ("2001:db8::9", True), ("::ffff:192.0.2.1", True), ("", False)] * 2:
        found = step.key_of(headers, runtime, peer)
        assert isinstance(found, Refusal) is not opens, peer
        if isinstance(found, Refusal):
            assert found.code == "address_not_allowed" and "ranges" in found.message and "192.0.2" not in found.message
    assert asked(compile_config(table(key()), version=1), peer="").id == "k-1"  # a key without ranges asks for no address


def test_a_forwarded_address_counts_where_the_setting_trusts_the_peer() -> None:
    runtime = compile_config(table(key(addresses=["192.0.2.0/24"])), version=1)
    near = Networks(["10.0.0.0/8"])
    assert asked(runtime, peer="10.0.0.1", forwarded="192.0.2.7", trusted=near).id == "k-1"
    for refused in (
        asked(runtime, peer="10.0.0.1", forwarded="192.0.2.7"),  # off by default
        asked(runtime, peer="198.51.100.1", forwarded="192.0.2.7", trusted=near),
        asked(runtime, peer="10.0.0.1", forwarded="192.0.2.7, 198.51.100.9", trusted=near),
    ):
        assert refused.code == "address_not_allowed"


def test_the_setting_of_trusted_proxies_is_read_at_start() -> None:
    base = {"BULKHEAD_KEY_PEPPER": "p", "BULKHEAD_SEAL_KEY": "s"}
    assert ProxySettings.read(base).trusted_proxies is None
    read = ProxySettings.read({**base, "BULKHEAD_TRUSTED_PROXIES": "10.0.0.0/8, fd00::/8"}).trusted_proxies
    assert read is not None and read.holds("10.9.9.9") and read.holds("fd00::1") and not read.holds("192.0.2.1")
    with pytest.raises(SettingError) as caught:
        ProxySettings.read({**base, "BULKHEAD_TRUSTED_PROXIES": "everybody"})
    assert "BULKHEAD_TRUSTED_PROXIES" in str(caught.value)


def test_a_token_of_another_gateway_opens_by_its_bare_hash_and_by_nothing_else() -> None:
    token = b"sk-1234"
    runtime = compile_config(table(key(digests=[], hashes=[sha256(token).hexdigest()])), version=1)
    assert asked(runtime, token).id == "k-1"
    for other in (b"sk-1235", sha256(token).hexdigest().encode()):
        assert asked(runtime, other).code == "invalid_api_key"
    # a hash is never taken for an HMAC, nor an HMAC for a hash
    assert asked(compile_config(table(key(digests=[sha256(token).hexdigest()])), version=1), token).code == "invalid_api_key"
    assert asked(compile_config(table(key(digests=[], hashes=[digest(token)])), version=1), token).code == "invalid_api_key"


def test_hashes_are_compiled_anew_with_their_key() -> None:
    first, second = (sha256(token).hexdigest() for token in (b"sk-first", b"sk-second"))
    before = compile_config(table(key(digests=[], hashes=[first])), version=1)
    changed = table(key(digests=[], hashes=[second], digests_until_ms={second: 1}))
    after = compile_config(changed, version=2, previous=before, changed={"keys": {"k-1"}})
    assert after.keys.keys() == compile_config(changed, version=2).keys.keys()
    assert asked(after, b"sk-first").code == "invalid_api_key" and asked(after, b"sk-second").code == "key_expired"


@pytest.mark.parametrize(
    ("changes", "field"), [({"hashes": ["zz"]}, "hashes"), ({"hashes": ["ab"]}, "hashes"), ({"addresses": ["10.0.0.1/8"]}, "addresses")]
)
def test_what_cannot_be_compiled_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_config(table(key(**changes)), version=1)
    assert (caught.value.section, caught.value.id, caught.value.field) == ("keys", "k-1", field)


def test_the_same_token_for_two_keys_is_refused() -> None:
    hashes = [sha256(b"sk-1234").hexdigest()]
    with pytest.raises(CompileError, match="the same token opens"):
        compile_config(table(key(hashes=hashes), key(id="k-2", digests=[], hashes=hashes)), version=1)


def test_records_say_which_of_two_secrets_opened_the_key() -> None:
    old, new = digest(b"token-old"), digest(b"token-new")
    both = compile_config(table(provider(), route(), key(digests=[old, new], digests_until_ms={old: FAR})), version=1)
    for token, flag in ((b"token-old", SECRET_REPLACED), (b"token-new", SECRET_PRESENT)):
        found = asked(both, token)
        assert usage_template("chat", found, both.tables[ORG]["chat"], both, "proxy-1").flags == [flag]
    alone = compile_config(table(key(digests=[new])), version=1)
    assert usage_template("chat", asked(alone, b"token-new"), None, alone, "proxy-1").flags == []


BODY = b'{"model": "chat"}'
ID = str(uuid7())


class Passing:
    """What the step needs of an exchange: its request, and a place for the key."""

    def __init__(self, token: str, body: bytes = BODY) -> None:
        self.request = SimpleNamespace(headers={b"authorization": b"Bearer " + token.encode()}, peer="198.51.100.1", body=body)
        self.key: Any = None


def lent(fragment: KeyFragment, *, body: bytes = BODY, ago_ms: int = 0) -> tuple[Any, Any]:
    """What a pass to the key gets: the refusal or None, and the key it opened."""
    made = int(time.time() * 1000) - ago_ms
    exchange = Passing(new_pass(PEPPER, key_id=ID, body=BODY, now_ms=made), body)
    refusal = Authenticator(PEPPER)(exchange, compile_config(table(fragment), version=1))  # type: ignore[arg-type]
    return refusal, exchange.key


def test_a_pass_opens_its_key_as_it_is_may_explain_and_asks_for_no_address() -> None:
    old = digest(b"token-two")
    refusal, opened = lent(
        key(
            id=ID,
            routes=["chat"],
            team="core",
            addresses=["192.0.2.0/24"],
            digests=[old, digest(b"token-one")],
            digests_until_ms={old: FAR},
        )
    )
    assert refusal is None and (opened.id, opened.name, opened.team, opened.allowed) == (ID, "app", "core", frozenset(["chat"]))
    assert opened.explain and opened.secret == "" and opened.expires_at_ms is None
    refusal, opened = lent(key(id=ID, digests=[], hashes=[sha256(b"foreign").hexdigest()]))
    assert refusal is None and opened.id == ID


def test_a_pass_is_refused_as_its_key_would_be() -> None:
    assert lent(key(id=ID, state="revoked"))[0].code == "key_revoked"
    assert lent(key(id=ID, enabled=False))[0].code == "key_disabled"
    assert lent(key(id=ID, expires_at_ms=1))[0].code == "key_expired"


def test_a_pass_for_another_body_too_late_or_to_no_key_opens_nothing() -> None:
    for refusal, opened in (lent(key(id=ID), body=b"other"), lent(key(id=ID), ago_ms=2 * LIFETIME_MS), lent(key(id=str(uuid7())))):
        assert refusal.code == "invalid_api_key" and opened is None
