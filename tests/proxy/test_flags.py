"""Flags in the data plane: what each kind does to a request, alone and together, and what a request that none touches pays."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.contracts.flag_buckets import murmur3
from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.networks import Networks
from apps.contracts.snapshot import FlagFragment, KeyFragment, Resilience, RouteFragment, Switch, Target
from apps.contracts.tokens import token_digest
from apps.proxy.assembly import LEVELS
from apps.proxy.compiler import compile_config
from apps.proxy.errors import Refusal
from apps.proxy.exchange import Exchange
from apps.proxy.records import usage_template
from apps.proxy.steps.authenticate import Authenticator
from apps.proxy.steps.plan import plan
from tests.proxy.choosing import EAST, SOUTH, WEST
from tests.proxy.fragments import ORG, table
from tests.proxy.test_relief import Spent, acting, prices
from tests.scale import examples

TEAM = {"strategies": [{"name": "default", "constraints": [{"contextName": "environment", "operator": "IN", "values": ["production"]}]}]}
STAGING = {"strategies": [{"name": "default", "constraints": [{"contextName": "environment", "operator": "IN", "values": ["staging"]}]}]}


SUBJECTS = ("organisation", "route", "team", "region")


def flag(name: str, kind: Any, subject: Any, subject_id: str, **more: Any) -> FlagFragment:
    return FlagFragment(
        id=f"f-{name}", name=name, organisation=ORG, kind=kind, subject=subject, subject_id=subject_id, **({"on": True} | more)
    )


class Flagged(Spent):
    """A world with flags in it; nothing is spent."""

    def __init__(self, *targets: Target, flags: list[FlagFragment], used: dict[str, int | None] | None = None, **more: Any) -> None:
        extra = more.pop("more", [])
        self.authenticator = Authenticator(b"pepper", more.pop("trusted", None))
        super().__init__(*targets, used=used or {}, more=[*flags, *extra], **more)

    @property
    def engine(self) -> Any:
        found = super().engine
        found.authenticator = self.authenticator
        return found

    def go(self, headers: dict[bytes, bytes] | None = None, **fields: Any) -> tuple[list[str], str, tuple[str, ...]]:
        """(providers in order, the refusal's code, flags that acted)."""
        exchange, refusal = self.ask(headers, **fields)
        assert exchange.route is not None
        providers = [] if refusal is not None else [target.provider for target in exchange.plan]
        return providers, "" if refusal is None else refusal.code, exchange.route.flags


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (flag("no-east", "kill", "provider", "p-east"), (["west", "south"], "", ("no-east",))),
        (flag("no-m", "kill", "model", "m-2"), (["east", "south"], "", ("no-m",))),
        (flag("no-chat", "kill", "route", "r-1"), ([], "route_killed", ("no-chat",))),
        (flag("no-search", "kill", "feature", "search"), ([], "feature_killed", ("no-search",))),
        (flag("fall", "fallback", "route", "r-1"), (["south"], "", ("fall",))),
        (flag("all", "degrade", "organisation", ORG, level="minimal"), ([], "degraded", ("all",))),
        (flag("this", "degrade", "route", "r-1", level="cached"), ([], "degraded", ("this",))),
        (flag("eu", "degrade", "region", "eu", level="minimal"), ([], "degraded", ("eu",))),
        (flag("asia", "degrade", "region", "asia", level="minimal"), (["east", "west", "south"], "", ())),
        (flag("theirs", "degrade", "team", "search", level="minimal"), ([], "degraded", ("theirs",))),
        (flag("others", "degrade", "team", "ads", level="minimal"), (["east", "west", "south"], "", ())),
        (flag("off", "kill", "route", "r-1", on=False), (["east", "west", "south"], "", ())),
        (flag("mild", "degrade", "route", "r-1", level="full"), (["east", "west", "south"], "", ())),
        (flag("elsewhere", "kill", "route", "r-2"), (["east", "west", "south"], "", ())),
        (flag("release", "release", "organisation", ORG), (["east", "west", "south"], "", ())),
        (flag("true", "kill", "route", "r-1", rules=TEAM), ([], "route_killed", ("true",))),
        (flag("false", "kill", "route", "r-1", rules=STAGING), (["east", "west", "south"], "", ())),
        (flag("drill", "kill", "provider", "p-east", share=0), (["east", "west", "south"], "", ())),
        (flag("simulated", "kill", "provider", "p-east", simulated_only=True), (["east", "west", "south"], "", ())),
        (flag("key", "kill", "key", "k-1", rules=TEAM), ([], "key_killed", ("key",))),
        (flag("newer", "kill", "route", "r-1", rules={"strategies": [{"name": "tomorrow"}]}), (["east", "west", "south"], "", ())),
        (flag("safe", "kill", "route", "r-1", rules={"strategies": [{"name": "tomorrow"}]}, default="on"), ([], "route_killed", ("safe",))),
    ],
    ids=lambda value: value.name if isinstance(value, FlagFragment) else "",
)
def test_each_kind_does_what_it_says(one: FlagFragment, expected: Any) -> None:
    west = Target(provider="west", model="m-2")
    world = Flagged(EAST, west, SOUTH, flags=[one], fallback=[SOUTH])
    world.runtime.keys[next(iter(world.runtime.keys))].team = "search"
    assert world.go({b"x-bulkhead-feature": b"search"}) == expected


