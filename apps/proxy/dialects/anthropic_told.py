"""The pivot's stream as the Messages API tells it to apps: one block after the other, each begun, told and ended.

message_start ping (content_block_start content_block_delta* content_block_stop)* message_delta message_stop
"""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects.anthropic_answer import call_id, hides_thinking, message_id, plain_parts, stop_details, stop_reason, stop_sequence
from apps.proxy.dialects.anthropic_wire import event, json_object, wire_usage
from apps.proxy.dialects.translation import Chunk, Payload, Trouble
from apps.proxy.dialects.wire_json import written

_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
_BLOCK_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_TYPES = {
    "invalid_request_error": "invalid_request_error",
    "authentication_error": "authentication_error",
    "permission_error": "permission_error",
    "permission_denied_error": "permission_error",
    "not_found_error": "not_found_error",
    "rate_limit_error": "rate_limit_error",
    "insufficient_quota": "billing_error",
    "billing_error": "billing_error",
    "overloaded_error": "overloaded_error",
    "timeout_error": "timeout_error",
}


def trouble_told(trouble: Trouble, type_: str = "") -> Payload:
    """An error as this format has it; code and field beside it, for who looks."""
    if not type_:
        type_ = "overloaded_error" if trouble.code == "overloaded" else _TYPES.get(trouble.type, "api_error")
    error: Payload = {"type": type_, "message": trouble.message}
    if trouble.code:
        error["code"] = trouble.code
    if trouble.param:
        error["param"] = trouble.param
    return {"type": "error", "error": error}


class _Call:
    """A call that has not ended. texts: its arguments so far; those from ``told`` on were not told yet."""

    __slots__ = ("id", "name", "open", "signature", "texts", "told")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.signature = ""
        self.texts: list[str] = []
        self.told = 0
        self.open = False

    def complete(self) -> bool:
        return bool(self.texts) and self.texts[-1].rstrip().endswith("}") and json_object("".join(self.texts)) is not None


