"""What is taken out of samples, and what stays."""

from __future__ import annotations

import json

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.captures import Sample, SampleError, sample_open, sample_seal
from apps.contracts.redaction import MAX_BODY, MAX_TEXT, PatternRefused, Redactor, credentials_removed, pattern_read

REDACTOR = Redactor([("employee", "EMP-####"), ("case", "case-*")])


def redacted(text: str) -> str:
    return str(json.loads(REDACTOR.body(json.dumps(text).encode()).text))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("write to Jo.Doe+x@mail.example.co.uk today", "write to [email] today"),
        ("jörg@exämple.de", "[email]"),
        ("DE89 3704 0044 0532 0130 00 IS mine", "[iban] IS mine"),
        ("AB12 nothing GB82WEST12345698765432.", "AB12 nothing [iban]."),
        ("pay 12 4111 1111 1111 1111 12/25", "pay 12 [card] 12/25"),
        ("cards 5500-0000-0000-0004 and 378282246310005", "cards [card] and [card]"),
        ("+49 170 1234567 or (555) 123-4567 or 030 12345678", "[phone] or [phone] or [phone]"),
        ("key sk-proj-abcdefghijklmnop, ours bk-abcdefghij-secretsecret", "key [credential], ours [credential]"),
        ("Authorization: Bearer abcdefghijklmnopqrstuvwx", "Authorization: [credential]"),
        ("password: hunter2!", "[credential]"),
        ("postgres://app:hunter2@db/x", "postgres://[credential]@db/x"),
        ("AKIAIOSFODNN7EXAMPLE", "[credential]"),
        ("EMP-1234 filed case-77.a", "[employee] filed [case]"),
    ],
)
def test_what_is_taken_out(text: str, kept: str) -> None:
    assert redacted(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "on 2026-11-22 at 03:04, version 1.2.3",
        "0190aaaa-0000-7000-8000-000000000001",
        "1763779200000 ms, 1,234,567.89 and 10.0.0.1",
        "GB82 WEST 1234 5698 7654 31",
        "4111 1111 1111 1112",
        "EMP-12345 and EMP",
        "a key of success is the secret of it",
    ],
)
def test_what_stays(text: str) -> None:
    assert redacted(text) == text


def test_json_keeps_its_shape_and_tells_what_was_found() -> None:
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "I am a@example.test"}]}],
        "api_key": "short",
        "number": 4111111111111111,
        "temperature": 0.5,
        "image": {"url": "data:image/png;base64," + "A" * 1000},
        "x@example.test": None,
    }
    found = REDACTOR.body(json.dumps(body).encode())
    assert json.loads(found.text) == {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "I am [email]"}]}],
        "api_key": "[credential]",
        "number": "[card]",
        "temperature": 0.5,
        "image": {"url": "[attachment of 1022 characters]"},
        "[email]": None,
    }
    assert found.found == {"email": 2, "credential": 1, "card": 1, "attachment": 1} and not found.cut


def test_a_cut_leaves_no_half_of_a_find() -> None:
    text = "x" * (MAX_TEXT - 8) + " jo.doe@example.test " + "y" * 2_000
    found = REDACTOR.body(json.dumps(text).encode())
    assert found.cut and "jo.doe" not in found.text and len(found.text) <= MAX_TEXT + 20
    assert len(REDACTOR.body(json.dumps(["z" * MAX_TEXT] * 9).encode()).text) == MAX_BODY


def test_what_is_no_json_is_redacted_as_text() -> None:
    assert REDACTOR.body(b"not json: a@example.test \xff").text == "not json: [email] �"


@pytest.mark.parametrize("pattern", ["", "a", "***", "*", "??", "a*b*c*d", "x" * 101, "\n\n\n"])
def test_a_pattern_that_would_find_everything_is_refused(pattern: str) -> None:
    with pytest.raises(PatternRefused):
        pattern_read(pattern)


@given(st.text(max_size=400))
def test_every_body_is_bounded_and_redacted_twice_is_the_same(text: str) -> None:
    once = REDACTOR.body(json.dumps(text).encode())
    assert len(once.text) <= MAX_BODY
    assert REDACTOR.body(once.text.encode()).text == once.text


def test_logs_lose_credentials_only() -> None:
    assert credentials_removed("a@example.test used sk-abcdefghijklmnop") == "a@example.test used [credential]"


def test_a_sample_travels_sealed() -> None:
    key, other = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
    sample = Sample(
        id=b"i" * 16, started_us=1, organisation="o", route="r", key_id="k", rule="x", status=200, stream=False, request="words", answer=""
    )
    sealed = sample_seal(sample, key)
    assert b"words" not in sealed and sample_open(sealed, key) == sample
    with pytest.raises(SampleError):
        sample_open(sealed, other)
