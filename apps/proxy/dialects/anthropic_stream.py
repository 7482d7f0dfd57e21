"""Streams of the Messages API that pass from provider to app as they are: framed and not parsed, but for the events that count."""

from __future__ import annotations

from apps.contracts.usage import Tokens
from apps.proxy.dialects.anthropic_wire import WireUsage, decode_event_raw, tokens_of, usage_merged
from apps.proxy.dialects.passed import Packed
from apps.proxy.dialects.wire_json import UNREADABLE

KEEP_RAW = 64 * 1024
"""Bytes of events kept as they came; beyond, they are packed."""
MALFORMED = '{"type":"error","error":{"type":"api_error","message":"an event of the stream is not a JSON object"}}'
_OPENS = b"event: content_block_delta\ndata: {"
_ENDS = b"}\n\n"
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class AnthropicStream:
    """Follows one stream (``apps.proxy.dialects.base.StreamWatch``).

    A chunk that is nothing but whole pieces of blocks is passed on unseen. An event that is no JSON is left out and counted, because
    SDKs raise on it. The last event, ``message_stop``, is held back in ``rest``; one that is missing after a stop reason is made up for.
    Usage counts only once the stream's end said it: what the start says of the output is its first token.
    """

    __slots__ = (
        "_carry",
        "_measured",
        "_packed",
        "_raw",
        "_raw_size",
        "_usage",
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

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self.finished = False
        self.saw_finish = False
        self.error = ""
        self.has_output = False
        self.rest = b""
        self.passed_bytes = 0
        self.malformed = 0
        """Events that were left out because they are no JSON object."""
        self._usage: WireUsage | None = None
        self._carry = b""
        self._raw: list[bytes] = []
        self._raw_size = 0
        self._measured = 0
        """Output that is not among what is kept."""
        self._packed = Packed()

    def feed(self, chunk: bytes) -> bytes:
        if self._carry or chunk[-2:] != b"\n\n" or b"\r" in chunk:
            chunk = self._frame(chunk)
            if not chunk:
                return b""
        if self.finished or self.error:  # nothing counts after the end
            return b""
        if not self.has_output or not _plain(chunk):
            chunk = self._look(chunk)
            if not chunk:
                return b""
        self._keep(chunk)
        return chunk

    def passes(self, wire: bytes, start: int) -> bool:
        if (
            not self.has_output
            or self._carry
            or self.finished
            or self.error
            or not wire.endswith(b"}\n\n\r\n")
            or not wire.startswith(_OPENS, start)
            or wire.find(b"\n\n", start) != len(wire) - 4
            or wire.find(b"\r", start) != len(wire) - 2
        ):
            return False
        self.passed_bytes += len(wire) - start - 2
        self._keep(wire[start:-2])
        return True

    def close(self) -> bool:
        if self._carry:
            carried, self._carry = self._carry.replace(b"\r\n", b"\n").rstrip(b"\r\n") + b"\n\n", b""
            if not self.finished and not self.error:
                skipped = self.malformed
                given = self._look(carried)  # given only with the end: when there is none, the app has not had it
                self.malformed = skipped  # one that was cut is no hole: the stream just ends before it
                self.rest = given + self.rest
                self._measured += _measure(given)
        if self.saw_finish and not self.finished and not self.error:
            self.finished = True
            self.rest += _STOP
        return self.finished and not self.error

    def output_bytes(self) -> int:
        return self._measured + sum(map(_measure, (*self._packed.pieces(), b"".join(self._raw))))

    def passed(self) -> bytes | None:
        """The events that the app was given; None where they were too many."""
        return None if self._packed.lost else b"".join((*self._packed.pieces(), *self._raw))

    def _frame(self, chunk: bytes) -> bytes:
        """Whole events only; a partial one is carried over. Line ends of other kinds are made line feeds."""
        data = self._carry + chunk
        tail = b""
        if b"\r" in data:
            if data.endswith(b"\r"):
                data, tail = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = data.rfind(b"\n\n")
        if cut < 0:
            self._carry = data + tail
            return b""
        self._carry = data[cut + 2 :] + tail
        return data[: cut + 2]

    def _look(self, chunk: bytes) -> bytes:
        passed: list[bytes] = []
        for event in chunk.split(b"\n\n"):
            data = _data(event)
            if data is None:
                if event.strip(b"\n"):
                    passed.append(event)
                continue
            if not data:
                continue
            try:
                parsed = decode_event_raw(data)
            except UNREADABLE:
                if data == b"[DONE]":
                    continue
                if data[:1] == b"{" and data[-1:] == b"}":  # of another shape: the app's parser decides
                    passed.append(event)
                else:
                    self.malformed += 1
                    self._measured += len(data)
                continue
            kind = parsed.type
            if kind == "error" or parsed.error is not None:
                self.error = data.decode("utf-8", "replace")
                break
            if kind == "message_stop":
                self.finished = True
                self.rest = event + b"\n\n"
                break
            if kind == "message_start":
                if parsed.message is not None:
                    self._usage = parsed.message.usage
            elif kind == "message_delta":
                if parsed.usage is not None:
                    self._usage = usage_merged(self._usage, parsed.usage)
                    if self._usage is not None:
                        self.tokens = tokens_of(self._usage)
                if parsed.delta is not None and parsed.delta.stop_reason is not None:
                    self.saw_finish = self.has_output = True
            elif kind == "content_block_delta":
                delta = parsed.delta
                if delta is not None and (delta.text or delta.thinking or delta.partial_json):
                    self.has_output = True
            elif kind == "content_block_start":
                block = parsed.content_block
                if block is not None and (block.text or block.thinking or block.type not in ("text", "thinking")):
                    self.has_output = True
            passed.append(event)
        return b"\n\n".join(passed) + b"\n\n" if passed else b""

    def _keep(self, chunk: bytes) -> None:
        self._raw.append(chunk)
        self._raw_size += len(chunk)
        if self._raw_size > KEEP_RAW:
            raw, self._raw, self._raw_size = b"".join(self._raw), [], 0
            for gone in self._packed.add(raw):
                self._measured += _measure(gone)


def _measure(raw: bytes) -> int:
    """UTF-8 bytes of output in events."""
    size = 0
    for event in raw.split(b"\n\n"):
        data = _data(event)
        if not data:
            continue
        try:
            parsed = decode_event_raw(data)
        except UNREADABLE:
            size += len(data)
            continue
        for said in (parsed.delta, parsed.content_block):
            if said is not None:
                size += len(((said.text or "") + (said.thinking or "")).encode("utf-8", "replace"))
        if parsed.delta is not None and parsed.delta.partial_json:
            size += len(parsed.delta.partial_json.encode("utf-8", "replace"))
        if parsed.content_block is not None:
            size += len(bytes(parsed.content_block.input)) + len(parsed.content_block.name or "")
    return size


def _plain(chunk: bytes) -> bool:
    """Every event of it is a piece of a block, on one line that opens and closes like a JSON object."""
    count = chunk.count(b"\n\n")
    return (
        chunk.startswith(_OPENS)
        and chunk.endswith(_ENDS)
        and (count == 1 or (count == chunk.count(_ENDS) == chunk.count(_ENDS + _OPENS) + 1))
    )


def _data(event: bytes) -> bytes | None:
    """The joined ``data:`` lines of one event; None where it has none."""
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def open_block(passed: bytes) -> tuple[int, str]:
    """(blocks that have begun, the kind of the one that is open), of events that were passed on; (-1, "") where they are out of order."""
    begun, kind = 0, ""
    for event in passed.split(b"\n\n"):
        data = _data(event)
        if not data:
            continue
        try:
            said = decode_event_raw(data)
        except UNREADABLE:
            return -1, ""
        if said.type == "content_block_start":
            if kind or said.index != begun or said.content_block is None:
                return -1, ""
            begun, kind = begun + 1, said.content_block.type
        elif said.type == "content_block_stop":
            kind = ""
        elif said.type == "message_delta":
            return -1, ""
    return begun, kind
