"""Amazon Bedrock's Converse: calls checked and read as a chat call, answers and binary event streams written. No sockets, no time.

Source: AWS's API reference, ``Converse`` and ``ConverseStream``; the Smithy specification, "Event stream".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import pack
from typing import Any
from urllib.parse import unquote
from zlib import crc32

import msgspec

from apps.simulator.counting import BYTES_PER_TOKEN, text_tokens
from apps.simulator.openai import EXTENSION, SIMULATED, ChatCall, Choice, Refused, arguments, encode
from apps.simulator.wire import Asked, Usage

PATH = re.compile(r"/model/(?P<model>[^/]+)/(?P<method>converse|converse-stream)")
STREAM = b"content-type: application/vnd.amazon.eventstream\r\n"
_CODES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def _code(status: int, code: str | None) -> str:
    if code is not None and code.endswith("Exception"):
        return code
    return _CODES.get(status, "ValidationException" if status < 500 else "InternalServerException")


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """AWS's error object, marked as simulated. Which exception it is, a header says."""
    return encode({"message": message, SIMULATED: True})


def error_headers(status: int, code: str | None) -> bytes:
    return b"x-amzn-errortype: %b:http://internal.amazon.com/coral/com.amazon.bedrock/\r\n" % _code(status, code).encode()


def models_body(names: list[str]) -> bytes:
    rows = [
        {"modelId": name, "modelName": name, "providerName": "Bulkhead", "responseStreamingSupported": True, "outputModalities": ["TEXT"]}
        for name in names
    ]
    return encode({"modelSummaries": rows, SIMULATED: True})


def chat_call(asked: Asked) -> ChatCall:
    """The request as a chat call. Raises Refused."""
    body = asked.body
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("1 validation error detected: Value at 'messages' failed to satisfy constraint: Member must not be empty")
    said: list[dict[str, Any]] = []
    if body.get("system"):
        said.append({"role": "system", "content": _text(body["system"])})
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise Refused(f"messages.{index}.role: Member must satisfy enum value set: [user, assistant]")
        said.append({"role": message["role"], "content": _text(message.get("content"))})
    if messages[0].get("role") != "user":
        raise Refused("A conversation must start with a user message. Try again with a conversation that starts with a user message.")
    chat: dict[str, Any] = {
        "model": unquote(asked.match["model"]),
        "messages": said,
        "stream": asked.match["method"] == "converse-stream",
    }
    settings = body.get("inferenceConfig") or {}
    for theirs, ours in (("maxTokens", "max_tokens"), ("temperature", "temperature"), ("stopSequences", "stop")):
        if settings.get(theirs) is not None:
            chat[ours] = settings[theirs]
    more = body.get("additionalModelRequestFields") or {}
    if more.get("top_k") is not None:
        chat["top_k"] = more["top_k"]
    for name, wish in ((EXTENSION, body.get(EXTENSION)), ("metadata", body.get("requestMetadata"))):
        if wish is not None:
            chat[name] = wish
    _tools(body.get("toolConfig"), chat)
    _form(body.get("outputConfig"), chat)
    if said[-1]["role"] == "assistant":
        chat["continue_final_message"] = True
    return ChatCall(chat)


def _tools(config: Any, chat: dict[str, Any]) -> None:
    specs = [tool["toolSpec"] for tool in (config or {}).get("tools") or () if isinstance(tool, dict) and "toolSpec" in tool]
    if not specs:
        return
    chat["tools"] = [
        {"type": "function", "function": {"name": spec.get("name"), "parameters": (spec.get("inputSchema") or {}).get("json")}}
        for spec in specs
    ]
    choice = config.get("toolChoice") or {}
    if "any" in choice:
        chat["tool_choice"] = "required"
    elif "tool" in choice:
        chat["tool_choice"] = {"type": "function", "function": {"name": (choice["tool"] or {}).get("name")}}


def _form(config: Any, chat: dict[str, Any]) -> None:
    form = ((config or {}).get("textFormat") or {}) if isinstance(config, dict) else {}
    if form.get("type") != "json_schema":
        return
    try:
        schema = msgspec.json.decode(form["structure"]["jsonSchema"]["schema"])
    except (KeyError, TypeError, msgspec.DecodeError):
        raise Refused("outputConfig.textFormat.structure.jsonSchema.schema: a JSON schema as a text is required") from None
    chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}


