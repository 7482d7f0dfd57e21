"""Groups of ``model_list`` and the router's settings -> routes and limits.

A group of deployments is a route with a target for each. LiteLLM's fallbacks go to another group once every deployment of one has
failed; here they are the route's later targets, in order, and its alternative chain, which a flag switches to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from apps.routes.rules import MAX_ALIASES, MAX_ATTEMPTS, MAX_TARGETS, NAME
from controlplane.configfile.document import BreakerEntry, DeadlinesEntry, LimitEntry, ResilienceEntry, RouteEntry, TargetEntry
from controlplane.litellm.notes import Notes
from controlplane.litellm.providers import OTHER_COSTS, PRICES, Placed, Providers
from controlplane.litellm.reading import SECTIONS, Config, milliseconds, number, whole

STRATEGIES = {
    "simple-shuffle": "weighted",
    "latency-based-routing": "least_latency",
    "cost-based-routing": "least_cost",
}
"""LiteLLM's strategies -> ours; others become ``weighted``, with a note."""
MOST_COOLDOWN_MS = 60_000
FALLBACK_PRIORITY = 100
"""Of the first group that a route falls back to; each further group comes 10 later."""

_PARAMS = frozenset(
    {"model", "api_base", "base_url", "api_key", "custom_llm_provider", "rpm", "tpm", "weight", "order", "timeout", "stream_timeout"}
    | {"max_parallel_requests", "api_version", *PRICES, *OTHER_COSTS}
    | {"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region_name", "aws_bedrock_runtime_endpoint"}
    | {"vertex_project", "vertex_ai_project", "vertex_location", "vertex_ai_location", "vertex_credentials", "vertex_ai_credentials"}
    | {"tenant_id", "client_id", "client_secret"}
)
_INFO = frozenset(
    {"id", "mode", "max_input_tokens", "max_tokens", "max_output_tokens", "db_model", "base_model", "supports_function_calling"}
    | {"supports_vision", "supports_response_schema", *PRICES, *OTHER_COSTS}
)
_ROUTER = frozenset(
    {"routing_strategy", "num_retries", "timeout", "allowed_fails", "cooldown_time", "fallbacks", "context_window_fallbacks"}
    | {"default_fallbacks", "model_group_alias", "enable_pre_call_checks", "redis_host", "redis_port", "redis_password", "redis_url"}
)
_LIBRARY = frozenset({"fallbacks", "context_window_fallbacks", "default_fallbacks", "num_retries", "request_timeout", "set_verbose"})
_GUIDE = "docs/import-litellm.md says what takes the place of the usual ones"
_CAPABILITIES = {"supports_function_calling": "tools", "supports_response_schema": "json_schema", "supports_vision": "images"}


