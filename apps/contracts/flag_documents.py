"""What a person should change about the rules of a flag, before anything evaluates them. ``flag_rules`` itself takes anything and errs on
the safe side; here a misspelt name is told with its place instead of quietly being false."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from apps.contracts.flag_constraints import constraint_problem, networks_read, number_read, text_of
from apps.contracts.flag_rules import STRATEGIES

PARTS = ("strategies", "variants", "dependencies", "segments")
MAX_LIST = 64
"""Strategies, variants, dependencies, segments, and constraints of each."""
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "default": (),
    "userWithId": ("userIds",),
    "gradualRolloutUserId": ("percentage", "groupId"),
    "gradualRolloutSessionId": ("percentage", "groupId"),
    "gradualRolloutRandom": ("percentage",),
    "flexibleRollout": ("rollout", "stickiness", "groupId"),
    "remoteAddress": ("IPs",),
    "applicationHostname": ("hostNames",),
}
_NEEDED = {"userWithId": "userIds", "remoteAddress": "IPs", "applicationHostname": "hostNames", "flexibleRollout": "rollout"}


def rules_problems(document: Any) -> list[str]:
    """Each as ``<place>: <what to do>``; empty where all of it is understood."""
    if not isinstance(document, Mapping):
        return ["rules: an object with strategies, variants, dependencies and segments, each optional"]
    return list(_problems(document))


def _problems(document: Mapping[str, Any]) -> Iterator[str]:
    for part in document:
        if part not in PARTS:
            yield f"{part}: is unknown; rules have {', '.join(PARTS)}"
    for part in PARTS:
        listed = document.get(part, [])
        if not isinstance(listed, list) or len(listed) > MAX_LIST:
            yield f"{part}: a list of up to {MAX_LIST}"
            return
    segments = {segment.get("id") for segment in document.get("segments", ()) if isinstance(segment, Mapping)}
    for at, strategy in enumerate(document.get("strategies", ())):
        yield from _of_strategy(f"strategies[{at}]", strategy, segments)
    yield from _of_variants("variants", document.get("variants", []))
    for at, segment in enumerate(document.get("segments", ())):
        if not isinstance(segment, Mapping) or segment.get("id") is None or not isinstance(segment.get("constraints"), list):
            yield f"segments[{at}]: an object with id and constraints"
        else:
            yield from _of_constraints(f"segments[{at}]", segment["constraints"])
    names = set()
    for at, parent in enumerate(document.get("dependencies", ())):
        place = f"dependencies[{at}]"
        if not isinstance(parent, Mapping) or not isinstance(parent.get("feature"), str) or not parent["feature"]:
            yield f"{place}: an object with feature, the name of another flag"
            continue
        if parent["feature"] in names:
            yield f"{place}: {parent['feature']!r} is named twice"
        names.add(parent["feature"])
        if not isinstance(parent.get("enabled", True), bool):
            yield f"{place}.enabled: true or false"
        variants = parent.get("variants", [])
        if not isinstance(variants, list) or not all(isinstance(variant, str) for variant in variants):
            yield f"{place}.variants: a list of names"
        elif variants and parent.get("enabled") is False:
            yield f"{place}.variants: a flag that is to be off has no variant"


def _of_strategy(place: str, strategy: Any, segments: set[Any]) -> Iterator[str]:
    if not isinstance(strategy, Mapping):
        yield f"{place}: an object with name and parameters"
        return
    name = strategy.get("name")
    if not isinstance(name, str) or name not in STRATEGIES:
        yield f"{place}.name: {name!r} is unknown: one of {', '.join(STRATEGIES)}"
        return
    for part in strategy:
        if part not in ("name", "title", "parameters", "constraints", "segments", "variants", "sortOrder", "disabled", "id"):
            yield f"{place}.{part}: is unknown; a strategy has name, parameters, constraints, segments and variants"
    if strategy.get("disabled"):
        yield f"{place}.disabled: leave a strategy out instead of disabling it"
    parameters = strategy.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        yield f"{place}.parameters: an object"
        return
    for parameter in parameters:
        if parameter not in _PARAMETERS[name]:
            yield f"{place}.parameters.{parameter}: {name} does not have it: {', '.join(_PARAMETERS[name]) or 'it has none'}"
    needed = _NEEDED.get(name, "percentage" if name.startswith("gradual") else "")
    if needed and not str(parameters.get(needed, "")).strip():
        yield f"{place}.parameters.{needed}: is missing"
    elif needed in ("rollout", "percentage"):
        percent = number_read(text_of(parameters[needed]))
        if percent is None or not 0 <= percent <= 100:
            yield f"{place}.parameters.{needed}: a number from 0 to 100"
    elif needed == "IPs":
        given = [part.strip() for part in str(parameters["IPs"]).split(",") if part.strip()]
        if len(networks_read(given)) < len(given):
            yield f"{place}.parameters.IPs: addresses and networks, separated by commas"
    yield from _of_constraints(place, strategy.get("constraints") or [])
    wanted = strategy.get("segments") or []
    if not isinstance(wanted, list):
        yield f"{place}.segments: a list of ids of the segments below"
    else:
        for segment in wanted:
            if segment not in segments:
                yield f"{place}.segments: there is no segment {segment!r} in these rules"
    yield from _of_variants(f"{place}.variants", strategy.get("variants") or [])


def _of_constraints(place: str, constraints: Any) -> Iterator[str]:
    if not isinstance(constraints, list) or len(constraints) > MAX_LIST:
        yield f"{place}.constraints: a list of up to {MAX_LIST}"
        return
    for at, constraint in enumerate(constraints):
        problem = constraint_problem(constraint)
        if problem:
            yield f"{place}.constraints[{at}]: {problem}"


def _of_variants(place: str, variants: Any) -> Iterator[str]:
    if not isinstance(variants, list) or len(variants) > MAX_LIST:
        yield f"{place}: a list of up to {MAX_LIST}"
        return
    names = set()
    total = 0
    for at, variant in enumerate(variants):
        if not isinstance(variant, Mapping) or not isinstance(variant.get("name"), str) or not variant["name"]:
            yield f"{place}[{at}]: an object with name and weight"
            continue
        if variant["name"] in names or len(variant["name"]) > 80:
            yield f"{place}[{at}].name: unique, and at most 80 characters"
        names.add(variant["name"])
        weight = variant.get("weight")
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= 1000:
            yield f"{place}[{at}].weight: a whole number from 0 to 1000"
        else:
            total += weight
        payload = variant.get("payload")
        if payload is not None and (
            not isinstance(payload, Mapping)
            or payload.get("type") not in ("string", "json", "csv", "number")
            or not isinstance(payload.get("value"), str)
        ):
            yield f"{place}[{at}].payload: an object with type (string, json, csv or number) and value, a text"
    if variants and not total:
        yield f"{place}: at least one variant needs a weight above zero"
