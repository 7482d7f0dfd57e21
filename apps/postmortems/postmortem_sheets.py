"""A query's answer as a table that people read: moments as moments, money in dollars, durations in their unit, words for names.

What was kept stays beside it: a cell whose text is not the kept value itself carries that, to the last digit. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from apps.postmortems.incident_choices import ENTRY_KINDS, SEVERITIES, TIMES
from apps.postmortems.postmortem_figures import lasting
from apps.ui.format import dollars, duration

NAMES = {
    **TIMES,
    "acknowledge_s": "Acknowledged after",
    "acknowledged_by": "Acknowledged by",
    "at": "When",
    "attempt_errors": "Attempts failed",
    "bad": "Bad",
    "budget_burned": "Burned meanwhile",
    "budget_used": "Burned in its window",
    "by": "Who",
    "complete": "Counted whole",
    "cost_nano": "Spend",
    "degraded": "Requests degraded",
    "detect_s": "Detected after",
    "failed": "Requests failed",
    "first_token_p95_us": "First token, p95",
    "fired_at": "Fired",
    "lost_nano": "Money lost",
    "mitigate_s": "Mitigated after",
    "number": "Version",
    "objective": "Objective",
    "on": "Turned",
    "p50_us": "Latency, p50",
    "p95_us": "Latency, p95",
    "part_of_it": "Part of the incident",
    "refused": "Requests refused",
    "rescued": "Requests rescued",
    "resolve_s": "Resolved after",
    "restores": "Goes back to",
    "severity": "Severity",
    "share": "Share",
    "since": "From",
    "step_s": "Step",
    "tokens": "Tokens lost",
    "until": "To",
    "users": "Users hit",
    "users_touched": "Users who noticed",
    "window_days": "Window",
}
"""Names of values -> what people call them; any other is its own words."""
ORDER = {
    name: place
    for place, name in enumerate(
        (
            "number", "at", "flag", "on", "title", "name", "kind", "severity", "subject", "text", "by", "since", "until", "started_at",
            "detected_at", "acknowledged_at", "mitigated_at", "fired_at", "resolved_at", "detect_s", "acknowledge_s", "mitigate_s",
            "resolve_s", "requests", "failed", "degraded", "rescued", "refused", "attempts", "attempt_errors", "users", "users_touched",
            "tokens", "lost_nano", "cost_nano", "p50_us", "p95_us", "first_token_p95_us",
        )
    )
}  # fmt: skip
"""Names of values -> their place; the others follow by name. The database keeps no order of its own."""
UNSAID = frozenset({"id", "name", "tone"})
"""What rows hold for programs: which page is theirs, and how it is coloured. Not left out where there is no title beside a name."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value. at: it is a moment; exact: as it was kept, where the text says it shorter; number: it stands at the right; label: of its
    column."""

    text: str
    at: datetime | None = None
    exact: str = ""
    number: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line; the first cell is its head. id: of the object that it is about, where it is about one."""

    cells: tuple[Cell, ...]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """header: (text, whether numbers stand below it)."""

    header: tuple[tuple[str, bool], ...]
    rows: list[Row]


def sheet_of(query: str, result: Mapping[str, Any]) -> Sheet:
    """Any query's answer, so that evidence can be read as it was kept. query: a key of ``QUERIES``."""
    lists = [name for name, value in result.items() if isinstance(value, list) and value and isinstance(value[0], Mapping)]
    if query == "impact" or not lists:
        return _facts(result)
    rows = [(name, row) for name in lists for row in result[name]]
    held = _ordered({key: None for _, row in rows for key in row})
    keys = [key for key in held if key not in UNSAID or (key == "name" and "title" not in held)]
    several = len(lists) > 1
    labels = [*(["Of"] if several else []), *map(titled, keys)]
    found = []
    for name, row in rows:
        cells = [*([Cell(titled(name).removesuffix("s"))] if several else []), *(cell_of(key, row.get(key)) for key in keys)]
        found.append(Row(_labelled(labels, cells), str(row.get("id") or row.get("number") or "")))
    numeric = [any(row.cells[at].number for row in found) for at in range(len(labels))]
    return Sheet(tuple(zip(labels, numeric, strict=True)), found)


