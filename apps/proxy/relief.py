"""What budgets' thresholds do: near its limit a scope's requests go to cheaper targets, or find their routes degraded, by the proxy itself.

A threshold acts while ``spent + held`` of the running window, less what this process holds unspent, is at least its share of the limit, as
the database told within a second or so. Nothing is switched and nothing has to be switched back: each request asks.

Invariant: of all thresholds reached by the budgets that a request falls under, the severest acts; a route that people degraded further
stays there; a request of other scopes on the same route is not touched.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import msgspec

from apps.contracts.snapshot import RELIEFS, Relief
from apps.proxy.choose import Choice, choose
from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledRoute, Runtime

STEP = "plan"
MAX_ROUTES = 8192
"""Relieved routes remembered per config."""
_SEVERITY = {do: number for number, do in enumerate(RELIEFS)}


class Reliefs:
    """Of one config: routes as they are while a threshold acts, made when first needed."""

    __slots__ = ("_routes",)

    def __init__(self) -> None:
        self._routes: dict[tuple[CompiledRoute, Relief], CompiledRoute] = {}
        """By the route as flags have left it."""

    def of(self, route: CompiledRoute, do: Relief) -> CompiledRoute:
        """The route itself where it is degraded as far already."""
        if do != "cheaper" and _SEVERITY.get(cast(Relief, route.resilience.level), -1) >= _SEVERITY[do]:
            return route
        found = self._routes.get((route, do))
        if found is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            found = self._routes[route, do] = _relieved(route, do)
        return found


def relieve(exchange: Exchange, runtime: Runtime, reliefs: Reliefs) -> Refusal | None:
    """After the plan: what the budgets of its first target make of it. Plans anew where a threshold acts."""
    key, route = exchange.key, exchange.route
    assert key is not None and route is not None
    table = runtime.spending
    spend = key.spend if table is None else table.applying(exchange, exchange.plan[0])
    if not spend.acting:
        return None
    worst: Relief | None = None
    why = ""
    for budget, actions in spend.acting:
        used = exchange.engine.leases.used(budget)
        if used is None:
            continue
        for action in actions:
            reached = used[0] * 100 >= action.at_percent * used[1]
            if reached and (worst is None or _SEVERITY[action.do] > _SEVERITY[worst]):
                worst = action.do
                name = table.budget(budget).name if table is not None else runtime.fragments["budgets"][budget].name  # type: ignore[attr-defined]
                why = f"the budget {name!r} is at {action.at_percent} percent of its limit or beyond: {action.do}"
    if worst is None:
        return None
    relieved = reliefs.of(route, worst)
    if relieved is route:
        return None
    exchange.route = relieved
    if relieved.stopped is not None:
        return Refusal(relieved.stopped[0], STEP, f"{relieved.stopped[1]} Why: {why}.")
    if exchange.cap_injected:
        exchange.max_output = relieved.max_output
    exchange.choice = None
    refusal = choose(exchange, relieved, exchange.engine.loop.time)
    choice = exchange.choice = exchange.choice or Choice()
    choice.notes.append(why)
    return refusal


def _relieved(route: CompiledRoute, do: Relief) -> CompiledRoute:
    fragment = route.fragment
    settings = fragment.resilience
    targets = route.targets
    stopped: tuple[str, str] | None = None
    if do == "cheaper":
        settings = msgspec.structs.replace(settings, strategy="least_cost")
        fragment = msgspec.structs.replace(fragment, switch=None)
        targets = tuple(copy.copy(target) for target in targets)
        for target in targets:
            target.rank = (0,)
    else:
        settings = msgspec.structs.replace(settings, level=do)
        if do != "limited":
            stopped = (
                "degraded",
                f"The route {route.name!r} is degraded to {do!r} for this request and calls no provider. Try again later.",
            )
    mirror = route.resilience.mirror
    found = type(route)(msgspec.structs.replace(fragment, resilience=settings), targets, (*route.flags, f"budget:{do}"), stopped, mirror)
    found.forced = route.forced
    found.retries, found.slots = route.retries, route.slots
    return found
