"""What a flip would do: who gets whose requests, what that costs, how soon answers begin; what is not known is said."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.histogram import index_of
from apps.contracts.pricing import Price
from apps.contracts.snapshot import (
    Endpoint,
    FlagFragment,
    ForcedBreaker,
    PriceVersion,
    ProviderFragment,
    Resilience,
    RouteFragment,
    Switch,
    Target,
)
from apps.flags.afterwards import Line, Outcome, compared
from apps.flags.consequences import (
    Load,
    RouteCase,
    blended,
    moved,
    p95,
    predict,
    runs_out_ms,
    shares,
)
from apps.flags.plans import NOBODY, Option, Place, Plan, acts, plan

EAST, WEST, SPARE = Place("east", "main", "m"), Place("west", "main", "m"), Place("spare", "main", "s")
PROVIDERS = {
    name: ProviderFragment(
        id=f"id-{name}", name=name, kind="openai", organisation="o", endpoints=[Endpoint(name="main", base_url="https://x.test")]
    )
    for name in ("east", "west", "spare")
}


def route(**changes: Any) -> RouteFragment:
    values: dict[str, Any] = {
        "id": "r",
        "name": "chat",
        "organisation": "o",
        "targets": [Target(provider="east", model="m"), Target(provider="west", model="m")],
        "fallback": [Target(provider="spare", model="s")],
    }
    return RouteFragment(**{**values, **changes})


def flag(kind: Any, subject: Any, subject_id: str, **changes: Any) -> FlagFragment:
    return FlagFragment(id="f", name="f", organisation="o", kind=kind, subject=subject, subject_id=subject_id, on=True, **changes)


def places(found: Plan) -> list[str]:
    return [option.place.provider for option in found.options]


def load(requests: int, *, cost: int = 0, ttft_ms: float = 100, **changes: Any) -> Load:
    values: dict[str, Any] = {"tokens_input": 100 * requests, "tokens_output": 10 * requests, "busy_us": 500_000 * requests}
    return Load(requests=requests, ok=requests, cost_nano=cost, first_token={index_of(ttft_ms * 1000): requests}, **{**values, **changes})


@pytest.mark.parametrize(
    ("flags", "changes", "expected"),
    [
        ([], {}, ["east", "west"]),
        ([flag("fallback", "route", "r")], {}, ["spare"]),
        ([flag("fallback", "route", "r")], {"fallback": []}, ["east", "west"]),
        ([flag("kill", "provider", "id-east")], {}, ["west"]),
        ([flag("kill", "model", "m"), flag("fallback", "route", "r")], {}, ["spare"]),
        ([flag("kill", "model", "m")], {}, []),
        ([], {"forced": [ForcedBreaker(target=Target(provider="east", model="m"), state="open")]}, ["west"]),
        ([], {"forced": [ForcedBreaker(target=Target(provider="east", model="m"), state="open", until_ms=1)]}, ["east", "west"]),
        ([], {"switch": Switch(target=Target(provider="west", model="m"))}, ["west", "east"]),
        ([], {"switch": Switch(target=Target(provider="west", model="m"), failover=False)}, ["west"]),
        (
            [flag("degrade", "route", "r", level="limited")],
            {"targets": [Target(provider="east", model="m", expensive=True), Target(provider="west", model="m")]},
            ["west"],
        ),
    ],
)
def test_a_plan_is_what_the_compiler_makes_of_a_route(flags: list[FlagFragment], changes: dict[str, Any], expected: list[str]) -> None:
    assert places(plan(route(**changes), PROVIDERS, flags, 1_000)) == expected


def test_what_stops_a_route_is_said() -> None:
    assert plan(route(), PROVIDERS, [flag("kill", "route", "r")], 0).stopped == "the kill switch f stops it"
    assert plan(route(enabled=False), PROVIDERS, [], 0).stopped == "it is disabled"
    assert "minimal" in plan(route(), PROVIDERS, [flag("degrade", "organisation", "o", level="minimal")], 0).stopped
    west = {"west": msgspec.structs.replace(PROVIDERS["west"], endpoints=[Endpoint(name="main", base_url="https://x.test", region="eu")])}
    abroad = flag("degrade", "region", "eu", level="cached")
    assert places(plan(route(), {**PROVIDERS, **west}, [abroad], 0)) == ["east", "west"]  # east, which is asked first, is elsewhere
    first = [abroad, flag("kill", "provider", "id-east")]
    assert "region" in plan(route(), {**PROVIDERS, **west}, first, 0).stopped
    assert "cached" in plan(route(resilience=Resilience(level="cached")), PROVIDERS, [], 0).stopped
    assert places(plan(route(), PROVIDERS, [flag("kill", "route", "another")], 0)) == ["east", "west"]


def test_where_every_breaker_is_open_the_chain_stands_as_it_is() -> None:
    assert places(plan(route(), PROVIDERS, [], 0, {EAST})) == ["west"]
    assert places(plan(route(), PROVIDERS, [], 0, {EAST, WEST})) == ["east", "west"]


def test_only_a_whole_flag_acts_for_all() -> None:
    whole = flag("kill", "route", "r")
    assert acts(whole, 5)
    for changes in ({"until_ms": 5}, {"share": 5}, {"simulated_only": True}, {"rules": {"strategies": []}}):
        assert not acts(flag("kill", "route", "r", **changes), 5)


def no_figure(place: Place) -> None:
    return None


def test_shares_follow_the_strategy() -> None:
    east, west = Option(EAST, weight=300), Option(WEST, weight=100)
    assert shares([east, west], "priority", cost=no_figure, first=no_figure) == {EAST: 1.0}
    assert shares([east, west], "weighted", cost=no_figure, first=no_figure) == {EAST: 0.75, WEST: 0.25}
    assert shares([Option(EAST, priority=1), west], "weighted", cost=no_figure, first=no_figure) == {WEST: 1.0}
    cheap = {EAST: 9, WEST: 2}
    assert shares([east, west], "least_cost", cost=cheap.get, first=no_figure) == {WEST: 1.0}
    assert shares([east, west], "least_latency", cost=no_figure, first=no_figure) == {EAST: 1.0}  # not known: as listed


@given(
    counts=st.dictionaries(st.sampled_from([EAST, WEST, SPARE, NOBODY]), st.integers(0, 10_000), min_size=1),
    options=st.lists(st.sampled_from([Option(EAST), Option(WEST, weight=50), Option(SPARE, weight=0)]), unique=True),
    reach=st.floats(0, 1),
    stay=st.booleans(),
    back=st.booleans(),
    strategy=st.sampled_from(["priority", "weighted"]),
)
def test_no_request_is_lost_or_made(
    counts: dict[Place, int], options: list[Option], reach: float, stay: bool, back: bool, strategy: str
) -> None:
    loads = {place: Load(requests=n) for place, n in counts.items()}
    went = moved(RouteCase("chat", Plan(tuple(options), strategy=strategy), loads, reach, stay, back), cost=no_figure, first=no_figure)
    assert sum(went.values()) == pytest.approx(sum(counts.values()))
    assert all(count >= -1e-6 for count in went.values())
    if back and options:
        assert went.get(NOBODY, 0) == pytest.approx(counts.get(NOBODY, 0) * (1 - reach), abs=1e-6)
    else:
        assert went.get(NOBODY, 0) >= counts.get(NOBODY, 0) - 1e-6


PRICES = {WEST: Price(PriceVersion(version="1", input=2_000_000_000, output=10_000_000_000)), SPARE: None}


def test_a_fallback_moves_everything_and_says_what_it_costs() -> None:
    """1,000 answers of 100 + 10 tokens cost 1,000 x (200,000 + 100,000) nano-dollars at west."""
    case = RouteCase("chat", Plan((Option(WEST),)), {EAST: load(600, cost=60_000_000)})
    found = predict([case], minutes=10, price=PRICES.get, elsewhere=lambda place: load(100, ttft_ms=250), proxies=2, caps={WEST: 8})
    [east, west] = found.targets
    assert (east.now_per_minute, east.then_per_minute, west.then_per_minute) == (60, 0, 60)
    assert found.moved_per_minute == 60 and found.refused_per_minute == 0
    assert found.cost_now == 360_000_000 and found.cost_then == 600 * 300_000 * 6
    assert found.ttft_now == pytest.approx(100_000, rel=0.02) and found.ttft_then == pytest.approx(250_000, rel=0.02)
    assert west.most_at_once == 16 and west.at_once == pytest.approx(700 * 0.5 / 600)
    assert found.gaps == [] and [one.target for one in found.gaining] == ["west/m"]


def test_a_long_tail_weighs_no_more_for_being_weighted() -> None:
    """A thousand answers of which one in twenty-five is late, each at a moment of its own, weighted to a tenth."""
    tail = {index_of(1_000_000 + late * 50_000): 1 for late in range(40)}
    whole = {index_of(100_000): 960, **tail}
    assert p95(whole) == p95(blended([(whole, 0.1)])) == pytest.approx(100_000, rel=0.02)


def test_what_is_not_known_is_said_and_not_guessed() -> None:
    case = RouteCase("chat", Plan((Option(SPARE),)), {EAST: load(600, cost=60_000_000)})
    found = predict([case], minutes=10, price=PRICES.get, elsewhere=lambda place: load(3))
    assert found.cost_then is None and found.cost_more is None and found.ttft_then is None and found.ttft_more is None
    assert [gap.split(" ")[0] for gap in found.gaps] == ["spare/s", "spare/s"]
    nothing = predict([RouteCase("chat", Plan(), {})], minutes=10, price=PRICES.get, elsewhere=lambda place: Load())
    assert nothing.moved_per_minute == 0 and "not known" in nothing.gaps[0]


def test_without_a_target_left_requests_are_refused() -> None:
    case = RouteCase("chat", Plan(stopped="a kill switch"), {EAST: load(60), NOBODY: Load(requests=5)})
    found = predict([case], minutes=1, price=PRICES.get, elsewhere=lambda place: Load())
    assert found.refused_per_minute == 60 and found.refused_then == 65 and found.cost_then == 0


def test_what_a_stop_refused_comes_back_as_it_was() -> None:
    """Sixty requests that are refused now were answered by east before; west, which is asked first, costs 300,000 each."""
    stopped: dict[str, Any] = {"name": "chat", "after": Plan((Option(WEST),)), "loads": {NOBODY: Load(requests=60)}, "back": True}
    case = RouteCase(**stopped, usual={EAST: load(600, cost=60_000_000)})
    found = predict([case], minutes=1, price=PRICES.get, elsewhere=lambda place: load(100, ttft_ms=250))
    assert (found.refused_per_minute, found.refused_then, found.moved_per_minute) == (-60, 0, 60)
    assert (found.cost_now, found.cost_then) == (0, 60 * 300_000 * 60)
    assert found.ttft_now is None and found.ttft_then == pytest.approx(250_000, rel=0.02)
    itself = RouteCase(**stopped, usual={WEST: load(600, ttft_ms=400)})  # it is timed by what it did for this route
    assert predict([itself], minutes=1, price=PRICES.get, elsewhere=lambda place: load(100)).ttft_then == pytest.approx(400_000, rel=0.02)
    unknown = predict([RouteCase(**stopped)], minutes=1, price=PRICES.get, elsewhere=lambda place: load(100))
    assert unknown.refused_per_minute == -60 and unknown.cost_then is None and unknown.ttft_then is None
    assert "No answer of chat" in unknown.gaps[0]


def test_a_kill_moves_only_what_it_takes_away_and_a_drill_only_its_share() -> None:
    loads = {EAST: load(600), WEST: load(300)}
    stays = RouteCase("chat", Plan((Option(WEST), Option(SPARE))), loads, stay=True)
    assert moved(stays, cost=no_figure, first=no_figure) == {WEST: 900}
    drill = RouteCase("chat", Plan((Option(WEST),)), loads, reach=0.1, stay=True)
    assert moved(drill, cost=no_figure, first=no_figure) == pytest.approx({EAST: 540, WEST: 360})


def test_a_budget_ends_earlier_when_more_is_spent() -> None:
    ends = {"now_ms": 0, "window_ends_ms": 10 * 3_600_000}
    assert runs_out_ms(remaining=100, per_hour=20, **ends) == 5 * 3_600_000
    assert runs_out_ms(remaining=100, per_hour=10, **ends) is None  # it lasts its window
    assert runs_out_ms(remaining=100, per_hour=0, **ends) is None


def test_predicted_beside_measured() -> None:
    case = RouteCase("chat", Plan((Option(WEST),)), {EAST: load(600, cost=60_000_000)})
    prediction = predict([case], minutes=10, price=PRICES.get, elsewhere=lambda place: load(100, ttft_ms=250))
    outcome = Outcome(seconds=300, requests=330, targets={"west/m": 66.0}, cost=1_200_000_000, ttft=250_000)
    lines = {line.name: line for line in compared(prediction, outcome)}
    assert lines["To west/m"].off == pytest.approx(0.1) and lines["To west/m"].right
    assert lines["Cost"].off == pytest.approx(0.111, abs=0.001) and lines["Cost of 1,000 requests"].off == pytest.approx(0.01, abs=0.005)
    assert lines["p95 to first token"].right and "Refused" not in lines
    assert Line("x", "rate", 100, 120).right is False and Line("x", "rate", None, 5).right is None and Line("x", "rate", 0, 0).off == 0
