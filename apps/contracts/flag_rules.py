"""Rules of flags, in Unleash's semantics: strategies with constraints and segments, dependencies, variants.

A document has the form of an Unleash feature: ``{strategies, variants, dependencies, segments}``. ``compile_rules`` reads it once, when
a config is compiled; what is left for a request is ``enabled(context)``, a microsecond or two. Compiling never raises: what cannot be
read is false, as in every SDK. ``rules_problems`` says to a person beforehand what cannot be read.

A feature is on where it is enabled, its dependencies are met, and one of its strategies holds (or it has none). A strategy holds where all
its constraints and those of its segments do, and its own test does. The context is a flat map of texts: ``userId``, ``sessionId``,
``remoteAddress``, ``environment``, ``appName``, ``currentTime`` (now, where it is missing), and any properties beside them.
Source: https://docs.getunleash.io/reference/activation-strategies, client specification 5.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from os import environ
from random import random
from typing import Any

from apps.contracts.flag_buckets import VARIANT_SEED, Buckets
from apps.contracts.flag_constraints import Constraint, Context, constraint_compile, networks_read, number_read, text_of, within

STRATEGIES = (
    "default",
    "userWithId",
    "gradualRolloutUserId",
    "gradualRolloutSessionId",
    "gradualRolloutRandom",
    "flexibleRollout",
    "remoteAddress",
    "applicationHostname",
)


class Variant:
    """name, and what it carries: payload {type, value} or None. enabled: whether a variant was chosen at all."""

    __slots__ = ("enabled", "name", "payload")

    def __init__(self, name: str, enabled: bool, payload: Mapping[str, Any] | None) -> None:
        self.name = name
        self.enabled = enabled
        self.payload = payload


NO_VARIANT = Variant("disabled", False, None)


class Variants:
    """Weighted values of one feature or strategy: overrides first, then by the bucket of what they stick to."""

    __slots__ = ("_buckets", "_ends", "_overrides", "_stickiness", "_total", "_variants")

    def __init__(self, documents: Sequence[Any], group: str, stickiness: str) -> None:
        self._variants: list[Variant] = []
        self._ends: list[int] = []
        self._overrides: list[tuple[str, frozenset[str], Variant]] = []
        self._stickiness = stickiness
        total = 0
        for document in documents:
            if not isinstance(document, Mapping) or not isinstance(document.get("name"), str):
                continue
            payload = document.get("payload")
            variant = Variant(document["name"], True, payload if isinstance(payload, Mapping) else None)
            weight = _whole(document.get("weight"))
            for override in document.get("overrides") or ():
                if isinstance(override, Mapping) and isinstance(override.get("contextName"), str):
                    values = frozenset(text_of(value) for value in override.get("values") or ())
                    self._overrides.append((override["contextName"], values, variant))
            if weight > 0:
                total += weight
                self._variants.append(variant)
                self._ends.append(total)
        self._total = total
        self._buckets = Buckets(group, total, VARIANT_SEED) if total > 0 else None

    def of(self, context: Context) -> Variant:
        for field, values, variant in self._overrides:
            if context.get(field) in values:
                return variant
        buckets = self._buckets
        if buckets is None:
            return NO_VARIANT
        sticking = _sticking(self._stickiness, context, ("userId", "sessionId", "remoteAddress"))
        at = buckets.of(sticking) if sticking else int(random() * self._total) + 1
        for place, end in enumerate(self._ends):
            if at <= end:
                return self._variants[place]
        return NO_VARIANT


class Strategy:
    """One way to be on. This base holds never: it stands for a strategy that is not known here."""

    __slots__ = ("constraints", "variants")

    def __init__(self) -> None:
        self.constraints: tuple[Constraint, ...] = ()
        self.variants: Variants | None = None

    def holds(self, context: Context) -> bool:
        for constraint in self.constraints:
            if not constraint.holds(context):
                return False
        return self.chosen(context)

    def chosen(self, context: Context) -> bool:
        """Its own test, without the constraints."""
        return False


class _Everybody(Strategy):
    __slots__ = ()

    def chosen(self, context: Context) -> bool:
        return True


class _OneOf(Strategy):
    __slots__ = ("_field", "_values")

    def __init__(self, field: str, values: Sequence[str]) -> None:
        super().__init__()
        self._field = field
        self._values = frozenset(values)

    def chosen(self, context: Context) -> bool:
        return context.get(self._field) in self._values


class _Addresses(Strategy):
    __slots__ = ("_networks",)

    def __init__(self, values: Sequence[str]) -> None:
        super().__init__()
        self._networks = tuple(networks_read(values))

    def chosen(self, context: Context) -> bool:
        return within(context.get("remoteAddress"), self._networks)


class _Rollout(Strategy):
    """The first ``percent`` of a hundred buckets; ``anyone``: nobody whose stickiness is missing is left out, but drawn anew each time."""

    __slots__ = ("_anyone", "_buckets", "_fields", "_percent", "_stickiness")

    def __init__(self, percent: float, stickiness: str, group: str, fields: tuple[str, ...], anyone: bool) -> None:
        super().__init__()
        self._percent = percent
        self._stickiness = stickiness
        self._buckets = Buckets(group, 100)
        self._fields = fields
        self._anyone = anyone

    def chosen(self, context: Context) -> bool:
        if self._percent <= 0:
            return False
        sticking = _sticking(self._stickiness, context, self._fields)
        if sticking:
            return self._buckets.of(sticking) <= self._percent
        return self._anyone and (self._percent >= 100 or random() * 100 < self._percent)


class Parent:
    """What a feature asks of another: on (as one of ``variants``, where some are named), or off."""

    __slots__ = ("rules", "variants", "wanted")

    def __init__(self, rules: CompiledRules, wanted: bool, variants: frozenset[str]) -> None:
        self.rules = rules
        self.wanted = wanted
        self.variants = variants

    def met(self, context: Context) -> bool:
        if not self.wanted:
            return not self.rules.enabled(context)
        if not self.variants:
            return self.rules.enabled(context)
        return self.rules.enabled(context) and self.rules.variant(context).name in self.variants


class CompiledRules:
    """One feature, ready to be asked. always: on for everybody, without asking. fields: those of the context that it looks at."""

    __slots__ = ("_parents", "_strategies", "_variants", "always", "fields", "name", "on")

    def __init__(self, name: str, on: bool, strategies: tuple[Strategy, ...], variants: Variants | None, fields: frozenset[str]) -> None:
        self.name = name
        self.on = on
        self._strategies = strategies
        self._variants = variants
        self._parents: tuple[Parent, ...] = ()
        self.fields = fields
        self.always = on and not strategies

    def depends(self, parents: tuple[Parent, ...]) -> None:
        """Said once, when all features are compiled."""
        self._parents = parents
        self.always = self.always and not parents
        for parent in parents:
            self.fields = self.fields | parent.rules.fields

    def enabled(self, context: Context) -> bool:
        if not self.on:
            return False
        for parent in self._parents:
            if not parent.met(context):
                return False
        strategies = self._strategies
        if not strategies:
            return True
        for strategy in strategies:  # noqa: SIM110 - a generator would cost a frame per request
            if strategy.holds(context):
                return True
        return False

    def variant(self, context: Context) -> Variant:
        """The variant of the first strategy that holds, or the feature's own; ``NO_VARIANT`` where it is off or has none."""
        if not self.on:
            return NO_VARIANT
        for parent in self._parents:
            if not parent.met(context):
                return NO_VARIANT
        chosen = self._variants
        if self._strategies:
            held = False
            for strategy in self._strategies:
                if strategy.holds(context):
                    held = True
                    chosen = strategy.variants or chosen
                    break
            if not held:
                return NO_VARIANT
        return chosen.of(context) if chosen is not None else NO_VARIANT


