"""What differs between two states of a section, for people; pure.

``{section: {id: {"name", "change": "added" | "changed" | "removed", "fields": {path: [old, new]}}}}``; a path is dotted,
``targets[0].provider``. Secrets never appear: a credential has no fields, a secret field shows that it changed and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from apps.audit.rules import secret_field
from apps.contracts.snapshot import Fragment, PriceFragment

SECRET_SECTIONS = frozenset({"credentials"})
HIDDEN = "(hidden)"

Fragments = Mapping[str, Mapping[str, Fragment]]
Diff = dict[str, dict[str, dict[str, Any]]]
Counts = dict[str, dict[str, int]]


def flatten(fragment: Fragment) -> dict[str, Any]:
    """Dotted path -> plain value, defaults included. A list of plain values is one value; one of structs has an index per path."""
    found: dict[str, Any] = {}
    _flatten_struct(fragment, "", found)
    found.pop("id", None)
    return found


def _flatten_struct(struct: msgspec.Struct, prefix: str, found: dict[str, Any]) -> None:
    for name in struct.__struct_fields__:
        _flatten(getattr(struct, name), f"{prefix}{name}", found)


def _flatten(value: Any, path: str, found: dict[str, Any]) -> None:
    if isinstance(value, msgspec.Struct):
        _flatten_struct(value, f"{path}.", found)
    elif isinstance(value, (list, tuple)) and any(isinstance(item, msgspec.Struct) for item in value):
        for index, item in enumerate(value):
            _flatten(item, f"{path}[{index}]", found)
    else:
        found[path] = msgspec.to_builtins(value)


def object_diff(section: str, old: Fragment | None, new: Fragment | None) -> dict[str, Any]:
    """One object's entry of a diff; ``old`` None: added, ``new`` None: removed. At least one is given."""
    shown = new if new is not None else old
    change = "added" if old is None else "removed" if new is None else "changed"
    entry: dict[str, Any] = {"name": _name(shown), "change": change, "fields": {}}
    if section in SECRET_SECTIONS:
        return entry
    before = flatten(old) if old is not None else {}
    after = flatten(new) if new is not None else {}
    for path in sorted(before.keys() | after.keys()):
        was, now = before.get(path), after.get(path)
        if was == now and path in before and path in after:
            continue
        if secret_field(path.rpartition(".")[2]):
            was, now = (HIDDEN if was else None), (HIDDEN if now else None)
        entry["fields"][path] = [was, now]
    return entry


def _name(fragment: Fragment | None) -> str:
    """What people call an object: its name; a price is its provider's and model's."""
    if isinstance(fragment, PriceFragment):
        return f"{fragment.provider}/{fragment.model}"
    return getattr(fragment, "name", "") or (fragment.id if fragment is not None else "")


def state_diff(old: Fragments, new: Fragments, changed: Mapping[str, Iterable[str]], *, limit: int | None = None) -> Diff:
    """The diff of the objects in ``changed`` (section -> ids); after ``limit`` objects the rest is left out."""
    diff: Diff = {}
    room = limit if limit is not None else -1
    for section, ids in changed.items():
        for object_id in sorted(ids):
            if room == 0:
                return diff
            room -= 1
            entry = object_diff(section, old.get(section, {}).get(object_id), new.get(section, {}).get(object_id))
            diff.setdefault(section, {})[object_id] = entry
    return diff


def count_changes(
    old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]], changed: Mapping[str, Iterable[str]]
) -> Counts:
    """How many objects of each section were added, changed, removed."""
    counts: Counts = {}
    for section, ids in changed.items():
        had, has = old.get(section, {}), new.get(section, {})
        tally = {"added": 0, "changed": 0, "removed": 0}
        for object_id in ids:
            tally["removed" if object_id not in has else "changed" if object_id in had else "added"] += 1
        if any(tally.values()):
            counts[section] = tally
    return counts
