"""What flags are for apps that ask by the protocol, pure: value, reason, variant, and what cannot be told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.snapshot import FlagFragment
from apps.flags import ofrep
from apps.flags.ofrep import EvaluationError, FlagSet, context_read, flags_compile

NOW = 1_800_000_000_000
TWO = [
    {"name": "blue", "weight": 500, "payload": {"type": "string", "value": "#00f"}},
    {"name": "red", "weight": 500, "payload": {"type": "json", "value": '{"hex": "#f00"}'}},
]
BERLIN = {"name": "default", "constraints": [{"contextName": "city", "operator": "IN", "values": ["Berlin"]}]}
HALF = {"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": "default", "groupId": "g"}}


def flag(name: str, **facts: Any) -> FlagFragment:
    given: dict[str, Any] = {"kind": "release", "subject": "organisation", "subject_id": "o", "organisation": "o", "on": True, **facts}
    return FlagFragment(id=f"id-{name}", name=name, **given)


def told(flags: FlagSet | FlagFragment, key: str = "f", *, simulated: bool = False, **context: Any) -> tuple[Any, str, str]:
    """(value, reason, variant); the value None where the answer has none."""
    found = flags if isinstance(flags, FlagSet) else flags_compile([flags], version=7, now_ms=NOW)
    answer = found.evaluate(key, context_read({"context": context}, environment="production"), simulated=simulated)
    return None if answer.value is ofrep.NO_VALUE else answer.value, answer.reason, answer.variant


def test_every_kind_on_and_off() -> None:
    assert told(flag("f")) == (True, "STATIC", "on")
    assert told(flag("f", on=False)) == (False, "DISABLED", "off")
    assert told(flag("f", on=False, default="on")) == (True, "DISABLED", "on")
    assert told(flag("f", kind="kill")) == (True, "STATIC", "on")
    assert told(flag("f", kind="fallback", on=False)) == (False, "DISABLED", "off")
    assert told(flag("f", kind="degrade", level="cached")) == ("cached", "STATIC", "cached")
    assert told(flag("f", kind="degrade", level="cached", on=False)) == ("full", "DISABLED", "full")


def test_a_flag_whose_end_has_passed_is_off_and_the_set_knows_the_next_end() -> None:
    ended, going = flag("f", until_ms=NOW), flag("g", until_ms=NOW + 1)
    found = flags_compile([ended, going], version=1, now_ms=NOW)
    assert told(found, "f")[1] == "DISABLED" and told(found, "g")[1] == "STATIC" and found.until_ms == NOW + 1


def test_targeting_and_what_holds_for_the_others() -> None:
    rules = {"strategies": [BERLIN]}
    assert told(flag("f", rules=rules), city="Berlin") == (True, "TARGETING_MATCH", "on")
    assert told(flag("f", rules=rules), city="Bern") == (False, "DEFAULT", "off")
    assert told(flag("f", rules=rules, default="on"), city="Bern") == (True, "DEFAULT", "on")
    assert told(flag("f", kind="kill", rules=rules), city="Bern") == (False, "DEFAULT", "off")
    seen = {
        "strategies": [{"name": "default", "constraints": [{"contextName": "environment", "operator": "IN", "values": ["production"]}]}]
    }
    assert told(flag("f", rules=seen))[0] is True, "the key's environment, where the app names none"
    assert told(flag("f", rules=seen), environment="staging")[0] is False


def test_a_split_needs_somebody_to_choose_by() -> None:
    split = flag("f", rules={"strategies": [HALF]})
    found = {told(split, targetingKey=f"user-{at}")[:2] for at in range(40)}
    assert found == {(True, "SPLIT"), (False, "DEFAULT")}
    with pytest.raises(EvaluationError) as missing:
        told(split)
    assert missing.value.code == "TARGETING_KEY_MISSING"
    assert told(split, sessionId="s")[0] in (True, False)
    assert told(flag("f", on=False, rules={"strategies": [HALF]})) == (False, "DISABLED", "off"), "what is off needs nobody"


def test_variants_carry_values_of_their_types() -> None:
    variants = flag("f", rules={"variants": TWO})
    found = {told(variants, targetingKey=f"u{at}")[2]: told(variants, targetingKey=f"u{at}") for at in range(40)}
    assert found == {"blue": ("#00f", "SPLIT", "blue"), "red": ({"hex": "#f00"}, "SPLIT", "red")}
    only = flag("f", rules={"variants": [{"name": "n", "weight": 1, "payload": {"type": "number", "value": "3.5"}}]})
    assert told(only, targetingKey="u") == (3.5, "STATIC", "n")
    bare = flag("f", rules={"variants": [{"name": "n", "weight": 1}]})
    assert told(bare, targetingKey="u") == ("n", "STATIC", "n")
    off = {"on": False, "rules": {"variants": TWO}}
    assert told(flag("f", **off)) == (None, "DISABLED", "off"), "no value: the app's own default"
    assert told(flag("f", **off, default="red")) == ({"hex": "#f00"}, "DISABLED", "red")
    for payload in ({"type": "json", "value": "{"}, {"type": "number", "value": "NaN"}, {"type": "number", "value": "true"}):
        broken = flag("f", rules={"variants": [{"name": "n", "weight": 1, "payload": payload}]})
        with pytest.raises(EvaluationError) as error:
            told(broken, targetingKey="u")
        assert error.value.code == "PARSE_ERROR"


def test_drills_take_a_share_and_only_simulated_traffic() -> None:
    drill = flag("f", kind="kill", share=30)
    found = [told(drill, targetingKey=f"user-{at}")[0] for at in range(400)]
    assert 60 < sum(found) < 180 and found == [told(drill, targetingKey=f"user-{at}")[0] for at in range(400)]
    with pytest.raises(EvaluationError):
        told(drill)
    assert told(flag("f", share=0)) == (False, "SPLIT", "off")
    only = flag("f", simulated_only=True)
    assert told(only) == (False, "DISABLED", "off") and told(only, simulated=True) == (True, "STATIC", "on")


def test_a_flag_waits_for_its_parent() -> None:
    parent, child = flag("p"), flag("f", rules={"dependencies": [{"feature": "p"}]})
    assert told(flags_compile([parent, child], version=1, now_ms=NOW)) == (True, "TARGETING_MATCH", "on")
    assert told(flags_compile([flag("p", on=False), child], version=1, now_ms=NOW)) == (False, "DEFAULT", "off")


def test_one_that_cannot_be_told_does_not_spoil_the_others() -> None:
    found = flags_compile([flag("b", rules={"strategies": [HALF]}), flag("a")], version=3, now_ms=NOW)
    documents, answers = found.documents(context_read({}, environment="production"), simulated=False)
    assert [entry["key"] for entry in documents] == ["a", "b"] and [answer.key for answer in answers] == ["a"]
    assert documents[0]["metadata"] == {"kind": "release", "configVersion": 3}
    assert documents[1]["errorCode"] == "TARGETING_KEY_MISSING" and "value" not in documents[1]


def test_keys_that_are_stopped() -> None:
    kill = {"kind": "kill", "subject": "key"}
    stops = [flag("a", **kill, subject_id="k1"), flag("b", **kill, subject_id="k2", share=50), flag("c", **kill, subject_id="k3", on=False)]
    assert flags_compile(stops, version=1, now_ms=NOW).killed == {"k1"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "PARSE_ERROR"),
        ("text", "PARSE_ERROR"),
        ({"context": []}, "INVALID_CONTEXT"),
        ({"context": {"targetingKey": 7}}, "INVALID_CONTEXT"),
        ({"context": {"targetingKey": "x" * 513}}, "INVALID_CONTEXT"),
        ({"context": {str(at): at for at in range(257)}}, "INVALID_CONTEXT"),
    ],
)
def test_contexts_that_cannot_be_read(body: object, code: str) -> None:
    with pytest.raises(EvaluationError) as error:
        context_read(body, environment="production")
    assert error.value.code == code


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(st.text(max_size=5), PLAIN, max_size=2)


@given(context=st.dictionaries(st.text(max_size=20) | st.sampled_from(["targetingKey", "userId", "sessionId", "city"]), JSON, max_size=8))
def test_any_context_is_answered_or_refused_by_the_protocol(context: dict[str, Any]) -> None:
    flags = [flag("a", rules={"strategies": [HALF, BERLIN]}), flag("b", rules={"variants": TWO}), flag("c", share=10)]
    try:
        read = context_read({"context": context}, environment="staging")
    except EvaluationError:
        return
    documents, _ = flags_compile(flags, version=1, now_ms=NOW).documents(read, simulated=False)
    assert [("value" in entry) ^ ("errorCode" in entry) for entry in documents] == [True] * 3
