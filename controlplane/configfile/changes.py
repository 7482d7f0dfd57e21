"""The diff of two documents, as people read it: ``+`` new, ``~ field: old -> new``, ``-`` gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from controlplane.configfile.document import Document, TargetEntry
from controlplane.configfile.plain import plain

_ONE = {
    "teams": "team",
    "layers": "layer",
    "regions": "region",
    "rotations": "rotation",
    "runbooks": "runbook",
    "credentials": "credential",
    "providers": "provider",
    "discounts": "discount",
    "unit_prices": "unit price",
    "gpu_prices": "GPU price",
    "deployments": "deployment",
    "routes": "route",
    "keys": "key",
    "key_templates": "key template",
    "budgets": "budget",
    "limits": "limit",
    "performance_budgets": "performance budget",
    "flags": "flag",
    "two_person_rules": "rule for two persons",
    "schedules": "scheduled flip",
    "alert_rules": "alert rule",
    "slos": "SLO",
    "alert_channels": "alert channel",
    "notification_policies": "notification policy",
    "captures": "capture",
    "redactions": "redaction",
    "saved_views": "saved view",
}


def changes(before: Document, after: Document, *, new_values: Mapping[tuple[str, str], str] | None = None) -> list[str]:
    """Lines of what differs; empty where nothing does.

    new_values: (list's name, entry's name) -> what to say of a secret that changed behind the same reference.
    """
    lines: list[str] = []
    new_values = new_values or {}
    for kind in _ONE:
        old = {entry.name: entry for entry in getattr(before, kind)}
        new = {entry.name: entry for entry in getattr(after, kind)}
        for name in [*old, *(name for name in new if name not in old)]:
            note = new_values.get((kind, name))
            if name not in old:
                lines.append(f"+ {_ONE[kind]} {name}")
                lines += [f"    {path}: {value}" for path, value in leaves(plain(new[name])).items() if path != "name"]
                if note:
                    lines.append(f"    {note}")
            elif name not in new:
                lines.append(f"- {_ONE[kind]} {name}")
            elif old[name] != new[name] or note:
                lines.append(f"~ {_ONE[kind]} {name}")
                lines += _fields(old[name], new[name])
                if note:
                    lines.append(f"    ~ {note}")
    return lines


def _fields(old: msgspec.Struct, new: msgspec.Struct) -> list[str]:
    was, now = leaves(plain(old, defaults=True)), leaves(plain(new, defaults=True))
    lines: list[str] = []
    for path in [*was, *(path for path in now if path not in was)]:
        if path not in now:
            lines.append(f"    - {path}: {was[path]}")
        elif path not in was:
            lines.append(f"    + {path}: {now[path]}")
        elif was[path] != now[path]:
            lines.append(f"    ~ {path}: {was[path]} -> {now[path]}")
    return lines


def _target(value: Mapping[str, Any]) -> str:
    """A target in a line: where it is, then the options that were chosen."""
    place = "/".join(part for part in (value["provider"], value.get("endpoint", ""), value["model"]) if part)
    words = []
    defaults = plain(TargetEntry(provider="", model=""), defaults=True)
    for field in msgspec.structs.fields(TargetEntry):
        chosen = value.get(field.name, defaults[field.name])
        if not field.required and field.name != "endpoint" and chosen != defaults[field.name]:
            shown = ", ".join(chosen) or "none" if isinstance(chosen, list) else chosen
            words.append(field.name if chosen is True else f"{field.name} {shown}")
    return f"{place} ({'; '.join(words)})" if words else place


def leaves(value: Any, path: str = "") -> dict[str, str]:
    """Leaves by path. Entries of lists go by their name where they have one; targets are one line each."""
    if isinstance(value, dict):
        if "provider" in value and "model" in value and path:
            return {path: _target(value)}
        flat: dict[str, str] = {}
        for key, item in value.items():
            flat |= leaves(item, f"{path}.{key}" if path else key)
        return flat
    if isinstance(value, list):
        if all(not isinstance(item, dict) for item in value):
            return {path: ", ".join(str(item) for item in value) or "none"}
        flat = {}
        labels: set[str] = set()
        for at, item in enumerate(value):
            label = str(item.get("name") or (item["model"] if "input" in item and "model" in item else at))
            if label in labels:  # a model's further prices, each for its own time
                label = f"{label}, {at}"
            labels.add(label)
            flat |= leaves({key: part for key, part in item.items() if key != "name"}, f"{path}[{label}]")
        return flat
    if isinstance(value, bool):
        return {path: "true" if value else "false"}
    return {path: "none" if value is None or value == "" else str(value)}
