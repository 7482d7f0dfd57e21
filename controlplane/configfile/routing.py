"""A route's targets and resilience: document's entries <-> what services take. Durations lose and gain their ``_ms``."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from apps.contracts.snapshot import BreakerPolicy, Mirror, Resilience
from apps.routes.resilience import TargetSpec, spec_of_target
from controlplane.configfile.document import BreakerEntry, MirrorEntry, ResilienceEntry, TargetEntry

_BREAKER = {name.removesuffix("_ms"): name for name in BreakerPolicy.__struct_fields__}
_RESILIENCE = {name.removesuffix("_ms"): name for name in Resilience.__struct_fields__ if name not in ("breaker", "mirror")}
_TARGET = {name.removesuffix("_ms"): name for name in TargetSpec._fields}
"""The document's names of fields -> the contract's."""


def spec_of_entry(entry: TargetEntry) -> TargetSpec:
    """A target as services take it."""
    values = {_TARGET[name]: value for name, value in msgspec.structs.asdict(entry).items()}
    capabilities = values.pop("capabilities")
    return TargetSpec(**values, capabilities=None if capabilities is None else tuple(capabilities))


def entry_of_spec(spec: TargetSpec) -> TargetEntry:
    """A target as a document has it."""
    values: dict[str, Any] = {theirs: getattr(spec, ours) for theirs, ours in _TARGET.items()}
    capabilities = values.pop("capabilities")
    return TargetEntry(**values, capabilities=None if capabilities is None else list(capabilities))


def resilience_of_entry(entry: ResilienceEntry) -> Resilience:
    """Settings as services take them."""
    values: dict[str, Any] = {ours: getattr(entry, theirs) for theirs, ours in _RESILIENCE.items()}
    breaker = BreakerPolicy(**{ours: getattr(entry.breaker, theirs) for theirs, ours in _BREAKER.items()})
    mirror = None if entry.mirror is None else Mirror(target=spec_of_entry(entry.mirror.target).target, percent=entry.mirror.percent)
    return Resilience(**values, breaker=breaker, mirror=mirror)


def entry_of_resilience(settings: Resilience) -> ResilienceEntry:
    """Settings as a document has them."""
    values: dict[str, Any] = {theirs: getattr(settings, ours) for theirs, ours in _RESILIENCE.items()}
    breaker = BreakerEntry(**cast(Any, {theirs: getattr(settings.breaker, ours) for theirs, ours in _BREAKER.items()}))
    mirror = None
    if settings.mirror is not None:
        mirror = MirrorEntry(target=entry_of_spec(spec_of_target(settings.mirror.target)), percent=settings.mirror.percent)
    return ResilienceEntry(**values, breaker=breaker, mirror=mirror)


def field_of(name: str) -> str:
    """A field that a service names, as the document has it: ``resilience.queue_ms`` -> ``resilience.queue``."""
    return name.removesuffix("_ms") if name.startswith(("resilience.", "deadlines.", "targets[", "fallback[")) else name
