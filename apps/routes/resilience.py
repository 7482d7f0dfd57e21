"""How a route keeps answering: what may be set, how it is stored, how the audit shows it. Pure; refusals are ServiceErrors.

A route stores only what differs from ``apps.contracts.snapshot.Resilience``'s defaults, so that a default can become better for everybody
who never chose otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import msgspec

from apps.audit.errors import ServiceError
from apps.contracts.snapshot import CAPABILITIES, BreakerPolicy, Level, Resilience, Strategy, Target

DAY_MS = 24 * 3600 * 1000
MAX_CANNED = 2_000
MAX_REGION = 60
VARIANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,58}[A-Za-z0-9])?")


class Limit(NamedTuple):
    """Least and most of a number, and what it counts."""

    least: int
    most: int
    unit: str


_MS = "milliseconds"
LIMITS: dict[str, Limit] = {
    "first_token_ms": Limit(0, DAY_MS, _MS),
    "reasoning_first_byte_ms": Limit(1, DAY_MS, _MS),
    "retry_budget_percent": Limit(0, 100, "percent"),
    "max_concurrency": Limit(0, 100_000, "requests at once"),
    "queue_size": Limit(0, 100_000, "requests that wait"),
    "queue_ms": Limit(0, DAY_MS, _MS),
    "hedge_percent": Limit(0, 100, "percent"),
    "hedge_after_ms": Limit(0, DAY_MS, _MS),
    "limited_max_output": Limit(1, 10_000_000, "tokens"),
    "breaker.consecutive": Limit(0, 10_000, "failures in a row"),
    "breaker.failure_percent": Limit(0, 100, "percent"),
    "breaker.minimum": Limit(1, 1_000_000, "attempts"),
    "breaker.window_ms": Limit(1, 3600 * 1000, _MS),
    "breaker.open_ms": Limit(1, 60_000, _MS),
    "mirror.percent": Limit(0, 100, "percent"),
}
TARGET_LIMITS: dict[str, Limit] = {
    "weight": Limit(0, 1_000_000, "a share"),
    "priority": Limit(0, 1_000, "a rank, 0 first"),
    "window": Limit(0, 1_000_000_000, "tokens"),
    "max_concurrency": Limit(0, 100_000, "requests at once"),
    **dict.fromkeys(("connect_ms", "first_byte_ms", "first_token_ms", "idle_ms", "total_ms"), Limit(0, DAY_MS, _MS)),
}
OWN_DEADLINES = tuple(name for name in TARGET_LIMITS if name.endswith("_ms"))
"""Of a target; 0 where its route's holds."""
CHOICES: dict[str, tuple[str, ...]] = {
    "strategy": get_args(Strategy),
    "sticky": ("", "user", "session", "key"),
    "rescue": ("off", "same_model", "any"),
    "context": ("off", "larger", "trim", "refuse"),
    "level": get_args(Level),
}


class TargetSpec(NamedTuple):
    """A target as a person writes it: names of a provider and of one of its endpoints (empty: the first), a model there, and options.

    The options are those of ``apps.contracts.snapshot.Target``, by the same names.
    """

    provider: str
    model: str
    endpoint: str = ""
    weight: int = 100
    priority: int = 0
    window: int = 0
    max_concurrency: int = 0
    prefill: bool = False
    reasoning: bool = False
    expensive: bool = False
    variant: str = ""
    capabilities: tuple[str, ...] | None = None
    connect_ms: int = 0
    first_byte_ms: int = 0
    first_token_ms: int = 0
    idle_ms: int = 0
    total_ms: int = 0

    @property
    def place(self) -> TargetSpec:
        """Where it is, without options: two targets may be the same place."""
        return TargetSpec(self.provider, self.model, self.endpoint)

    @property
    def options(self) -> dict[str, Any]:
        """The options that differ from the defaults: what is stored."""
        return {name: getattr(self, name) for name in OPTIONS if getattr(self, name) != OPTIONS[name]}

    @property
    def target(self) -> Target:
        """In the contract's form."""
        return Target(**self._asdict())


OPTIONS: dict[str, Any] = {
    name: value for name, value in TargetSpec._field_defaults.items() if name not in ("provider", "model", "endpoint")
}
"""A target's options with their defaults."""


def spec_of_target(target: Target) -> TargetSpec:
    """A contract's target as a person would write it."""
    return TargetSpec(**msgspec.structs.asdict(target))