def compile_rules(
    document: Mapping[str, Any],
    *,
    name: str,
    enabled: bool = True,
    segments: Mapping[object, Sequence[Any]] | None = None,
) -> CompiledRules:
    """The rules of one document, without its dependencies (``compile_features`` knows the others).

    name: the feature's, which its rollouts hash with where they name no group. segments: constraints by segment's id; those of the
    document itself come first.
    """
    known: dict[object, Sequence[Any]] = dict(segments or {})
    known.update(_segments(document.get("segments")))
    fields: set[str] = set()
    strategies: list[Strategy] = []
    for given in document.get("strategies") or ():
        strategy = _strategy(given, name, known, fields)
        if type(strategy) is _Everybody and not strategy.constraints and strategy.variants is None and not strategies:
            strategies, fields = [], set()
            break  # whoever comes here is in: nothing behind it is ever asked
        strategies.append(strategy)
    variants = None
    if document.get("variants"):
        stickiness = document["variants"][0].get("stickiness") if isinstance(document["variants"][0], Mapping) else None
        variants = Variants(document["variants"], name, stickiness or "default")
        fields.update(_variant_fields(document["variants"], stickiness or "default"))
    return CompiledRules(name, enabled, tuple(strategies), variants, frozenset(fields))


def compile_features(
    features: Mapping[str, tuple[bool, Mapping[str, Any]]], *, segments: Mapping[object, Sequence[Any]] | None = None
) -> dict[str, CompiledRules]:
    """All features by name, each given as (on, document), with their dependencies. A parent that is missing, or that has parents itself,
    is never as it should be: chains are not followed, so nothing can go round in circles."""
    found = {name: compile_rules(document, name=name, enabled=enabled, segments=segments) for name, (enabled, document) in features.items()}
    for name, (_, document) in features.items():
        parents: list[Parent] = []
        for wanted in document.get("dependencies") or ():
            parent = wanted.get("feature") if isinstance(wanted, Mapping) else None
            if not isinstance(parent, str) or parent not in found or features[parent][1].get("dependencies"):
                parents.append(Parent(CompiledRules(str(parent), False, (), None, frozenset()), True, frozenset()))
            else:
                variants = frozenset(text_of(variant) for variant in wanted.get("variants") or ())
                parents.append(Parent(found[parent], wanted.get("enabled") is not False, variants))
        if parents:
            found[name].depends(tuple(parents))
    return found


