from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ui.timerange import LONGEST, TimeRangeError, from_query, parse, parse_end

NOW = datetime(2026, 3, 4, 15, 16, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("now-15m", NOW - timedelta(minutes=15)),
        ("now/d", datetime(2026, 3, 4, tzinfo=UTC)),
        ("now-1d/d", datetime(2026, 3, 3, tzinfo=UTC)),
        ("2026-03-01T14:00", datetime(2026, 3, 1, 14, tzinfo=UTC)),
        ("2026-03-01T14:00:00+02:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("1772323200000", datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_an_end(text: str, moment: datetime) -> None:
    assert parse_end(text, now=NOW) == moment


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_gives_a_range_or_a_reason(from_text: str, to_text: str) -> None:
    found = from_query({"from": from_text, "to": to_text}, now=NOW)
    assert timedelta(0) < found.length <= LONGEST
    if found.problem:
        assert found.from_text == "now-1h" and found.live


@pytest.mark.parametrize(
    ("start", "end"), [("now", "now"), ("now-1h", "now-2h"), ("now-999999w", "now"), ("now-500d", "now"), ("9" * 14, "now")]
)
def test_a_wrong_range_says_what_to_do(start: str, end: str) -> None:
    with pytest.raises(TimeRangeError, match=r"set 'from'|choose a shorter|too far back|write now-6h"):
        parse(start, end, now=NOW)