def _text(content: Any) -> Any:
    """Texts joined; anything else is left to be counted as it is."""
    if isinstance(content, list) and all(isinstance(block, dict) and isinstance(block.get("text"), str) for block in content):
        return "".join(block["text"] for block in content)
    return content


def _usage(usage: Usage) -> dict[str, int]:
    prompt, output = usage["prompt_tokens"], usage["completion_tokens"]
    return {"inputTokens": prompt, "outputTokens": output, "totalTokens": prompt + output}


def _call_id(answer_id: str) -> str:
    return f"tooluse_{answer_id[-12:]}"


def answer_body(answer_id: str, created: int, call: ChatCall, choices: list[Choice], usage: Usage | None) -> bytes:
    """The JSON answer; it has one choice."""
    choice = choices[0]
    block: dict[str, Any] = {"text": choice.text}
    if choice.tool is not None:
        block = {"toolUse": {"toolUseId": _call_id(answer_id), "name": choice.tool, "input": arguments(choice)}}
    body: dict[str, Any] = {
        "metrics": {"latencyMs": 1},
        "output": {"message": {"role": "assistant", "content": [block]}},
        "stopReason": _REASONS.get(choice.finish_reason, choice.finish_reason),
    }
    if usage is not None:
        body["usage"] = _usage(usage)
    return encode({**body, SIMULATED: True})


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of an event stream: lengths, their checksum, headers, payload, the checksum of all."""
    head = b"".join(
        bytes((len(name),)) + name.encode() + b"\x07" + pack(">H", len(value.encode())) + value.encode() for name, value in headers.items()
    )
    lengths = pack(">II", len(head) + len(payload) + 16, len(head))
    whole = lengths + pack(">I", crc32(lengths)) + head + payload
    return whole + pack(">I", crc32(whole))


def _event(kind: str, **fields: Any) -> bytes:
    fields["p"] = _PADDING[: len(kind)]  # AWS hides a token's length in padding
    return message({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, encode(fields))


class Events:
    """Writes the events of one streamed message; it has one choice."""

    error = message(
        {":exception-type": "modelStreamErrorException", ":content-type": "application/json", ":message-type": "exception"},
        encode({"message": "The model had an error while it answered (simulated).", SIMULATED: True}),
    )

    def __init__(self, answer_id: str, created: int, call: ChatCall, usage: Usage) -> None:
        self._id = answer_id
        self._usage = usage
        self._reason = "end_turn"

    @property
    def malformed(self) -> bytes:
        """A message whose payload is no JSON and whose last checksum is wrong."""
        whole = message({":event-type": "contentBlockDelta", ":message-type": "event"}, b'{"contentBlockIndex":0,"delta":')
        return whole[:-1] + bytes((whole[-1] ^ 0xFF,))

    def opening(self, index: int, choice: Choice) -> bytes:
        begun = _event("messageStart", role="assistant", **{SIMULATED: True})
        if choice.tool is None:
            return begun
        return begun + _event(
            "contentBlockStart", contentBlockIndex=0, start={"toolUse": {"toolUseId": _call_id(self._id), "name": choice.tool}}
        )

    def pieces(self, index: int, choice: Choice, tokens_per_event: int) -> Iterator[tuple[int, bytes]]:
        """(tokens, event) for each piece of the content."""
        size = tokens_per_event * BYTES_PER_TOKEN
        for start in range(0, len(choice.text), size):
            piece = choice.text[start : start + size]
            delta: dict[str, Any] = {"text": piece} if choice.tool is None else {"toolUse": {"input": piece}}
            yield text_tokens(piece), _event("contentBlockDelta", contentBlockIndex=0, delta=delta)

    def closing(self, index: int, choice: Choice) -> bytes:
        self._reason = _REASONS.get(choice.finish_reason, choice.finish_reason)
        return _event("contentBlockStop", contentBlockIndex=0)

    def ending(self, *, usage: bool, done: bool) -> bytes:
        told = _event("messageStop", stopReason=self._reason) if done else b""
        return told + (_event("metadata", usage=_usage(self._usage), metrics={"latencyMs": 1}) if usage else b"")
