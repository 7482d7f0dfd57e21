"""Gemini's streams as chunks of chat completions: server-sent events, or the JSON array that comes without ``alt=sse``."""

from __future__ import annotations

import re
from typing import Any

from apps.proxy.dialects.gemini_answer import (
    NOTHING,
    UNREADABLE,
    Candidate,
    Said,
    blocked,
    created_of,
    decode_said,
    finish_of,
    identity_of,
    logprobs_of,
    parts_told,
    says,
    usage_put,
)
from apps.proxy.dialects.gemini_errors import trouble_of
from apps.proxy.dialects.gemini_words import NOT_YET
from apps.proxy.dialects.sse import MAX_EVENT_BYTES, Framer
from apps.proxy.dialects.translation import Chunk, NotAnAnswer

_SIGNS = re.compile(rb'["\\{}]')
_BETWEEN = b" \t\r\n,[]\xef\xbb\xbf"


class ArrayFramer:
    """The objects of a JSON array, each as it becomes whole. Anything but objects between the brackets is none of Gemini's streams."""

    __slots__ = ("_depth", "_escaped", "_held", "_quoted", "_seen", "_start")

    def __init__(self) -> None:
        self._held = b""
        self._seen = 0
        """How far ``_held`` was looked at."""
        self._start = -1
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def feed(self, data: bytes) -> list[bytes]:
        """Raises NotAnAnswer for what is no array of objects, and for one object larger than an event may be."""
        held = self._held + data
        found: list[bytes] = []
        done, position = 0, self._seen
        while position < len(held):
            if self._start < 0:
                if held[position] == 0x7B:
                    self._start, self._depth = position, 1
                elif held[position] not in _BETWEEN:
                    raise NotAnAnswer("the stream is neither events nor an array of objects")
                position += 1
                continue
            if self._escaped:
                self._escaped = False
                position += 1
                continue
            sign = _SIGNS.search(held, position)
            if sign is None:
                position = len(held)
                break
            position = sign.end()
            if sign[0] == b'"':
                self._quoted = not self._quoted
            elif sign[0] == b"\\":
                self._escaped = self._quoted
            elif not self._quoted:
                self._depth += 1 if sign[0] == b"{" else -1
                if self._depth == 0:
                    found.append(held[self._start : position])
                    self._start, done = -1, position
        if self._start < 0:
            done = position
        else:
            self._start -= done
        self._held, self._seen = held[done:], position - done
        if len(self._held) > MAX_EVENT_BYTES:
            raise NotAnAnswer(f"an event is larger than {MAX_EVENT_BYTES} bytes")
        return found


