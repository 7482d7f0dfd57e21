"""Evidence in words and numbers: the impact table, how fast things were noticed and ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.ui.format import dollars, duration, percent

Results = Mapping[str, Mapping[str, Any]]
"""Query's name -> its answer."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the impact table. exact: the number itself, for copying; query: whose answer it is."""

    name: str
    value: str
    exact: str = ""
    query: str = "impact"
    note: str = ""


def impact_figures(results: Results) -> list[Figure]:
    """The impact table; without evidence nothing, never zeros."""
    found: list[Figure] = []
    impact = results.get("impact")
    if impact:
        asked = int(impact["requests"])
        low = "" if impact.get("complete", True) else "at least: requests of that time are kept no more"
        found += [
            Figure("Users hit", f"{impact['users']:,}", str(impact["users"]), note=low),
            Figure(
                "Users who noticed", f"{impact['users_touched']:,}", str(impact["users_touched"]), note=low or "failed, degraded or rescued"
            ),
            Figure("Requests", f"{asked:,}", str(asked)),
            Figure("Requests failed", _of(impact["failed"], asked), str(impact["failed"])),
            Figure("Requests degraded", _of(impact["degraded"], asked), str(impact["degraded"]), note=low),
            Figure(
                "Requests rescued", _of(impact["rescued"], asked), str(impact["rescued"]), note=low or "answered after a failed attempt"
            ),
            Figure("Requests refused", _of(impact["refused"], asked), str(impact["refused"])),
            Figure("Attempts failed", f"{impact['attempt_errors']:,}", str(impact["attempt_errors"])),
            Figure("Tokens lost", f"{impact['tokens']:,}", str(impact["tokens"]), note=low or "paid for, of failed requests"),
            Figure("Money lost", dollars(impact["lost_nano"]), f"{impact['lost_nano']} nano-dollars", note=low or "of failed requests"),
            Figure("Money spent", dollars(impact["cost_nano"]), f"{impact['cost_nano']} nano-dollars", note="in the whole window"),
        ]
    for slo in results.get("slos", {}).get("slos", ()):
        if slo["budget_burned"] is not None and slo["bad"]:
            burned = 100 * slo["budget_burned"]
            note = f"{slo['bad']:,} of {slo['counted']:,} bad; objective {slo['objective']} % over {slo['window_days']} days"
            found.append(Figure(f"Error budget of {slo['title']}", f"{burned:,.1f} % burned", str(slo["budget_burned"]), "slos", note))
    for severity, seconds in results.get("severities", {}).get("seconds", {}).items():
        found.append(Figure(f"At {severity.upper()}", lasting(seconds), f"{seconds} s", "severities"))
    return found


def time_figures(results: Results) -> list[Figure]:
    """How long it took, each from when it began."""
    times = results.get("times", {})
    words = {"detect_s": "Noticed after", "acknowledge_s": "Taken after", "mitigate_s": "Mitigated after", "resolve_s": "Resolved after"}
    return [Figure(name, lasting(times[key]), f"{times[key]} s", "times") for key, name in words.items() if times.get(key) is not None]


def lasting(seconds: float) -> str:
    """How long something took, to the second."""
    return "0 s" if seconds < 1 else duration(round(seconds) * 1_000_000)


def _of(part: int, whole: int) -> str:
    return f"{part:,} ({percent(part, whole)})" if whole else f"{part:,}"
