"""OpenAI's wire format: chat completions (JSON and SSE) and embeddings.

Source: OpenAI's API reference; what differs between compatible servers is noted where it is handled.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from apps.contracts.usage import Tokens
from apps.proxy.dialects.base import Answer

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

PATHS = {"chat": "/chat/completions", "embeddings": "/embeddings"}
_MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
_OWN_CAP_FIELD_HOSTS = (b"api.openai.com", b"openai.azure.com")
"""Hosts whose newer models refuse ``max_tokens``; everybody else may know only that."""


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = 0


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None
    object: str = ""
    error: msgspec.Raw | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: msgspec.Raw | None = None
    function_call: msgspec.Raw | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def _tokens(usage: _Usage) -> Tokens:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return Tokens(
        input=max(0, usage.prompt_tokens),
        output=max(0, usage.completion_tokens),
        cache_read=(prompt.cached_tokens or 0) if prompt is not None else 0,
        reasoning=(completion.reasoning_tokens or 0) if completion is not None else 0,
    )


class OpenAIDialect:
    name = "openai"

    def request_heads(self, *, base_path: str, host: bytes, secret: bytes | None) -> dict[str, bytes]:
        shared = b"host: %b\r\n" % host
        if secret is not None:
            shared += b"authorization: Bearer %b\r\n" % secret
        shared += b"content-type: application/json\r\naccept-encoding: identity\r\nuser-agent: bulkhead\r\n"
        heads = {}
        for kind, path in PATHS.items():
            heads[kind] = b"POST %b%b HTTP/1.1\r\n%bcontent-length: " % (base_path.encode(), path.encode(), shared)
        return heads

    def body(self, exchange: Exchange, target: CompiledTarget) -> bytes:
        """Splices what must differ into the app's own bytes; unknown fields pass through untouched."""
        body = exchange.request.body
        payload = exchange.payload
        added = b""
        if exchange.cap_injected:
            own = any(name in target.request_heads["chat"] for name in _OWN_CAP_FIELD_HOSTS)
            added += b'"%b":%d,' % (b"max_completion_tokens" if own else b"max_tokens", exchange.max_output)
        if exchange.stream and not exchange.usage_asked:
            options = payload.get("stream_options")
            if options is None and "stream_options" not in payload:
                added += b'"stream_options":{"include_usage":true},'
            else:
                changed = dict(payload)
                changed["stream_options"] = {**(options or {}), "include_usage": True}
                changed["model"] = target.model
                if exchange.cap_injected:
                    changed.update(_decode_any(b"{" + added[:-1] + b"}"))
                return _encode(changed)
        if target.model != exchange.requested_model:
            body, count = _MODEL.subn(b'"model":' + _encode(target.model).replace(b"\\", b"\\\\"), body)
            if count != 1:  # the word occurs elsewhere too: change the one field that counts
                body = _encode({**payload, "model": target.model})
        if added:
            start = body.index(b"{") + 1
            body = body[:start] + added + body[start:]
        return body

    def answer(self, body: bytes) -> Answer | None:
        try:
            answer = _decode_answer(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if answer.error is not None and answer.error != b"null":
            return None
        return Answer(_tokens(answer.usage) if answer.usage is not None else None)

    def stream(self, exchange: Exchange) -> OpenAIStream:
        return OpenAIStream(hide_usage=not exchange.usage_asked)


_KEEP_RAW = 64 * 1024
_ORDINARY = (
    b'"finish_reason":null}]}\n\n',
    b'"finish_reason":null}],"usage":null}\n\n',
    b'"logprobs":null,"finish_reason":null}]}\n\n',
    b'"finish_reason":null,"logprobs":null}]}\n\n',
    b'"finish_reason": null}]}\n\n',
)
"""How an event ends that is one more piece of the answer, in the spellings of common servers."""
_ORDINARY_WIRE = tuple(end + b"\r\n" for end in _ORDINARY)


class OpenAIStream:
    """Server-sent events of chat completions, framed and not parsed.

    Chunks pass through as they come. Only those that mention usage, an error, a finish or the end are looked into; everything is kept
    to 64 KiB (then compacted to a count) so that a broken stream's output can be measured.
    """

    __slots__ = (
        "_carry",
        "_hide_usage",
        "_raw",
        "_raw_size",
        "_text_bytes",
        "error",
        "finished",
        "has_output",
        "passed_bytes",
        "rest",
        "saw_finish",
        "tokens",
    )

    def __init__(self, *, hide_usage: bool) -> None:
        self.tokens: Tokens | None = None
        self.finished = False
        self.saw_finish = False
        self.error = ""
        self.has_output = False
        self.rest = b""
        self.passed_bytes = 0
        self._hide_usage = hide_usage
        self._carry = b""
        self._raw: list[bytes] = []
        self._raw_size = 0
        self._text_bytes = 0

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
            if self._raw_size > _KEEP_RAW:
                self._compact()
            return chunk
        if self._carry or chunk[-2:] != b"\n\n":
            chunk = self._frame(chunk)
            if not chunk:
                return b""
        if self.finished:  # nothing counts after the end
            return b""
        self._raw.append(chunk)
        self._raw_size += len(chunk)
        if self._raw_size > _KEEP_RAW:
            self._compact()
        if b'"usage":{' in chunk or b"[DONE]" in chunk or b'"error"' in chunk or not self.has_output or b'"usage": {' in chunk:
            return self._look(chunk)
        return chunk

    def passes(self, wire: bytes, start: int) -> bool:
        if (
            not wire.endswith(_ORDINARY_WIRE)
            or not self.has_output
            or self._carry
            or self.finished
            or wire.find(b"\n\n", start) != len(wire) - 4
        ):
            return False
        self.passed_bytes += len(wire) - start - 2
        self._raw.append(wire)  # its size line is no ``data:`` field, so it is ignored when this is measured
        self._raw_size += len(wire)
        if self._raw_size > _KEEP_RAW:
            self._compact()
        return True

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
            return b""
        self._carry = data[cut + 2 :]
        return data[: cut + 2]

    def _look(self, chunk: bytes) -> bytes:
        """Parse the events of a chunk that may matter; give what may pass, hold back the end."""
        passed: list[bytes] = []
        for event in chunk.split(b"\n\n"):
            if not event.strip():
                continue
            data = _event_data(event)
            if data is None:  # a comment or a field we do not use
                passed.append(event)
                continue
            if data == b"[DONE]":
                self.finished = True
                self.rest = event + b"\n\n"
                break
            try:
                parsed = _decode_event(data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                passed.append(event)  # malformed inside a well-framed event: the app's parser decides
                continue
            if parsed.error is not None and parsed.error != b"null":
                self.error = bytes(data).decode("utf-8", "replace")
                break
            if parsed.usage is not None:
                self.tokens = _tokens(parsed.usage)
                if self._hide_usage and not parsed.choices:
                    continue
            for choice in parsed.choices:
                delta = choice.delta
                if choice.finish_reason:
                    self.saw_finish = self.has_output = True
                if delta is not None and (
                    delta.content
                    or delta.reasoning_content
                    or delta.reasoning
                    or delta.refusal
                    or delta.tool_calls is not None
                    or delta.function_call is not None
                ):
                    self.has_output = True
            passed.append(event)
        if not passed:
            return b""
        return b"\n\n".join(passed) + b"\n\n"

    def close(self) -> bool:
        """The upstream's body ended. True when the stream was whole: it said so, or gave a finish reason."""
        if self._carry:
            carried, self._carry = self._carry.replace(b"\r\n", b"\n") + b"\n\n", b""
            if not self.finished:
                self._raw.append(carried)
                self.rest = self._look(carried) + self.rest
        if self.tokens is None:
            self._recover_usage()
        if not self.finished and not self.error:
            tail = b"".join(self._raw)
            if self.saw_finish or re.search(rb'"finish_reason"\s*:\s*"', tail) is not None:
                self.finished = True  # some servers forget [DONE]: finish promptly
                self.rest += b"data: [DONE]\n\n"
        return self.finished and not self.error

    def _recover_usage(self) -> None:
        """Usage written in an unusual spelling was passed through unseen: look for it once, at the end."""
        for event in b"".join(self._raw).split(b"\n\n"):
            if b'"usage"' in event and (data := _event_data(event)) is not None and data != b"[DONE]":
                try:
                    parsed = _decode_event(data)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    continue
                if parsed.usage is not None:
                    self.tokens = _tokens(parsed.usage)

    def _compact(self) -> None:
        self._text_bytes += _text_bytes(self._raw)
        self.saw_finish = self.saw_finish or any(re.search(rb'"finish_reason"\s*:\s*"', part) for part in self._raw)
        self._raw, self._raw_size = [], 0

    def output_bytes(self) -> int:
        return self._text_bytes + _text_bytes(self._raw)


def _event_data(event: bytes) -> bytes | None:
    """The joined ``data:`` lines of one event; None when it has none."""
    lines = [line[5:].lstrip(b" ") if line[5:6] == b" " else line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
    if not lines:
        return None
    return lines[0].strip() if len(lines) == 1 else b"\n".join(lines)


def _text_bytes(raw: list[bytes]) -> int:
    """UTF-8 bytes of all text and tool-call arguments in these events."""
    total = 0
    for event in b"".join(raw).split(b"\n\n"):
        data = _event_data(event)
        if data is None or data == b"[DONE]":
            continue
        try:
            parsed = _decode_event(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            total += len(data)
            continue
        for choice in parsed.choices:
            delta = choice.delta
            if delta is not None:
                for text in (delta.content, delta.reasoning_content, delta.reasoning, delta.refusal):
                    if text:
                        total += len(text.encode())
                for raw_part in (delta.tool_calls, delta.function_call):
                    if raw_part is not None:
                        total += len(bytes(raw_part))
    return total


IMAGE_TOKENS = 50_000
"""Upper bound of one image's input tokens over OpenAI's models (high detail, several tiles, mini models' multipliers)."""

_BILLED_APART = frozenset({"web_search_options", "prediction", "modalities", "service_tier", "tools"})


def chat_extras(payload: dict[str, Any]) -> tuple[int, str]:
    """(input tokens beyond one per byte of the body, why the cost has no upper bound at all; empty when it has one).

    Text costs at most one token per UTF-8 byte. An image is counted at IMAGE_TOKENS.
    """
    extra = 0
    for message in payload["messages"]:
        content = message.get("content") if type(message) is dict else None
        if type(content) is list:
            for part in content:
                kind = part.get("type") if type(part) is dict else None
                if kind == "image_url":
                    extra += IMAGE_TOKENS
                elif kind not in ("text", "refusal"):
                    return extra, f"a message part of type {kind!r} has a cost that cannot be bounded"
    if _BILLED_APART.isdisjoint(payload):
        return extra, ""
    if "web_search_options" in payload:
        return extra, "web search is billed per search"
    if payload.get("prediction") is not None:
        return extra, "rejected prediction tokens are billed beyond max_tokens"
    if payload.get("modalities") not in (None, ["text"]):
        return extra, "audio output has a cost that cannot be bounded"
    if payload.get("service_tier") not in (None, "auto", "default", "flex"):
        return extra, f"the service tier {payload.get('service_tier')!r} has prices of its own"
    tools = payload.get("tools")
    if type(tools) is list:
        for tool in tools:
            if type(tool) is dict and tool.get("type") not in ("function", "custom", None):
                return extra, f"the server-side tool {tool.get('type')!r} is billed apart"
    return extra, ""
