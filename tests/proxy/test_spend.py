"""Which budgets an attempt is charged to, against a plain reading of every budget; soft ones, and databases that are away."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.contracts.pricing import Price
from apps.contracts.snapshot import EACH, BudgetFragment, KeyFragment, PriceVersion
from apps.proxy.leases import Shortage
from apps.proxy.resilience import CompileError
from apps.proxy.shortage import fitting_output, shortage_refusal
from apps.proxy.spend import MAX_APPLYING, SpendTable, spend_table, user_name
from tests.proxy.test_leases import World, play, taken
from tests.scale import examples

NAMES = ["a", "b", ""]
SCOPES = ["organisation", "team", "service", "key", "route", "model", "provider", "feature", "tag", "user"]


def budget(number: int, scope: str, scope_id: str, *, organisation: str = "o", **more: Any) -> BudgetFragment:
    facts: dict[str, Any] = {"name": f"b{number}", "window": "day", "limit_nano": 10, **more}
    return BudgetFragment(id=f"b{number:03d}", organisation=organisation, scope=cast(Any, scope), scope_id=scope_id, **facts)


def key(team: str = "", service: str = "") -> KeyFragment:
    return KeyFragment(id="a", name="k", public_id="p", organisation="o", digests=[], team=team, service=service)


def attempt(table: SpendTable, of: KeyFragment, **facts: Any) -> Any:
    """The spend of one attempt of a request with these facts."""
    compiled = SimpleNamespace(id=of.id, organisation=of.organisation, spend=table.of_key(of))
    attribution = (facts.get("feature", ""), facts.get("tags", []), facts.get("user", ""), {})
    exchange = SimpleNamespace(key=compiled, route=SimpleNamespace(id=facts.get("route", "r")), attribution=attribution)
    model, provider = facts.get("model", "m"), facts.get("provider", "p")
    target = SimpleNamespace(model=model, provider_id=provider, key=f"o/{provider}/main/{model}")
    return table.applying(cast(Any, exchange), cast(Any, target))


@st.composite
def budgets(draw: st.DrawFn) -> list[BudgetFragment]:
    found = []
    for number in range(draw(st.integers(0, 14))):
        scope = draw(st.sampled_from(SCOPES))
        scope_id = draw(st.sampled_from(["a", "b", EACH, "a/b"] if scope in ("user", "service") else ["a", "b"]))
        if scope == "organisation":
            scope_id = "o"
        organisation = draw(st.sampled_from(["o", "o", "other"]))
        found.append(budget(number, scope, scope_id, organisation=organisation, hard=draw(st.booleans())))
    return found


@settings(max_examples=examples(300), deadline=None)
@given(
    rows=budgets(),
    team=st.sampled_from(NAMES),
    service=st.sampled_from(NAMES),
    requests=st.lists(
        st.fixed_dictionaries(
            {
                "route": st.sampled_from("ab"),
                "model": st.sampled_from("ab"),
                "provider": st.sampled_from("ab"),
                "feature": st.sampled_from(NAMES),
                "tags": st.lists(st.sampled_from("abc"), max_size=3),
                "user": st.sampled_from([*NAMES, EACH, "x\0y"]),
            }
        ),
        max_size=6,
    ),
)
def test_exactly_the_budgets_that_a_request_falls_under_apply_each_once(
    rows: list[BudgetFragment], team: str, service: str, requests: list[dict[str, Any]]
) -> None:
    of = key(team, service)
    table = SpendTable({row.id: row for row in rows})
    for request in requests:
        names = {"organisation": {"o"}, "key": {"a"}, "team": {team}, "service": {f"{team}/{service}"} if team and service else set()}
        names |= {scope: {request[scope]} for scope in ("route", "model", "provider", "feature")}
        names["tag"] = set(request["tags"])
        expected = set()
        for row in rows:
            if row.organisation != "o":
                continue
            if row.scope == "user":
                if request["user"] and row.scope_id == EACH:
                    expected.add(f"{row.id}/{user_name(request['user'])}")
                elif request["user"] and row.scope_id == request["user"]:
                    expected.add(row.id)
            elif row.scope_id in names[row.scope]:
                expected.add(row.id)
        spend = attempt(table, of, **request)
        assert sorted(spend.ids) == sorted(expected)
        soft = {name for name in expected if not table.budget(name).hard}
        assert (spend.soft, spend.hard, spend.too_many) == (soft, bool(expected - soft), False)
        assert attempt(table, of, **request) is spend, "worked out once"


def test_where_keys_know_all_their_budgets_requests_look_nothing_up() -> None:
    rows = [budget(1, "organisation", "o"), budget(2, "key", "a"), budget(3, "team", "a"), budget(4, "service", "a/b")]
    assert not SpendTable({row.id: row for row in rows}).finer
    assert spend_table({}) is None
    assert SpendTable({row.id: row for row in [*rows, budget(5, "tag", "x")]}).finer


def test_a_user_that_no_table_could_show_has_a_window_all_the_same() -> None:
    table = SpendTable({"b001": budget(1, "user", EACH)})
    first, second = attempt(table, key(), user="x\0"), attempt(table, key(), user="y" * 200)
    assert first.ids != second.ids
    assert all(name.isprintable() and len(name) < 160 for name in (*first.ids, *second.ids))


def test_soft_budgets_beyond_what_a_record_holds_are_left_out_and_hard_ones_refuse() -> None:
    rows = [budget(n, "tag", f"t{n}", hard=n < 20) for n in range(60)]
    table = SpendTable({row.id: row for row in rows})
    spend = attempt(table, key(), tags=[f"t{n}" for n in range(60)])
    assert (len(spend.ids), len(spend.soft), spend.too_many) == (MAX_APPLYING, MAX_APPLYING - 20, False)
    table = SpendTable({row.id: row for row in (budget(n, "tag", f"t{n}") for n in range(MAX_APPLYING + 1))})
    assert attempt(table, key(), tags=[f"t{n}" for n in range(MAX_APPLYING + 1)]).too_many


def test_a_negative_limit_does_not_compile() -> None:
    with pytest.raises(CompileError, match="cannot be negative"):
        SpendTable({"b001": budget(1, "tag", "x", limit_nano=-1)})


# --- soft budgets in the proxy's hands -------------------------------------------------------------------------------


def test_a_soft_budget_beyond_its_limit_refuses_nothing_and_is_counted() -> None:
    async def scene(world: World) -> None:
        world.book.soft.add("b")
        leases = world.proxy()
        for _ in range(5):
            charges = await leases.reserve_wait(("b",), 60, soft=frozenset({"b"}), passing=frozenset({"b"}))
            assert isinstance(charges, list)
            assert [charge.reserved_nano for charge in charges] == [60]
            leases.settle(charges, 50)
        assert world.book.window("b").leased >= 5 * 50

    play(scene, b=100)


def test_with_the_database_away_a_soft_budget_passes_at_once_and_what_it_held_is_overdrawn_then_counted() -> None:
    async def scene(world: World) -> None:
        world.book.soft.add("b")
        leases = world.proxy()
        world.store(leases).away = True
        began = world.loop.time()
        cold = await leases.reserve_wait(("b",), 60, soft=frozenset({"b"}), passing=frozenset({"b"}))
        assert cold == [], "nobody can count it"
        leases.settle(cold, 10)
        assert world.loop.time() - began < 0.1
        world.store(leases).away = False
        await asyncio.sleep(2)
        (charge,) = await taken(leases, 10, "b")
        lease = world.book.leases[charge.lease_id - 1]
        world.store(leases).away = True
        costs = 0
        for _ in range(20):
            charges = await leases.reserve_wait(("b",), 60, soft=frozenset({"b"}), passing=frozenset({"b"}))
            assert isinstance(charges, list)
            assert [each.lease_id for each in charges] == [charge.lease_id]
            leases.settle(charges, 60)
            costs += 60
        assert costs > lease.granted
        world.store(leases).away = False
        world.book.settle({charge.lease_id: costs})
        window = world.book.window("b")
        assert window.spent + window.overrun == costs

    play(scene, b=100)


def test_with_the_database_away_hard_budgets_and_soft_ones_that_chose_so_are_closed() -> None:
    async def scene(world: World) -> None:
        world.book.soft.add("b")
        leases = world.proxy()
        world.store(leases).away = True
        closed = await leases.reserve_wait(("b",), 60, soft=frozenset({"b"}))
        assert isinstance(closed, Shortage)
        assert closed.kind == "unavailable"
        mixed = await leases.reserve_wait(("h", "b"), 60, soft=frozenset({"b"}), passing=frozenset({"b"}))
        assert isinstance(mixed, Shortage)
        assert (mixed.kind, mixed.budget) == ("unavailable", "h")

    play(scene, b=100, h=100)


def test_a_soft_budget_does_not_keep_a_hard_one_from_refusing() -> None:
    async def scene(world: World) -> None:
        world.book.soft.add("b")
        leases = world.proxy()
        short = await leases.reserve_wait(("h", "b"), 101, soft=frozenset({"b"}), passing=frozenset({"b"}))
        assert isinstance(short, Shortage)
        assert (short.kind, short.budget, short.limit) == ("exceeded", "h", 100)
        assert world.book.window("h").leased == 0 or leases.room(["h"]) == 100

    play(scene, b=100, h=100)


# --- what a refusal says ---------------------------------------------------------------------------------------------


@settings(max_examples=examples(200), deadline=None)
@given(
    output=st.integers(0, 10**9), most=st.integers(1, 100_000), room=st.integers(0, 10**9), read=st.integers(0, 5_000), n=st.integers(1, 4)
)
def test_the_max_tokens_that_a_refusal_names_fits_and_one_more_does_not(output: int, most: int, room: int, read: int, n: int) -> None:
    price = Price(PriceVersion(version="v", input=150_000_000, output=output))
    exchange = cast(Any, SimpleNamespace(max_output=most, input_bound=read, n=n))
    fits = fitting_output(exchange, price, room)
    assert 0 <= fits < most
    if fits:
        assert price.bound(read, fits, n) <= room
    if fits < most - 1:
        assert price.bound(read, fits + 1, n) > room


def test_a_refusal_names_limit_spent_reserved_bound_and_what_would_fit() -> None:
    price = Price(PriceVersion(version="v", input=0, output=10_000_000_000))
    row = budget(1, "key", "a", limit_nano=1_000_000_000)
    table = SpendTable({row.id: row})
    engine = SimpleNamespace(leases=SimpleNamespace(room=lambda budgets: 5_000_000))
    runtime = SimpleNamespace(fragments={"budgets": {row.id: row}})
    exchange = cast(Any, SimpleNamespace(max_output=4096, input_bound=10, n=1, runtime=runtime, engine=engine))
    shortage = Shortage("exceeded", row.id, 1_000_000_000, 900_000_000, 95_000_000, 6_000_000)
    refusal = shortage_refusal(exchange, shortage, 40_960_000, price, table.of_key(key()))
    assert refusal.code == "budget_exceeded"
    assert refusal.detail == {
        "budget": "b1",
        "limit_nano": 1_000_000_000,
        "spent_nano": 900_000_000,
        "reserved_nano": 95_000_000,
        "bound_nano": 40_960_000,
        "available_nano": 5_000_000,
        "max_tokens": 500,
    }
    assert "limit $1, spent $0.9, reserved $0.095, this request could cost up to $0.04096" in refusal.message
    assert "max_tokens of at most 500" in refusal.message