class AnthropicFrontStream:
    """Calls whose pieces come mixed are told one after the other: a later one waits until the arguments of the one before are whole.

    A call whose arguments end as no JSON object breaks the stream with an error, unless the output cap cut it: SDKs raise on it.
    """

    __slots__ = (
        "_asked",
        "_called",
        "_calls",
        "_choice",
        "_ended",
        "_hidden",
        "_id",
        "_index",
        "_kind",
        "_refusal",
        "_started",
        "_thought",
        "_told",
        "_usage",
        "failed",
    )

    def __init__(self, asked: Payload) -> None:
        self._asked = asked
        self._hidden = hides_thinking(asked)
        self._started = False
        self._ended = False
        self.failed = False
        """It ended itself with an error, because of what it was told."""
        self._id = ""
        self._index = -1
        self._kind = ""
        """Of the block that is open: text, thinking or tool_use."""
        self._thought: list[str] = []
        self._called = False
        self._calls: dict[int, _Call] = {}
        """Those that have not ended, in the order in which they began."""
        self._told: set[int] = set()
        """Those that have."""
        self._choice: Payload = {}
        """With the finish reason, as it came."""
        self._refusal: list[str] = []
        self._usage: object = None

    def feed(self, chunk: Chunk) -> bytes:
        if self._ended:
            return b""
        failed = chunk.get("error")
        if failed:
            said = failed if type(failed) is dict else {"message": str(failed)}
            message, code = str(said.get("message") or "The provider broke off."), said.get("code")
            return self.error(Trouble(message, str(said.get("type") or ""), str(code) if code else None))
        out: list[bytes] = []
        if chunk.get("usage") is not None:
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        for choice in choices if type(choices) is list else ():
            if type(choice) is not dict or choice.get("index", 0) != 0:
                continue
            if not self._started:
                self._start(chunk, out)
            delta = choice.get("delta")
            if type(delta) is dict:
                self._delta(delta, out)
            if choice.get("finish_reason") is not None:
                self._choice = choice
        return b"".join(out)

    def close(self) -> bytes:
        if self._ended:
            return b""
        out: list[bytes] = []
        if not self._started:
            self._start({}, out)
        finish = self._choice.get("finish_reason")
        self._settle_calls(out, cut=finish == "length")
        if self._ended:
            return b"".join(out)
        self._end_block(out)
        called = self._called
        refusal = "".join(self._refusal)
        if refusal and finish != "content_filter":
            self._text(refusal, out)
            self._end_block(out)
        self._ended = True
        met = stop_sequence(self._choice, self._asked)
        delta: dict[str, Any] = {
            "stop_reason": "refusal" if refusal and not called else stop_reason(self._choice, met, called=called),
            "stop_sequence": met,
        }
        if refusal and finish == "content_filter":
            delta["stop_details"] = stop_details(refusal)
        out.append(event("message_delta", {"type": "message_delta", "delta": delta, "usage": wire_usage(self._usage)}))
        out.append(_STOP)
        return b"".join(out)

    def error(self, trouble: Trouble) -> bytes:
        self._ended = True
        return event("error", trouble_told(trouble))

    def stands_at(self, blocks: int, kind: str) -> bool:
        """Whether so many blocks have begun, and the last one is open and of this kind (empty: it has ended)."""
        return not self._ended and self._started and self._index == blocks - 1 and self._kind == kind and kind in ("", "text")

    def _start(self, chunk: Chunk, out: list[bytes]) -> None:
        self._started = True
        self._id = message_id(chunk.get("id"))
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": str(chunk.get("model") or self._asked.get("model") or ""),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": wire_usage(self._usage),
        }
        out.append(event("message_start", {"type": "message_start", "message": message}))
        out.append(_PING)

    def _delta(self, delta: Payload, out: list[bytes]) -> None:
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if type(reasoning) is str and reasoning:
            self._think(reasoning, out)
        blocks = delta.get("thinking_blocks")
        for block in blocks if type(blocks) is list else ():
            if type(block) is dict:
                self._whole_thought(block, out)
        content = delta.get("content")
        if content:
            thinking, text = plain_parts(content)
            if thinking:
                self._think(thinking, out)
            if text:
                self._text(text, out)
        refusal = delta.get("refusal")
        if type(refusal) is str and refusal:
            self._refusal.append(refusal)
        calls = delta.get("tool_calls")
        for piece in calls if type(calls) is list else ():
            if type(piece) is dict and not self._ended:
                self._call(piece, out)

    # blocks

    def _begin(self, kind: str, block: Payload, out: list[bytes]) -> None:
        if self._ended:  # it broke just now: nothing comes after the error
            return
        self._end_block(out)
        self._index += 1
        self._kind = kind
        out.append(event("content_block_start", {"type": "content_block_start", "index": self._index, "content_block": block}))

    def _end_block(self, out: list[bytes]) -> None:
        if self._kind and not self._ended:
            self._kind = ""
            self._thought = []
            out.append(_BLOCK_STOP % self._index)

    def _piece(self, kind: bytes, name: bytes, text: str, out: list[bytes]) -> None:
        if not self._ended:
            out.append(_DELTA % (self._index, kind, name, written(text)))

    def _text(self, text: str, out: list[bytes]) -> None:
        if self._kind != "text":
            self._settle_calls(out)
            self._begin("text", {"type": "text", "text": ""}, out)
        self._piece(b"text_delta", b"text", text, out)

    def _think(self, text: str, out: list[bytes]) -> None:
        if self._kind != "thinking":
            self._settle_calls(out)
            self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
        self._thought.append(text)
        if not self._hidden:
            self._piece(b"thinking_delta", b"thinking", text, out)

    def _whole_thought(self, block: Payload, out: list[bytes]) -> None:
        """Its text may have been told already, piece by piece: then only its signature is new."""
        self._settle_calls(out)
        kind, data = block.get("type"), block.get("data")
        if kind == "redacted_thinking" and type(data) is str:
            self._begin("redacted_thinking", {"type": kind, "data": data}, out)
            self._end_block(out)
        elif kind == "thinking":
            text, signature = block.get("thinking"), block.get("signature")
            text = text if type(text) is str else ""
            if self._kind != "thinking" or "".join(self._thought) != text:
                if self._kind == "thinking" and not text:
                    text = "".join(self._thought)  # a provider that signs without repeating what it said
                else:
                    self._end_block(out)
                    self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
                    if text and not self._hidden:
                        self._piece(b"thinking_delta", b"thinking", text, out)
            if type(signature) is str and signature:
                self._piece(b"signature_delta", b"signature", signature, out)
            self._end_block(out)

    # calls

    def _call(self, piece: Payload, out: list[bytes]) -> None:
        index = piece.get("index", 0)
        index = index if type(index) is int else 0
        function = piece.get("function")
        function = function if type(function) is dict else {}
        if index in self._told:  # it was whole: whatever else is said of it belongs to something else
            if type(function.get("arguments")) is str and function["arguments"].strip():
                self._fail("A call that had ended goes on.", out)
            return
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = _Call()
        for name, value in (("id", piece.get("id")), ("signature", piece.get("signature")), ("name", function.get("name"))):
            if type(value) is str and value and not getattr(call, name):
                setattr(call, name, value)
        arguments = function.get("arguments")
        if type(arguments) is str and arguments:
            call.texts.append(arguments)
        self._tell_calls(out)

    def _tell_calls(self, out: list[bytes]) -> None:
        """The first of those that have not ended is told as it comes; the next once that one's arguments are whole."""
        for index, call in list(self._calls.items()):
            if not call.name:
                return
            self._tell(index, call, out)
            if len(self._calls) == 1 or not call.complete():
                return
            self._end_call(index, out)

    def _tell(self, index: int, call: _Call, out: list[bytes]) -> None:
        if not call.open:
            call.open = self._called = True
            own = call_id({"id": call.id, "signature": call.signature}, f"toolu_{self._id}_{index}")
            self._begin("tool_use", {"type": "tool_use", "id": own, "name": call.name, "input": {}}, out)
        for text in call.texts[call.told :]:
            self._piece(b"input_json_delta", b"partial_json", text, out)
        call.told = len(call.texts)

    def _end_call(self, index: int, out: list[bytes]) -> None:
        self._end_block(out)
        self._told.add(index)
        del self._calls[index]

    def _settle_calls(self, out: list[bytes], *, cut: bool = False) -> None:
        """Nothing more comes of those that have not ended. cut: the output cap may have cut their arguments."""
        for index, call in list(self._calls.items()):
            if not call.name:
                self._fail("A call names no function.", out)
                return
            self._tell(index, call, out)
            if not cut and json_object("".join(call.texts)) is None:
                self._fail("A call's arguments are no JSON object.", out)
                return
            self._end_call(index, out)

    def _fail(self, why: str, out: list[bytes]) -> None:
        if not self._ended:
            self.failed = True
            self._calls.clear()
            out.append(self.error(Trouble(why, "server_error", "upstream_malformed")))
