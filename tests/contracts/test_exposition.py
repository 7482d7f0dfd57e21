"""The text for Prometheus, read back by the reference parser, which itself is held to OpenMetrics' own cases."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from apps.contracts import histogram
from apps.contracts.exposition import (
    OPENMETRICS_TYPE,
    OTHER,
    SECONDS,
    TEXT_TYPE,
    Distribution,
    Exemplar,
    Family,
    Folding,
    Sample,
    counter,
    folded_family,
    gauge,
    in_seconds,
    rendered,
    wants_openmetrics,
)
from tests.scale import examples

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "material" / "vectors" / "openmetrics" / "tests" / "testdata" / "parsers"
ASK = "application/openmetrics-text; version=1.0.0"
EXEMPLAR = Exemplar((("request_id", "0190aaaa-0000-7000-8000-000000000001"),), 0.3, 1_700_000_000.25)
hostile = st.text(alphabet=st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ['"', "\\", "\n", '\\"\n\\', "{}", "# EOF", "\r", "é\u2028"]
)
numbers = st.floats(allow_nan=False) | st.integers(-(2**70), 2**70)


def test_the_reference_parser_holds_to_openmetrics_cases() -> None:
    """Else it could not judge ours."""
    if not VECTORS.is_dir():
        pytest.skip(f"NO OPENMETRICS CASES: {VECTORS} is absent")
    cases = sorted(VECTORS.iterdir())
    wrong = []
    for case in cases:
        about = json.loads((case / "test.json").read_text())
        try:
            list(openmetrics((case / about["file"]).read_bytes().decode()))
            parsed = True
        except (ValueError, KeyError, IndexError):
            parsed = False
        if parsed != about["shouldParse"]:
            wrong.append(case.name)
    assert len(cases) > 200 and wrong == []


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(hostile, hostile, numbers), max_size=8, unique_by=lambda row: row[:2]), hostile, st.lists(numbers, max_size=3))
def test_what_is_written_is_read_back(rows: list[tuple[str, str, float]], help: str, counts: list[float]) -> None:
    families = [
        Family("bulkhead_things", "gauge", help, [Sample((("route", route), ("model", model)), value) for route, model, value in rows]),
        Family("bulkhead_done", "counter", help, [Sample((("n", str(n)),), abs(value)) for n, value in enumerate(counts)]),
        Family(
            "bulkhead_took_seconds",
            "histogram",
            "Time.",
            [Distribution((("route", route), ("model", model)), {0.5: 2, math.inf: 1}, 3.5, EXEMPLAR) for route, model, _ in rows],
            "seconds",
        ),
    ]
    for accept, parse in ((ASK, openmetrics), ("text/plain", plain)):
        _, body = rendered(families, accept)
        found = {family.name: family for family in parse(body.decode())}
        assert {(s.labels["route"], s.labels["model"], float(s.value)) for s in found["bulkhead_things"].samples} == {
            (route, model, float(value)) for route, model, value in rows
        }
        done = [family for name, family in found.items() if name.startswith("bulkhead_done")]
        assert [float(s.value) for family in done for s in family.samples] == [float(abs(value)) for value in counts]
        if rows:
            took = found["bulkhead_took_seconds"].samples
            whole = [s.value for s in took if s.name.endswith("_bucket") and s.labels["le"] == "+Inf"]
            assert whole == [3.0] * len(rows)
            linked = [s for s in took if s.exemplar]
            assert all(s.labels["le"] == "0.5" for s in linked) and len(linked) == (len(rows) if parse is openmetrics else 0)


def test_both_forms_of_one_scrape() -> None:
    families = [
        counter("bulkhead_cost_dollars", "Cost.", 1.25, "dollars"),
        gauge("bulkhead_ready", "Takes requests.", 1),
        Family("bulkhead_took_seconds", "histogram", "Time.", [Distribution((), {0.25: 1}, 0.2, EXEMPLAR)], "seconds", (0.1, 0.25)),
    ]
    kind, body = rendered(families, ASK)
    assert kind == OPENMETRICS_TYPE
    assert body.decode() == (
        "# HELP bulkhead_cost_dollars Cost.\n# TYPE bulkhead_cost_dollars counter\n# UNIT bulkhead_cost_dollars dollars\n"
        "bulkhead_cost_dollars_total 1.25\n"
        "# HELP bulkhead_ready Takes requests.\n# TYPE bulkhead_ready gauge\nbulkhead_ready 1\n"
        "# HELP bulkhead_took_seconds Time.\n# TYPE bulkhead_took_seconds histogram\n# UNIT bulkhead_took_seconds seconds\n"
        'bulkhead_took_seconds_bucket{le="0.1"} 0\nbulkhead_took_seconds_bucket{le="0.25"} 1\n'
        'bulkhead_took_seconds_bucket{le="+Inf"} 1 # {request_id="0190aaaa-0000-7000-8000-000000000001"} 0.3 1700000000.250\n'
        "bulkhead_took_seconds_count 1\nbulkhead_took_seconds_sum 0.2\n# EOF\n"
    )
    kind, body = rendered(families)
    assert kind == TEXT_TYPE
    assert b"# TYPE bulkhead_cost_dollars_total counter\nbulkhead_cost_dollars_total 1.25\n" in body
    assert b"# UNIT" not in body and b"EOF" not in body and b"request_id" not in body


@pytest.mark.parametrize(
    ("families", "why"),
    [
        ([gauge("bulkhead_x", "X.", 1), counter("bulkhead_x", "X.", 1)], "cannot name a family"),
        ([counter("bulkhead_x_total", "X.", 1)], "without _total"),
        ([gauge("bulkhead-x", "X.", 1)], "cannot name a family"),
        ([gauge("bulkhead_x\n", "X.", 1)], "cannot name a family"),
        ([gauge("bulkhead_x", "X.", 1, "seconds")], "must end in its unit"),
        ([Family("bulkhead_x", "gauge", "X.", [Sample((("a", "1"),), 1), Sample((("a", "1"),), 2)])], "two samples"),
        ([Family("bulkhead_x", "gauge", "X.", [Sample((("a-b", "1"),), 1)])], "cannot name a label"),
    ],
)
def test_what_prometheus_would_refuse_is_never_said(families: list[Family], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        rendered(families)


def test_an_exemplar_that_is_too_long_is_left_out() -> None:
    long = Exemplar((("request_id", "x" * 200),), 0.1, 1.0)
    _, body = rendered([Family("bulkhead_x_seconds", "histogram", "X.", [Distribution((), {0.1: 1}, 0.1, long)], "seconds", (0.1,))], ASK)
    assert b"xxx" not in body
    list(openmetrics(body.decode()))


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (ASK, True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3", True),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=nonsense", False),
        ("Application/OpenMetrics-Text , */*;q=0.1", True),
    ],
)
def test_the_form_is_what_the_scraper_asked_for(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


@given(st.lists(st.integers(0, 300_000_000), max_size=60))
def test_no_bucket_claims_more_than_was_at_or_below_it(micros: list[int]) -> None:
    counts: dict[int, int] = {}
    for value in micros:
        histogram.add(counts, value)
    found, total = in_seconds(counts, SECONDS)
    assert sum(found.values()) == len(micros)
    seen = 0
    for bound in SECONDS:
        seen += found.get(bound, 0)
        assert seen <= sum(value <= bound * 1e6 for value in micros)
    assert total == pytest.approx(sum(micros) / 1e6, rel=0.012, abs=1e-9)


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60), st.integers(0, 4))
def test_a_value_stays_where_it_was_first_counted(values: list[str], most: int) -> None:
    folding = Folding("route", most)
    first = {}
    for value in values:
        place = folding.place(value)
        assert first.setdefault(value, place) == place, "a counter would go down"
        assert place in (value, OTHER)
    kept = {place for place in first.values() if place != OTHER}
    assert len(kept) == min(most, len(set(values)))
    _, body = rendered([folded_family([folding])])
    assert f'bulkhead_metrics_folded_values{{label="route"}} {min(most, len(set(values)) - len(kept))}\n'.encode() in body


def test_a_value_named_other_is_not_taken_for_a_route_of_that_name() -> None:
    folding = Folding("route", 5)
    assert [folding.place(name) for name in ("other", "a")] == [OTHER, "a"] and folding.folded == {"other"}