def test_a_flag_of_one_organisation_does_nothing_in_another() -> None:
    other = FlagFragment(id="f", name="mine", organisation="o-2", kind="kill", subject="provider", subject_id="p-east", on=True)
    everywhere = FlagFragment(
        id="g", name="all", organisation="o-2", kind="degrade", subject="organisation", subject_id="o-2", on=True, level="minimal"
    )
    assert Flagged(EAST, flags=[other, everywhere]).go() == (["east"], "", ())


def test_a_route_that_no_flag_asks_about_is_as_it_was() -> None:
    assert Flagged(EAST, flags=[]).route.flagging is None
    standing = [flag("k", "kill", "provider", "p-west"), flag("d", "degrade", "route", "r-1", level="limited")]
    world = Flagged(EAST, WEST, flags=standing)
    assert world.route.flagging is None, "what is the same for all of its requests is built in"
    assert world.go() == (["east"], "", ("k", "d"))
    exchange, _ = world.ask()
    assert exchange.route is world.route


def test_one_object_serves_all_requests_on_which_the_same_flags_act() -> None:
    world = Flagged(EAST, WEST, flags=[flag("k", "kill", "feature", "search")])
    (first, _), (second, _), (other, refusal) = (
        world.ask({b"x-bulkhead-feature": b"search"}),
        world.ask({b"x-bulkhead-feature": b"search"}),
        world.ask(),
    )
    assert first.route is second.route is not world.route
    assert other.route is world.route and refusal is None


def test_a_drill_takes_its_share_by_the_requests_id() -> None:
    one = flag("drill", "fallback", "route", "r-1", share=20)
    world = Flagged(EAST, flags=[one], fallback=[WEST])
    seed, moved = murmur3(one.id.encode()), 0
    for _ in range(500):
        exchange = world.exchange()
        exchange.id, exchange.requested_model = uuid7_bytes(1_700_000_000_000), "chat"
        assert plan(exchange, world.runtime) is None
        took = exchange.plan[0].provider == "west"
        assert took is (murmur3(exchange.id, seed) % 100 < 20)
        moved += took
    assert 40 <= moved <= 180, "five standard deviations around a fifth"
    assert world.route.flagging is not None
    (asked,) = world.route.flagging.flags
    assert (asked.tally.on, asked.tally.off) == (moved, 500 - moved)


