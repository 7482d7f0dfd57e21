"""Document -> plain values as people write them, and YAML."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import yaml

from apps.contracts.money import clock_text, dollars_text
from apps.contracts.pricing import percent_text
from controlplane.configfile.document import Document, Unit


def plain(struct: msgspec.Struct, *, defaults: bool = False) -> dict[str, Any]:
    """A struct as people write it: names, amounts, durations. Fields at their default are left out unless ``defaults``."""
    hints = get_type_hints(type(struct), include_extras=True)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(type(struct)):
        value = getattr(struct, field.name)
        if not field.required and not defaults:
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            if value == default:
                continue
        values[field.name] = _written(value, _unit(hints[field.name]), defaults)
    return values


def _unit(hint: Any) -> Unit | None:
    for part in (hint, *get_args(hint)):
        for mark in getattr(part, "__metadata__", ()):
            if isinstance(mark, Unit) and get_origin(part) is not list:
                return mark
    return None


def _written(value: Any, unit: Unit | None, defaults: bool) -> Any:
    if isinstance(value, msgspec.Struct):
        return plain(value, defaults=defaults)
    if isinstance(value, list):
        return [_written(item, unit, defaults) for item in value]
    if value is None:
        return None
    if unit is Unit.DOLLARS:
        return dollars_text(value)
    if unit is Unit.DURATION:
        return duration_text(value)
    if unit is Unit.PERCENT:
        return percent_text(value)
    if unit is Unit.CLOCK:
        return clock_text(value)
    if isinstance(value, datetime):
        return moment_text(value)
    return value


def duration_text(ms: int) -> str:
    """``2s``, ``500ms``."""
    return f"{ms // 1000}s" if ms % 1000 == 0 else f"{ms}ms"


def moment_text(at: datetime) -> str:
    """UTC, ``2027-01-31T00:00:00Z``; milliseconds only where there are some."""
    text = at.astimezone(UTC).isoformat(timespec="seconds" if at.microsecond == 0 else "milliseconds")
    return text.replace("+00:00", "Z")


class _Dumper(yaml.SafeDumper):
    """Block style, no anchors: the same value twice is written twice, because the reader refuses aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.Node:
        """Text of several lines as such, where YAML can write it so."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def yaml_text(document: Document) -> str:
    """The document as YAML, fields in the manual's order, defaults left out."""
    return yaml_of(plain(document))


def yaml_of(values: dict[str, Any]) -> str:
    """Plain values as YAML, as documents have it."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140, default_flow_style=False))
