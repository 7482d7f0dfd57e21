"""What was recorded of Anthropic's API means the same after both directions, and is read by Anthropic's own SDK."""

from __future__ import annotations

from tests.conformance.recordings import needs_recordings
from tests.conformance.table import reported
from tests.dialects.anthropic_recordings import FORMAT, recordings_check

pytestmark = needs_recordings


def test_every_recording_means_the_same_in_both_directions() -> None:
    recordings_check()
    passed = {one.direction for one in reported(FORMAT) if one.outcome == "passed"}
    assert passed == {
        "app's request to provider's",
        "provider's answer to app's",
        "provider's stream to app's",
        "stream passed through",
        "tokens of an input",
        "error",
        "OpenAI's request to provider's",
        "OpenAI's answer to app's",
        "OpenAI's stream to app's",
    }
    skipped = [one for one in reported(FORMAT) if one.outcome == "skipped"]
    assert len(skipped) < len(reported(FORMAT)) / 4, [f"{one.name}: {one.reason}" for one in skipped]