def parameters_of(parameters: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    """What a query was asked with."""
    found = []
    for name in _ordered(parameters):
        value = parameters[name]
        if name == "simulated":
            found.append(("Traffic", Cell("simulated" if value else "real")))
        elif name == "routes":
            found.append(("Routes", Cell(", ".join(map(str, value)) or "all")))
        else:
            found.append((titled(name), cell_of(name, value)))
    return found


def titled(name: str) -> str:
    """What people call a value."""
    if name in SEVERITIES:
        return SEVERITIES[name].label
    return NAMES.get(name) or name.replace("_", " ").capitalize()


def cell_of(name: str, value: Any) -> Cell:
    """A value as its name says it is meant: ``_nano`` is money, ``_us`` and ``_s`` durations, what reads as a moment is one."""
    if value is None or value == "" or value == []:
        return Cell("–")
    if isinstance(value, bool):
        return Cell({True: "on", False: "off"}[value] if name == "on" else {True: "yes", False: "no"}[value])
    if isinstance(value, int | float):
        return _number(name, value)
    if isinstance(value, list):
        return Cell(", ".join(cell_of("", one).text for one in value))
    text = str(value)
    if name == "at" or name.endswith("_at") or name in ("since", "until"):
        try:
            return Cell(text, at=datetime.fromisoformat(text))
        except ValueError:
            return Cell(text)
    if name == "severity":
        return Cell(SEVERITIES[text].label if text in SEVERITIES else text.capitalize())
    if name == "kind":
        return Cell(ENTRY_KINDS.get(text, text.capitalize()))
    return Cell(f"{text} %" if name == "objective" else text)


def _number(name: str, value: float) -> Cell:
    if name.endswith("_nano"):
        return Cell(dollars(round(value)), exact=f"{value} nano-dollars", number=True)
    if name.endswith("_us"):
        return Cell(duration(value), exact=f"{value} µs", number=True)
    if name.endswith("_s") or name == "seconds":
        return Cell(lasting(value), exact=f"{value} s", number=True)
    if name.startswith("budget_"):
        return Cell(f"{100 * value:,.1f} %", exact=str(value), number=True)
    if name == "share":
        return Cell(f"{value:g} %", number=True)
    if name == "window_days":
        return Cell(f"{value} days", number=True)
    if name in ("number", "restores"):
        return Cell(f"v{value}")
    if isinstance(value, int):
        return Cell(f"{value:,}", number=True)
    return Cell(f"{value:,.6g}", exact=str(value), number=True)


def _facts(result: Mapping[str, Any]) -> Sheet:
    """Single values, one a line; a value with parts is a line for each of them."""
    found: list[tuple[str, Cell]] = []
    for name in _ordered(result):
        value = result[name]
        if name == "seconds":  # of each severity
            found += [(f"At {titled(of)}", cell_of(name, value[of])) for of in sorted(value)]
        elif isinstance(value, Mapping):  # of each class, the most first
            found += [(f"{titled(name)}: {of}", cell_of("", held)) for of, held in sorted(value.items(), key=lambda one: (-one[1], one[0]))]
        elif value == []:
            continue
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            found += [(f"{titled(name).removesuffix('s')} {_first(row)}", Cell(_rest(row))) for row in value]
        else:
            found.append((titled(name), cell_of(name, value)))
    labels = ("What", "How much")
    at_right = [(Cell(name), replace(cell, number=True)) for name, cell in found]
    return Sheet((("What", False), ("How much", True)), [Row(_labelled(labels, cells)) for cells in at_right])


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (ORDER.get(name, len(ORDER)), name))


def _first(row: Mapping[str, Any]) -> str:
    """What a row is of: its text."""
    return next((value for value in row.values() if isinstance(value, str)), "")


def _rest(row: Mapping[str, Any]) -> str:
    return "; ".join(f"{titled(name)}: {cell_of(name, row[name]).text}" for name in _ordered(row) if not isinstance(row[name], str))


def _labelled(labels: Iterable[str], cells: Iterable[Cell]) -> tuple[Cell, ...]:
    return tuple(replace(cell, label=label) for label, cell in zip(labels, cells, strict=True))
