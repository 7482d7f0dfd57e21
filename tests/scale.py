"""How far tests look: all the way under ``make accept`` (BULKHEAD_ACCEPT=1), and in ``make test`` as far as it takes to see a fault."""

from __future__ import annotations

import os

FULL = os.environ.get("BULKHEAD_ACCEPT") == "1"
MANY = 10_000 if FULL else 2_000
"""Rows of a list with very many: dozens of pages, more than are written or fetched at a time."""


def examples(full: int) -> int:
    """``max_examples`` of a property that looks further than the profile's thirty, or whose examples are dear: all of them, or a third."""
    return full if FULL else max(10, full // 3)
