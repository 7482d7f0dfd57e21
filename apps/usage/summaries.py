"""Summaries of a batch: what pages read. By time alone, and by one dimension at a time, at several widths of a bucket.

A rollup by all dimensions has as many rows as there are combinations; a page that asks one question of it must merge all
of their histograms. A summary is that merge, kept while settling: ``(organisation, simulated, seconds, dimension, bucket, value)``
-> counters and histograms. A range is then covered by few rows: minutes at its ragged edges, hours and days inside
(``apps.usage.covering.cover``).

Invariant: for each width and dimension, every counter's sum equals the sum over the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from apps.contracts.histogram import merge
from apps.usage.rollups import COUNTERS, Cell, classes_merge, timestamp

EVERYTHING = ""
"""The dimension of rows that hold all traffic of their bucket."""
SECONDS_ALL = (10, 60, 600, 3_600, 10_800, 86_400)
"""Widths of a bucket of ``EVERYTHING``: one for each length of a plot's step, so that a point is a row or a few."""
SECONDS_EACH = SECONDS_ALL[1:]
"""Widths of a bucket of one dimension: a range is covered by few, from minutes at its edges to days inside."""
NARROW_SECONDS, WIDE_SECONDS = SECONDS_ALL[:3], SECONDS_ALL[3:]
"""The widths that are added with the totals by ten seconds, and those that are added with the totals by the hour."""
SUMMED = tuple(
    name for name in COUNTERS if name not in ("tokens_cache_write", "tokens_reasoning", "total_us", "upstream_us", "bytes_in", "bytes_out")
)
"""The counters that pages show; the others are in the rollups."""

MOST = 2**55
"""A delta's counter is cut here ($36 million, or as many tokens, in one batch): a nonsensical figure of one answer must not make a
sum overflow and so refuse its neighbours. The request keeps what was reported."""

_PLACES = tuple(COUNTERS.index(name) for name in SUMMED)
_encode = msgspec.json.Encoder().encode

_KEY = ("organisation", "simulated", "seconds", "dimension", "bucket", "value")
DOCUMENTS = ("h_total", "h_first_token", "h_gap", "classes")
"""Columns that are ``{key: count}`` and merged by adding: three histograms, and failures by class (``apps.usage.rollups.Cell``)."""
_NAMES = ", ".join((*_KEY, *SUMMED, *DOCUMENTS))
_RECORD = (
    "organisation text, simulated boolean, seconds integer, dimension text, bucket timestamptz, value text, "
    + ", ".join(f"{name} bigint" for name in SUMMED)
    + "".join(f", {name} jsonb" for name in DOCUMENTS)
)
ADD = (
    f"INSERT INTO usage_summary AS kept ({_NAMES}) SELECT {_NAMES} FROM jsonb_to_recordset(%s::jsonb) AS delta ({_RECORD}) "
    f"ORDER BY {', '.join(_KEY)} ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = kept.{name} + excluded.{name}" for name in SUMMED)
    + "".join(
        f", {name} = CASE excluded.{name} WHEN '{{}}' THEN kept.{name} ELSE usage_histogram_merge(kept.{name}, excluded.{name}) END"
        for name in DOCUMENTS
    )
)
"""Adds a batch's deltas (one parameter, ``delta_json``), in the order of the key: two shippers never wait in a circle."""

DIMENSIONS = ("route", "provider", "endpoint", "model", "key_id", "team")
"""What rows that are not of ``EVERYTHING`` are told apart by."""


def endpoint_value(provider: str, endpoint: str) -> str:
    """An endpoint's value: its name is unique only in its provider. Empty where no target was called."""
    return f"{provider}/{endpoint}" if provider else ""


_Sums = dict[tuple[Any, ...], Cell]


def _added(sums: _Sums, key: tuple[Any, ...], cell: Cell) -> None:
    known = sums.get(key)
    if known is None:
        sums[key] = _copied(cell)
        return
    known[0][:] = map(int.__add__, known[0], cell[0])
    merge(known[1], cell[1])
    merge(known[2], cell[2])
    if cell[3]:
        merge(known[3], cell[3])
    if cell[4]:
        classes_merge(known[4], cell[4])


def _copied(cell: Cell) -> Cell:
    return cell[0].copy(), cell[1].copy(), cell[2].copy(), cell[3].copy(), cell[4].copy()


