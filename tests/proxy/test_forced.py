"""Breakers that people hold open or closed: compiled from routes, taken over with the config, let go at their end."""

from __future__ import annotations

import json

import pytest

from apps.contracts.snapshot import (
    Change,
    Delta,
    Endpoint,
    ForcedBreaker,
    ProviderFragment,
    RouteFragment,
    Target,
    decode_fragment,
    encode_fragment,
)
from apps.proxy.breaker import Breakers
from apps.proxy.compiler import CompileError
from apps.proxy.holder import Holder
from apps.proxy.state import States

EAST = Target(provider="east", model="m")
OPEN, CLOSED = ForcedBreaker(target=EAST, state="open"), ForcedBreaker(target=EAST, state="closed")


def provider(organisation: str = "o-1") -> ProviderFragment:
    endpoint = Endpoint(name="main", base_url="http://127.0.0.1:1/v1")
    return ProviderFragment(id=f"p-{organisation}", name="east", kind="openai", organisation=organisation, endpoints=[endpoint])


def route(*forced: ForcedBreaker, id: str = "r-1", organisation: str = "o-1") -> RouteFragment:
    return RouteFragment(id=id, name=id, organisation=organisation, targets=[EAST], forced=list(forced))


class Process:
    """A proxy's config and states at a settable time: ``now_ms`` since the epoch."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.states = States(lambda: self.now_ms / 1000, Breakers())
        self.holder = Holder(None, lambda: self.now_ms)
        self.holder.attach = self.states.attach
        for organisation in ("o-1", "o-2"):
            self.give("providers", provider(organisation))

    def give(self, section: str, fragment: ProviderFragment | RouteFragment) -> None:
        version = self.holder.current.version
        self.holder.apply(Delta(version, version + 1, [Change(section, fragment.id, encode_fragment(fragment))]))

    def held(self, organisation: str = "o-1") -> tuple[str, str]:
        breaker = self.states.breakers.get(f"{organisation}/east/main/m")
        assert breaker is not None
        return breaker.forced, breaker.state


def test_a_breaker_is_held_and_let_go_with_the_config() -> None:
    process = Process()
    process.give("routes", route(OPEN))
    assert process.held() == ("open", "open")
    process.give("routes", route(CLOSED))
    assert process.held() == ("closed", "closed")
    process.give("routes", route())
    assert process.held() == ("", "closed")


def test_a_held_breaker_can_be_looked_at() -> None:
    process = Process()
    process.give("routes", route(OPEN))
    row = json.loads(json.dumps(process.states.view()))[0]
    assert (row["breaker"], row["retry_in_ms"]) == ("open", None), "nobody knows when"


def test_it_ends_by_itself() -> None:
    process = Process()
    process.give("routes", route(ForcedBreaker(target=EAST, state="open", until_ms=5_000)))
    assert process.held() == ("open", "open") and process.holder.current.good_until_ms == 5_000
    process.now_ms = 5_000
    process.holder.refresh()
    assert process.held() == ("", "closed") and process.holder.current.good_until_ms is None


def test_open_wins_where_routes_disagree() -> None:
    process = Process()
    process.give("routes", route(OPEN))
    process.give("routes", route(CLOSED, id="r-2"))
    assert process.held() == ("open", "open")
    process.give("routes", route())
    assert process.held() == ("closed", "closed")


def test_a_provider_of_the_same_name_elsewhere_is_another_one() -> None:
    process = Process()
    process.give("routes", route(id="r-2", organisation="o-2"))
    process.give("routes", route(OPEN))
    assert process.held("o-1") == ("open", "open") and process.held("o-2") == ("", "closed")


def test_what_is_no_target_cannot_be_held() -> None:
    process = Process()
    with pytest.raises(CompileError) as caught:
        process.give("routes", route(ForcedBreaker(target=Target(provider="nobody", model="m"), state="open")))
    assert caught.value.field == "forced[0].target"
    assert process.holder.current.version == 2


def test_an_older_fragment_holds_nothing() -> None:
    body = encode_fragment(route())
    assert b"forced" not in body
    found = decode_fragment("routes", body)
    assert isinstance(found, RouteFragment) and found.forced == []
