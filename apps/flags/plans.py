"""How a route answers under some flags, as the proxies' compiler has it: which targets in which order, or why it calls nobody. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from apps.contracts.snapshot import FlagFragment, ProviderFragment, RouteFragment, Target

LEVELS = ("full", "limited", "cached", "minimal")
STOPPING = ("cached", "minimal")
"""Levels at which a route calls no provider."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a request can be answered. An empty provider: nobody was called."""

    provider: str
    endpoint: str
    model: str

    @property
    def label(self) -> str:
        """As pages name it; the endpoint's name is left out where it says nothing."""
        return f"{self.provider}/{self.model}" if self.provider else "refused"


NOBODY = Place("", "", "")


@dataclass(frozen=True, slots=True)
class Option:
    """A target that a route may call. cap: requests at once from one proxy, 0 for none."""

    place: Place
    priority: int = 0
    weight: int = 100
    cap: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a route answers under some flags: its targets in order, or why it calls nobody. out: (target, why) of those left out."""

    options: tuple[Option, ...] = ()
    stopped: str = ""
    out: tuple[tuple[str, str], ...] = ()
    strategy: str = "priority"


def acts(flag: FlagFragment, now_ms: int) -> bool:
    """Whether a flag is on, whole: not run out, and neither a drill nor for some requests only."""
    return (
        flag.on and (flag.until_ms is None or flag.until_ms > now_ms) and flag.share == 100 and not flag.simulated_only and not flag.rules
    )


def place_of(target: Target, providers: Mapping[str, ProviderFragment]) -> Place:
    """Where a target is; without an endpoint its provider's first. providers: of its organisation, by name."""
    provider = providers.get(target.provider)
    first = provider.endpoints[0].name if provider is not None and provider.endpoints else ""
    return Place(target.provider, target.endpoint or first, target.model)


def plan(
    route: RouteFragment,
    providers: Mapping[str, ProviderFragment],
    flags: Iterable[FlagFragment],
    now_ms: int,
    shut: Collection[Place] = (),
) -> Plan:
    """How a route answers while these flags are on, as the proxies' compiler has it. shut: places whose breaker is open."""
    on = [flag for flag in flags if flag.organisation == route.organisation]
    for flag in on:
        if flag.kind == "kill" and flag.subject == "route" and flag.subject_id == route.id:
            return Plan(stopped=f"the kill switch {flag.name} stops it")
    if not route.enabled:
        return Plan(stopped="it is disabled")
    level = _level(route, on)
    if level in STOPPING:
        return Plan(stopped=f"it is degraded to {level} and calls no provider")
    chain, out = _chain(route, on, now_ms), []
    killed = {flag.subject_id: flag.name for flag in on if flag.kind == "kill" and flag.subject in ("provider", "model")}
    held = {place_of(one.target, providers): one.state for one in route.forced if one.until_ms is None or one.until_ms > now_ms}
    options: list[Option] = []
    closed: list[Option] = []
    for target in chain:
        place, provider = place_of(target, providers), providers.get(target.provider)
        option = Option(place, target.priority, target.weight, target.max_concurrency)
        if provider is None or not provider.enabled:
            out.append((place.label, "its provider is disabled"))
        elif provider.id in killed or target.model in killed:
            out.append((place.label, f"the kill switch {killed.get(provider.id) or killed[target.model]} is on"))
        elif held.get(place) == "open":
            out.append((place.label, "its breaker is forced open"))
        elif place in shut and held.get(place) != "closed":
            out.append((place.label, "its breaker is open"))
            closed.append(option)
        else:
            options.append(option)
    first = (options or closed)[0].place if options or closed else None
    level = max(level, _regional(first, providers, on), key=LEVELS.index)
    if level in STOPPING:
        return Plan(stopped=f"its region is degraded to {level} and no provider is called")
    if level == "limited" and any(not target.expensive for target in chain if place_of(target, providers) in {o.place for o in options}):
        dear = {place_of(target, providers) for target in chain if target.expensive}
        out += [(option.place.label, "it is marked as expensive and the route is limited") for option in options if option.place in dear]
        options = [option for option in options if option.place not in dear]
    return Plan(tuple(options or closed), "", tuple(out), route.resilience.strategy)


def _regional(first: Place | None, providers: Mapping[str, ProviderFragment], flags: Sequence[FlagFragment]) -> str:
    """The most degraded of what flags say of the region of the target that is asked first, as proxies decide by it."""
    endpoints = providers[first.provider].endpoints if first is not None else []
    region = next((endpoint.region for endpoint in endpoints if first is not None and endpoint.name == first.endpoint), "")
    asked = [flag.level for flag in flags if flag.kind == "degrade" and flag.subject == "region" and flag.subject_id == region]
    return max(["full", *asked], key=LEVELS.index)


def _level(route: RouteFragment, flags: Sequence[FlagFragment]) -> str:
    """The most degraded of the route's own and the flags' for the route or its organisation."""
    asked = [
        flag.level
        for flag in flags
        if flag.kind == "degrade" and (flag.subject == "organisation" or (flag.subject == "route" and flag.subject_id == route.id))
    ]
    return max([route.resilience.level, *asked], key=LEVELS.index)


def _chain(route: RouteFragment, flags: Sequence[FlagFragment], now_ms: int) -> list[Target]:
    fallback = any(flag.kind == "fallback" and flag.subject_id == route.id for flag in flags)
    chain = list(route.fallback if fallback and route.fallback else route.targets)
    switch = route.switch
    if switch is None or (switch.until_ms is not None and switch.until_ms <= now_ms):
        return chain
    same = [target for target in chain if (target.provider, target.endpoint, target.model) != _spot(switch.target)]
    return [switch.target, *same] if switch.failover else [switch.target]


def _spot(target: Target) -> tuple[str, str, str]:
    return target.provider, target.endpoint, target.model