def narrow(tier: dict[str, dict[tuple[Any, ...], Cell]]) -> Iterator[tuple[tuple[Any, ...], Cell]]:
    """The deltas of ``NARROW_SECONDS`` by ``(organisation, simulated, seconds, dimension, bucket in microseconds, value)``.

    ``tier``: of ``apps.usage.rollups.narrow_tiers``. Each width is summed from the next finer one, of which a batch has few.
    """
    everything: _Sums = {}
    each: _Sums = {}
    for (bucket, organisation, simulated, route, provider, endpoint, model), cell in tier["10s"].items():
        _added(everything, (organisation, simulated, EVERYTHING, bucket, ""), cell)
        _each(each, organisation, simulated, bucket // 60_000_000 * 60_000_000, (route, provider, endpoint, model), cell)
    for (minute, organisation, simulated, _route, _provider, _endpoint, _model, key_id, team, *_), cell in tier["1m"].items():
        _added(each, (organisation, simulated, "key_id", minute, key_id), cell)
        _added(each, (organisation, simulated, "team", minute, team), cell)
    yield from _widened(everything, NARROW_SECONDS)
    yield from _widened(each, NARROW_SECONDS[1:])


def wide(tier: dict[str, dict[tuple[Any, ...], Cell]]) -> Iterator[tuple[tuple[Any, ...], Cell]]:
    """The deltas of ``WIDE_SECONDS``, as ``narrow``. ``tier``: of ``apps.usage.rollups.wide_tiers``."""
    sums: _Sums = {}
    asked: _Sums = {}
    for key, cell in tier["1h"].items():
        hour, organisation, simulated, *_, key_id, team, _service, _feature, _environment = key
        _added(asked, key[:7], cell)
        _added(sums, (organisation, simulated, "key_id", hour, key_id), cell)
        _added(sums, (organisation, simulated, "team", hour, team), cell)
    for (hour, organisation, simulated, route, provider, endpoint, model), cell in asked.items():
        _added(sums, (organisation, simulated, EVERYTHING, hour, ""), cell)
        _each(sums, organisation, simulated, hour, (route, provider, endpoint, model), cell)
    yield from _widened(sums, WIDE_SECONDS)


def _each(sums: _Sums, organisation: str, simulated: bool, bucket: int, asked: tuple[str, str, str, str], cell: Cell) -> None:
    route, provider, endpoint, model = asked
    _added(sums, (organisation, simulated, "route", bucket, route), cell)
    _added(sums, (organisation, simulated, "provider", bucket, provider), cell)
    _added(sums, (organisation, simulated, "endpoint", bucket, endpoint_value(provider, endpoint)), cell)
    _added(sums, (organisation, simulated, "model", bucket, model), cell)


def _widened(finest: _Sums, widths: Iterable[int]) -> Iterator[tuple[tuple[Any, ...], Cell]]:
    """``finest``: sums of the first of ``widths`` already."""
    sums = finest
    for at, seconds in enumerate(widths):
        if at:
            micros = seconds * 1_000_000
            wider: _Sums = {}
            owned = set()  # a sum of one bucket alone is that bucket's own cell, shared and never written to
            for (organisation, simulated, dimension, bucket, value), cell in sums.items():
                key = (organisation, simulated, dimension, bucket // micros * micros, value)
                known = wider.get(key)
                if known is None:
                    wider[key] = cell
                    continue
                if key not in owned:
                    owned.add(key)
                    wider[key] = _copied(known)
                _added(wider, key, cell)
            sums = wider
        for (organisation, simulated, dimension, bucket, value), cell in sums.items():
            yield (organisation, simulated, seconds, dimension, bucket, value), cell


def delta_json(narrow_tiers: dict[str, dict[tuple[Any, ...], Cell]], wide_tiers: dict[str, dict[tuple[Any, ...], Cell]]) -> str:
    """The parameter of ``ADD``."""
    found = [*narrow(narrow_tiers), *wide(wide_tiers)]
    bodies: dict[int, str] = {}  # most widths of a batch share their cells: written once
    rows = []
    for (organisation, simulated, seconds, dimension, bucket, value), cell in found:
        body = bodies.get(id(cell))
        if body is None:
            counts = cell[0]
            sums: dict[str, Any] = {name: max(-MOST, min(counts[place], MOST)) for name, place in zip(SUMMED, _PLACES, strict=True)}
            sums.update(zip(DOCUMENTS, cell[1:], strict=True))
            body = bodies[id(cell)] = _encode(sums).decode()[1:]
        key = {"organisation": organisation, "simulated": simulated, "seconds": seconds, "dimension": dimension}
        key["bucket"], key["value"] = timestamp(bucket), value
        rows.append(f"{_encode(key).decode()[:-1]},{body}")
    return f"[{','.join(rows)}]"