def test_a_drill_on_the_simulator_leaves_real_routes_alone() -> None:
    one = flag("drill", "kill", "route", "r-1", simulated_only=True)
    for simulated, code in ((True, "route_killed"), (False, "")):
        world = Flagged(EAST, flags=[one])
        fragments: Any = {section: dict(rows) for section, rows in world.runtime.fragments.items()}
        provider = fragments["providers"]["p-east"]
        fragments["providers"]["p-east"] = type(provider)(
            id=provider.id, name=provider.name, kind=provider.kind, organisation=ORG, endpoints=provider.endpoints, simulated=simulated
        )
        route = compile_config(fragments, version=1).tables[ORG]["chat"]
        assert (route.stopped or ("",))[0] == code


def test_the_region_is_that_of_the_target_that_would_be_asked_first() -> None:
    limited = flag("eu", "degrade", "region", "eu", level="limited")
    world = Flagged(EAST, WEST, flags=[limited], resilience=Resilience(limited_max_output=10))
    exchange, refusal = world.ask()
    assert refusal is None and exchange.route is not None
    assert (exchange.route.flags, exchange.max_output) == (("eu",), 10)
    world.open("east")
    exchange, _ = world.ask()
    assert exchange.plan[0].provider == "west" and exchange.route is world.route
    assert exchange.max_output == world.route.max_output


def test_a_switch_goes_before_a_fallback_and_what_is_killed_is_out_of_both() -> None:
    flags = [flag("fall", "fallback", "route", "r-1"), flag("no-south", "kill", "provider", "p-south")]
    world = Flagged(EAST, flags=flags, fallback=[SOUTH, WEST], switch=Switch(target=EAST))
    assert world.go() == (["east", "west"], "", ("fall", "switched to east", "no-south"))


def test_budgets_degrade_further_what_flags_have_degraded_and_nothing_less() -> None:
    limited = flag("d", "degrade", "team", "search", level="limited")
    for reached, code, flags in (
        ("cheaper", "", ("d", "budget:cheaper")),
        ("limited", "", ("d",)),
        ("minimal", "degraded", ("d", "budget:minimal")),
    ):
        world = Flagged(EAST, WEST, flags=[limited], used={"b-1": 90}, more=[acting((80, reached)), *prices()])
        world.runtime.keys[next(iter(world.runtime.keys))].team = "search"
        exchange, refusal = world.ask()
        assert ("" if refusal is None else refusal.code) == code
        assert exchange.route is not None and exchange.route.flags == flags
        assert exchange.route.resilience.level == ("minimal" if code else "limited")


def test_rules_see_what_the_request_says_and_the_key_is() -> None:
    for field, value in {
        "userId": "u-7", "sessionId": "s-1", "environment": "production", "feature": "search", "route": "chat", "model": "chat",
        "stream": "true", "kind": "chat", "key": "app", "team": "search", "tags": "a,b", "remoteAddress": "127.0.0.1", "plan": "gold",
    }.items():  # fmt: skip
        rules = {"strategies": [{"name": "default", "constraints": [{"contextName": field, "operator": "IN", "values": [value]}]}]}
        world = Flagged(EAST, flags=[flag("seen", "kill", "route", "r-1", rules=rules)])
        world.runtime.keys[next(iter(world.runtime.keys))].team = "search"
        headers = {b"x-bulkhead-feature": b"search", b"x-bulkhead-session": b"s-1", b"x-bulkhead-tags": b"a,b"}
        body: dict[str, Any] = {"user": "u-7", "stream": True, "metadata": {"plan": "gold", "team": "not theirs"}}
        assert world.go(headers, **body)[1] == "route_killed", field


def test_an_address_is_the_clients_where_a_trusted_proxy_tells_it() -> None:
    near = {"strategies": [{"name": "remoteAddress", "parameters": {"IPs": "10.1.0.0/16"}}]}
    for trusted, stops in ((None, False), (Networks(["127.0.0.1"]), True)):
        world = Flagged(EAST, flags=[flag("near", "kill", "route", "r-1", rules=near)], trusted=trusted)
        assert (world.go({b"x-forwarded-for": b"10.1.2.3"})[1] == "route_killed") is stops


