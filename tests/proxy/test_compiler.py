"""What is compiled: refusals by section, id and field; flags; incremental compilation says the same as compiling anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.contracts.snapshot import (
    BudgetFragment,
    Change,
    CredentialFragment,
    Deadlines,
    Delta,
    FlagFragment,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    Target,
    encode_fragment,
)
from apps.proxy.compiler import CompileError, compile_config
from apps.proxy.holder import Holder
from apps.proxy.runtime import Runtime
from tests.proxy.fragments import ORG, provider, route, table
from tests.proxy.standalone import config_of
from tests.scale import examples


@pytest.mark.parametrize(
    ("fragments", "section", "field"),
    [
        ([provider(), route(targets=[])], "routes", "targets"),
        ([route()], "routes", "targets[0]"),
        ([provider(), route(targets=[Target(provider="east", endpoint="nowhere", model="m")])], "routes", "targets[0]"),
        ([provider(), route(targets=[Target(provider="east", model="")])], "routes", "targets[0]"),
        ([provider(), route(targets=[Target(provider="east", model="a\r\nb")])], "routes", "targets[0]"),
        ([provider(), route(fallback=[Target(provider="west", model="m")])], "routes", "fallback[0]"),
        ([provider(kind="telepathy"), route()], "providers", "kind"),
        ([provider(endpoints=[]), route()], "providers", "endpoints"),
        ([provider(base_url="ftp://x/v1"), route()], "providers", "base_url"),
        ([provider(base_url="http://user:word@x/v1"), route()], "providers", "base_url"),
        ([provider(base_url="http://x/v1?a=1"), route()], "providers", "base_url"),
        ([provider(credential="c-9"), route()], "providers", "endpoints.main.credential"),
        ([provider(), route(), route(id="r-2")], "routes", "name"),
        ([provider(), route(), route(id="r-2", name="other", aliases=["chat"])], "routes", "name"),
        ([provider(), route(deadlines=Deadlines(idle_ms=0))], "routes", "deadlines.idle_ms"),
        ([provider(), route(max_attempts=9)], "routes", "max_attempts"),
        ([provider(), route(max_output_tokens=0)], "routes", "max_output_tokens"),
        (
            [KeyFragment(id=f"k-{n}", name=f"k{n}", public_id="", organisation=ORG, digests=["aa"]) for n in (1, 2)],
            "keys",
            "digests",
        ),
        ([KeyFragment(id="k-1", name="k", public_id="", organisation=ORG, digests=["zz"])], "keys", "digests"),
        (
            [BudgetFragment(id="b-1", name="b", organisation=ORG, scope="organisation", scope_id=ORG, window="day", limit_nano=-1)],
            "budgets",
            "limit_nano",
        ),
        (
            [
                provider(),
                route(),
                PriceFragment(id="p-1/m", provider="east", model="m", versions=[PriceVersion(version="v", input=-1, output=0)]),
            ],
            "prices",
            "versions",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(fragments: list[Fragment], section: str, field: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_config(table(*fragments), version=1)
    assert (caught.value.section, caught.value.field) == (section, field)
    assert caught.value.message


def test_a_secret_that_would_break_the_header_is_refused() -> None:
    fragments = table(provider(credential="c-1"), route(), CredentialFragment(id="c-1", sealed="x"))
    with pytest.raises(CompileError) as caught:
        compile_config(fragments, version=1, unseal=lambda sealed: b"sk-1\r\nx-evil: 1")
    assert "sk-1" not in str(caught.value)


def test_flags_choose_the_chain_and_stop_what_they_name() -> None:
    west = provider(id="p-2", name="west")
    flagged = route(fallback=[Target(provider="west", model="m")])
    off = FlagFragment(id="f-1", name="use-west", organisation=ORG, kind="fallback", subject="route", subject_id="r-1")
    on = FlagFragment(id="f-1", name="use-west", organisation=ORG, kind="fallback", subject="route", subject_id="r-1", on=True)
    stop = FlagFragment(id="f-2", name="stop-east", organisation=ORG, kind="kill", subject="provider", subject_id="p-1", on=True)

    def chat(*flags: FlagFragment) -> Any:
        return compile_config(table(provider(), west, flagged, *flags), version=1).tables[ORG]["chat"]

    assert [t.provider for t in chat(off).targets] == ["east"]
    assert [t.provider for t in chat(on).targets] == ["west"] and chat(on).flags == ("use-west",)
    assert "stop-east" in chat(stop).targets[0].killed


def test_a_flag_ends_at_its_time() -> None:
    now = [1_000]
    holder = Holder(None, lambda: now[0])
    stop = FlagFragment(id="f-1", name="stop", organisation=ORG, kind="kill", subject="route", subject_id="r-1", on=True, until_ms=2_000)
    holder.apply(config_of((provider(), route(), stop), version=7))
    assert holder.current.tables[ORG]["chat"].stopped is not None and holder.current.good_until_ms == 2_000
    now[0] = 2_000
    holder.refresh()
    assert holder.current.tables[ORG]["chat"].stopped is None
    assert (holder.current.version, holder.current.good_until_ms) == (7, None)


NAMES = ["a", "b", "c"]
FLAGS = [
    ("fallback", "route"),
    ("kill", "route"),
    ("kill", "key"),
    ("kill", "provider"),
    ("kill", "model"),
    ("degrade", "organisation"),
    ("degrade", "team"),
]


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, str, Fragment | None]]:
    """A few edits of a small world, each valid by itself."""
    found: list[tuple[str, str, Fragment | None]] = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["keys", "budgets", "routes", "flags", "prices"]))
        name = draw(st.sampled_from(NAMES))
        gone = draw(st.booleans())
        fragment: Fragment
        if kind == "keys":
            state: Any = draw(st.sampled_from(["active", "revoked"]))
            digest = draw(st.sampled_from(["aa", "bb"])) + name.encode().hex()
            fragment = KeyFragment(id=name, name=name, public_id=name, organisation=ORG, digests=[digest], state=state)
        elif kind == "budgets":
            scope: Any = draw(st.sampled_from(["organisation", "key"]))
            subject = ORG if scope == "organisation" else draw(st.sampled_from(NAMES))
            fragment = BudgetFragment(id=name, name=name, organisation=ORG, scope=scope, scope_id=subject, window="day", limit_nano=5)
        elif kind == "routes":
            fallback = [Target(provider="east", model=draw(st.sampled_from(["n", "o"])))]
            fragment = route(id=name, name=name, max_attempts=draw(st.integers(1, 8)), fallback=fallback)
        elif kind == "flags":
            flag: Any = draw(st.sampled_from(FLAGS))
            subject = "p-1" if flag[1] == "provider" else "o" if flag[1] == "model" else draw(st.sampled_from(NAMES))
            rules = draw(st.sampled_from([{}, {}, *({"dependencies": [{"feature": other}]} for other in NAMES)]))
            facts: Any = {"on": draw(st.booleans()), "rules": rules, "share": draw(st.sampled_from([100, 100, 40]))}
            fragment = FlagFragment(
                id=name, name=name, organisation=ORG, kind=flag[0], subject=flag[1], subject_id=subject, level="limited", **facts
            )
        else:
            price = PriceVersion(version=str(draw(st.integers(1, 9))), input=1, output=1)
            name = f"p-1/{draw(st.sampled_from(['m', 'n']))}"
            fragment = PriceFragment(id=name, provider="east", model=name[-1], versions=[price])
        found.append((kind, name, None if gone else fragment))
    return found


SOMEBODY: Any = SimpleNamespace(id=b"0" * 16)
"""As much of a request as flags without constraints ask for."""


def view(runtime: Runtime) -> Any:
    """Everything a request could notice."""
    keys = {digest: (k.id, k.refused, k.spend.ids, k.allowed) for digest, k in runtime.keys.items()}
    routes = {
        name: (
            r.max_attempts,
            r.flags,
            r.stopped,
            r.fragment,
            r.flagging and [(f.name, f.share, f.says(SOMEBODY, {})) for f in (*r.flagging.flags, *r.flagging.regional)],
            [(t.label, t.killed, (p := t.prices and t.prices.at(1)) and p.version) for t in r.targets],
        )
        for name, r in runtime.tables.get(ORG, {}).items()
    }
    return keys, routes


@given(st.lists(changes(), min_size=1, max_size=6))
@settings(max_examples=examples(150), deadline=None)
def test_incremental_compilation_is_compiling_anew(steps: list[list[tuple[str, str, Fragment | None]]]) -> None:
    holder = Holder(None)
    world = table(provider())
    holder.apply(Delta(0, 1, [Change("providers", "p-1", encode_fragment(provider()))]))
    for number, step in enumerate(steps, start=2):
        delta = []
        for section, id, fragment in step:
            if fragment is None:
                world[section].pop(id, None)
            else:
                world[section][id] = fragment
            delta.append(Change(section, id, None if fragment is None else encode_fragment(fragment)))
        holder.apply(Delta(number - 1, number, delta))
        assert view(holder.current) == view(compile_config(world, version=number))


def test_a_flag_that_depends_on_another_hears_of_its_flip() -> None:
    """Although the other one has nothing to do with the route."""

    def parent(on: bool) -> FlagFragment:
        return FlagFragment(id="f-1", name="parent", organisation=ORG, kind="kill", subject="route", subject_id="elsewhere", on=on)

    rules = {"dependencies": [{"feature": "parent"}]}
    child = FlagFragment(id="f-2", name="child", organisation=ORG, kind="kill", subject="route", subject_id="r-1", on=True, rules=rules)
    holder = Holder(None)
    holder.apply(config_of((provider(), route(), parent(True), child), version=1))
    for number, on in ((2, False), (3, True)):
        before = holder.current.tables[ORG]["chat"]
        holder.apply(Delta(number - 1, number, [Change("flags", "f-1", encode_fragment(parent(on)))]))
        found = holder.current.tables[ORG]["chat"]
        assert found is not before and found.flagging is not None
        assert found.flagging.flags[0].says(SOMEBODY, {}) is on


def test_what_a_change_does_not_touch_is_taken_over() -> None:
    other = FlagFragment(id="f-1", name="stop", organisation=ORG, kind="kill", subject="route", subject_id="r-2", on=True)
    holder = Holder(None)
    holder.apply(config_of((provider(), route(), route(id="r-2", name="other")), version=1))
    chat = holder.current.tables[ORG]["chat"]
    holder.apply(Delta(1, 2, [Change("flags", "f-1", encode_fragment(other))]))
    assert holder.current.tables[ORG]["chat"] is chat
    assert holder.current.tables[ORG]["other"].stopped is not None
