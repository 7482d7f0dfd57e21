"""What incidents have in common: counts, distributions, repeats, and sentences about them, each with the incidents behind it. Pure.

Sentences are made of counts alone and say of how many; what holds of one incident, or of nearly none, is no pattern.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from math import ceil

DIMENSIONS: dict[str, str] = {
    "factor": "Contributing factor",
    "trigger": "Trigger",
    "provider": "Provider",
    "route": "Route",
    "region": "Region",
    "layer": "Layer",
    "team": "Team",
    "service": "Service",
    "severity": "Severity",
}
TIMES: dict[str, str] = {
    "detect": "Time to detect",
    "mitigate": "Time to mitigate",
    "resolve": "Time to resolve",
}
BOUNDS_S = (60, 300, 900, 3_600, 14_400, 86_400)
"""Where the columns of a distribution end; the last one has what is longer."""
LEAST, LEAST_SHARE = 2, 0.4
"""Incidents that must share something before a sentence says so, and their part of those it could hold for."""
MOST_SENTENCES = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One incident with what its postmortem says. Times in seconds, None where they are not known. ended: its postmortem is published."""

    id: str
    reference: str
    title: str
    severity: str
    at: datetime
    url: str = ""
    factors: tuple[str, ...] = ()
    trigger: str = ""
    providers: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    detect_s: float | None = None
    mitigate_s: float | None = None
    resolve_s: float | None = None

    def values(self, dimension: str) -> tuple[str, ...]:
        """What it has in a dimension, none twice."""
        found: tuple[str, ...]
        if dimension in ("trigger", "severity"):
            value = self.trigger if dimension == "trigger" else self.severity
            found = (value,) if value else ()
        else:
            found = getattr(self, f"{dimension}s")
        return tuple(dict.fromkeys(found))

    def seconds(self, name: str) -> float | None:
        """One of ``TIMES``."""
        found: float | None = getattr(self, f"{name}_s")
        return found


@dataclass(frozen=True, slots=True)
class Share:
    """Incidents with one value of a dimension. of: all that say anything in that dimension."""

    value: str
    rows: tuple[Row, ...]
    of: int

    @property
    def count(self) -> int:
        return len(self.rows)


def shares(rows: Sequence[Row], dimension: str) -> list[Share]:
    """By value, the most frequent first."""
    found: dict[str, list[Row]] = defaultdict(list)
    told = 0
    for row in rows:
        values = row.values(dimension)
        told += bool(values)
        for value in values:
            found[value].append(row)
    return sorted((Share(value, tuple(held), told) for value, held in found.items()), key=lambda share: (-share.count, share.value))


def crossed(rows: Sequence[Row], first: str, second: str) -> list[tuple[str, dict[str, int]]]:
    """How often values of two dimensions come together: of each first value, the most frequent on top, the count by the second."""
    return [
        (share.value, dict(Counter(value for row in share.rows for value in row.values(second)).most_common()))
        for share in shares(rows, first)
    ]


@dataclass(frozen=True, slots=True)
class Distribution:
    """How long something took. known, unknown: incidents whose time is known, and not. columns: how many up to each of ``BOUNDS_S``, and
    beyond the last. Quantiles are of the values themselves (nearest rank), None where there are none."""

    known: int
    unknown: int
    columns: tuple[int, ...]
    p50: float | None = None
    p90: float | None = None
    longest: float | None = None


def distribution(values: Iterable[float | None]) -> Distribution:
    """Of some times in seconds."""
    given = list(values)
    known = sorted(value for value in given if value is not None)
    columns = [0] * (len(BOUNDS_S) + 1)
    for value in known:
        columns[next((at for at, bound in enumerate(BOUNDS_S) if value <= bound), len(BOUNDS_S))] += 1
    if not known:
        return Distribution(0, len(given), tuple(columns))
    return Distribution(len(known), len(given) - len(known), tuple(columns), _rank(known, 0.5), _rank(known, 0.9), known[-1])


def _rank(ordered: Sequence[float], share: float) -> float:
    return ordered[max(ceil(share * len(ordered)) - 1, 0)]