def segments_read(documents: object) -> dict[object, Sequence[Any]]:
    """Constraints by segment's id, of a list of ``{id, constraints}``."""
    return _segments(documents)


def _segments(documents: object) -> dict[object, Sequence[Any]]:
    found: dict[object, Sequence[Any]] = {}
    if isinstance(documents, Sequence):
        for document in documents:
            if isinstance(document, Mapping) and isinstance(document.get("constraints"), Sequence):
                found[document.get("id")] = document["constraints"]
    return found


def _strategy(given: Any, name: str, segments: Mapping[object, Sequence[Any]], fields: set[str]) -> Strategy:
    if not isinstance(given, Mapping):
        return Strategy()
    raw = given.get("parameters")
    parameters: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    strategy = _chooser(str(given.get("name")), parameters, name, fields)
    constraints = [constraint_compile(document) for document in given.get("constraints") or () if isinstance(document, Mapping)]
    for segment in given.get("segments") or ():
        if segment not in segments:
            return Strategy()
        constraints += [constraint_compile(document) for document in segments[segment] if isinstance(document, Mapping)]
    strategy.constraints = tuple(constraints)
    fields.update(constraint.field for constraint in constraints)
    variants = given.get("variants")
    if isinstance(variants, Sequence) and variants:
        stickiness = variants[0].get("stickiness") if isinstance(variants[0], Mapping) else None
        stickiness = stickiness or parameters.get("stickiness") or "default"
        strategy.variants = Variants(variants, str(parameters.get("groupId") or name), stickiness)
        fields.update(_variant_fields(variants, stickiness))
    return strategy


def _chooser(kind: str, parameters: Mapping[str, Any], name: str, fields: set[str]) -> Strategy:
    """The strategy itself, before its constraints; adds the fields that it looks at."""
    group = str(parameters.get("groupId") or name)
    if kind == "default":
        return _Everybody()
    if kind == "userWithId":
        fields.add("userId")
        return _OneOf("userId", _listed(parameters.get("userIds")))
    if kind == "remoteAddress":
        fields.add("remoteAddress")
        return _Addresses(_listed(parameters.get("IPs")))
    if kind == "applicationHostname":
        here = (environ.get("HOSTNAME") or socket.gethostname()).lower()
        return _Everybody() if here in [host.lower() for host in _listed(parameters.get("hostNames"))] else Strategy()
    if kind == "flexibleRollout":
        stickiness = str(parameters.get("stickiness") or "default")
        percent = number_read(text_of(parameters.get("rollout", "")))
        return _rollout(percent, stickiness, group, ("userId", "sessionId"), stickiness in ("default", "random"), fields)
    percent = number_read(text_of(parameters.get("percentage", "")))
    if kind == "gradualRolloutUserId":
        return _rollout(percent, "userId", group, (), False, fields)
    if kind == "gradualRolloutSessionId":
        return _rollout(percent, "sessionId", group, (), False, fields)
    if kind == "gradualRolloutRandom":
        return _rollout(percent, "random", group, (), True, fields)
    return Strategy()


def _rollout(percent: float | None, stickiness: str, group: str, defaults: tuple[str, ...], anyone: bool, fields: set[str]) -> Strategy:
    if percent is None or percent <= 0:
        return Strategy()
    if percent >= 100 and anyone:
        return _Everybody()
    if stickiness == "default":
        fields.update(defaults)
    elif stickiness != "random":
        fields.add(stickiness)
    return _Rollout(percent, stickiness, group, defaults, anyone)


def _sticking(stickiness: str, context: Context, defaults: tuple[str, ...]) -> str:
    """What decides the bucket; empty where that is chance, or missing."""
    if stickiness == "random":
        return ""
    if stickiness != "default":
        return context.get(stickiness) or ""
    for field in defaults:
        found = context.get(field)
        if found:
            return found
    return ""


def _variant_fields(documents: Sequence[Any], stickiness: str) -> set[str]:
    fields = {"userId", "sessionId", "remoteAddress"} if stickiness == "default" else {stickiness} - {"random"}
    for document in documents:
        if isinstance(document, Mapping):
            for override in document.get("overrides") or ():
                if isinstance(override, Mapping):
                    fields.add(str(override.get("contextName")))
    return fields


def _listed(value: Any) -> list[str]:
    return [part.strip() for part in text_of(value).split(",") if part.strip()] if value is not None else []


def _whole(value: Any) -> int:
    number = number_read(text_of(value)) if value is not None else None
    return int(number) if number is not None and number > 0 else 0
