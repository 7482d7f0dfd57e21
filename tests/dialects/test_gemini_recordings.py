"""Gemini's format against what Google really asked and answered, and against what OpenAI's apps really ask."""

from __future__ import annotations

import pytest

from tests.conformance.recordings import needs_recordings
from tests.conformance.table import reported
from tests.dialects.gemini_recordings import ANSWER, REQUEST, STREAM, check, openai_check


def passed(format: str) -> list[str]:
    return [one.direction for one in reported(format) if one.outcome == "passed"]


@needs_recordings
@pytest.mark.parametrize(("format", "requests", "answers", "streams"), [("gemini", 100, 100, 13), ("vertex", 18, 22, 1)])
def test_recorded_exchanges_say_the_same_after_the_pivot(format: str, requests: int, answers: int, streams: int) -> None:
    check(format)
    found = passed(format)
    assert found.count(REQUEST) >= requests
    assert found.count(ANSWER) >= answers
    assert found.count(STREAM) >= streams


@needs_recordings
def test_what_openais_apps_ask_and_are_answered_is_said_in_geminis_format() -> None:
    openai_check()
    found = passed("gemini")
    assert found.count("OpenAI's request to provider's") >= 20 and found.count("OpenAI's answer to app's") >= 20
