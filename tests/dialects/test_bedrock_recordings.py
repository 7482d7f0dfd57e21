"""Converse against what Bedrock was really asked and answered."""

from __future__ import annotations

from tests.conformance.recordings import needs_recordings
from tests.conformance.table import reported
from tests.dialects.bedrock_recordings import ANSWER, ERROR, REQUEST, STREAM, recordings_check


@needs_recordings
def test_recorded_exchanges_say_the_same_after_the_pivot() -> None:
    recordings_check()
    passed = [one.direction for one in reported("bedrock") if one.outcome == "passed"]
    assert (passed.count(REQUEST), passed.count(ANSWER), passed.count(STREAM), passed.count(ERROR)) >= (118, 109, 14, 2)
    skipped = [one.reason for one in reported("bedrock") if one.outcome == "skipped"]
    assert len(skipped) <= 11, skipped
