"""Streams of operations that pass through as they come: sound, and events of transcriptions, speech and images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apps.contracts.usage import Tokens, tokens_total
from apps.proxy.dialects.event_watch import MALFORMED, EventWatch
from apps.proxy.dialects.openai_wire import json_object


class BytesWatch:
    """A StreamWatch over bytes without a meaning to us: whole where HTTP's own framing says so."""

    __slots__ = ("_seen", "error", "failed", "finished", "has_output", "passed_bytes", "rest", "tokens")

    def __init__(self, tokens: Tokens | None) -> None:
        """tokens: what it is billed by, as is known beforehand."""
        self.tokens = tokens
        self.finished = False
        self.error = ""
        self.failed = ""
        self.has_output = False
        self.rest = b""
        self.passed_bytes = 0
        self._seen = 0

    def feed(self, chunk: bytes) -> bytes:
        self.has_output = True
        self._seen += len(chunk)
        return chunk

    def passes(self, wire: bytes, start: int) -> bool:
        return False  # among bytes of any kind, what lies between chunks cannot be told from what lies in them

    def close(self) -> bool:
        self.finished = self.has_output
        return self.finished

    def output_bytes(self) -> int:
        return self._seen + self.passed_bytes


class ResultEvents(EventWatch):
    """Events as OpenAI's transcriptions, speech and images have them: the last one is ``*.done`` or ``*.completed`` and has the usage."""

    __slots__ = ("_last", "_seen", "_told")

    marks = (b'.done"', b'.completed"', b'"usage"', b'"error"', b"[DONE]")

    def __init__(self, told: Callable[[dict[str, Any]], Tokens | None], last: int = 1) -> None:
        """told: what the last event says of its usage. last: how many such events there are at least."""
        super().__init__()
        self._told = told
        self._last = last
        self._seen = 0

    def look(self, data: bytes, event: bytes) -> bool:
        if data.strip() == b"[DONE]":  # vLLM's way of ending
            self.finished, self.rest = True, event + b"\n\n"
            return False
        said = json_object(data)
        if said is None:
            self.error = MALFORMED
            return False
        kind = said.get("type")
        if kind == "error" or said.get("error"):
            self.error = data.decode("utf-8", "replace")
            return False
        self.has_output = True
        if type(said.get("usage")) is dict and not (type(kind) is str and kind.endswith((".done", ".completed"))):
            self.tokens = self._told(said) or self.tokens
        if type(kind) is str and kind.endswith((".done", ".completed")):
            tokens = self._told(said)
            if tokens is not None:
                self.tokens = tokens if self.tokens is None else tokens_total((self.tokens, tokens))
            self._seen += 1
            if self._seen >= self._last:
                self.finished = True
                self.rest = event + b"\n\n"
                return False
        return True

    def measure(self, data: bytes) -> int:
        return len(data)
