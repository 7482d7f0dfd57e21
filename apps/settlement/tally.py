"""What a batch counted, put together for metrics: the rollups' cells by who asked, by which route, and who answered. Pure."""

from __future__ import annotations

from typing import Any

from apps.contracts.histogram import merge
from apps.usage.rollups import Cell, Cells, cell_new, classes_merge


def tally_add(into: Cells, cells: Cells) -> None:
    """Add cells, keyed ``(bucket, *WIDE)`` as ``apps.usage.batch`` sums them, under (organisation, simulated, route, provider, model)."""
    for (_, organisation, simulated, route, provider, _, model, *_), cell in cells.items():
        tally_merge(into, (organisation, simulated, route, provider, model), cell)


def tally_merge(into: Cells, key: tuple[Any, ...], cell: Cell) -> None:
    """Add one cell to those under a key; the cell itself stays as it is."""
    counts, h_total, h_first_token, h_gap, classes = cell
    known = into.get(key)
    if known is None:
        known = into[key] = cell_new()
    known[0][:] = map(int.__add__, known[0], counts)
    merge(known[1], h_total)
    merge(known[2], h_first_token)
    merge(known[3], h_gap)
    classes_merge(known[4], classes)
