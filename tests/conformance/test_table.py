"""The table of recordings: counted by format and direction, and on its page."""

from __future__ import annotations

import pytest

from tests.conformance import table
from tests.conformance.recordings import needs_recordings
from tests.scale import FULL


def test_recordings_are_counted_by_format_and_direction() -> None:
    ones = [
        table.Reported("b", "answer", "1", "passed", ""),
        table.Reported("a", "stream", "1", "skipped", "rare"),
        table.Reported("a", "stream", "2", "skipped", "often | so; or so"),
        table.Reported("a", "stream", "3", "skipped", "often | so; or so"),
        table.Reported("a", "stream", "4", "passed", ""),
    ]
    assert table.rows(ones) == ["| a | stream | 4 | 1 | 2 often, so, or so; 1 rare |", "| b | answer | 1 | 1 | none |"]


def test_nothing_is_skipped_without_a_reason() -> None:
    with pytest.raises(AssertionError, match="without a reason"):
        table.report("a", "stream", "1", "skipped")
    assert table.reported("a") == []


def test_the_table_is_written_into_its_place() -> None:
    page = f"before\n{table.BEGIN}\n\nold\n\n{table.END}\nafter\n"
    made = table.written(page, "new")
    assert made == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"
    assert table.written(made, "new") == made
    with pytest.raises(ValueError, match="needs the lines"):
        table.written("a page without a place", "new")


def test_the_pages_table_adds_up() -> None:
    page = table.PAGE.read_text()
    lines = page.partition(table.BEGIN)[2].partition(table.END)[0].strip().splitlines()
    assert "\n".join(lines[:2]) == table.HEAD
    assert len(lines) > 2
    for line in lines[2:]:
        format, _, used, passed, skipped = (cell.strip() for cell in line.strip("|").split("|"))
        assert format in table.FORMATS
        reasons = [] if skipped == "none" else skipped.split("; ")
        assert int(used) == int(passed) + sum(int(reason.partition(" ")[0]) for reason in reasons)


@needs_recordings
@pytest.mark.skipif(not FULL, reason="runs every format's recordings; under make accept")
def test_the_pages_table_is_what_the_recordings_say() -> None:
    table.formats_check()
    page = table.PAGE.read_text()
    assert table.written(page, table.table(table.reported())) == page
