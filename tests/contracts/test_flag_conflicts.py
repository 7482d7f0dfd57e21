"""Flags that would leave a route without a target, or do nothing: told for what changes, unless somebody said that they know."""

from __future__ import annotations

from typing import Any

import pytest

from apps.audit.errors import ServiceError
from apps.contracts.flag_conflicts import flag_conflicts
from apps.contracts.snapshot import FlagFragment, Switch, Target, encode_fragment
from apps.flags.rules import check_payload
from tests.proxy.fragments import ORG, provider, route, table

EAST, WEST = Target(provider="east", model="m"), Target(provider="west", model="m")
PROVIDERS = (provider(), provider(id="p-2", name="west"))


def flag(kind: Any, subject: Any, subject_id: str, **more: Any) -> FlagFragment:
    return FlagFragment(
        **{"id": "f", "name": "f", "organisation": ORG, "kind": kind, "subject": subject, "subject_id": subject_id, "on": True} | more
    )


def told(*flags: FlagFragment, changed: dict[str, set[str]] | None = None, now_ms: int = 1_000, **of_route: Any) -> str:
    fragments = table(*PROVIDERS, route(**({"targets": [EAST], "fallback": [WEST]} | of_route)), *flags)
    found = flag_conflicts(fragments, {"flags": {"f"}} if changed is None else changed, now_ms)
    return found[0].message if found else ""


KILL, MODEL, FALL = flag("kill", "provider", "p-1"), flag("kill", "model", "m"), flag("fallback", "route", "r-1")


@pytest.mark.parametrize(
    ("flags", "of_route", "said"),
    [
        ([KILL], {}, "no target left"),
        ([MODEL], {"targets": [EAST, WEST]}, "no target left"),
        ([KILL], {"targets": [EAST, WEST]}, ""),
        ([KILL], {"targets": [EAST, WEST], "switch": Switch(target=EAST, failover=False)}, "no target left"),
        ([KILL], {"targets": [EAST, WEST], "switch": Switch(target=EAST, failover=False, until_ms=999)}, ""),
        ([KILL, flag("fallback", "route", "r-1", id="g")], {}, ""),
        ([KILL, flag("fallback", "route", "r-1", id="g")], {"fallback": [EAST]}, "no target left"),
        ([FALL], {}, ""),
        ([FALL], {"fallback": []}, "no fallback chain"),
        ([FALL], {"fallback": [EAST, WEST]}, "leads back"),
        ([FALL], {"fallback": [WEST, EAST]}, ""),
        ([KILL], {"enabled": False}, ""),
        ([KILL, flag("kill", "route", "r-1", id="g")], {}, ""),
        ([flag("kill", "provider", "p-1", acknowledged=True)], {}, ""),
        ([flag("fallback", "route", "r-1", acknowledged=True)], {"fallback": []}, ""),
        ([flag("kill", "provider", "p-1", on=False)], {}, ""),
        ([flag("kill", "provider", "p-1", until_ms=1_000)], {}, ""),
        ([flag("kill", "provider", "p-1", share=5)], {}, ""),
        ([flag("kill", "provider", "p-1", simulated_only=True)], {}, ""),
        ([flag("kill", "provider", "p-1", rules={"strategies": [{"name": "default"}]})], {}, ""),
        ([flag("kill", "provider", "p-1", organisation="o-2")], {}, ""),
    ],
)
def test_a_conflict_is_told_and_nothing_else(flags: list[FlagFragment], of_route: dict[str, Any], said: str) -> None:
    message = told(*flags, **of_route)
    assert said in message and bool(message) is bool(said)


def test_only_what_changes_is_asked_about() -> None:
    assert told(KILL, changed={"keys": {"k"}}) == "" == told(KILL, changed={"flags": {"g"}, "routes": {"r-2"}})
    assert "no target left" in told(KILL, changed={"routes": {"r-1"}})


def test_the_largest_switch_is_below_four_kilobytes() -> None:
    """What a flip ships, whatever else there is (``tests/publishing/test_scale.py``): one fragment, its section, id and version."""
    reason, subject, name = "\U0001f525" * 300, "\u20ac" * 256, "n" * 80
    values: list[str] = []
    rules = {"strategies": [{"name": "default", "constraints": [{"contextName": "userId", "operator": "IN", "values": values}]}]}
    for _ in range(55):
        values.append("\u00fc" * 10)
        check_payload("degrade", name, subject, reason, rules)
    with pytest.raises(ServiceError, match="each flip ships them"):
        check_payload("degrade", name, subject, reason, {**rules, "segments": values * 5})
    largest = flag(
        "degrade", "model", subject, name=name, reason=reason, until_ms=1 << 41, level="minimal", rules=rules, default="off",
        share=99, simulated_only=True, acknowledged=True, id="0" * 36, organisation="0" * 36,
    )  # fmt: skip
    assert 3_500 < len(encode_fragment(largest)) + len("flags") + 36 + 20 < 4096
