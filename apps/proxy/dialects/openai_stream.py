"""Server-sent events of chat completions, framed and not parsed, and what is kept of them in case the stream breaks off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.proxy.dialects.openai_wire import (
    UNREADABLE,
    KeptDelta,
    decode_event,
    decode_kept,
    event_data,
    is_comment,
    json_object,
    says,
    tokens_of,
)

if TYPE_CHECKING:
    from apps.contracts.usage import Tokens

KEEP_RAW = 64 * 1024
"""Bytes of events kept as they came; beyond, they are compacted to the text they carry."""
KEEP_TEXT = 256 * 1024
"""UTF-8 bytes of text kept after that; a longer answer is only measured, and cannot be continued by another target."""
MAX_CARRY = 16 * 1024 * 1024
"""An event beyond this is no answer of a provider: it would be held in memory whole."""
TOO_LARGE = '{"error":{"message":"an event of the stream is too large","type":"server_error","code":"upstream_malformed"}}'
MALFORMED = '{"error":{"message":"an event of the stream is not a JSON object","type":"server_error","code":"upstream_malformed"}}'

_ORDINARY = (
    b'"finish_reason":null}]}\n\n',
    b'"finish_reason":null}],"usage":null}\n\n',
    b'"logprobs":null,"finish_reason":null}]}\n\n',
    b'"finish_reason":null,"logprobs":null}]}\n\n',
    b'"finish_reason": null}]}\n\n',
)
"""How an event ends that is one more piece of the answer, in the spellings of common servers."""
_ORDINARY_WIRE = tuple(end + b"\r\n" for end in _ORDINARY)
_OPENS = (b"data: {", b"data:{")


class Kept:
    """What events said, without the events: enough to measure a broken stream, and to go on from where it stopped."""

    __slots__ = (
        "created",
        "done",
        "forbids",
        "id",
        "model",
        "output_bytes",
        "pieces",
        "reasoning",
        "role",
        "seen",
        "text_size",
        "texts",
        "tokens",
        "too_large",
        "unreadable",
    )

    def __init__(self) -> None:
        self.id: str | None = None
        self.model: str | None = None
        self.created: object = None
        self.texts: dict[int, list[str]] = {}
        self.reasoning: dict[int, list[str]] = {}
        self.seen: set[int] = set()
        """Indices of choices that said anything."""
        self.done: set[int] = set()
        """Those with a finish reason."""
        self.role = False
        self.forbids = ""
        """What it holds that cannot be cut and joined; empty when it is text only."""
        self.pieces = 0
        """Events with text: about as many tokens, at least."""
        self.output_bytes = 0
        """UTF-8 bytes of all text and tool-call arguments: an upper bound of the tokens."""
        self.text_size = 0
        self.tokens: Tokens | None = None
        """The usage that it reported, however it was spelled."""
        self.too_large = False
        self.unreadable = False

    def absorb(self, raw: list[bytes]) -> None:
        """Adds what whole events say (also as chunks on the wire: a size line is no field of an event)."""
        for event in b"".join(raw).replace(b"\r\n", b"\n").split(b"\n\n"):
            data = event_data(event)
            if not data or data == b"[DONE]":
                continue
            try:
                parsed = decode_kept(data)
            except UNREADABLE:
                self.unreadable = True
                self.output_bytes += len(data)
                continue
            if parsed.usage is not None:
                self.tokens = tokens_of(parsed.usage, parsed.service_tier)
            if self.id is None and self.model is None:
                self.id, self.model, self.created = parsed.id, parsed.model, parsed.created
            for choice in parsed.choices or ():
                self.seen.add(choice.index)
                if choice.finish_reason:
                    self.done.add(choice.index)
                if says(choice.logprobs):
                    self.forbids = self.forbids or "log probabilities"
                if choice.delta is not None:
                    self._delta(choice.index, choice.delta)
        if self.text_size > KEEP_TEXT:
            self.too_large = True
            self.texts, self.reasoning = {}, {}

    def _delta(self, index: int, delta: KeptDelta) -> None:
        self.role = self.role or bool(delta.role)
        for kept, text in ((self.texts, delta.content), (self.reasoning, delta.reasoning_content or delta.reasoning)):
            if text:
                size = len(text.encode())
                self.pieces += 1
                self.output_bytes += size
                self.text_size += size
                if not self.too_large:
                    kept.setdefault(index, []).append(text)
        if delta.refusal:
            self.output_bytes += len(delta.refusal.encode())
            self.forbids = self.forbids or "a refusal"
        for part, name in ((delta.tool_calls, "a tool call"), (delta.function_call, "a tool call"), (delta.audio, "audio")):
            if says(part):
                self.output_bytes += len(bytes(part))
                self.forbids = self.forbids or name


class OpenAIStream:
    """Follows one stream. Chunks pass through as they come; only those that mention usage, an error or the end, or that are
    not in the usual shape, are looked into.

    An event that is no JSON object is left out and counted, because SDKs raise on it. With ``stop_at_malformed`` the stream ends there
    like at an in-band error: what was in the event is missing, and somebody else may still say it.
    """

    __slots__ = (
        "_carry",
        "_hide_usage",
        "_kept",
        "_raw",
        "_raw_size",
        "_stop_at_malformed",
        "_unread",
        "_usual",
        "error",
        "finished",
        "has_output",
        "malformed",
        "passed_bytes",
        "rest",
        "saw_finish",
        "tokens",
    )

    failed = ""

    def __init__(self, *, hide_usage: bool, stop_at_malformed: bool = False) -> None:
        self.tokens: Tokens | None = None
        self.finished = False
        self.saw_finish = False
        self.error = ""
        self.has_output = False
        self.rest = b""
        self.passed_bytes = 0
        self.malformed = 0
        """Events that were left out because they are no JSON object."""
        self._hide_usage = hide_usage
        self._stop_at_malformed = stop_at_malformed
        self._carry = b""
        self._raw: list[bytes] = []
        """What was passed on, whole events, since it was last compacted."""
        self._raw_size = 0
        self._kept: Kept | None = None
        self._usual = _ORDINARY_WIRE[0]
        """How the chunks of this stream end."""
        self._unread = 0
        """Bytes of output that were not passed on: they were paid for too."""

    def feed(self, chunk: bytes) -> bytes:
        if (
            chunk.endswith(_ORDINARY)
            and self.has_output
            and not self._carry
            and not self.finished
            and chunk.find(b"\n\n") == len(chunk) - 2
        ):
            # one event in the usual shape, in the middle of an answer: nothing in it concerns us
            self._raw.append(chunk)
            self._raw_size += len(chunk)
            if self._raw_size > KEEP_RAW:
                self._compact()
            return chunk
        if self._carry or chunk[-2:] != b"\n\n":
            chunk = self._frame(chunk)
            if not chunk:
                return b""
        if self.finished:  # nothing counts after the end
            return b""
        if (
            not self.has_output
            or b'"usage":{' in chunk
            or b"[DONE]" in chunk
            or b'"error"' in chunk
            or b'"usage": {' in chunk
            or not chunk.endswith(b"}\n\n")
            or not chunk.startswith(_OPENS)
            or (chunk.find(b"\n\n") != len(chunk) - 2 and not _plain(chunk))
        ):
            chunk = self._look(chunk)
            if not chunk:
                return b""
        self._raw.append(chunk)
        self._raw_size += len(chunk)
        if self._raw_size > KEEP_RAW:
            self._compact()
        return chunk

    def passes(self, wire: bytes, start: int) -> bool:
        if not wire.endswith(self._usual) and not self._unusual(wire):
            return False
        if not self.has_output or self._carry or self.finished:
            return False
        only = len(wire) - 4
        if wire.find(b"\n", start) != only and wire.find(b"\n\n", start) != only:  # one byte is found much faster than two
            return False
        self.passed_bytes += len(wire) - start - 2
        self._raw.append(wire)  # its size line is no ``data:`` field, so it is ignored when this is read
        self._raw_size += len(wire)
        if self._raw_size > KEEP_RAW:
            self._compact()
        return True

    def _unusual(self, wire: bytes) -> bool:
        """It ends in another of the usual ways than the one before: the next ones will, too."""
        for end in _ORDINARY_WIRE:
            if wire.endswith(end):
                self._usual = end
                return True
        return False

    def _frame(self, chunk: bytes) -> bytes:
        """Whole events only; a partial one is carried over. CRLF line ends are normalised, as the SSE specification allows any."""
        data = self._carry + chunk
        if b"\r" in data:
            if data.endswith(b"\r"):
                data, tail = data[:-1], b"\r"
            else:
                tail = b""
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail
        cut = data.rfind(b"\n\n")
        if cut < 0:
            self._carry = data
            if len(data) > MAX_CARRY:
                self.error, self._carry = TOO_LARGE, b""
            return b""
        self._carry = data[cut + 2 :]
        return data[: cut + 2]

    def _look(self, chunk: bytes) -> bytes:
        """Parse the events of a chunk that may matter; give what may pass, hold back the end."""
        passed: list[bytes] = []
        for event in _events(chunk):
            data = event_data(event)
            if data is None:
                if is_comment(event):
                    passed.append(event)
                continue
            if data == b"[DONE]":
                self.finished = True
                self.rest = event + b"\n\n"
                break
            if not data:
                continue
            try:
                parsed = decode_event(data)
            except UNREADABLE:
                if json_object(data) is not None:  # JSON of another shape: the app's parser decides
                    passed.append(event)
                elif self._skip(data):
                    break
                continue
            if says(parsed.error):
                self.error = bytes(data).decode("utf-8", "replace")
                break
            choices = parsed.choices or ()
            if parsed.usage is not None:
                self.tokens = tokens_of(parsed.usage, parsed.service_tier)
                if self._hide_usage and not choices:
                    continue
            for choice in choices:
                delta = choice.delta
                if choice.finish_reason:
                    self.saw_finish = self.has_output = True
                if delta is not None and (
                    delta.content
                    or delta.reasoning_content
                    or delta.reasoning
                    or delta.refusal
                    or says(delta.tool_calls)
                    or says(delta.function_call)
                ):
                    self.has_output = True
            passed.append(event)
        if not passed:
            return b""
        return b"\n\n".join(passed) + b"\n\n"

    def _skip(self, data: bytes) -> bool:
        """An event that no SDK could read. True when the stream is over with it."""
        self.malformed += 1
        self._unread += len(data)
        if self._stop_at_malformed:
            self.error = MALFORMED
        return self._stop_at_malformed

    def close(self) -> bool:
        """The upstream's body ended. True when the stream was whole: it said so, or gave every choice's finish reason."""
        last = Kept()
        if self._carry:
            carried, self._carry = self._carry.replace(b"\r\n", b"\n") + b"\n\n", b""
            if not self.finished and not self.error:
                # given only with the end: when there is none, the app has not had it
                skipped = self.malformed
                given = self._look(carried)
                if self.malformed > skipped:  # cut in the middle of an event: no hole, the stream just ends before it
                    self.malformed = skipped
                    self.error = ""
                self.rest = given + self.rest
                last.absorb([given])
                self._unread += last.output_bytes
        if self.tokens is None:
            self.tokens = self.kept().tokens
        if not self.finished and not self.error:
            kept = self.kept()
            done = kept.done | last.done
            if done and kept.seen | last.seen <= done:
                self.finished = True  # some servers forget [DONE]: finish promptly
                self.rest += b"data: [DONE]\n\n"
        return self.finished and not self.error

    @property
    def has_hole(self) -> bool:
        """Something in the middle of what was passed on is missing."""
        return self.malformed > 0 and not self._stop_at_malformed

    def kept(self) -> Kept:
        """What the events that were passed on said so far."""
        self._compact()
        assert self._kept is not None
        return self._kept

    def _compact(self) -> None:
        if self._kept is None:
            self._kept = Kept()
        if self._raw:
            raw, self._raw, self._raw_size = self._raw, [], 0
            self._kept.absorb(raw)

    def output_bytes(self) -> int:
        return self.kept().output_bytes + self._unread


def _plain(chunk: bytes) -> bool:
    """Every event of a chunk of several is one ``data:`` line that opens and closes like a JSON object."""
    return chunk.count(b"\n\n") == chunk.count(b"}\n\n") == chunk.count(b"}\n\ndata: {") + chunk.count(b"}\n\ndata:{") + 1


def _events(chunk: bytes) -> list[bytes]:
    if b"\r" in chunk:  # line ends of both kinds in one read
        chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return [event for event in chunk.split(b"\n\n") if event.strip()]
