"""What a flag is for an app that asks by the OpenFeature Remote Evaluation Protocol. Pure: published fragments and a context in, an
answer out.

Rules are evaluated by ``apps.contracts.flag_rules``, as the proxy does; what a proxy draws by the request's id (a drill's share) is drawn
here by the targeting key. Value: of a release its variant's payload, or whether it is on; of a kill and a fallback whether it acts; of a
degradation its level, ``full`` where it does not act. Where a release with variants is off and its default names none, the value is left
out, which tells the SDK to use the app's own default.
Source: https://github.com/open-feature/protocol (service/openapi.yaml), https://openfeature.dev/specification/types.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from apps.contracts.flag_buckets import murmur3
from apps.contracts.flag_constraints import number_read, text_of
from apps.contracts.flag_rules import CompiledRules, compile_features, compile_rules
from apps.contracts.snapshot import FlagFragment

STATIC, TARGETING, SPLIT, DISABLED, DEFAULT = "STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "DEFAULT"
FLAG_NOT_FOUND, PARSE_ERROR, GENERAL = "FLAG_NOT_FOUND", "PARSE_ERROR", "GENERAL"
TARGETING_KEY_MISSING, INVALID_CONTEXT = "TARGETING_KEY_MISSING", "INVALID_CONTEXT"
MAX_KEY = 512
MAX_ATTRIBUTES = 256
NO_VALUE = object()
"""The answer has no value: the app's own default holds."""


class EvaluationError(Exception):
    """Why there is no answer: a code of the protocol and what to do."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


@dataclass(frozen=True, slots=True)
class Answer:
    """What a flag says. value: ``NO_VALUE`` where the app's default holds. variant: also what exposures are counted by."""

    key: str
    value: Any
    reason: str
    variant: str
    metadata: Mapping[str, bool | str | int]

    def document(self) -> dict[str, Any]:
        """As the protocol has it."""
        told = {"key": self.key, "reason": self.reason, "variant": self.variant, "metadata": dict(self.metadata)}
        return told if self.value is NO_VALUE else {**told, "value": self.value}


@dataclass(frozen=True, slots=True)
class Context:
    """Whom a flag is evaluated for. targeting_key: empty where the app sent none. fields: what rules look at, as texts."""

    targeting_key: str
    fields: Mapping[str, str]


def context_read(document: object, *, environment: str) -> Context:
    """The context of a request's body. environment: of the key, where the app names none. Raises EvaluationError."""
    if not isinstance(document, dict):
        raise EvaluationError(PARSE_ERROR, 'send a JSON object: {"context": {"targetingKey": "...", ...}}')
    context = document.get("context", {})
    if context is None:
        context = {}
    if not isinstance(context, dict):
        raise EvaluationError(INVALID_CONTEXT, "context is an object")
    if len(context) > MAX_ATTRIBUTES:
        raise EvaluationError(INVALID_CONTEXT, f"a context has up to {MAX_ATTRIBUTES} attributes")
    key = context.get("targetingKey")
    if key is not None and (not isinstance(key, str) or len(key) > MAX_KEY):
        raise EvaluationError(INVALID_CONTEXT, f"targetingKey is a text of up to {MAX_KEY} characters")
    fields = {name: text_of(value) for name, value in context.items() if isinstance(value, (str, int, float, bool))}
    if key:
        fields.setdefault("userId", key)
    fields.setdefault("environment", environment)
    return Context(key or "", fields)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A flag, compiled. strategies: each by itself, with whether it draws by a bucket. payloads: of all variants, by name.
    splits: variants are drawn. seed: of a drill's share."""

    fragment: FlagFragment
    rules: CompiledRules
    strategies: tuple[tuple[CompiledRules, bool], ...]
    payloads: Mapping[str, Mapping[str, Any] | None]
    splits: bool
    seed: int


@dataclass(frozen=True, slots=True)
class FlagSet:
    """One organisation's flags at one version. until_ms: the moment from which on it has to be built anew, because one ends.
    killed: ids of keys that are stopped for every request."""

    version: int
    flags: Mapping[str, _Ready] = field(default_factory=dict)
    until_ms: int | None = None
    killed: frozenset[str] = frozenset()

    def evaluate(self, key: str, context: Context, *, simulated: bool) -> Answer:
        """One flag. simulated: the app's organisation is a simulation. Raises EvaluationError."""
        ready = self.flags.get(key)
        if ready is None:
            raise EvaluationError(FLAG_NOT_FOUND, f"there is no flag {key[:80]!r} in this organisation")
        return _evaluate(ready, context, simulated, self.version)

    def documents(self, context: Context, *, simulated: bool) -> tuple[list[dict[str, Any]], list[Answer]]:
        """Every flag for the bulk answer, by name; with the answers among them. One that cannot be told does not spoil the others."""
        told: list[dict[str, Any]] = []
        answers = []
        for key in sorted(self.flags):
            try:
                answer = _evaluate(self.flags[key], context, simulated, self.version)
            except EvaluationError as error:
                told.append({"key": key, "errorCode": error.code, "errorDetails": error.details})
            else:
                told.append(answer.document())
                answers.append(answer)
        return told, answers


