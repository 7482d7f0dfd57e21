"""What a route's switch, a disabled key and a replaced token make of the compiled config, and when they end."""

from __future__ import annotations

from typing import Any

from apps.contracts.snapshot import FlagFragment, KeyFragment, Switch, Target
from apps.contracts.tokens import token_digest
from apps.proxy.compiler import compile_config
from apps.proxy.errors import Refusal
from apps.proxy.steps.authenticate import Authenticator
from tests.proxy.fragments import ORG, provider, route, table

PEPPER = b"pepper"
EAST, WEST = Target(provider="east", model="m"), Target(provider="west", model="m")


def config(**changes: Any) -> Any:
    west = provider(id="p-2", name="west", base_url="http://127.0.0.1:2/v1")
    return table(provider(), west, route(targets=[EAST, WEST], **changes))


def targets(runtime: Any) -> list[str]:
    return [target.provider for target in runtime.tables[ORG]["chat"].targets]


def test_a_switch_puts_its_target_first_or_alone_and_names_itself() -> None:
    runtime = compile_config(config(switch=Switch(target=WEST)), version=1)
    assert targets(runtime) == ["west", "east"] and runtime.tables[ORG]["chat"].flags == ("switched to west",)
    assert targets(compile_config(config(switch=Switch(target=WEST, failover=False)), version=1)) == ["west"]
    fallback = FlagFragment(id="f", name="fall", organisation=ORG, kind="fallback", subject="route", subject_id="r-1", on=True)
    flagged = config(switch=Switch(target=WEST), fallback=[EAST])
    flagged["flags"]["f"] = fallback
    runtime = compile_config(flagged, version=1)
    assert targets(runtime) == ["west", "east"] and runtime.tables[ORG]["chat"].flags == ("fall", "switched to west")


def test_a_switch_ends_by_itself() -> None:
    fragments = config(switch=Switch(target=WEST, until_ms=1_000))
    during = compile_config(fragments, version=1, now_ms=999)
    assert targets(during) == ["west", "east"] and during.good_until_ms == 1_000
    after = compile_config(fragments, version=1, now_ms=1_000)
    assert targets(after) == ["east", "west"] and after.good_until_ms is None
    assert targets(compile_config(fragments, version=1)) == ["west", "east"]  # the control plane checks it as it is written


def key(**changes: Any) -> KeyFragment:
    return KeyFragment(**{"id": "k-1", "name": "app", "public_id": "abc", "organisation": ORG, "digests": [], **changes})


def asked(runtime: Any, token: bytes) -> Any:
    return Authenticator(PEPPER).key_of({b"authorization": b"Bearer " + token}, runtime)


def test_a_disabled_key_is_refused_and_an_enabled_one_is_not() -> None:
    digest = token_digest(PEPPER, b"token-one").hex()
    refused = asked(compile_config(table(key(digests=[digest], enabled=False)), version=1), b"token-one")
    assert isinstance(refused, Refusal) and refused.code == "key_disabled"
    assert asked(compile_config(table(key(digests=[digest])), version=1), b"token-one").id == "k-1"
    revoked = asked(compile_config(table(key(digests=[digest], enabled=False, state="revoked")), version=1), b"token-one")
    assert revoked.code == "key_revoked"


def test_a_replaced_token_opens_the_key_until_its_time() -> None:
    old, new = (token_digest(PEPPER, token).hex() for token in (b"token-old", b"token-new"))
    for until, opens in ((1, False), (1 << 52, True)):
        runtime = compile_config(table(key(digests=[old, new], digests_until_ms={old: until})), version=1)
        answer = asked(runtime, b"token-old")
        assert isinstance(answer, Refusal) is not opens
        if not opens:
            assert answer.code == "key_expired" and "replaced" in answer.message
        assert asked(runtime, b"token-new").expires_at_ms is None
    both = compile_config(table(key(digests=[old], digests_until_ms={old: 1 << 52}, expires_at_ms=1)), version=1)
    assert "has expired" in asked(both, b"token-old").message  # the key's own end comes first


def test_a_change_of_tokens_is_compiled_as_if_anew() -> None:
    old, new = (token_digest(PEPPER, token).hex() for token in (b"token-old", b"token-new"))
    before = compile_config(table(key(digests=[old])), version=1)
    changed = table(key(digests=[old, new], digests_until_ms={old: 5}))
    after = compile_config(changed, version=2, previous=before, changed={"keys": frozenset({"k-1"})})
    assert set(after.keys) == {bytes.fromhex(old), bytes.fromhex(new)} and after.keys[bytes.fromhex(old)].expires_at_ms == 5
