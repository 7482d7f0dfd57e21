"""W3C Trace Context: the recommendation's own cases, what is passed on, and the ids of our spans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.traceparent import (
    MAX_STATE,
    TraceContext,
    attempt_span,
    request_span,
    state_kept,
    state_members,
    trace_accept,
    trace_unpack,
)

VECTORS = Path(__file__).resolve().parents[3] / "shared/material/vectors/w3c-trace-context-transcribed/test_data.json"
DIFFERENT = {
    47: "an empty list member, which the recommendation allows (3.3.1.1): the rest of the list is kept",
    48: "an empty list member, which the recommendation allows (3.3.1.1): the rest of the list is kept",
    70: "33 members, of which the recommendation allows 32 (3.3.1.1): the list is dropped",
}
"""Cases by their place whose ``is_tracestate_valid`` says otherwise than the recommendation's text, which is followed."""
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def cases() -> list[Any]:
    if not VECTORS.exists():
        return [pytest.param(0, {}, marks=pytest.mark.skip(reason=f"the material is not here: {VECTORS}"))]
    return list(enumerate(json.loads(VECTORS.read_text())))


@pytest.mark.parametrize(("number", "case"), cases())
def test_the_recommendations_cases(number: int, case: dict[str, Any]) -> None:
    """All 79: headers as our parser hands them over, repeated ones joined."""
    headers: dict[str, str] = {}
    for name, value in case["headers"]:
        name = name.lower()
        value = value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    parent, state = headers.get("traceparent"), headers.get("tracestate")
    trace = trace_accept(parent.encode(), state.encode() if state is not None else None) if parent is not None else None
    assert (trace is not None) is case["is_traceparent_valid"]
    if "is_tracestate_valid" in case and state is not None:
        valid = state_members(state.encode()) is not None
        assert valid is (case["is_tracestate_valid"] is not (number in DIFFERENT)), DIFFERENT.get(number, "")


def test_what_upstreams_are_told() -> None:
    trace = trace_accept(PARENT, b"congo=t61rcWkgMzE , rojo=1")
    assert trace is not None and trace.sampled
    assert trace.head(bytes(range(1, 9))) == (
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-0102030405060708-01\r\ntracestate: congo=t61rcWkgMzE,rojo=1\r\n"
    )
    later = trace_accept(b"cc" + PARENT[2:-2] + b"ff-more", b"not valid")
    assert later is not None and later.head(bytes(8)).startswith(b"traceparent: 00-") and later.head(bytes(8)).endswith(b"-03\r\n")


@given(
    st.lists(st.tuples(st.from_regex(r"[a-z][a-z0-9]{0,12}", fullmatch=True), st.integers(1, 250)), max_size=32, unique_by=lambda m: m[0])
)
def test_a_state_that_is_too_long_loses_whole_members(given_members: list[tuple[str, int]]) -> None:
    members = [f"{key}={'v' * length}".encode() for key, length in given_members]
    kept = state_kept(members)
    left = kept.split(b",") if kept else []
    assert len(kept) <= MAX_STATE
    assert left == [member for member in members if member in left], "in their order"
    assert len(b",".join(members)) > MAX_STATE or left == members, "nothing is lost that fits"


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.integers(0, 3))
def test_a_record_keeps_what_was_told(trace_id: bytes, parent: bytes, flags: int) -> None:
    found = trace_unpack(TraceContext(trace_id, parent, flags).packed())
    assert found is not None and (found.trace_id, found.parent, found.flags) == (trace_id, parent, flags)
    assert trace_unpack(b"") is None and trace_unpack(trace_id) is None


@given(st.binary(max_size=300))
def test_no_header_breaks_it(header: bytes) -> None:
    trace_accept(header, header)


def test_spans_of_a_request_differ_and_are_never_zero() -> None:
    request = uuid7_bytes(1_700_000_000_000)
    spans = [request_span(request), *(attempt_span(request, number) for number in range(20))]
    assert len(set(spans)) == 21 and all(any(span) and len(span) == 8 for span in spans)
    assert any(attempt_span(b"\0" * 8 + b"\xff" * 7 + b"\xfe", 0)), "the variant's bits keep the sum from running over"