def flags_compile(fragments: Iterable[FlagFragment], *, version: int, now_ms: int) -> FlagSet:
    """The flags of one organisation, as they stand at ``now_ms`` (milliseconds since the epoch)."""
    flags = {fragment.name: fragment for fragment in fragments}
    on = {name: flag.on and (flag.until_ms is None or flag.until_ms > now_ms) for name, flag in flags.items()}
    compiled = compile_features({name: (on[name], flag.rules) for name, flag in flags.items()})
    ready = {name: _ready(flag, compiled[name]) for name, flag in flags.items()}
    ends = [flag.until_ms for name, flag in flags.items() if on[name] and flag.until_ms is not None]
    stops = (flag for name, flag in flags.items() if flag.kind == "kill" and flag.subject == "key" and compiled[name].always)
    killed = frozenset(flag.subject_id for flag in stops if flag.share >= 100 and not flag.simulated_only)
    return FlagSet(version, ready, min(ends, default=None), killed)


def _ready(flag: FlagFragment, rules: CompiledRules) -> _Ready:
    document = flag.rules
    segments = {"segments": document.get("segments") or []}
    strategies = tuple(
        (compile_rules({"strategies": [strategy], **segments}, name=flag.name), _draws(strategy))
        for strategy in document.get("strategies") or ()
    )
    listed = [*(document.get("variants") or ())]
    for strategy in document.get("strategies") or ():
        listed += (isinstance(strategy, Mapping) and strategy.get("variants")) or ()
    payloads = {
        variant["name"]: variant.get("payload") for variant in reversed(listed) if isinstance(variant, Mapping) and "name" in variant
    }
    weighed = [variant for variant in listed if isinstance(variant, Mapping) and variant.get("weight")]
    return _Ready(flag, rules, strategies, payloads, len(weighed) > 1, murmur3(flag.id.encode()))


def _draws(strategy: Any) -> bool:
    """Whether a strategy chooses by a bucket or by chance."""
    if not isinstance(strategy, Mapping) or "ollout" not in str(strategy.get("name")):
        return False
    parameters = strategy.get("parameters") or {}
    percent = number_read(text_of(parameters.get("rollout", parameters.get("percentage", ""))))
    return percent is not None and 0 < percent < 100


def _evaluate(ready: _Ready, context: Context, simulated: bool, version: int) -> Answer:
    flag, rules = ready.fragment, ready.rules
    metadata: dict[str, bool | str | int] = {"kind": flag.kind, "configVersion": version}
    if not rules.on or (flag.simulated_only and not simulated):
        return _off(ready, DISABLED, metadata)
    drawn = flag.share < 100
    if drawn and flag.share > 0:
        _key_needed(context, flag.name)
    if drawn and not _drilled(ready, context.targeting_key):
        return _off(ready, SPLIT, metadata)
    fields = dict(context.fields)
    if "userId" in rules.fields and not fields.get("userId") and not ("sessionId" in rules.fields and fields.get("sessionId")):
        _key_needed(context, flag.name)
    variant = rules.variant(fields) if ready.payloads else None
    if variant is None or not variant.enabled:
        variant = None
        if not rules.enabled(fields):
            return _off(ready, DEFAULT, metadata)
    reason = _reason(ready, fields, drawn or (variant is not None and ready.splits))
    if variant is not None:
        return Answer(flag.name, _payload(flag.name, variant.name, variant.payload), reason, variant.name, metadata)
    if flag.kind == "degrade":
        return Answer(flag.name, flag.level, reason, flag.level, metadata)
    return Answer(flag.name, True, reason, "on", metadata)


def _drilled(ready: _Ready, targeting_key: str) -> bool:
    """Whether a drill's share takes this one in."""
    return murmur3(targeting_key.encode("utf-8", "surrogatepass"), ready.seed) % 100 < ready.fragment.share


def _off(ready: _Ready, reason: str, metadata: Mapping[str, bool | str | int]) -> Answer:
    """What holds while a flag does not act: of a release its explicit default."""
    flag = ready.fragment
    if flag.kind == "degrade":
        return Answer(flag.name, "full", reason, "full", metadata)
    if flag.kind != "release":
        return Answer(flag.name, False, reason, "off", metadata)
    if flag.default in ready.payloads:
        value = _payload(flag.name, flag.default, ready.payloads[flag.default])
        return Answer(flag.name, value, reason, flag.default, metadata)
    on = flag.default == "on"
    return Answer(flag.name, NO_VALUE if ready.payloads else on, reason, "on" if on else "off", metadata)


def _reason(ready: _Ready, fields: dict[str, str], drawn: bool) -> str:
    if drawn:
        return SPLIT
    if ready.rules.always:
        return STATIC
    for strategy, draws in ready.strategies:
        if strategy.enabled(fields):
            return SPLIT if draws else TARGETING
    return SPLIT if ready.strategies else TARGETING  # drawn by chance, which said something else the second time; or by its parents


def _payload(key: str, name: str, payload: Mapping[str, Any] | None) -> Any:
    """A variant's value by its payload's type; its name where it carries none."""
    if payload is None:
        return name
    value, kind = payload.get("value"), payload.get("type")
    if kind not in ("json", "number"):
        return "" if value is None else str(value)
    try:
        read = json.loads(str(value), parse_constant=_refused)
    except (ValueError, RecursionError):
        read = NO_VALUE
    if read is NO_VALUE or (kind == "number" and (isinstance(read, bool) or not isinstance(read, (int, float)))):
        raise EvaluationError(PARSE_ERROR, f"the {kind} of variant {name!r} of {key!r} cannot be read: correct it under Flags")
    return read


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _key_needed(context: Context, key: str) -> None:
    if not context.targeting_key:
        raise EvaluationError(TARGETING_KEY_MISSING, f"{key!r} chooses by whom it is evaluated for: send targetingKey in the context")
