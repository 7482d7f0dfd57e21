"""What changed in the words of people: money with its unit, durations, dates and names in place of integers and ids; pure.

A diff (``apps.publishing.diff``) and the audit hold values as proxies and tables have them. Their fields' names tell the unit
(``_nano``, ``_ms``, ``_percent``, the kinds of ``apps.contracts.snapshot.PriceVersion``): from those alone follows how a page writes
them. Exports and the API keep the plain values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from apps.contracts.money import clock_text, dollars_text
from apps.publishing.preview import FieldChange, ObjectChange, Recorded
from apps.ui.format import NOTHING, THIN, value_text

Change = TypeVar("Change", ObjectChange, Recorded)
Names = Mapping[str, str]
"""Id -> what people call the object; of a person, a team or whatever else has no name here, the id stays."""

PRICES = frozenset(
    {"input", "output", "cache_read", "cache_write", "reasoning", "audio_input", "audio_output", "image_input", "image_output"}
)
HUNDREDTHS = frozenset({"discount", "batch_discount", "sampled"})
"""Fields in hundredths of a percent."""
MOMENTS = re.compile(r"(?:^|_)(?:from|to|at|until)_ms$")
UNIT = re.compile(r"_(?:ms|nano|percent)$")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)")
NAMED = re.compile(r"[a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*")
INDEX = re.compile(r"s?\[(\d+)\]")


def worded(changes: Iterable[Change], names: Names) -> list[Change]:
    """The same changes for a page."""
    return [replace(change, **_named(change, names), fields=fields_worded(change.fields, names)) for change in changes]


def fields_worded(fields: Sequence[FieldChange], names: Names) -> tuple[FieldChange, ...]:
    """Fields for a page, in order. An amount that stands beside its own text (``limit`` and ``limit_nano``) is said once."""
    paths = {field.path for field in fields}
    return tuple(
        FieldChange(path_text(field.path), _side(field.path, field.before, names), _side(field.path, field.after, names))
        for field in fields
        if not (field.path.endswith("_nano") and field.path.removesuffix("_nano") in paths)
    )


def path_text(path: str) -> str:
    """``targets[0].first_byte_ms`` -> ``target 1 · first byte``."""
    if not NAMED.fullmatch(path):
        return path  # the label of a version of a price, a person's own word
    steps = (INDEX.sub(lambda found: f" {int(found[1]) + 1}", step) for step in path.split("."))
    return " · ".join(UNIT.sub("", step).replace("_", " ") for step in steps)


def text_of(name: str, value: Any, names: Names) -> str:
    """A value under the field's own name."""
    if value is None or value in ("", [], {}, ()):
        return NOTHING
    if isinstance(value, bool):
        return value_text(value)
    if isinstance(value, int):
        return _number(name, value)
    if isinstance(value, str):
        return ISO.sub(_iso, UUID.sub(lambda found: names.get(found[0], found[0]), value))
    if isinstance(value, Mapping):
        said = ((key, item) for key, item in value.items() if item is not None and item not in ("", [], {}, 0))
        return ", ".join(f"{path_text(str(key))}: {text_of(str(key), item, names)}" for key, item in said) or NOTHING
    if isinstance(value, (list, tuple)):
        parts = [text_of(name, item, names) for item in value]
        return ("; " if any(isinstance(item, (Mapping, list, tuple)) for item in value) else ", ").join(parts)
    return str(value)


def ids_in(changes: Iterable[ObjectChange | Recorded]) -> set[str]:
    """Every id that a page of these changes would show."""
    return {found for change in changes for found in _ids(change)}


def ids_in_fields(fields: Iterable[FieldChange]) -> set[str]:
    """Every id among the values of some fields."""
    sides = (side for field in fields for side in (field.before, field.after) if isinstance(side, (str, list, tuple, Mapping)))
    return {found for side in sides for found in UUID.findall(str(side))}


def _ids(change: ObjectChange | Recorded) -> set[str]:
    own = {change.object_id} if change.name == change.object_id and UUID.fullmatch(change.object_id) else set()
    return own | ids_in_fields(change.fields)


def _named(change: ObjectChange | Recorded, names: Names) -> dict[str, str]:
    """What replaces the id of an object whose fragment has no name: a credential, a discount."""
    if isinstance(change, ObjectChange) and change.name == change.object_id and change.object_id in names:
        return {"name": names[change.object_id]}
    return {}


def _side(path: str, value: Any, names: Names) -> str | None:
    text = text_of(INDEX.sub("", path.rpartition(".")[2]), value, names)
    return None if text == NOTHING else text


def _number(name: str, value: int) -> str:
    if name.endswith("_nano"):
        return _money(value)
    if name in PRICES:
        return f"{_money(value)} per million tokens"
    if name == "request":
        return f"{_money(value)} per million requests"
    if name == "per_hour":
        return f"{_money(value)} per hour"
    if name in HUNDREDTHS:
        whole, part = divmod(value, 100)
        return f"{whole}.{part:02d}".rstrip("0").rstrip(".") + f"{THIN}%"
    if name.endswith("_percent"):
        return f"{value}{THIN}%"
    if name.endswith("_minute"):
        return f"{clock_text(value)} UTC"
    if MOMENTS.search(name):
        return f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC" if 0 < value < 253_402_300_800_000 else "always"
    if name.endswith("_ms"):
        return _duration(value)
    return f"{value:,}".replace(",", THIN)


def _money(nano: int) -> str:
    """Dollars to the last nano-dollar, thousands apart: a diff rounds nothing."""
    whole, point, part = dollars_text(abs(nano)).partition(".")
    return f"{'-' if nano < 0 else ''}${int(whole):,}{point}{part.ljust(2, '0') if part else ''}"


def _duration(ms: int) -> str:
    """The largest unit that says it exactly."""
    if ms and ms % 60_000 == 0:
        return f"{ms // 60_000}{THIN}min"
    if ms and ms % 100 == 0:
        return f"{ms / 1000:g}{THIN}s" if ms >= 1000 else f"{ms}{THIN}ms"
    return f"{ms:,}".replace(",", THIN) + (f"{THIN}ms" if ms else "")


def _iso(found: re.Match[str]) -> str:
    try:
        moment = datetime.fromisoformat(found[0])
    except ValueError:
        return found[0]
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
