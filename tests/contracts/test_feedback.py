"""What is feedback and what is not, and what each refusal says."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from apps.contracts.errors import CODES
from apps.contracts.feedback import KEPT_DAYS, MAX_BODY, FeedbackError, FeedbackRecord, encode_feedback, feedback_read
from apps.contracts.identifiers import uuid7
from apps.contracts.journal import MAX_PAYLOAD

NOW_US = 1_800_000_000_000_000
ID = str(uuid7(NOW_US // 1000 - 5_000))
DAY_MS = 86_400_000


def read(header: bytes | None = None, **told: Any) -> FeedbackRecord:
    return feedback_read(json.dumps({"request_id": ID, **told}).encode(), client_ms_header=header, now_us=NOW_US)


def test_everything_that_can_be_said() -> None:
    found = read(score=0.5, reason=" kind of ", outcome="resolved", tags=["a", "b", "a"], client_ms=1234.4)
    assert (found.request, found.at_us) == (UUID(ID).bytes, NOW_US)
    assert (found.score, found.reason, found.outcome, found.tags, found.client_ms) == (0.5, "kind of", "resolved", ["a", "b"], 1234)
    assert read(thumb="down").score == -1.0 and read(thumb="up").score == 1.0
    assert read(score=1).score == 1.0 and read(score=0, thumb=None).score == 0.0
    assert read(tags=[]).tags == [], "no tags any more is something to say"
    assert read(header=b" 250 ").client_ms == 250 and read(header=b"250", client_ms=90).client_ms == 90


@pytest.mark.parametrize(
    ("told", "param", "says"),
    [
        ({}, None, "Nothing is said"),
        ({"request_id": None, "score": 1}, "request_id", "x-bulkhead-request-id"),
        ({"request_id": "nonsense", "score": 1}, "request_id", "x-bulkhead-request-id"),
        ({"request_id": 7, "score": 1}, "request_id", "x-bulkhead-request-id"),
        ({"request_id": str(uuid4()), "score": 1}, "request_id", "UUID of this installation"),
        ({"request_id": str(uuid7(NOW_US // 1000 + 3_600_000)), "score": 1}, "request_id", "UUID of this installation"),
        ({"score": 1.01}, "score", "-1 (bad) to 1 (good)"),
        ({"score": "good"}, "score", "-1 (bad) to 1 (good)"),
        ({"score": True}, "score", "-1 (bad) to 1 (good)"),
        ({"score": 1, "thumb": "up"}, "thumb", "not both"),
        ({"thumb": "sideways"}, "thumb", '"up" or "down"'),
        ({"thumb": ["up"]}, "thumb", '"up" or "down"'),
        ({"reason": ""}, "reason", "1 to 2000"),
        ({"reason": "x" * 2001}, "reason", "1 to 2000"),
        ({"reason": "a\0b"}, "reason", "zero character"),
        ({"reason": 4}, "reason", "1 to 2000"),
        ({"outcome": "Refunded in full"}, "outcome", "short name"),
        ({"outcome": "x" * 65}, "outcome", "short name"),
        ({"outcome": "ok\n"}, "outcome", "short name"),
        ({"tags": "one"}, "tags", "list of at most 10"),
        ({"tags": ["x"] * 11}, "tags", "list of at most 10"),
        ({"tags": [None]}, "tags", "not null"),
        ({"tags": ["x" * 65]}, "tags", "1 to 64"),
        ({"client_ms": -1}, "client_ms", "milliseconds"),
        ({"client_ms": 3_600_001}, "client_ms", "milliseconds"),
        ({"client_ms": "soon"}, "client_ms", "milliseconds"),
        ({"score": 1, "stars": 5}, "stars", "It takes request_id, score"),
    ],
)
def test_what_is_refused_says_what_to_do(told: dict[str, Any], param: str | None, says: str) -> None:
    with pytest.raises(FeedbackError) as refused:
        read(**told)
    assert refused.value.param == param and says in refused.value.message
    assert CODES[refused.value.code].status == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'{"a":"\xff"}', "invalid_json"),
        (b" " * (MAX_BODY + 1), "body_too_large"),
    ],
)
def test_a_body_that_is_none(body: bytes, code: str) -> None:
    with pytest.raises(FeedbackError) as refused:
        feedback_read(body, client_ms_header=None, now_us=NOW_US)
    assert refused.value.code == code


def test_a_request_that_is_too_old_is_not_spoken_of() -> None:
    told = {"score": 1}
    assert read(request_id=str(uuid7(NOW_US // 1000 - KEPT_DAYS * DAY_MS + 1000)), **told).score == 1
    with pytest.raises(FeedbackError, match="30 days old") as refused:
        read(request_id=str(uuid7(NOW_US // 1000 - KEPT_DAYS * DAY_MS - 1000)), **told)
    assert CODES[refused.value.code].status == 404


@pytest.mark.parametrize("header", [b"soon", b"-5", b"1e3", b"9" * 30, b"\xff"])
def test_a_header_that_says_no_milliseconds(header: bytes) -> None:
    with pytest.raises(FeedbackError, match="milliseconds"):
        read(header=header)


def test_the_longest_feedback_fits_a_journal_and_comes_back() -> None:
    record = read(
        score=1, reason="\U0001f600" * 2000, outcome="x" * 64, tags=[f"{n}" + "\U0001f600" * 60 for n in range(10)], client_ms=3_600_000
    )
    record.organisation = record.key_id = record.team = record.proxy = "0" * 36
    payload = encode_feedback(record)
    assert len(payload) <= MAX_PAYLOAD
    assert msgspec.msgpack.decode(payload, type=FeedbackRecord) == record
