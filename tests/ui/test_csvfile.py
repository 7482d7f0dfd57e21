from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ui.csvfile import csv_lines, safe_cell

NAUGHTY = Path(__file__).resolve().parents[2] / ".." / "shared" / "material" / "vectors" / "blns" / "blns.json"


@given(st.text())
def test_no_cell_is_a_formula(text: str) -> None:
    cell = str(safe_cell(text))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cell.lstrip("'").lstrip() == text.replace("\x00", "").lstrip("'").lstrip() or cell in (
        text,
        "'" + text,
        text.replace("\x00", ""),
    )


def test_numbers_stay_numbers() -> None:
    assert safe_cell(-5) == -5
    assert safe_cell(None) == ""


def test_naughty_names_come_back_whole() -> None:
    if not NAUGHTY.is_file():
        pytest.skip("NO NAUGHTY STRINGS: ../shared/material is absent")
    strings = [text.replace("\x00", "") for text in json.loads(NAUGHTY.read_text())]
    text = "".join(csv_lines(["name"], [[name] for name in strings]))
    read = [row[0] if row else "" for row in csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""))]
    assert read[0] == "name"
    assert [cell.removeprefix("'") for cell in read[1:]] == [name.removeprefix("'") for name in strings]
