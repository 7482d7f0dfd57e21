"""Responses and legacy completions against what providers really asked and answered."""

from __future__ import annotations

from tests.conformance.recordings import needs_recordings
from tests.conformance.table import reported
from tests.dialects import completions_recordings, responses_recordings

LEAST = {
    ("responses", "app's request to provider's"): 162,
    ("responses", "provider's answer to app's"): 171,
    ("responses", "provider's stream to app's"): 33,
    ("responses", "stream passed through"): 33,
    ("responses", "error"): 3,
    ("completions", "app's request to provider's"): 57,
    ("completions", "provider's answer to app's"): 39,
    ("completions", "provider's stream to app's"): 18,
}
"""Recordings that must pass: fewer would mean that some are passed over that were not before."""


@needs_recordings
def test_recorded_exchanges_say_the_same_after_the_pivot() -> None:
    responses_recordings.recordings_check()
    completions_recordings.recordings_check()
    for (format, direction), least in LEAST.items():
        passed = [one for one in reported(format) if one.direction == direction and one.outcome == "passed"]
        assert len(passed) >= least, f"{format}, {direction}: {len(passed)}"
