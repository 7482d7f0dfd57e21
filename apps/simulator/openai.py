"""OpenAI's wire format: requests checked and read, answers and events written. No sockets, no time."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from apps.simulator import content
from apps.simulator.counting import BYTES_PER_TOKEN, input_tokens, prompt_tokens, text_tokens
from apps.simulator.faults import Fault, FaultError, parse_fault

SIMULATED = "bulkhead_simulated"
EXTENSION = "bulkhead_sim"
MAX_TOKENS = 1_000_000
MAX_CHOICES = 128
LAST_WORDS = "Its last words are:\n\n"
"""What a request to repeat the last words and go on says before it names them."""

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


class Refused(Exception):
    """A request that OpenAI would refuse; becomes its error object."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
    400: "invalid_request_error",
}


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """OpenAI's error object, marked as simulated."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return encode({"error": {"message": message, "type": kind, "param": param, "code": code}, SIMULATED: True})


class Call:
    """What every operation's request has: the model, and what the request asks of the simulator itself."""

    __slots__ = ("fault", "model", "output_tokens")

    def __init__(self, body: dict[str, Any]) -> None:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise Refused("you must provide a model parameter", param="model")
        self.model = model
        self.output_tokens: int | None = None
        self.fault: Fault | None = None
        wish = body.get(EXTENSION)
        metadata = body.get("metadata")
        if wish is None and isinstance(metadata, dict):
            wish = metadata.get(EXTENSION)
            if isinstance(wish, str):  # OpenAI's metadata carries text only
                wish = {"output_tokens": int(wish)} if wish.isdecimal() else {"fault": wish}
        if wish is not None:
            self._read_wish(wish)

    def _read_wish(self, wish: Any) -> None:
        if not isinstance(wish, dict):
            raise Refused(f"{EXTENSION} must be an object: {{'output_tokens': 5, 'fault': '503'}}", param=EXTENSION)
        tokens = wish.get("output_tokens")
        if tokens is not None:
            self.output_tokens = _integer(tokens, f"{EXTENSION}.output_tokens", 0, MAX_TOKENS)
        if wish.get("fault") is not None:
            try:
                self.fault = parse_fault(str(wish["fault"]))
            except FaultError as error:
                raise Refused(str(error), param=f"{EXTENSION}.fault") from None


