"""What an app says of an answer it got: read from ``POST /v1/feedback``, journalled by the proxy, settled by the shipper.

A field that is not said is None and changes nothing of what was said before; of two that are, the later one counts. So the same call may
be sent twice, and a thumb now and an outcome next week become one.
"""

from __future__ import annotations

import math
import re
from typing import Any
from uuid import UUID

import msgspec

from apps.contracts.identifiers import uuid7_unix_ms

MAX_BODY = 64 * 1024
"""Bytes: the longest texts, however they are escaped."""
MAX_REASON = 2_000
MAX_TAGS = 10
MAX_TAG = 64
MAX_OUTCOME = 64
MAX_CLIENT_MS = 3_600_000
"""An hour: longer than any request may take."""
KEPT_DAYS = 30
"""Feedback on older requests is refused: their records may be gone."""
AHEAD_MS = 300_000
"""How far a request's id may lie in our future: clocks differ."""
CLIENT_MS_HEADER = b"x-bulkhead-client-ms"
FIELDS = ("request_id", "score", "thumb", "reason", "outcome", "tags", "client_ms")
THUMBS = {"up": 1.0, "down": -1.0}
_OUTCOME = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")
_DAY_MS = 86_400_000


class FeedbackRecord(msgspec.Struct, array_like=True, kw_only=True, tag="feedback", gc=False):
    """As it lies in a journal, among the usage records. request: the id's bytes. at_us: when it was said, database time, microseconds
    since the epoch. organisation, team, key_id: of the key that said it. score: -1 to 1. client_ms: how long the user waited, as the app
    measured it. New fields are appended with a default."""

    request: bytes
    at_us: int
    organisation: str
    key_id: str
    team: str = ""
    score: float | None = None
    reason: str | None = None
    outcome: str | None = None
    tags: list[str] | None = None
    client_ms: int | None = None
    proxy: str = ""


encode_feedback = msgspec.msgpack.Encoder().encode


class FeedbackError(ValueError):
    """What was sent is no feedback. code: of ``apps.contracts.errors``. param: the field, None for the body as a whole."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


def feedback_read(body: bytes, *, client_ms_header: bytes | None, now_us: int) -> FeedbackRecord:
    """The feedback in a request's body, without who says it: ``organisation``, ``key_id``, ``team`` and ``proxy`` are the caller's to set.

    client_ms_header: the header ``x-bulkhead-client-ms``; the body's ``client_ms`` goes before it. Raises FeedbackError.
    """
    told = _object(body)
    for name in told:
        if name not in FIELDS:
            raise FeedbackError("invalid_field", f"{name[:80]!r} is no field of feedback. It takes {', '.join(FIELDS)}.", name[:80])
    record = FeedbackRecord(
        request=_request(told.get("request_id"), now_us // 1000),
        at_us=now_us,
        organisation="",
        key_id="",
        score=_score(told.get("score"), told.get("thumb")),
        reason=_text(told.get("reason"), "reason", MAX_REASON),
        outcome=_outcome(told.get("outcome")),
        tags=_tags(told.get("tags")),
        client_ms=_client_ms(told.get("client_ms"), client_ms_header),
    )
    if all(value is None for value in (record.score, record.reason, record.outcome, record.tags, record.client_ms)):
        raise FeedbackError(
            "missing_field", "Nothing is said of the request. Send a score from -1 to 1, a thumb, a reason, an outcome, tags or client_ms."
        )
    return record


def _object(body: bytes) -> dict[str, Any]:
    if not body:
        raise FeedbackError("empty_body", "The request has no body. Send a JSON object with request_id and what you say of it.")
    if len(body) > MAX_BODY:
        raise FeedbackError("body_too_large", f"Feedback takes at most {MAX_BODY} bytes; shorten the reason.")
    try:
        told = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FeedbackError("invalid_json", f"The body is not valid JSON: {error}.") from None
    if not isinstance(told, dict):
        raise FeedbackError("invalid_json", "The body must be a JSON object.")
    return told


def _request(value: object, now_ms: int) -> bytes:
    if value is None:
        raise FeedbackError("missing_field", "Say which request: request_id is its x-bulkhead-request-id header.", "request_id")
    try:
        id = UUID(value) if isinstance(value, str) and len(value) <= 64 else None
    except ValueError:
        id = None
    if id is None or id.version != 7 or (made_ms := uuid7_unix_ms(id)) > now_ms + AHEAD_MS:
        raise FeedbackError(
            "invalid_field",
            "request_id must be what an answer's x-bulkhead-request-id header said, a UUID of this installation.",
            "request_id",
        )
    if made_ms < now_ms - KEPT_DAYS * _DAY_MS:
        raise FeedbackError(
            "request_not_found", f"That request is more than {KEPT_DAYS} days old: feedback on it is no longer taken.", "request_id"
        )
    return id.bytes


def _score(score: object, thumb: object) -> float | None:
    if score is not None and thumb is not None:
        raise FeedbackError("invalid_field", "Send a score or a thumb, not both: up is 1, down is -1.", "thumb")
    if thumb is not None:
        if not isinstance(thumb, str) or thumb not in THUMBS:
            raise FeedbackError("invalid_field", 'thumb must be "up" or "down".', "thumb")
        return THUMBS[thumb]
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score) or not -1 <= score <= 1:
        raise FeedbackError("invalid_field", "score must be a number from -1 (bad) to 1 (good).", "score")
    return float(score)


def _text(value: object, name: str, most: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise FeedbackError("invalid_field", f"{name} must be a text of 1 to {most} characters.", name)
    if "\0" in value:
        raise FeedbackError("invalid_field", f"{name} must not hold a zero character.", name)
    return value.strip()


def _outcome(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_OUTCOME or not _OUTCOME.match(value):
        raise FeedbackError(
            "invalid_field",
            f"outcome must be a short name such as resolved or refunded: up to {MAX_OUTCOME} lower-case letters, digits, dots, dashes and "
            "underscores.",
            "outcome",
        )
    return value


def _tags(value: object) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_TAGS:
        raise FeedbackError("invalid_field", f"tags must be a list of at most {MAX_TAGS} texts.", "tags")
    found: dict[str, None] = {}
    for tag in value:
        text = _text(tag, "tags", MAX_TAG)
        if text is None:
            raise FeedbackError("invalid_field", "tags must be texts, not null.", "tags")
        found[text] = None
    return list(found)


def _client_ms(value: object, header: bytes | None) -> int | None:
    if value is None and header is not None:
        text = header.decode("latin-1").strip()
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else text
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_CLIENT_MS:
        raise FeedbackError(
            "invalid_field", f"client_ms is how long the user waited, in milliseconds from 0 to {MAX_CLIENT_MS}.", "client_ms"
        )
    return round(value)
