"""Evidence as people read it: moments, money and durations in their form, what was kept beside it, nothing that only programs know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from apps.postmortems.postmortem_sheets import cell_of, parameters_of, sheet_of

AT = "2026-11-22T06:55:00Z"
MOMENT = datetime(2026, 11, 22, 6, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value", "text", "exact"),
    [
        ("cost_nano", 1_500_000_000, "$1.50", "1500000000 nano-dollars"),
        ("p95_us", 1_240_000, "1.24\u202fs", "1240000 µs"),
        ("detect_s", 125, "2\u202fmin 5\u202fs", "125 s"),
        ("budget_burned", 0.3333, "33.3 %", "0.3333"),
        ("requests", 12_345, "12,345", ""),
        ("share", 5, "5 %", ""),
        ("restores", 181, "v181", ""),
        ("severity", "sev2", "SEV2", ""),
        ("severity", "critical", "Critical", ""),
        ("kind", "update", "Status updates", ""),
        ("on", False, "off", ""),
        ("pinned", True, "yes", ""),
        ("sections", ["keys", "routes"], "keys, routes", ""),
        ("reason", "a text that is no_name", "a text that is no_name", ""),
        ("reason", None, "–", ""),
        ("text", AT, AT, ""),  # what a person wrote stays as it is
    ],
)
def test_a_value_reads_as_its_name_says(name: str, value: Any, text: str, exact: str) -> None:
    cell = cell_of(name, value)
    assert (cell.text, cell.exact, cell.at) == (text, exact, None)


def test_a_moment_is_one_and_what_only_looks_so_by_its_name_is_text() -> None:
    assert cell_of("fired_at", AT).at == cell_of("since", AT).at == MOMENT
    assert cell_of("fired_at", "never") == cell_of("reason", "never")


def test_rows_have_words_for_heads_and_lead_to_what_they_are_about() -> None:
    alert = {"id": "0190", "title": "Chat fails", "severity": "critical", "fired_at": AT, "resolved_at": None, "part_of_it": True}
    sheet = sheet_of("alerts", {"alerts": [alert, {**alert, "id": "0191"}]})
    assert sheet.header == tuple((name, False) for name in ("Title", "Severity", "Fired", "Resolved", "Part of the incident"))
    assert [row.id for row in sheet.rows] == ["0190", "0191"] and sheet.rows[0].cells[2].at == MOMENT
    assert [cell.label for cell in sheet.rows[0].cells] == [name for name, _ in sheet.header]
    versions = sheet_of("versions", {"versions": [{"number": 182, "at": AT, "by": "Ada", "restores": None}]})
    assert versions.rows[0].id == "182" and versions.rows[0].cells[0].text == "v182"


def test_answers_of_several_lists_say_of_what_each_row_is_and_numbers_stand_at_the_right() -> None:
    rows = {"name": "sim-east", "requests": 3, "cost_nano": 0}
    sheet = sheet_of("providers", {"provider": [rows], "model": [{**rows, "name": "m"}], "team": []})
    assert sheet.header == (("Of", False), ("Name", False), ("Requests", True), ("Spend", True))
    assert [row.cells[0].text for row in sheet.rows] == ["Provider", "Model"]


@pytest.mark.parametrize(
    ("query", "result", "lines"),
    [
        ("severities", {"severity": "sev1", "seconds": {"sev1": 60}}, [("Severity", "SEV1"), ("At SEV1", "1\u202fmin 0\u202fs")]),
        ("classes", {"requests": {"upstream_timeout": 7}, "attempts": {}}, [("Requests: upstream_timeout", "7")]),
        ("classes", {"requests": {}, "attempts": {}}, []),
        ("providers", {"provider": [], "model": [], "team": []}, []),
        ("classes", {"requests": {"a": 1, "b": 2}, "attempts": {}}, [("Requests: b", "2"), ("Requests: a", "1")]),
        (
            "impact",
            {"failed": 2, "routes": [{"route": "chat", "requests": 9, "failed": 2}], "complete": False},
            [("Requests failed", "2"), ("Counted whole", "no"), ("Route chat", "Requests: 9; Requests failed: 2")],
        ),
    ],
)
def test_single_values_are_a_line_each(query: str, result: dict[str, Any], lines: list[tuple[str, str]]) -> None:
    assert [tuple(cell.text for cell in row.cells) for row in sheet_of(query, result).rows] == lines


def test_what_was_asked_says_whose_traffic_and_which_routes() -> None:
    said = parameters_of({"organisation": "main", "simulated": False, "since": AT, "until": AT, "routes": []})
    texts = [(name, cell.text) for name, cell in said if cell.at is None]
    assert texts == [("Organisation", "main"), ("Routes", "all"), ("Traffic", "real")]
    assert [(name, cell.at) for name, cell in said if cell.at] == [("From", MOMENT), ("To", MOMENT)]