class Groups:
    """Deployments by the name that apps ask for."""

    def __init__(self, config: Config, providers: Providers, notes: Notes) -> None:
        self._config = config
        self._notes = notes
        self.targets: dict[str, list[TargetEntry]] = {}
        self.caps: dict[str, dict[str, list[int]]] = {}
        """Model's name at its provider -> kind of limit -> what each deployment may; 0 where one is not capped."""
        for at, entry in enumerate(config.models):
            name = entry["model_name"]
            if not NAME.fullmatch(name):
                notes.leave(name[:60], "a route cannot have this name: use letters, digits and . _ : / @ + -")
                continue
            placed = providers.place(name, entry)
            if placed is not None:
                self._add(name, placed, entry, f"model_list[{at}]")

    def _add(self, name: str, placed: Placed, entry: Mapping[str, Any], where: str) -> None:
        params: Mapping[str, Any] = entry["litellm_params"]
        info: Mapping[str, Any] = entry["model_info"] if isinstance(entry.get("model_info"), Mapping) else {}
        for field in sorted(set(params) - _PARAMS):
            self._notes.leave(f"{field} of {name}", "parameters that LiteLLM adds to calls are the app's to send here")
        for field in sorted(set(info) - _INFO):
            self._notes.leave(f"model_info.{field} of {name}", "there is no place for it")
        targets = self.targets.setdefault(name, [])
        target = TargetEntry(
            provider=placed.provider,
            model=placed.model,
            weight=min(whole(params.get("weight")) or whole(params.get("rpm")) or whole(params.get("tpm")) or 100, 1_000_000),
            priority=min(whole(params.get("order")), 1_000),
            window=whole(info.get("max_input_tokens")),
            max_concurrency=min(whole(params.get("max_parallel_requests")), 100_000),
            capabilities=_capabilities(info),
            total=milliseconds(params.get("timeout")),
            first_byte=milliseconds(params.get("stream_timeout")),
        )
        if target.max_concurrency:
            self._notes.change(f"max_parallel_requests of {name}", "holds for each proxy process by itself, of which there may be several")
        if target.first_byte:
            self._notes.change(f"stream_timeout of {name}", "bounds the time to a stream's first byte; the whole is bound by the total")
        for known in targets:
            if (known.provider, known.model) == (target.provider, target.model):
                known.weight = min(known.weight + target.weight, 1_000_000)
                self._notes.change(f"{where} {name}", "goes where another deployment of the group goes: one target, weights added")
                return
        if len(targets) >= MAX_TARGETS:
            self._notes.leave(f"{where} {name}", f"a route has at most {MAX_TARGETS} targets")
            return
        targets.append(target)
        caps = self.caps.setdefault(placed.model, {})
        for theirs, ours in (("rpm", "requests_per_minute"), ("tpm", "tokens_per_minute")):
            caps.setdefault(ours, []).append(whole(params.get(theirs)))

    def limits(self) -> Iterator[LimitEntry]:
        """A limit for each model all of whose deployments are capped: what they may together."""
        for model, kinds in self.caps.items():
            for kind, amounts in kinds.items():
                if all(amounts):
                    words = "rpm and tpm hold for all that is sent to the model of this name, by whichever deployment"
                    self._notes.change(model, words)
                    yield LimitEntry(name=f"{model[:50]} {kind.replace('_', ' ')}", model=model, kind=kind, amount=sum(amounts))
                elif any(amounts):
                    self._notes.leave(f"{kind} of {model}", "only some of the model's deployments have a cap, which none can be made of")


def routes(config: Config, groups: Groups, notes: Notes) -> list[RouteEntry]:
    """A route for each group, in the file's order."""
    router, library = config.router, config.library
    _unknown(config, notes)
    asked = str(router.get("routing_strategy") or "simple-shuffle")
    strategy = STRATEGIES.get(asked, "weighted")
    if asked not in STRATEGIES:
        notes.change(f"routing_strategy {asked}", "targets are chosen by weight; least_latency and least_cost are the others there are")
    retries = router.get("num_retries", library.get("num_retries"))
    total = milliseconds(router.get("timeout") or library.get("request_timeout"))
    behind = _fallbacks(config, "fallbacks", notes)
    larger = _fallbacks(config, "context_window_fallbacks", notes)
    usual = [name for name in router.get("default_fallbacks", library.get("default_fallbacks")) or [] if isinstance(name, str)]
    aliases = _aliases(config, groups, notes)
    found: list[RouteEntry] = []
    for name, own in groups.targets.items():
        chain = [each for each in behind.get(name, usual) if each != name]
        more = [each for each in larger.get(name, []) if each not in chain and each != name]
        for missing in [each for each in (*chain, *more) if each not in groups.targets]:
            notes.leave(f"fallback of {name} to {missing}", "there is no such group here")
        later = _later(own, [groups.targets[each] for each in (*chain, *more) if each in groups.targets], notes, name)
        if more and any(target.window == 0 for target in (*own, *later)):
            notes.change(f"context_window_fallbacks of {name}", "act where the targets' windows are known: set max_input_tokens")
        alternative = [msgspec.structs.replace(target, priority=0) for target in later]
        attempts = 1 + (whole(retries) if retries is not None else 2) + len(chain)
        found.append(
            RouteEntry(
                name=name,
                aliases=aliases.get(name, []),
                targets=[*own, *later],
                fallback=alternative,
                deadlines=_deadlines(total),
                resilience=ResilienceEntry(
                    strategy=strategy if len(own) > 1 else "priority",  # type: ignore[arg-type]
                    breaker=_breaker(router, notes),
                ),
                max_attempts=min(attempts, MAX_ATTEMPTS),
            )
        )
    return found


