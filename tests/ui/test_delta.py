from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ui.delta import Better, delta
from apps.ui.format import THIN


@pytest.mark.parametrize(
    ("now", "before", "better", "expected"),
    [
        (12, 10, "less", ("20 %", "up", "bad")),
        (12, 10, "more", ("20 %", "up", "good")),
        (8, 10, "less", ("20 %", "down", "good")),
        (8, 10, "neither", ("20 %", "down", "neutral")),
        (10.01, 10, "less", ("no change", "same", "neutral")),
        (5, 0, "less", ("new", "up", "neutral")),
        (200, 10, "neither", ("19×", "up", "neutral")),
    ],
)
def test_a_change(now: float, before: float, better: Better, expected: tuple[str, str, str]) -> None:
    found = delta(now, before, better=better)
    assert found is not None and (found.text.replace(THIN, " "), found.direction, found.tone) == expected


@pytest.mark.parametrize(("now", "before"), [(None, 1), (1, None), (0, 0)])
def test_nothing_to_compare_with(now: float | None, before: float | None) -> None:
    assert delta(now, before) is None


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_any_two_numbers_make_a_short_text(now: float, before: float) -> None:
    found = delta(now, before)
    assert found is None or len(found.text) <= 20
