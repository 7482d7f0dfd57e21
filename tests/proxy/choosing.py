"""Routes, requests and targets for tests of choosing: real config through the real compiler, the real steps before the plan."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec

from apps.contracts.snapshot import (
    BudgetFragment,
    Endpoint,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    Resilience,
    RouteFragment,
    Target,
)
from apps.proxy.breaker import Breakers
from apps.proxy.choose import choose
from apps.proxy.compiler import compile_config
from apps.proxy.errors import Refusal
from apps.proxy.exchange import Exchange
from apps.proxy.health import Health
from apps.proxy.http.types import Request
from apps.proxy.operations import OPERATIONS
from apps.proxy.runtime import CompiledRoute, CompiledTarget, Runtime
from apps.proxy.steps.attribute import attribute
from apps.proxy.steps.read import read
from tests.proxy.fragments import ORG, table

REGIONS = {"east": "eu", "west": "us", "south": "asia"}


class State:
    """What the process knows of a target, as far as choosing looks at it."""

    def __init__(self, label: str, breakers: Breakers, policy: Any) -> None:
        self.breaker = breakers.of(label, policy)
        self.health = Health()
        self.resting_until = 0.0


class World:
    """One compiled config with three providers in three regions and a route ``chat``; ``now`` is the loop's time."""

    def __init__(self, *targets: Target, resilience: Resilience | None = None, more: list[Fragment] | None = None, **route: Any) -> None:
        fragments: list[Fragment] = [
            ProviderFragment(
                id=f"p-{name}",
                name=name,
                kind="openai",
                organisation=ORG,
                enabled=route.pop(f"{name}_enabled", True),
                endpoints=[Endpoint(name="main", base_url="http://127.0.0.1:1/v1", region=region)],
            )
            for name, region in REGIONS.items()
        ]
        fragments.append(
            RouteFragment(id="r-1", name="chat", organisation=ORG, targets=list(targets), resilience=resilience or Resilience(), **route)
        )
        fragments.append(KeyFragment(id="k-1", name="app", public_id="pk", organisation=ORG, digests=["aa"], explain=True))
        self.runtime: Runtime = compile_config(table(*fragments, *(more or [])), version=7)
        self.now = 1_000.0
        self.time_asked = 0
        self.breakers = Breakers()
        self.route: CompiledRoute = self.runtime.tables[ORG]["chat"]
        states: dict[str, State] = {}
        for found in self.runtime.tables[ORG].values():
            for target in found.every_target:
                if target.label not in states:
                    states[target.label] = State(target.label, self.breakers, found.resilience.breaker)
                target.state = cast(Any, states[target.label])

    @property
    def engine(self) -> Any:
        """As much of it as the steps ask."""
        return SimpleNamespace(loop=SimpleNamespace(time=self.time))

    def time(self) -> float:
        self.time_asked += 1
        return self.now

    def target(self, label: str) -> CompiledTarget:
        return next(target for target in self.route.targets if target.label.startswith(label))

    def exchange(self, headers: dict[bytes, bytes] | None = None, kind: Any = "chat", **fields: Any) -> Exchange:
        """A request that has been read; ``fields`` are its body's."""
        payload: dict[str, Any] = {"model": "chat", **fields}
        if kind == "chat":
            payload.setdefault("messages", [{"role": "user", "content": "hello"}])
        request = Request("POST", "/v1/x", b"", headers or {}, msgspec.json.encode(payload), 0, "127.0.0.1", False)
        engine = cast(Any, self.engine)
        exchange = Exchange(bytes(16), kind, request, cast(Any, None), self.runtime, 1_700_000_000_000_000, engine, 0, request.body)
        exchange.key = next(iter(self.runtime.keys.values()))
        exchange.operation = OPERATIONS.get(f"/v1/{kind}")
        refusal = read(exchange, self.runtime) or attribute(exchange, self.runtime)
        assert refusal is None, refusal
        exchange.route = self.route
        if exchange.cap_injected:
            exchange.max_output = self.route.max_output
        return exchange

    def choose(self, exchange: Exchange) -> Refusal | None:
        return choose(exchange, self.route, self.time)

    def plan(self, headers: dict[bytes, bytes] | None = None, **fields: Any) -> list[str]:
        """Providers in the order in which they would be tried."""
        exchange = self.exchange(headers, **fields)
        refusal = self.choose(exchange)
        assert refusal is None, refusal
        return [target.provider for target in exchange.plan]

    def open(self, provider: str) -> None:
        """By evidence: five failures in a row."""
        for _ in range(5):
            self.target(provider).state.breaker.failure(self.now)


def price(provider: str, model: str, **prices: Any) -> PriceFragment:
    return PriceFragment(
        id=f"p-{provider}/{model}", provider=provider, model=model, versions=[PriceVersion(version=f"{provider}-1", **prices)]
    )


def budget(limit_nano: int = 1_000_000_000) -> BudgetFragment:
    return BudgetFragment(id="b-1", name="monthly", organisation=ORG, scope="key", scope_id="k-1", window="month", limit_nano=limit_nano)


EAST, WEST, SOUTH = (Target(provider=name, model="m") for name in REGIONS)
