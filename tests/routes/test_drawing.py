"""How a route's chains are drawn: which is in force, by what, whose turn it is; and where each deadline comes from. Pure."""

from __future__ import annotations

import pytest

from apps.providers.choices import BREAKER_CLOSED, BREAKER_STATES
from apps.routes import drawing
from apps.routes.drawing import Link, Standing, chains_drawn, deadlines_drawn
from apps.ui.status import Status

OPEN, STOPPED = BREAKER_STATES["open"], Status("killed", "Provider stopped", "bad")


def links(*changes: dict[str, object]) -> list[Link]:
    return [Link(number, f"p{number}/m", "", BREAKER_CLOSED, **change) for number, change in enumerate(changes, 1)]  # type: ignore[arg-type]


def drawn(standing: Standing, primary: list[Link] | None = None, fallback: list[Link] | None = None) -> list[tuple[str, list[str]]]:
    found = chains_drawn(primary or links({}, {}), links({}) if fallback is None else fallback, standing)
    return [(chain.status.value, [link.place.value for link in chain.links]) for chain in found]


@pytest.mark.parametrize(
    ("standing", "wanted"),
    [
        (Standing(), [("in_force", ["first", "next"]), ("idle", ["spare"])]),
        (Standing(ordered=False), [("in_force", ["choice", "choice"]), ("idle", ["spare"])]),
        (Standing(fallback="fall"), [("idle", ["spare", "spare"]), ("in_force", ["first"])]),
        (Standing(fallback="fall", partly=True), [("partly", ["first", "next"]), ("partly", ["first"])]),
        (Standing(refused="the flag stop stops this route"), [("refused", ["spare", "spare"]), ("refused", ["spare"])]),
        (Standing(refused="x", fallback="fall", switch="y"), [("refused", ["spare", "spare"]), ("refused", ["spare"])]),
    ],
)
def test_which_chain_is_in_force(standing: Standing, wanted: list[tuple[str, list[str]]]) -> None:
    assert drawn(standing) == wanted


def test_a_switch_wins_over_the_order_and_says_who_follows() -> None:
    primary = links({}, {"switched": True})
    assert drawn(Standing(switch="by ada"), primary, []) == [("in_force", ["next", "all"])]
    assert drawn(Standing(switch="by ada", failover=False), primary, []) == [("in_force", ["left", "all"])]


def test_open_breakers_are_passed_over_and_stopped_providers_say_so() -> None:
    first, *others = links({}, {"blocked": STOPPED}, {}, {})
    primary = [Link(1, first.label, "", OPEN), *others]
    assert drawn(Standing(), primary, []) == [("in_force", ["passed", "killed", "first", "next"])]
    (chain,) = chains_drawn(primary, [], Standing(order="By weight"))
    assert chain.why == "By weight" and chain.title == "Targets"


def test_without_a_fallback_chain_its_flag_changes_nothing() -> None:
    assert drawn(Standing(fallback="fall"), None, []) == [("in_force", ["first", "next"])]


def test_deadlines_say_where_they_come_from() -> None:
    defaults = {"connect_ms": 2_000, "first_byte_ms": 6_000, "first_token_ms": 0, "idle_ms": 30_000, "total_ms": 120_000}
    own = [("east/m", {"connect_ms": 0, "total_ms": 9_000}), ("west/m", {"connect_ms": 500, "total_ms": 0})]
    found = {line.name: line for line in deadlines_drawn(defaults | {"idle_ms": 5_000}, defaults, own)}
    assert found["Connect"].source == "Bulkhead's default" and found["Connect"].own == (("west/m", 500),)
    assert found["Idle"].source == "set on this route" and found["Total"].own == (("east/m", 9_000),)
    assert found["First token"].source == "Bulkhead's default: as the first byte" and "First byte, reasoning" not in found
    assert "First byte, reasoning" in {name for _, name, _ in drawing.DEADLINES}