class GeminiStream:
    """Reads one provider's stream. ``finished``: every candidate that began has said why it ended, or the prompt was blocked."""

    def __init__(self, model: str) -> None:
        self.finished = False
        self._model = model
        self._opening = b""
        """What came before anything that tells events from an array."""
        self._events: Framer | None = None
        self._array: ArrayFramer | None = None
        self._identity = ""
        self._given_id: str | None = None
        self._created = 0
        self._usage = NOTHING
        self._open: set[int] = set()
        self._ended: set[int] = set()
        self._calls: dict[int, int] = {}
        self._failed = False

    def feed(self, data: bytes) -> list[Chunk]:
        chunks: list[Chunk] = []
        if self._events is None and self._array is None:
            data = self._opening + data
            begun = data.lstrip(b" \t\r\n\xef\xbb\xbf")
            if not begun:
                self._opening = data[-MAX_EVENT_BYTES:]
                return chunks
            if begun.startswith(b"<"):
                raise NotAnAnswer("the stream is a page, no answer")
            if begun[0] in b"[{":
                self._array = ArrayFramer()
            else:
                self._events = Framer()
        if self._array is not None:
            for body in self._array.feed(data):
                self._said(body, chunks)
        elif self._events is not None:
            for event in self._events.feed(data):
                self._said(event.data, chunks)
        return chunks

    def close(self) -> list[Chunk]:
        """Usage is told here: every event has its own, and the last one counts."""
        chunks: list[Chunk] = []
        if self._events is not None:
            for event in self._events.close():
                self._said(event.data, chunks)
        if says(self._usage):
            chunk = self._chunk([])
            usage_put(self._usage, chunk)
            chunks.append(chunk)
        return chunks

    def _said(self, body: bytes, chunks: list[Chunk]) -> None:
        if self._failed or body == b"[DONE]" or not body.strip():
            return
        try:
            said = decode_said(body)
        except UNREADABLE as error:
            raise NotAnAnswer(f"an event is no answer of Gemini: {error}") from None
        if said.error is not NOTHING and says(said.error):
            trouble = trouble_of(0, body)
            self._failed, self.finished = True, False
            chunks.append({"error": {"message": trouble.message, "type": trouble.type, "code": trouble.code}})
            return
        self._identify(said)
        if said.usage_metadata is not NOTHING:
            self._usage = said.usage_metadata
        candidates = said.candidates
        if candidates is not None and len(candidates) == 1 and self._more(candidates[0], chunks):
            return
        for number, candidate in enumerate(candidates or ()):
            self._candidate(candidate, candidate.index if candidate.index is not None else number, chunks)
        if not said.candidates and said.prompt_feedback is not None and said.prompt_feedback.block_reason:
            native, message = blocked(said.prompt_feedback)
            delta = {"role": "assistant", "content": None, "refusal": message}
            ended = {"index": 0, "delta": delta, "finish_reason": "content_filter", "native_finish_reason": native}
            chunks.append(self._chunk([ended]))
            self._open.add(0)
            self._ended.add(0)
        self.finished = bool(self._open) and self._open == self._ended

    def _identify(self, said: Said) -> None:
        if not self._identity:
            self._identity = identity_of(said)
            self._created = created_of(said)
        if said.response_id:
            if self._given_id is None:
                self._given_id = said.response_id
            elif said.response_id != self._given_id:
                raise NotAnAnswer("another answer begins in the middle of this one")
        if said.model_version:
            self._model = said.model_version

    def _more(self, candidate: Candidate, chunks: list[Chunk]) -> bool:
        """Nearly every event of a stream: more text, of an answer that has begun and goes on. False where it is anything else."""
        parts = candidate.content.parts if candidate.content is not None else None
        if parts is None or len(parts) != 1 or candidate.finish_reason is not None or candidate.logprobs_result is not None:
            return False
        part, index = parts[0], candidate.index or 0
        if not part.text or part.thought_signature is not None or part.function_call is not None:
            return False
        if index not in self._open or index in self._ended:
            return False
        delta = {"reasoning_content": part.text} if part.thought else {"content": part.text}
        chunks.append(self._chunk([{"index": index, "delta": delta, "finish_reason": None}]))
        return True

    def _candidate(self, candidate: Candidate, index: int, chunks: list[Chunk]) -> None:
        parts = (candidate.content.parts if candidate.content is not None else None) or []
        calls = self._calls.get(index, 0)
        opening = f"call_{self._identity}" if not index else f"call_{self._identity}_{index}"
        told = parts_told(parts, opening, calls)
        delta: dict[str, Any] = {}
        if index not in self._open:
            self._open.add(index)
            delta["role"] = "assistant"
        if told.text:
            delta["content"] = told.text
        if told.thoughts:
            delta["reasoning_content"] = told.thoughts
        if told.blocks:
            delta["thinking_blocks"] = told.blocks
        if told.calls:
            delta["tool_calls"] = [{"index": calls + number, **call} for number, call in enumerate(told.calls)]
            self._calls[index] = calls + len(told.calls)
        ends = (candidate.finish_reason or "") not in NOT_YET
        if index in self._ended:
            if delta:
                raise NotAnAnswer("an answer goes on after its end")
            return
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": None}
        if (logprobs := logprobs_of(candidate.logprobs_result)) is not None:
            choice["logprobs"] = logprobs
        if ends:
            choice["finish_reason"] = finish_of(candidate, index in self._calls)
            choice["native_finish_reason"] = candidate.finish_reason
            if choice["finish_reason"] == "content_filter" and candidate.finish_message:
                delta["refusal"] = candidate.finish_message
            self._ended.add(index)
        elif not delta and "logprobs" not in choice:
            return
        chunks.append(self._chunk([choice]))

    def _chunk(self, choices: list[dict[str, Any]]) -> Chunk:
        return {
            "id": self._identity,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }
