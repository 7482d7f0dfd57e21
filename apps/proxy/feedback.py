"""``POST /v1/feedback``: checked here, journalled like every record, and answered at once. Which request it is about, and whether the key
may speak of it, is found out where the requests are: when the journal is settled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from apps.contracts.feedback import CLIENT_MS_HEADER, FeedbackError, encode_feedback, feedback_read
from apps.contracts.identifiers import uuid_text
from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.engine import Engine
    from apps.proxy.http.types import Request
    from apps.proxy.runtime import CompiledKey

STEP = "feedback"
PER_MINUTE = 6_000
"""Of one key at one process: beyond, somebody fills the journal."""
_encode = msgspec.json.Encoder().encode


class FeedbackDesk:
    """Takes feedback for one process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._minute = 0
        self._taken: dict[str, int] = {}
        """By key, in this minute."""

    def take(self, key: CompiledKey, request: Request) -> bytes | Refusal:
        """The answer's JSON, once the feedback is in the journal; or why it is not."""
        engine = self._engine
        now_us = time.time_ns() // 1000 + engine.offset_us
        coding = request.headers.get(b"content-encoding", b"identity")
        if coding.strip().lower() not in (b"", b"identity"):
            return Refusal("unsupported_encoding", STEP, "Send feedback as plain JSON, without a content-encoding.")
        seconds = self._crowded(key.id, now_us)
        if seconds:
            return Refusal(
                "rate_limit_exceeded",
                STEP,
                f"More than {PER_MINUTE} pieces of feedback in this minute. Try again in {seconds} s.",
                detail={"retry_after_seconds": seconds},
            )
        try:
            record = feedback_read(request.body, client_ms_header=request.headers.get(CLIENT_MS_HEADER), now_us=now_us)
        except FeedbackError as error:
            return Refusal(error.code, STEP, error.message, error.param)
        record.organisation, record.key_id, record.team, record.proxy = key.organisation, key.id, key.team, engine.boot_id
        journal = engine.journal
        if not journal.admit():
            reason = journal.failed or "it waits for the shipper"
            return Refusal("journal_full", STEP, f"Feedback cannot be recorded right now ({reason}). Send it again later.")
        try:
            journal.append(encode_feedback(record))
        finally:
            journal.retire()
        engine.metrics.feedback += 1
        return _encode({"object": "bulkhead.feedback", "request_id": uuid_text(record.request), "status": "accepted"})

    def _crowded(self, key_id: str, now_us: int) -> int:
        """Seconds until this key may say more; 0: now."""
        minute = now_us // 60_000_000
        if minute != self._minute:
            self._minute = minute
            self._taken.clear()
        taken = self._taken.get(key_id, 0)
        if taken >= PER_MINUTE:
            return max(1, 60 - now_us // 1_000_000 % 60)
        self._taken[key_id] = taken + 1
        return 0
