from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ui import format as f
from apps.ui.sparkline import spark_path


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (None, "–"),
        (-1, "–"),
        (0, "0 µs"),
        (640, "640 µs"),
        (1_240, "1.24 ms"),
        (81_200, "81.2 ms"),
        (999_600, "1.00 s"),
        (125_000_000, "2 min 5 s"),
    ],
)
def test_duration(us: float | None, text: str) -> None:
    assert f.duration(us).replace(f.THIN, " ") == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (431_000, "$0.000431"),
        (43_500, "$0.00004350"),
        (340_000, "$0.000340"),
        (2_000_000, "$0.0020"),
        (10_000_000, "$0.01"),
        (37_000_000, "$0.0370"),
        (399_960_000, "$0.4000"),
        (400_000_000, "$0.40"),
        (1_234_567_890_000, "$1,234.57"),
        (-5, "-$0.000000005"),
    ],
)
def test_dollars(nano: int, text: str) -> None:
    assert f.dollars(nano) == text


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_exact_dollars_lose_nothing(nano: int) -> None:
    from decimal import Decimal

    assert int(Decimal(f.dollars_exact(nano).replace("$", "")).scaleb(9)) == nano


@given(st.floats(min_value=0, max_value=1e15))
def test_no_number_is_wide(value: float) -> None:
    assert len(f.compact(value)) <= 7
    assert len(f.duration(value)) <= 24


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_share_is_never_rounded_to_nothing_or_to_all(part: int, rest: int) -> None:
    text = f.percent(part, part + rest).replace(f.THIN, "")
    assert (text == "0%") == (part == 0 and rest > 0)
    assert (text == "100%") == (rest == 0 and part > 0)


@given(st.lists(st.none() | st.integers(0, 10**12), max_size=300))
def test_a_sparkline_stays_in_its_box(values: list[int | None]) -> None:
    path = spark_path(values)
    numbers = [float(text) for text in path.replace("M", " ").replace("L", " ").split()]
    assert all(-0.1 <= x <= 120.1 for x in numbers[::2])
    assert all(0 <= y <= 28 for y in numbers[1::2])
