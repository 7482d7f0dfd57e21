"""Rules of flags against Unleash's own client specification, read where it lies beside the repository, and our own edges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.contracts.flag_buckets import Buckets, murmur3
from apps.contracts.flag_documents import rules_problems
from apps.contracts.flag_patterns import PatternRefused, pattern_compile
from apps.contracts.flag_rules import NO_VARIANT, CompiledRules, Variant, compile_features, compile_rules, segments_read

VECTORS = Path(__file__).parents[3] / "shared" / "material" / "vectors" / "unleash-client-specification" / "specifications"
COUNT = 279
"""Of tests in the specification: all of them apply (docs/flags.md)."""


def flat(context: dict[str, Any]) -> dict[str, str]:
    """A context of the specification, as ours: one flat map of texts."""
    properties = {name: str(value) for name, value in (context.get("properties") or {}).items() if value is not None}
    return properties | {name: str(value) for name, value in context.items() if name != "properties" and value is not None}


def state_of(state: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Features by name and segments of a specification's state, events of the delta interface applied in their order."""
    features = {feature["name"]: feature for feature in state.get("features", ())}
    segments = {segment["id"]: segment for segment in state.get("segments", ())}
    for event in state.get("events", ()):
        for feature in [*event.get("features", ()), *([event["feature"]] if "feature" in event else ())]:
            features[feature["name"]] = feature
        for segment in [*event.get("segments", ()), *([event["segment"]] if "segment" in event else ())]:
            segments[segment["id"]] = segment
        if event["type"] == "feature-removed":
            del features[event["featureName"]]
    return features, list(segments.values())


def told(rules: CompiledRules | None, context: dict[str, str]) -> dict[str, Any]:
    variant: Variant = NO_VARIANT if rules is None else rules.variant(context)
    found = {"name": variant.name, "enabled": variant.enabled, "feature_enabled": rules is not None and rules.enabled(context)}
    return found | ({"payload": dict(variant.payload)} if variant.payload else {})


def vectors() -> Iterator[tuple[str, dict[str, CompiledRules], dict[str, Any]]]:
    for path in sorted(VECTORS.glob("[0-9]*.json")):
        specification = json.loads(path.read_text())
        features, segments = state_of(specification["state"])
        compiled = compile_features(
            {name: (feature["enabled"], feature) for name, feature in features.items()}, segments=segments_read(segments)
        )
        for test in [*specification.get("tests", ()), *specification.get("variantTests", ())]:
            yield path.stem, compiled, test


def test_unleash_specification() -> None:
    if not VECTORS.is_dir():
        pytest.skip(f"Unleash's client specification is not at {VECTORS}")
    count, wrong = 0, []
    for name, compiled, test in vectors():
        rules, context = compiled.get(test["toggleName"]), flat(test["context"])
        expected = test["expectedResult"]
        found: Any = told(rules, context) if isinstance(expected, dict) else rules is not None and rules.enabled(context)
        count += 1
        if found != expected:
            wrong.append((name, test["description"], expected, found))
    assert wrong == []
    assert count == COUNT


def test_murmur3_is_the_reference_s() -> None:
    """Values of the reference implementation, whole blocks and every length of tail."""
    assert murmur3(b"") == 0
    assert murmur3(b"", 1) == 0x514E28B7
    assert murmur3(b"\xff\xff\xff\xff") == 0x76293B50
    assert murmur3(b"!Ce\x87") == 0xF55B516B
    assert murmur3(b"!Ce\x87", 0x5082EDEE) == 0x2362F9DE
    assert murmur3(b"!Ce") == 0x7E4A8634
    assert murmur3(b"!C") == 0xA0F7B07A
    assert murmur3(b"!") == 0x72661CF4
    assert murmur3(b"Hello, world!", 0x9747B28C) == 0x24884CBA


def test_a_bucket_is_the_hash_of_group_and_text() -> None:
    for group in ("", "a", "ab", "abc", "abcd", "grüße"):
        buckets = Buckets(group, 100)
        for text in ("", "1", "user-12345", "ü" * 7):
            expected = murmur3(f"{group}:{text}".encode()) % 100 + 1
            assert buckets.of(text) == buckets.of(text) == buckets.of_bytes(text.encode()) == expected


