"""What a failure means, as a table; and Retry-After in all its spellings."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.proxy.errors import SeamRefused, UpstreamAnswered, UpstreamBroken, UpstreamSilent
from apps.proxy.retries import RESERVE, RetryBudget
from apps.proxy.verdict import in_band_status, retry_after, verdict


def answered(status: int, body: bytes = b"{}", **headers: str) -> UpstreamAnswered:
    return UpstreamAnswered(status, {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("error", "course", "counts", "pause"),
    [
        (answered(401), "credential", True, 0),
        (answered(402), "credential", True, 0),
        (answered(403), "credential", True, 0),
        (answered(408), "next", True, 0),
        (answered(429), "pause", False, 0),
        (answered(429, retry_after="7"), "pause", False, 7),
        (answered(429, retry_after_ms="250"), "pause", False, 0.25),
        (answered(500), "again", True, 0),
        (answered(502), "again", True, 0),
        (answered(503), "again", True, 0),
        (answered(503, retry_after="3"), "next", True, 3),
        (answered(529), "again", True, 0),
        (answered(400), "answer", False, 0),
        (answered(404), "other_model", False, 0),
        (answered(409), "answer", False, 0),
        (answered(424), "next", True, 0),
        (answered(400, b'{"error":{"code":"model_not_found"}}'), "other_model", False, 0),
        (answered(400, b'{"error":{"code": "quota_exceeded"}}'), "pause", False, 0),
        (answered(400, b'{"error":{"type":"insufficient_quota"}}'), "credential", True, 0),
        (answered(422), "answer", False, 0),
        (answered(413), "larger_window", False, 0),
        (answered(400, b'{"error":{"code":"context_length_exceeded"}}'), "larger_window", False, 0),
        (answered(400, b'{"error":{"message":"This model\'s maximum context length is 8192 tokens."}}'), "larger_window", False, 0),
        (answered(400, b'{"error":{"message":"prompt is too long: 210000 tokens > 200000 maximum"}}'), "larger_window", False, 0),
        (answered(400, b'{"error":{"code":"content_filter"}}'), "answer", False, 0),
        (answered(403, b'{"error":{"code":"content_policy_violation"}}'), "answer", False, 0),
        (answered(301), "again", True, 0),
        (UpstreamSilent("first byte", 6), "next", True, 0),
        (UpstreamSilent("whole answer", 0.1, telling=False), "next", False, 0),
        (UpstreamBroken("reset", code="upstream_error", sent=True), "again", True, 0),
        (UpstreamBroken("refused", code="upstream_unreachable", sent=False), "again", True, 0),
        (UpstreamBroken("not called", code="upstream_unreachable", sent=False, again=False), "next", True, 0),
        (UpstreamBroken("no connection left", code="upstream_unreachable", sent=False, ours=True), "next", False, 0),
        (SeamRefused("another text"), "next", False, 0),
    ],
)
def test_what_a_failure_means(error: UpstreamAnswered, course: str, counts: bool, pause: float) -> None:
    assert verdict(error) == (course, counts, pause)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({b"retry-after": b"2"}, 2),
        ({b"retry-after": b"0"}, 0),
        ({b"retry-after": b"1.5"}, 1.5),
        ({b"retry-after": b"-4"}, 0),
        ({b"retry-after": b"inf"}, 0),
        ({b"retry-after": b"nan"}, 0),
        ({b"retry-after": b"soon"}, 0),
        ({b"retry-after": formatdate(1_030, usegmt=True).encode()}, 30),
        ({b"retry-after": formatdate(970, usegmt=True).encode()}, 0),
        ({b"retry-after-ms": b"1200", b"retry-after": b"9"}, 1.2),
        ({b"x-ms-retry-after-ms": b"300"}, 0.3),
        ({b"retry-after-ms": b"x", b"retry-after": b"9"}, 9),
    ],
)
def test_retry_after(headers: dict[bytes, bytes], seconds: float) -> None:
    assert retry_after(headers, wall=1_000) == pytest.approx(seconds)


@given(st.binary(max_size=60))
def test_no_retry_after_breaks_us(value: bytes) -> None:
    assert 0 <= retry_after({b"retry-after": value, b"retry-after-ms": value}) < 1e12


@given(st.floats(0, 1), st.lists(st.booleans(), max_size=400))
def test_retries_stay_within_their_share(share: float, steps: list[bool]) -> None:
    """True: a request comes; False: somebody wants to retry."""
    budget = RetryBudget(share)
    requests = 0
    for step in steps:
        if step:
            requests += 1
            budget.requests += 1
        else:
            budget.take()
        assert budget.spent <= RESERVE + share * requests + 1e-9
    if steps.count(False) and steps[0] is False:
        assert budget.spent >= 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ('{"error":{"code":503}}', 503),
        ('{"error":{"code":"rate_limit_exceeded","type":"server_error"}}', 429),
        ('{"error":{"code":null,"type":"authentication_error"}}', 401),
        ('{"error":{"code":"overloaded"}}', 503),
        ('{"error":{"code":["x"],"type":7}}', 502),
        ('{"error":"words"}', 502),
        ("no JSON", 502),
        ("[]", 502),
    ],
)
def test_what_an_error_inside_a_stream_stands_for(error: str, status: int) -> None:
    assert in_band_status(error) == status
