"""A route as it is while certain flags act on it. Made when a config is compiled, and again for what flags decide per request.

Precedence, the first that applies: a key's kill (before the route is known), a route's or a feature's kill, a disabled route, a
degradation. Where requests go: a route's switch before the fallback chain before the targets; what a kill takes out of these is out.
How far a route is degraded: as far as the worst of its own level and all degradations that act; budgets may degrade it further
(``apps.proxy.relief``), nothing less. What acted is named in ``flags``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import cast, get_args

import msgspec

from apps.contracts.flag_documents import rules_problems
from apps.contracts.flag_rules import CompiledRules, compile_features
from apps.contracts.snapshot import FlagFragment, Fragment, Level, RouteFragment
from apps.proxy.flagging import ActiveFlag, RouteFlags
from apps.proxy.runtime import CompiledRoute, CompiledTarget

LEVELS: tuple[Level, ...] = get_args(Level)
"""Mildest first."""
_EVERYBODY = ("organisation", "team", "feature", "key")


class FlagTable:
    """The flags of a config that are on and that proxies act on, ready to be looked up by organisation."""

    def __init__(self, fragments: Mapping[str, Fragment]) -> None:
        flags = cast(Mapping[str, FlagFragment], fragments)
        self._on: dict[str, list[ActiveFlag]] = {}
        for organisation, own in _by_organisation(flags.values()).items():
            rules: dict[str, CompiledRules] = {}
            if any(flag.on and flag.rules for flag in own):
                rules = compile_features({flag.name: (flag.on, flag.rules) for flag in own if flag.kind != "release"})
            found = [active for flag in own if flag.on and (active := _active(flag, rules.get(flag.name))) is not None]
            if found:
                self._on[organisation] = found

    def killed_keys(self) -> dict[tuple[str, str], str]:
        """(organisation, key's id) -> flag's name, for kills that hold for every request."""
        return {
            (organisation, flag.subject_id): flag.name
            for organisation, flags in self._on.items()
            for flag in flags
            if flag.kind == "kill" and flag.subject == "key" and flag.static and not flag.simulated_only
        }

    def touching(self, parts: RouteParts) -> list[ActiveFlag]:
        """Those that may act on some request of a route."""
        flags = self._on.get(parts.fragment.organisation)
        if not flags:
            return []
        simulated = all(target.simulated for target in parts.every)
        return [flag for flag in flags if (simulated or not flag.simulated_only) and _touches(flag, parts)]


def _by_organisation(flags: Iterable[FlagFragment]) -> dict[str, list[FlagFragment]]:
    found: dict[str, list[FlagFragment]] = {}
    for flag in flags:
        found.setdefault(flag.organisation, []).append(flag)
    return found


def _active(flag: FlagFragment, rules: CompiledRules | None) -> ActiveFlag | None:
    """None: it does nothing here."""
    if flag.kind == "release" or flag.share <= 0:
        return None
    if flag.rules:
        if rules is None or rules_problems(flag.rules):
            # A control plane newer than this proxy: what was agreed on for this case holds.
            if flag.default != "on":
                return None
            rules = None
        elif rules.always:
            rules = None
    else:
        rules = None
    return ActiveFlag(
        flag.id,
        flag.name,
        flag.organisation,
        flag.kind,
        flag.subject,
        flag.subject_id,
        flag.level,
        rules,
        flag.share,
        flag.simulated_only,
    )


def flags_moved(before: Mapping[str, Fragment], after: Mapping[str, Fragment]) -> list[FlagFragment]:
    """The flags that are not as they were, as before and as after, and those whose rules ask for one of them."""
    moved = {id for id in before.keys() | after.keys() if (one := before.get(id)) is not (two := after.get(id)) and one != two}
    if not moved:
        return []
    sides = (before, after)
    names = {(flag.organisation, flag.name) for id in moved for side in sides if isinstance(flag := side.get(id), FlagFragment)}
    asking = {
        id
        for id, flag in after.items()
        if isinstance(flag, FlagFragment)
        and any((flag.organisation, one.get("feature")) in names for one in flag.rules.get("dependencies") or () if isinstance(one, dict))
    }
    return [flag for id in moved | asking for side in sides if isinstance(flag := side.get(id), FlagFragment)]


def may_touch(flag: FlagFragment, parts: RouteParts) -> bool:
    """Whether a flag, on or off, may have something to say about a route."""
    if flag.organisation != parts.fragment.organisation:
        return False
    return _reaches(flag.subject, flag.subject_id, bool(flag.rules) or flag.share < 100 or flag.simulated_only, parts)


def _touches(flag: ActiveFlag, parts: RouteParts) -> bool:
    return _reaches(flag.subject, flag.subject_id, not flag.static or flag.simulated_only, parts)


def _reaches(subject: str, wanted: str, by_request: bool, parts: RouteParts) -> bool:
    """by_request: the flag is asked for each request."""
    if subject == "route":
        return wanted == parts.fragment.id
    if subject == "provider":
        return any(target.provider_id == wanted for target in parts.every)
    if subject == "model":
        return any(target.model == wanted for target in parts.every)
    if subject == "region":
        return any(target.region == wanted for target in parts.every)
    if subject == "key":
        return by_request  # the others refuse the key itself
    return subject in _EVERYBODY


class RouteParts:
    """What a route is made of, compiled, before any flag has its say. only: the target of the route's switch."""

    __slots__ = ("alternative", "every", "forced", "fragment", "mirror", "only", "primary")

    def __init__(
        self,
        fragment: RouteFragment,
        primary: tuple[CompiledTarget, ...],
        alternative: tuple[CompiledTarget, ...],
        only: CompiledTarget | None,
        mirror: CompiledTarget | None,
        forced: Mapping[str, str],
    ) -> None:
        self.fragment = fragment
        self.primary = primary
        self.alternative = alternative
        self.only = only
        self.mirror = mirror
        self.forced = forced
        self.every = (*primary, *alternative) if only is None else (*primary, *alternative, only)


def route_with(parts: RouteParts, flags: list[ActiveFlag]) -> CompiledRoute:
    """The route, with what holds for all its requests built in and the rest to be asked. flags: those that touch it."""
    standing = [flag for flag in flags if flag.static and _for_all(flag, parts)]
    asked = tuple(flag for flag in flags if flag not in standing and flag.subject != "region")
    regional = tuple(flag for flag in flags if flag not in standing and flag.subject == "region")
    route = assemble(parts, standing)
    route.parts = parts
    every = {id(target): target for target in (*route.targets, *parts.every)}
    if len(every) > len(route.targets):
        # Whatever a flag may send requests to, or has sent them away from, is a target of the route: what this process knows of it stays
        # known. A breaker that is open when its target's traffic is sent elsewhere is open, and asked after, until the target answers.
        route.every_target = (*every.values(), *route.every_target[len(route.targets) :])
        for target in route.every_target:
            target.bound_by(parts.fragment.deadlines, parts.fragment.resilience)
    if asked or regional:
        route.flagging = RouteFlags(asked, regional, lambda acting: assemble(parts, [*standing, *acting]))
    return route


def _for_all(flag: ActiveFlag, parts: RouteParts) -> bool:
    """Whether the subject of a flag is the same for all requests of the route."""
    if flag.subject in ("team", "feature", "key"):
        return False
    return flag.subject != "region" or all(target.region == flag.subject_id for target in parts.every)


def assemble(parts: RouteParts, acting: list[ActiveFlag]) -> CompiledRoute:
    """The route while these flags act."""
    fragment = parts.fragment
    chosen = parts.primary
    named: list[str] = []
    fallbacks = [flag.name for flag in acting if flag.kind == "fallback"]
    if fallbacks and parts.alternative:
        chosen = parts.alternative
        named += fallbacks
    switch, only = fragment.switch, parts.only
    if switch is not None and only is not None:
        chosen = (only, *(target for target in chosen if target.label != only.label)) if switch.failover else (only,)
        named.append(f"switched to {only.provider}"[:200])
    chosen = _killed(chosen, acting, named)
    level, why = _level(fragment.resilience.level, acting, named)
    stopped: tuple[str, str] | None = None
    kills = [flag for flag in acting if flag.kind == "kill"]
    of_route = [flag.name for flag in kills if flag.subject == "route"]
    of_feature = [flag for flag in kills if flag.subject == "feature"]
    of_key = [flag for flag in kills if flag.subject == "key"]
    named += [flag.name for flag in kills if flag.subject in ("route", "feature", "key")]
    if of_key:
        stopped = ("key_killed", f"This key is stopped by the kill switch {of_key[0].name!r}.")
    elif of_route:
        stopped = ("route_killed", f"The route {fragment.name!r} is stopped by the kill switch {of_route[0]!r}.")
    elif of_feature:
        feature = of_feature[0]
        stopped = ("feature_killed", f"The feature {feature.subject_id!r} is stopped by the kill switch {feature.name!r}.")
    elif not fragment.enabled:
        stopped = ("route_disabled", f"The route {fragment.name!r} is disabled.")
    elif level in ("cached", "minimal"):
        without = " There is no stored answer, so it behaves as 'minimal'." if level == "cached" else ""
        by = f" by the flag {why!r}" if why else ""
        stopped = ("degraded", f"The route {fragment.name!r} is degraded to {level!r}{by} and calls no provider.{without} Try again later.")
    if level != fragment.resilience.level:
        fragment = msgspec.structs.replace(fragment, resilience=msgspec.structs.replace(fragment.resilience, level=level))
    mirror = None if parts.mirror is None else _killed((parts.mirror,), acting, [])[0]
    return CompiledRoute(fragment, chosen, tuple(dict.fromkeys(named)), stopped, mirror, parts.forced)


def _killed(chosen: tuple[CompiledTarget, ...], acting: list[ActiveFlag], named: list[str]) -> tuple[CompiledTarget, ...]:
    """The chain with what kills of providers and models take out marked so; who took something out is named."""
    kills = [flag for flag in acting if flag.kind == "kill" and flag.subject in ("provider", "model")]
    if not kills:
        return chosen
    found: list[CompiledTarget] = []
    for target in chosen:
        for flag in kills:
            if flag.subject_id == (target.provider_id if flag.subject == "provider" else target.model):
                named.append(flag.name)
                target = copy.copy(target)
                target.killed = target.killed or f"its {flag.subject} is stopped by the kill switch {flag.name!r}"
        found.append(target)
    return tuple(found)


def _level(own: Level, acting: list[ActiveFlag], named: list[str]) -> tuple[Level, str]:
    """(the worst of the route's own level and what flags say, the flag that says so); each that goes beyond the route's own is named."""
    worst, why = own, ""
    for flag in acting:
        if flag.kind == "degrade" and LEVELS.index(cast(Level, flag.level)) > LEVELS.index(own):
            named.append(flag.name)
            if LEVELS.index(cast(Level, flag.level)) > LEVELS.index(worst):
                worst, why = cast(Level, flag.level), flag.name
    return worst, why