def test_nothing_that_is_no_document_holds() -> None:
    for document in (
        {"strategies": ["default"]},
        {"strategies": [{"name": "tomorrow"}]},
        {"strategies": [{"name": "default", "constraints": [{"contextName": 3}]}]},
        {"strategies": [{"name": "default", "constraints": [{"contextName": "x", "operator": "IN_THE_MOOD", "inverted": True}]}]},
        {
            "strategies": [
                {"name": "default", "constraints": [{"contextName": "x", "operator": "NUM_GT", "value": "ten", "inverted": True}]}
            ]
        },
        {"strategies": [{"name": "default", "segments": [7]}]},
        {"strategies": [{"name": "flexibleRollout", "parameters": {"rollout": "a lot"}}]},
    ):
        rules = compile_rules(document, name="odd")
        assert not rules.enabled({"userId": "1"}) and not rules.always
        assert rules.variant({"userId": "1"}) is NO_VARIANT
        assert rules_problems(document)


def test_rules_that_hold_for_everybody_need_no_question() -> None:
    for document in ({}, {"strategies": []}, {"strategies": [{"name": "default"}]}):
        assert compile_rules(document, name="all").always
    assert compile_rules({"strategies": [{"name": "flexibleRollout", "parameters": {"rollout": "100"}}]}, name="all").always
    assert not compile_rules({}, name="none", enabled=False).always
    assert compile_rules({"strategies": [{"name": "userWithId", "parameters": {"userIds": "7"}}]}, name="one").fields == {"userId"}


def test_a_time_that_is_not_given_is_now() -> None:
    constraint = {"contextName": "currentTime", "operator": "DATE_AFTER", "value": "2020-01-01T00:00:00Z"}
    rules = compile_rules({"strategies": [{"name": "default", "constraints": [constraint]}]}, name="later")
    assert rules.enabled({}) and not rules.enabled({"currentTime": "2019-01-01T00:00:00Z"})


def test_parents_that_wait_for_each_other_are_never_on() -> None:
    one = {"dependencies": [{"feature": "two"}]}
    two = {"dependencies": [{"feature": "one"}]}
    found = compile_features({"one": (True, one), "two": (True, two), "self": (True, {"dependencies": [{"feature": "self"}]})})
    assert not any(rules.enabled({}) for rules in found.values())


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "((ab)*c)*", "(?=a)b", r"(a)\1", "(", "a)", "[a", "[[:nope:]]", "a" * 300])
def test_patterns_that_could_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(PatternRefused):
        pattern_compile(pattern)


def test_patterns_keep_re2_s_meaning() -> None:
    for pattern, text, found in (
        (r"^[[:alpha:]_]+$", "ab_C", True),
        (r"^[\[[:digit:]\]]+$", "[12]", True),
        (r"^(?:x|y(?i)z)$", "yZ", True),
        (r"^(?:(?i)x)y$", "XY", False),
        (r"(?P<year>\d{4})-", "in 2026-11", True),
        (r"^\w+$", "é", False),
    ):
        assert (pattern_compile(pattern).search(text) is not None) is found, pattern


def test_problems_are_told_with_their_place() -> None:
    document = {
        "strategy": [],
        "strategies": [
            {"name": "flexibleRollout", "parameters": {"rollout": "120", "group": "x"}},
            {"name": "default", "constraints": [{"contextName": "tier", "operator": "SEMVER_GT", "value": "v1"}], "segments": [9]},
        ],
        "variants": [{"name": "a", "weight": 0}],
        "dependencies": [{"feature": "p", "enabled": False, "variants": ["a"]}],
    }
    told = "\n".join(rules_problems(document))
    for place in ("strategy:", "strategies[0].parameters.group", "strategies[0].parameters.rollout", "strategies[1].constraints[0]"):
        assert place in told
    for place in ("strategies[1].segments", "variants: at least", "dependencies[0].variants"):
        assert place in told
    assert rules_problems({"strategies": [{"name": "flexibleRollout", "parameters": {"rollout": 5, "stickiness": "team"}}]}) == []