def _later(own: list[TargetEntry], groups: list[list[TargetEntry]], notes: Notes, name: str) -> list[TargetEntry]:
    """Targets of other groups, each group behind the one before, none that is there already."""
    there = {(target.provider, target.model) for target in own}
    later: list[TargetEntry] = []
    for at, group in enumerate(groups):
        for target in group:
            place = (target.provider, target.model)
            if place in there:
                continue
            if len(own) + len(later) >= MAX_TARGETS:
                notes.leave(f"{target.model} as a fallback of {name}", f"a route has at most {MAX_TARGETS} targets")
                continue
            there.add(place)
            later.append(msgspec.structs.replace(target, priority=min(FALLBACK_PRIORITY + 10 * at, 1_000)))
    return later


def _capabilities(info: Mapping[str, Any]) -> Any:
    """Only where the file says of each whether the model has it; nothing is assumed of the others."""
    if not all(isinstance(info.get(theirs), bool) for theirs in _CAPABILITIES):
        return None
    return [ours for theirs, ours in _CAPABILITIES.items() if info[theirs]]


def _deadlines(total: int) -> DeadlinesEntry:
    usual = DeadlinesEntry()
    if not total:
        return usual
    return DeadlinesEntry(connect=min(usual.connect, total), first_byte=min(usual.first_byte, total), idle=usual.idle, total=total)


def _breaker(router: Mapping[str, Any], notes: Notes) -> BreakerEntry:
    breaker = BreakerEntry()
    fails, cooldown = number(router.get("allowed_fails")), milliseconds(router.get("cooldown_time"))
    if fails is not None:
        breaker.consecutive = max(1, int(fails) + 1)
        notes.change("allowed_fails", "a target rests after one failure in a row more, or after half of its last attempts failed")
    if cooldown:
        breaker.open = min(cooldown, MOST_COOLDOWN_MS)
        if cooldown > MOST_COOLDOWN_MS:
            notes.change("cooldown_time", "a target rests for a minute at most before it is probed again")
    return breaker


def _fallbacks(config: Config, field: str, notes: Notes) -> dict[str, list[str]]:
    """``[{group: [groups]}, ...]`` of the router's settings, or else the library's."""
    given = config.router.get(field) or config.library.get(field) or []
    found: dict[str, list[str]] = {}
    for entry in given if isinstance(given, list) else []:
        for name, names in entry.items() if isinstance(entry, Mapping) else ():
            if isinstance(names, list) and all(isinstance(each, str) for each in names):
                found[str(name)] = list(dict.fromkeys(names))
            else:
                notes.leave(f"{field} of {name}", "only names of groups can be brought over")
    if "*" in found:
        notes.leave(f"{field} of *", "name the groups, or use default_fallbacks")
    return found


def _aliases(config: Config, groups: Groups, notes: Notes) -> dict[str, list[str]]:
    given = config.router.get("model_group_alias")
    found: dict[str, list[str]] = {}
    for alias, value in given.items() if isinstance(given, Mapping) else ():
        group = value.get("model") if isinstance(value, Mapping) else value
        if group not in groups.targets or alias in groups.targets or not NAME.fullmatch(str(alias)):
            notes.leave(f"alias {alias}", "it stands for no group that came over, or cannot be a name")
        elif len(found.setdefault(str(group), [])) >= MAX_ALIASES:
            notes.leave(f"alias {alias}", f"a route has at most {MAX_ALIASES} aliases")
        else:
            found[str(group)].append(str(alias))
    return found


def _unknown(config: Config, notes: Notes) -> None:
    """Settings without an equal."""
    for field in sorted(set(config.router) - _ROUTER):
        notes.leave(f"router_settings.{field}", "there is no such setting here")
    for field in sorted(set(config.library) - _LIBRARY):
        notes.leave(f"litellm_settings.{field}", f"there is no such setting here; {_GUIDE}")
    for field in sorted(config.general):
        words = (
            "people sign in here, and apps have keys: there is no key that may do everything"
            if field == "master_key"
            else f"a setting of that process; {_GUIDE}"
        )
        notes.leave(f"general_settings.{field}", words)
    for field in sorted(set(config.values) - set(SECTIONS)):
        notes.leave(str(field), "there is no such section here")
