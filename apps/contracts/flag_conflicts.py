"""What flags would do that nobody can have wanted without knowing: leave a route without a target, or send it where it goes already.

Only flags that hold for all of their requests are looked at: a drill or a rule leaves something. Publishing asks about the flags and routes
that it changes, and refuses what no flag at fault has acknowledged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, cast

from apps.contracts.snapshot import FlagFragment, Fragment, ProviderFragment, RouteFragment, Target


class Conflict(NamedTuple):
    """flag: the id of one at fault. message: what would happen, and what to do."""

    flag: str
    route: str
    message: str


def flag_conflicts(fragments: Mapping[str, Mapping[str, Fragment]], changed: Mapping[str, Collection[str]], now_ms: int) -> list[Conflict]:
    """By route's name. changed: ids of what is published now, by section; flags that ran out by ``now_ms`` are off."""
    flags = [flag for flag in cast(Mapping[str, FlagFragment], fragments.get("flags", {})).values() if _stands(flag, now_ms)]
    new_flags, new_routes = set(changed.get("flags", ())), set(changed.get("routes", ()))
    if not flags or not (new_flags or new_routes):
        return []
    providers: dict[tuple[str, str], ProviderFragment] = {}
    for provider in cast(Mapping[str, ProviderFragment], fragments.get("providers", {})).values():
        providers[provider.organisation, provider.name] = provider
    found: list[Conflict] = []
    for route in cast(Mapping[str, RouteFragment], fragments.get("routes", {})).values():
        own = [flag for flag in flags if flag.organisation == route.organisation]
        if own and route.enabled:
            conflict = _conflict(route, own, providers, now_ms)
            if conflict is not None and (route.id in new_routes or conflict[0] & new_flags):
                found.append(Conflict(min(conflict[0]), route.name, conflict[1]))
    return sorted(found, key=lambda conflict: conflict.route)


def _stands(flag: FlagFragment, now_ms: int) -> bool:
    whole = flag.share >= 100 and not flag.simulated_only and not flag.rules
    return flag.on and whole and flag.kind in ("kill", "fallback") and (flag.until_ms is None or flag.until_ms > now_ms)


def _conflict(
    route: RouteFragment, flags: Sequence[FlagFragment], providers: Mapping[tuple[str, str], ProviderFragment], now_ms: int
) -> tuple[set[str], str] | None:
    """(ids of the flags at fault, the message); None where there is nothing, or somebody said that they know."""
    kills = [flag for flag in flags if flag.kind == "kill" and flag.subject in ("provider", "model")]
    falls = [flag for flag in flags if flag.kind == "fallback" and flag.subject_id == route.id]
    if any(flag.kind == "kill" and flag.subject == "route" and flag.subject_id == route.id for flag in flags):
        return None  # it is meant to answer nobody

    def killed_by(target: Target) -> FlagFragment | None:
        provider = providers.get((route.organisation, target.provider)) or providers.get(("", target.provider))
        for flag in kills:
            if flag.subject_id == (target.model if flag.subject == "model" else provider.id if provider is not None else ""):
                return flag
        return None

    def alive(target: Target) -> bool:
        provider = providers.get((route.organisation, target.provider)) or providers.get(("", target.provider))
        return provider is not None and provider.enabled and killed_by(target) is None

    chain = route.fallback if falls and route.fallback else route.targets
    switch = route.switch
    if switch is not None and (switch.until_ms is None or switch.until_ms > now_ms):
        chain = [switch.target, *chain] if switch.failover else [switch.target]
    at_fault = {flag.id: flag for target in chain if (flag := killed_by(target)) is not None}
    if at_fault and not any(alive(target) for target in chain):
        if any(flag.acknowledged for flag in (*at_fault.values(), *falls)):
            return None
        names = _names(list(at_fault.values()))
        return set(at_fault) | {flag.id for flag in falls}, (
            f"the route {route.name!r} would have no target left: {names} would stop all of them. "
            "Give it another target, or acknowledge it to stop the route all the same"
        )
    if falls and not any(flag.acknowledged for flag in falls):
        ids = {flag.id for flag in falls}
        if not route.fallback:
            return ids, f"the route {route.name!r} has no fallback chain, so {_names(falls)} would do nothing. Give it one first"
        before = next((target for target in route.targets if alive(target)), None)
        after = next((target for target in route.fallback if alive(target)), None)
        if before is not None and after is not None and _place(before) == _place(after):
            return ids, (
                f"the fallback of the route {route.name!r} leads back to where its requests go already ({before.provider}/{before.model}). "
                f"Begin the chain elsewhere, or acknowledge it to turn {_names(falls)} on all the same"
            )
    return None


def _names(flags: Sequence[FlagFragment]) -> str:
    listed = sorted({flag.name for flag in flags})
    return f"the flag {listed[0]!r}" if len(listed) == 1 else f"the flags {', '.join(map(repr, listed))}"


def _place(target: Target) -> tuple[str, str, str]:
    return target.provider, target.endpoint, target.model