def stored_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they were stored, as arguments of ``TargetSpec``; what this version does not know is left out."""
    found = {name: value for name, value in options.items() if name in OPTIONS}
    if found.get("capabilities") is not None:
        found["capabilities"] = tuple(found["capabilities"])
    return found


def check_options(spec: TargetSpec, field: str) -> None:
    """Options of one target by themselves."""
    for name, limit in TARGET_LIMITS.items():
        _check_limit(getattr(spec, name), limit, f"{field}.{name}")
    if spec.variant and not VARIANT.fullmatch(spec.variant):
        raise ServiceError(
            f"{spec.variant!r} is no name of a variant: use 1 to 60 of A-Z a-z 0-9 . _ -, such as canary", f"{field}.variant"
        )
    for name in spec.capabilities or ():
        if name not in CAPABILITIES:
            raise ServiceError(f"{name!r} is no capability: use some of {', '.join(CAPABILITIES)}", f"{field}.capabilities")
    if spec.capabilities is not None and len(set(spec.capabilities)) != len(spec.capabilities):
        raise ServiceError("a capability is listed twice", f"{field}.capabilities")


def check_own_deadlines(specs: Sequence[TargetSpec], field: str, *, total_ms: int) -> None:
    """A target's own deadline is no longer than the route's total, which ends the request."""
    for at, spec in enumerate(specs):
        for name in OWN_DEADLINES:
            value = getattr(spec, name)
            if value > total_ms:
                raise ServiceError(
                    f"{value} ms is longer than the route's total deadline ({total_ms} ms): it would never act", f"{field}[{at}].{name}"
                )


def check_resilience(settings: Resilience, *, total_ms: int, targets: Sequence[TargetSpec]) -> Resilience:
    """Everything that can be said without looking at providers. ``targets``: the route's primary chain."""
    for name, known in CHOICES.items():
        value = getattr(settings, name)
        if value not in known:
            shown = ", ".join(repr(each) for each in known)
            raise ServiceError(f"{value!r} is not one of the choices: use one of {shown}", f"resilience.{name}")
    for path, limit in LIMITS.items():
        if not path.startswith("mirror.") or settings.mirror is not None:
            _check_limit(_at(settings, path), limit, f"resilience.{path}")
    if settings.first_token_ms > total_ms:
        raise ServiceError(
            f"{settings.first_token_ms} ms is longer than the total deadline ({total_ms} ms): it would never act",
            "resilience.first_token_ms",
        )
    if settings.strategy == "region" and not settings.region:
        raise ServiceError("the strategy 'region' needs the route's home region: name one of its targets' regions", "resilience.region")
    if len(settings.region) > MAX_REGION or not settings.region.isprintable():
        raise ServiceError(f"a region's name is up to {MAX_REGION} printable characters", "resilience.region")
    if len(settings.canned) > MAX_CANNED or any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in settings.canned):
        raise ServiceError(f"the canned answer is one paragraph of up to {MAX_CANNED} characters, without line breaks", "resilience.canned")
    if settings.strategy == "weighted" and all(spec.weight == 0 for spec in targets):
        raise ServiceError("every weight is 0: the strategy 'weighted' needs at least one target with a share", "targets")
    breaker = settings.breaker
    if breaker.enabled and not breaker.consecutive and not breaker.failure_percent:
        raise ServiceError(
            "with both rules at 0 the breaker would never open: set one of them, or turn the breaker off", "resilience.breaker.consecutive"
        )
    return settings


def resilience_read(values: Mapping[str, Any]) -> Resilience:
    """Plain values, such as stored ones or an API's, as settings. Raises ServiceError for wrong names and types."""
    unknown = sorted(values.keys() - set(Resilience.__struct_fields__))
    if unknown:
        known = ", ".join(Resilience.__struct_fields__)
        raise ServiceError(f"there is no such setting; there are: {known}", f"resilience.{unknown[0]}")
    try:
        return msgspec.convert(values, Resilience)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise ServiceError(f"{message[:1].lower()}{message[1:]}", f"resilience{path.removesuffix('`')}") from None


def resilience_stored(settings: Resilience) -> dict[str, Any]:
    """What is kept of the settings: JSON-able, only what differs from the defaults. Equal settings give equal values."""
    return _differing(settings)


def _differing(settings: msgspec.Struct) -> dict[str, Any]:
    """By value: msgspec's own way of leaving out defaults goes by identity, which two equal numbers need not have."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        if field.required or value != field.default:
            found[field.name] = _differing(value) if isinstance(value, msgspec.Struct) else msgspec.to_builtins(value)
    return found


def resilience_facts(settings: Resilience) -> dict[str, Any]:
    """Every setting by its path, as the audit compares them: ``resilience.breaker.open_ms``; the mirror in one line."""
    facts: dict[str, Any] = {}
    for name in Resilience.__struct_fields__:
        value = getattr(settings, name)
        if name == "breaker":
            facts |= {f"resilience.breaker.{part}": getattr(value, part) for part in BreakerPolicy.__struct_fields__}
        elif name == "mirror":
            place = value and spec_of_target(value.target).place
            facts["resilience.mirror"] = place and f"{'/'.join(part for part in place[:3:2] if part)}/{place.model}, {value.percent} %"
        else:
            facts[f"resilience.{name}"] = value
    return facts


def _check_limit(value: int, limit: Limit, field: str) -> None:
    if not limit.least <= value <= limit.most:
        raise ServiceError(f"{value}: use {limit.least} to {limit.most} ({limit.unit})", field)


def _at(settings: Any, path: str) -> Any:
    for name in path.split("."):
        settings = getattr(settings, name)
    return settings