@pytest.mark.parametrize(("operator", "stops"), [("DATE_AFTER", False), ("DATE_BEFORE", True)])
def test_a_rule_s_time_is_the_database_s_and_no_proxy_s_own(operator: str, stops: bool) -> None:
    """The request came a millisecond before the moment, by the database: a proxy whose own clock is years away says the same."""
    at = {"contextName": "currentTime", "operator": operator, "value": "2023-11-14T22:13:20.001Z"}
    rules = {"strategies": [{"name": "default", "constraints": [at]}]}
    world = Flagged(EAST, flags=[flag("timed", "kill", "route", "r-1", rules=rules)])
    assert world.exchange().started_us == 1_700_000_000_000_000
    assert (world.go()[1] == "route_killed") is stops


def test_a_flag_that_waits_for_another() -> None:
    child = flag("child", "kill", "route", "r-1", rules={"dependencies": [{"feature": "parent"}]})
    for on, code in ((True, "route_killed"), (False, "")):
        world = Flagged(EAST, flags=[child, flag("parent", "degrade", "team", "nobody", level="limited", on=on)])
        assert world.go()[1] == code


def test_an_apps_own_fallback_meets_the_flags_of_that_route() -> None:
    second = RouteFragment(id="r-2", name="second", organisation=ORG, targets=[WEST])
    world = Flagged(EAST, flags=[flag("no-search", "kill", "route", "r-2", rules=TEAM)], more=[second])
    other = world.runtime.tables[ORG]["second"]
    other.retries, other.slots = cast(Any, None), None
    assert world.go({b"x-bulkhead-fallbacks": b"second"})[0] == ["east"]
    free = Flagged(EAST, flags=[flag("no-search", "kill", "route", "r-2", rules=STAGING)], more=[second])
    assert free.go({b"x-bulkhead-fallbacks": b"second"})[0] == ["east", "west"]


def test_a_killed_key_is_known_by_name_in_its_record() -> None:
    digest = token_digest(b"p", b"token").hex()
    key = KeyFragment(id="k-1", name="app", public_id="abc", organisation=ORG, digests=[digest])
    runtime = compile_config(table(key, flag("stop", "kill", "key", "k-1")), version=1)
    exchange = cast(Any, Exchange.__new__(Exchange))
    exchange.key = exchange.route = None
    exchange.request = cast(Any, type("R", (), {"headers": {b"authorization": b"Bearer token"}, "peer": ""}))
    refusal = Authenticator(b"p")(exchange, runtime)
    assert isinstance(refusal, Refusal) and refusal.code == "key_killed" and "'stop'" in refusal.message
    assert refusal.detail == {"flags": ["stop"]}
    assert usage_template("chat", exchange.key, None, runtime, "p").flags == ["stop"]


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SUBJECTS), st.sampled_from(LEVELS), st.booleans()), max_size=4), st.sampled_from(LEVELS))
def test_the_worst_degradation_acts_and_a_routes_own_is_never_undone(flags: list[tuple[str, Any, bool]], own: Any) -> None:
    subjects = {"organisation": ORG, "route": "r-1", "team": "", "region": "eu"}
    made = [
        flag(f"f{at}", "degrade", subject, subjects[subject] if ours else "nobody", level=level)
        for at, (subject, level, ours) in enumerate(flags)
    ]
    world = Flagged(EAST, flags=made, resilience=Resilience(level=own))
    acting_levels = [level for subject, level, ours in flags if ours or subject == "organisation"]
    worst = max([own, *acting_levels], key=LEVELS.index)
    exchange, refusal = world.ask()
    assert exchange.route is not None
    if refusal is None or own in LEVELS[:2]:
        assert exchange.route.resilience.level == worst
    assert (refusal is None) is (worst in LEVELS[:2])