SCOPES = ("route", "provider", "region", "service")
"""Where something happened; what repeats itself shares a factor and one of these."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Incidents that share factors in one place, the oldest first. place: (dimension, value)."""

    factors: tuple[str, ...]
    place: tuple[str, str]
    rows: tuple[Row, ...]


def repeats(rows: Sequence[Row]) -> list[Repeat]:
    """Incidents that came again: at least two that share a factor and a place. The same incidents are told once, with every factor that
    they share, in the place that ``SCOPES`` names first; the most incidents first, then the latest."""
    by: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        for factor in row.values("factor"):
            for dimension in SCOPES:
                for value in row.values(dimension):
                    by[(factor, dimension, value)].append(row)
    groups: dict[tuple[str, ...], tuple[set[str], list[tuple[str, str]], list[Row]]] = {}
    for (factor, dimension, value), held in by.items():
        if len(held) >= LEAST:
            ordered = sorted(held, key=lambda row: (row.at, row.id))
            known = groups.setdefault(tuple(row.id for row in ordered), (set(), [], ordered))
            known[0].add(factor)
            known[1].append((dimension, value))
    found = []
    for factors, places, ordered in groups.values():
        place = min(places, key=lambda one: (SCOPES.index(one[0]), one[1]))
        found.append(Repeat(tuple(sorted(factors)), place, tuple(ordered)))
    return sorted(found, key=lambda one: (-len(one.rows), -one.rows[-1].at.timestamp(), one.factors))


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something that holds of several incidents, with those it holds of."""

    text: str
    rows: tuple[Row, ...]
    weight: float = 0.0


def sentences(rows: Sequence[Row], names: Mapping[str, str] | None = None) -> list[Sentence]:
    """What stands out, the strongest first. names: titles of factors and triggers by their short names.

    Of each severity and of all incidents: factors, factors in one place, triggers and places that at least ``LEAST`` of them and
    ``LEAST_SHARE`` of them share.
    """
    called = names or {}
    found: dict[tuple[str, ...], Sentence] = {}
    groups: list[tuple[str, list[Row]]] = [("incidents", list(rows))]
    for severity in sorted({row.severity for row in rows}):
        groups.append((f"{severity.upper()}s", [row for row in rows if row.severity == severity]))
    for label, group in groups:
        if len(group) < LEAST:
            continue
        for words, held in _traits(group, called):
            if len(held) < LEAST or len(held) / len(group) < LEAST_SHARE:
                continue
            sentence = Sentence(f"{len(held)} of {len(group)} {label}: {words}", tuple(held), _weight(len(held), len(group), words))
            key = tuple(row.id for row in held)
            if key not in found or found[key].weight < sentence.weight:
                found[key] = sentence  # the same incidents are told once, by what says most of them
    return sorted(found.values(), key=lambda one: (-one.weight, one.text))[:MOST_SENTENCES]


def _weight(held: int, of: int, words: str) -> float:
    """Many of many weigh more than many of few; what says a factor and a place says more than one of them."""
    return held * held / of + 0.25 * words.count(" on ") + 0.01 * held


def _traits(group: Sequence[Row], called: Mapping[str, str]) -> Iterable[tuple[str, list[Row]]]:
    """(words, incidents) of everything that several may share."""
    for share in shares(group, "factor"):
        title = _lower(called.get(share.value, share.value))
        yield title, list(share.rows)
        for dimension in SCOPES:
            for inner in shares(share.rows, dimension):
                yield f"{title} on {dimension} {inner.value}", list(inner.rows)
    for share in shares(group, "trigger"):
        yield f"set off by {_lower(called.get(share.value, share.value))}", list(share.rows)
    for dimension in SCOPES:
        for share in shares(group, dimension):
            yield f"{dimension} {share.value}", list(share.rows)
    for one, other in combinations(shares(group, "factor")[:8], 2):
        both = [row for row in one.rows if row in other.rows]
        yield f"{_lower(called.get(one.value, one.value))} and {_lower(called.get(other.value, other.value))} together", both


def _lower(title: str) -> str:
    """A title inside a sentence; abbreviations stay."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]
