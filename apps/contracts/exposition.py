"""The text that Prometheus scrapes, written by every process alike: families of samples as text 0.0.4 or, where asked for, OpenMetrics 1.0.

A family's name carries its unit at the end and no ``_total``: that belongs to a counter's sample and is added here. Values are base
units: seconds, bytes, dollars, ratios from 0 to 1.

Labels are bounded (``Folding``): what is told apart first stays told apart as long as the process lives, so that no counter ever goes
down; everything later is counted under ``other``, and how much that is has a family of its own (``folded_family``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import inf, isinf, isnan
from typing import Literal, NamedTuple

from apps.contracts import histogram

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OTHER = "other"
"""The label's value under which everything is counted that is not told apart."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the buckets of whole answers and first tokens."""
FINE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Of gaps between tokens, and of waits."""
MAX_EXEMPLAR = 128
"""Characters of an exemplar's label names and values together, by OpenMetrics."""

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


class Exemplar(NamedTuple):
    """A request that one bucket counted. value: in the histogram's unit. at: seconds since the epoch."""

    labels: Labels
    value: float
    at: float


class Sample(NamedTuple):
    """One value of a counter or gauge."""

    labels: Labels
    value: float


class Distribution(NamedTuple):
    """One histogram. counts: how many values lie in each bucket, by its upper bound, not cumulated; what is above all of them is counted
    at infinity. total: the sum of all values."""

    labels: Labels
    counts: Mapping[float, int]
    total: float
    exemplar: Exemplar | None = None


class Family(NamedTuple):
    """What is measured, and its values: ``Sample`` of counters and gauges, ``Distribution`` of histograms, each with other labels."""

    name: str
    kind: Kind
    help: str
    samples: Iterable[Sample | Distribution]
    unit: str = ""
    bounds: tuple[float, ...] = SECONDS
    """Of a histogram, ascending."""


def gauge(name: str, help: str, value: float, unit: str = "") -> Family:
    """A family of one value without labels."""
    return Family(name, "gauge", help, [Sample((), value)], unit)


def counter(name: str, help: str, value: float, unit: str = "") -> Family:
    """The same of a counter."""
    return Family(name, "counter", help, [Sample((), value)], unit)


def in_seconds(counts: Mapping[int, int], bounds: tuple[float, ...]) -> tuple[dict[float, int], float]:
    """A histogram of ours (``apps.contracts.histogram``, microseconds) in buckets of seconds, and the sum of its values to 1.1 %.

    What shares one of our buckets with a bound is counted above it: a bound never claims more than was at or below it.
    """
    found: dict[float, int] = {}
    total, at = 0.0, 0
    for index in sorted(counts):
        edge = histogram.upper_bound(index) / 1e6
        while at < len(bounds) and edge > bounds[at]:
            at += 1
        bound = bounds[at] if at < len(bounds) else inf
        found[bound] = found.get(bound, 0) + counts[index]
        total += histogram.midpoint(index) * counts[index] / 1e6
    return found, total


class Folding:
    """Keeps one label's values few. ``most``: values told apart."""

    def __init__(self, label: str, most: int) -> None:
        self.label = label
        self.most = most
        self.folded: set[str] = set()
        """Values under ``other``; no more than ``most`` of them are remembered."""
        self._kept: set[str] = set()

    def place(self, value: str) -> str:
        """The value itself, or ``other``. The same value always gets the same answer."""
        if value in self._kept:
            return value
        if len(self._kept) < self.most and value != OTHER:
            self._kept.add(value)
            return value
        if len(self.folded) < self.most:
            self.folded.add(value)
        return OTHER


def folded_family(foldings: Iterable[Folding]) -> Family:
    """How many values of each label are counted under ``other``."""
    samples = [Sample((("label", folding.label),), len(folding.folded)) for folding in foldings]
    return Family("bulkhead_metrics_folded_values", "gauge", "Values of a label counted under other, at least.", samples)


