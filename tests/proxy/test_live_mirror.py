"""Mirrors in a real proxy: the copy is answered, compared, reported apart and never returned."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.proxy.lab import Lab, until


def told(lab: Lab, name: str) -> float:
    """A mirror's figure of the route ``mirrored`` in /metrics; 0 before the first copy."""
    text = httpx.get(f"{lab.proxy.admin_url}/metrics", timeout=60).text
    found = re.search(rf'^bulkhead_mirror_{name}_total{{route="mirrored"}} ([0-9.e+-]+)$', text, re.MULTILINE)
    return float(found.group(1)) if found is not None else 0.0


@pytest.mark.parametrize("stream", [False, True])
def test_the_app_gets_the_targets_answer_and_the_mirrors_is_compared(lab: Lab, stream: bool) -> None:
    lab.script("east", "mirrored")
    lab.script("west", "shadow", first_byte_ms={"kind": "fixed", "value": 300})
    for _ in range(8):  # a machine that stops for 300 ms between the two hides who was first; one look that saw it is proof
        before, alike, seen = told(lab, "answers"), told(lab, "similarity"), len(lab.seen("west", "shadow"))
        got = lab.ask("mirrored", stream=stream, temperature=0, bulkhead_sim={"output_tokens": 12})
        assert got.whole and got.headers["x-bulkhead-target"] == "east/main/mirrored" and len(got.text) == 48
        if told(lab, "answers") == before:
            break
    else:
        pytest.fail("the app waited for its mirror")
    until(lambda: told(lab, "answers") == before + 1, "it is compared")
    assert told(lab, "similarity") == alike + 1, "both say the same at temperature 0"
    assert len(lab.seen("west", "shadow")) == seen + 1
    found = lab.record(got)
    assert [attempt["provider"] for attempt in found["attempts"]] == ["east"], "the copy is a request of its own"
    metrics = httpx.get(f"{lab.proxy.admin_url}/metrics", timeout=60).text
    assert 'bulkhead_requests_total{route="mirrored~mirror",outcome="ok",status="200"}' in metrics, "reported apart"


def test_a_mirror_that_fails_is_counted_and_nobody_else_notices(lab: Lab) -> None:
    lab.script("east", "mirrored")
    lab.script("west", "shadow", "500x1")
    before, compared = told(lab, "failed"), told(lab, "answers")
    assert lab.ask("mirrored").whole
    until(lambda: told(lab, "failed") == before + 1, "it is counted")
    assert told(lab, "answers") == compared


def test_a_request_with_tools_is_not_copied(lab: Lab) -> None:
    lab.script("east", "mirrored")
    lab.script("west", "shadow")
    seen = len(lab.seen("west", "shadow"))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert lab.ask("mirrored", tools=[tool]).whole and lab.ask("mirrored").whole
    until(lambda: len(lab.seen("west", "shadow")) == seen + 1, "the second one is")