def _integer(value: Any, param: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Refused(f"Invalid value for {param}: expected an integer from {low} to {high}", param=param)
    return value


def read_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a request. Raises Refused."""
    try:
        document = decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("We could not parse the JSON body of your request.") from None
    if not isinstance(document, dict):
        raise Refused("The body of your request must be a JSON object.")
    return document


class ChatCall(Call):
    """A checked chat completion request."""

    __slots__ = (
        "anchor",
        "begun",
        "choices",
        "forced_tool",
        "include_usage",
        "input_tokens",
        "limit",
        "offered_tool",
        "said",
        "schema",
        "settled",
        "stops",
        "stream",
        "unbegun",
    )

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(body)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise Refused("Invalid type for 'messages': expected a non-empty array of objects", param="messages")
        for index, message in enumerate(messages):
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise Refused(f"messages[{index}] must be an object with a 'role'", param=f"messages[{index}]")
        tools = body.get("tools")
        self.input_tokens = prompt_tokens(messages, tools)
        self.stream = body.get("stream") is True
        options = body.get("stream_options")
        if options is not None and not (self.stream and isinstance(options, dict)):
            raise Refused("The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
        self.include_usage = isinstance(options, dict) and options.get("include_usage") is True
        limits = [body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
        self.limit = _integer(limits[0], "max_tokens", 1, MAX_TOKENS) if limits else None
        self.choices = _integer(1 if body.get("n") is None else body["n"], "n", 1, MAX_CHOICES)
        stop = body.get("stop")
        stops = [stop] if isinstance(stop, str) else [] if stop is None else stop
        if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(item, str) and item for item in stops):
            raise Refused("'stop' must be a text or at most four of them", param="stop")
        self.stops: list[str] = stops
        self.forced_tool = _forced_tool(tools, body.get("tool_choice"))
        self.offered_tool = _offered_tool(tools, body.get("tool_choice"), messages)
        """What it may call of its own accord; None where nothing is offered, or a result has come back already."""
        self.said = _last_said(messages)
        """By the user: a call that is written there, as ``weather("Ulm")``, is made so."""
        self.schema = _wanted_schema(body.get("response_format"))
        self.begun, self.anchor, asked = _beginning(body, messages)
        self.settled: int | None = None
        """Of which text the answer is, where the request wants the same one every time; by its messages, at every simulator alike."""
        self.unbegun: int | None = None
        """The same for who takes the beginning for one message more."""
        if body.get("temperature") == 0 or body.get("seed") is not None or body.get("top_k") == 1:
            self.settled, self.unbegun = (zlib.crc32(encode([said, body.get("seed")])) for said in (asked, messages))

    def begin_anew(self) -> None:
        """As a provider does that knows no continuing: the beginning is one message more."""
        self.begun = self.anchor = ""
        self.settled = self.unbegun


def _beginning(body: dict[str, Any], messages: list[Any]) -> tuple[str, str, list[Any]]:
    """(the answer's beginning that is to be gone on from, its last words where they are to be repeated, the messages before it)."""
    last = messages[-1]
    said = last.get("content")
    if not isinstance(said, str):
        return "", "", messages
    if last["role"] == "assistant" and (
        body.get("continue_final_message") is True or last.get("prefix") is True or last.get("partial") is True
    ):
        return said, "", messages[:-1]
    if last["role"] == "user" and LAST_WORDS in said and len(messages) > 1 and messages[-2]["role"] == "assistant":
        before, anchor = messages[-2].get("content"), said.rpartition(LAST_WORDS)[2]
        if isinstance(before, str) and before.endswith(anchor):
            return before, anchor, messages[:-2]
    return "", "", messages


def _forced_tool(tools: Any, choice: Any) -> dict[str, Any] | None:
    """The function that ``tool_choice`` forces, None where it forces none."""
    if choice is None or choice in ("none", "auto"):
        return None
    functions: list[dict[str, Any]] = [
        tool["function"] for tool in tools or [] if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    if choice == "required":
        found = functions[:1]
    elif isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        found = [function for function in functions if function.get("name") == choice["function"].get("name")]
    else:
        raise Refused("'tool_choice' must be 'none', 'auto', 'required' or name a function", param="tool_choice")
    if not found:
        raise Refused("'tool_choice' names no function of 'tools'", param="tool_choice")
    return found[0]


_RESULTS = ("toolResult", "functionResponse", "function_response")


def _is_result(message: dict[str, Any]) -> bool:
    """It carries what a tool gave back, in any of the formats that are read as chat calls."""
    said = message.get("content")
    parts = [part for part in said if isinstance(part, dict)] if isinstance(said, list) else []
    return message["role"] == "tool" or any(part.get("type") == "tool_result" or any(name in part for name in _RESULTS) for part in parts)


def _offered_tool(tools: Any, choice: Any, messages: list[Any]) -> dict[str, Any] | None:
    if choice not in (None, "auto") or any(_is_result(message) for message in messages):
        return None
    found = [tool["function"] for tool in tools or [] if isinstance(tool, dict) and isinstance(tool.get("function"), dict)]
    said = _last_said(messages)
    named = [function for function in found if f"{function.get('name')}" in said]
    return (named or found)[0] if found else None


def _last_said(messages: list[Any]) -> str:
    """The text of the last message."""
    content = messages[-1].get("content")
    if isinstance(content, list):
        content = " ".join([str(part.get("text") or "") for part in content if isinstance(part, dict)])
    return content if isinstance(content, str) else ""


def _wanted_schema(wanted: Any) -> Any:
    """The schema that the content must fit; None for text."""
    if wanted is None or (isinstance(wanted, dict) and wanted.get("type") == "text"):
        return None
    if isinstance(wanted, dict) and wanted.get("type") == "json_object":
        return {"type": "object", "properties": {"simulated": {"const": True}}}
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and isinstance(wanted.get("json_schema"), dict):
        return wanted["json_schema"].get("schema") or {}
    raise Refused("'response_format' must be of type text, json_object or json_schema", param="response_format")


class Choice:
    """One of an answer's choices. text: its content, or the arguments of its tool call."""

    __slots__ = ("finish_reason", "text", "tokens", "tool")

    def __init__(self, text: str, tokens: int, finish_reason: str, tool: str | None = None) -> None:
        self.text = text
        self.tokens = tokens
        self.finish_reason = finish_reason
        self.tool = tool


def choice_of(call: ChatCall, wanted: int, ordinal: int) -> Choice:
    """The answer to a call: ``wanted`` tokens unless the call limits, stops, shapes or forces it otherwise."""
    limit = call.limit
    if call.settled is not None:
        ordinal = call.settled
    if call.forced_tool is not None or call.schema is not None:
        tool = call.forced_tool
        if tool is None:
            text = encode(content.smallest_instance(call.schema)).decode()
        else:
            text = encode(content.said_arguments(tool.get("parameters"), str(tool.get("name")), call.said)).decode()
        tokens = text_tokens(text)
        if limit is not None and tokens > limit:
            text, tokens = text.encode()[: limit * BYTES_PER_TOKEN].decode("utf-8", "ignore"), limit
            return Choice(text, tokens, "length", str(tool.get("name")) if tool is not None else None)
        return Choice(text, tokens, "tool_calls" if tool is not None else "stop", str(tool.get("name")) if tool is not None else None)
    reason = "stop"
    begun = -(-len(call.begun) // BYTES_PER_TOKEN)
    wanted = max(0, wanted - begun) + text_tokens(call.anchor)
    if limit is not None and wanted > limit:
        wanted, reason = limit, "length"
    if call.begun:
        text = call.anchor + content.continued_text(call.begun, begun + max(0, wanted - text_tokens(call.anchor)), ordinal)
        return Choice(text, wanted, reason)
    text = content.completion_text(wanted, ordinal)
    ends = [at for at in (text.find(stop) for stop in call.stops) if at >= 0]
    if ends:
        text = text[: min(ends)]
        return Choice(text, text_tokens(text), "stop")
    return Choice(text, wanted, reason)


def arguments(choice: Choice) -> Any:
    """Of a tool's call, as formats write them that carry no JSON inside of JSON; empty where the limit has cut them off."""
    try:
        return decode(choice.text.encode())
    except msgspec.DecodeError:
        return {}


def usage_object(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def chat_body(answer_id: str, created: int, call: ChatCall, choices: list[Choice], usage: dict[str, Any] | None) -> bytes:
    """The JSON answer of a chat completion."""
    written = []
    for index, choice in enumerate(choices):
        message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
        if choice.tool is not None:
            message["content"] = None
            function = {"name": choice.tool, "arguments": choice.text}
            message["tool_calls"] = [{"id": f"call_{answer_id[-12:]}{index}", "type": "function", "function": function}]
        written.append({"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish_reason})
    body: dict[str, Any] = {"id": answer_id, "object": "chat.completion", "created": created, "model": call.model, "choices": written}
    if usage is not None:
        body["usage"] = usage
    body["system_fingerprint"] = "fp_simulated"
    body[SIMULATED] = True
    return encode(body)


class ChatEvents:
    """Writes the events of one streamed chat completion, each a whole ``data: ...\\n\\n``."""

    __slots__ = ("_head", "_id", "_include_usage", "_tail", "_usage")

    error = b"data: " + error_body(500, "The server had an error while processing your request (simulated).") + b"\n\n"
    malformed = b'data: {"id":"chatcmpl-broken","choices":[{"delta":\n\nthis line is no field of an event stream\n\n'

    def __init__(self, answer_id: str, created: int, call: ChatCall, usage: dict[str, Any]) -> None:
        self._include_usage = call.include_usage
        self._usage = usage
        head = {"id": answer_id, "object": "chat.completion.chunk", "created": created, "model": call.model}
        self._id = answer_id
        self._head = b"data: " + encode({**head, "system_fingerprint": "fp_simulated", SIMULATED: True})[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if call.include_usage else b"]}\n\n"

    def _event(self, index: int, delta: bytes, finish: bytes = b"null") -> bytes:
        return b'%b{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}%b' % (self._head, index, delta, finish, self._tail)

    def opening(self, index: int, choice: Choice) -> bytes:
        """The role; for a tool call also its id and name."""
        if choice.tool is None:
            return self._event(index, b'{"role":"assistant","content":"","refusal":null}')
        call = {"index": 0, "id": f"call_{self._id[-12:]}{index}", "type": "function", "function": {"name": choice.tool, "arguments": ""}}
        return self._event(index, encode({"role": "assistant", "content": None, "tool_calls": [call]}))

    def pieces(self, index: int, choice: Choice, tokens_per_event: int) -> Iterator[tuple[int, bytes]]:
        """(tokens, event) for each piece of the content."""
        size = tokens_per_event * BYTES_PER_TOKEN
        for start in range(0, len(choice.text), size):
            piece = choice.text[start : start + size]
            if choice.tool is None:
                delta = b'{"content":%b}' % encode(piece)
            else:
                delta = encode({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            yield text_tokens(piece), self._event(index, delta)

    def closing(self, index: int, choice: Choice) -> bytes:
        return self._event(index, b"{}", encode(choice.finish_reason))

    def ending(self, *, usage: bool, done: bool) -> bytes:
        """What follows the finish reasons. usage: the event without choices that ``stream_options.include_usage`` asks for."""
        told = b'%b],"usage":%b}\n\n' % (self._head, encode(self._usage)) if usage and self._include_usage else b""
        return told + b"data: [DONE]\n\n" if done else told


class EmbeddingsCall(Call):
    """A checked embeddings request."""

    __slots__ = ("base64", "dimensions", "input_tokens", "inputs")

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(body)
        given = body.get("input")
        if isinstance(given, str) or (isinstance(given, list) and given and all(_is_token(item) for item in given)):
            given = [given]
        if not isinstance(given, list) or not given or len(given) > 2048:
            raise Refused("'input' must be a text, token ids, or 1 to 2048 of them", param="input")
        for item in given:
            if not (isinstance(item, str) and item) and not (isinstance(item, list) and item and all(_is_token(token) for token in item)):
                raise Refused("'input' must hold texts or token ids, none of them empty", param="input")
        self.inputs: list[str | list[int]] = given
        self.input_tokens = sum(input_tokens(item) for item in given)
        wanted = body.get("encoding_format")
        if wanted not in (None, "float", "base64"):
            raise Refused("'encoding_format' must be float or base64", param="encoding_format")
        self.base64 = wanted == "base64"
        self.dimensions = None if body.get("dimensions") is None else _integer(body["dimensions"], "dimensions", 1, 8192)


def _is_token(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)


def embeddings_body(call: EmbeddingsCall, dimensions: int, *, usage: bool = True) -> bytes:
    """The JSON answer of an embeddings call; base64 vectors are little-endian float32."""
    data = []
    for index, item in enumerate(call.inputs):
        vector = content.embedding(item, call.dimensions or dimensions)
        written: Any = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if call.base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": written})
    body: dict[str, Any] = {"object": "list", "data": data, "model": call.model}
    if usage:
        body["usage"] = {"prompt_tokens": call.input_tokens, "total_tokens": call.input_tokens}
    body[SIMULATED] = True
    return encode(body)


def models_body(names: list[str], created: int) -> bytes:
    data = [{"id": name, "object": "model", "created": created, "owned_by": "bulkhead-simulator"} for name in names]
    return encode({"object": "list", "data": data, SIMULATED: True})