def wants_openmetrics(accept: str) -> bool:
    """Whether an ``Accept`` header names OpenMetrics text, and prefers nothing that we have to it."""
    best = {"openmetrics": 0.0, "text": 0.0}
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        if media == "application/openmetrics-text":
            best["openmetrics"] = max(best["openmetrics"], weight)
        elif media in ("text/plain", "text/*", "*/*"):
            best["text"] = max(best["text"], weight)
    return best["openmetrics"] > 0.0 and best["openmetrics"] >= best["text"]


def rendered(families: Iterable[Family], accept: str = "") -> tuple[str, bytes]:
    """(content type, body) for who asked with this ``Accept`` header.

    Raises ValueError for a name that Prometheus does not take, for a family told twice, and for labels that two samples of one family
    share: a scrape would be refused as a whole.
    """
    openmetrics = wants_openmetrics(accept)
    lines: list[str] = []
    told: set[str] = set()
    for family in families:
        name = family.name
        if not _NAME.match(name) or name.endswith("_total") or name in told:
            raise ValueError(f"{name!r} cannot name a family: it must be new, of letters, digits and underscores, and without _total")
        if family.unit and not name.endswith(f"_{family.unit}"):
            raise ValueError(f"{name!r} must end in its unit, {family.unit!r}")
        told.add(name)
        shown = name if openmetrics or family.kind != "counter" else f"{name}_total"
        lines.append(f"# HELP {shown} {_text(family.help, quotes=openmetrics)}")
        lines.append(f"# TYPE {shown} {family.kind}")
        if openmetrics and family.unit:
            lines.append(f"# UNIT {shown} {family.unit}")
        seen: set[Labels] = set()
        for sample in family.samples:
            if sample.labels in seen:
                raise ValueError(f"{name!r} has two samples with the labels {sample.labels!r}")
            seen.add(sample.labels)
            if isinstance(sample, Distribution):
                _distribution(lines, family, sample, exemplars=openmetrics)
            else:
                suffix = "_total" if family.kind == "counter" else ""
                lines.append(f"{name}{suffix}{_labels(sample.labels)} {_number(sample.value)}")
    if openmetrics:
        lines.append("# EOF")
    return (OPENMETRICS_TYPE if openmetrics else TEXT_TYPE), ("\n".join(lines) + "\n").encode()


def _distribution(lines: list[str], family: Family, sample: Distribution, *, exemplars: bool) -> None:
    seen = 0
    exemplar = sample.exemplar if exemplars else None
    for bound in (*family.bounds, inf):
        seen += sample.counts.get(bound, 0)
        line = f"{family.name}_bucket{_labels((*sample.labels, ('le', _bound(bound))))} {seen}"
        if exemplar is not None and exemplar.value <= bound:
            line += _exemplar(exemplar)
            exemplar = None
        lines.append(line)
    lines.append(f"{family.name}_count{_labels(sample.labels)} {seen}")
    lines.append(f"{family.name}_sum{_labels(sample.labels)} {_number(sample.total)}")


def _exemplar(exemplar: Exemplar) -> str:
    if sum(len(name) + len(value) for name, value in exemplar.labels) > MAX_EXEMPLAR:
        return ""
    return f" # {_labels(exemplar.labels) or '{}'} {_number(exemplar.value)} {exemplar.at:.3f}"


def _labels(labels: Labels) -> str:
    for name, _ in labels:
        if not _LABEL.match(name):
            raise ValueError(f"{name!r} cannot name a label")
    return "{" + ",".join(f'{name}="{_text(value, quotes=True)}"' for name, value in labels) + "}" if labels else ""


def _text(value: str, *, quotes: bool) -> str:
    """Escaped; half a surrogate pair, which UTF-8 has no form for, becomes a question mark."""
    value = value.encode("utf-8", "replace").decode().replace("\\", "\\\\").replace("\n", "\\n")
    return value.replace('"', '\\"') if quotes else value


def _bound(value: float) -> str:
    """As OpenMetrics wants it, in either form: the same series whichever was scraped."""
    return "+Inf" if isinf(value) else repr(float(value))


def _number(value: float) -> str:
    if isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if isnan(value):
        return "NaN"
    whole = int(value)
    return str(whole) if value == whole and abs(whole) < 2**63 else repr(float(value))
