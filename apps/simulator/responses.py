"""OpenAI's Responses: calls checked and read as a chat call, answers and events written. No sockets, no time.

Nothing is stored: ``previous_response_id`` is refused. Source: OpenAI's API reference, "Responses".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from apps.simulator.counting import BYTES_PER_TOKEN, text_tokens
from apps.simulator.openai import EXTENSION, SIMULATED, ChatCall, Choice, Refused, encode
from apps.simulator.wire import Asked, Usage

PATH = re.compile(r"(?:/openai)?/v1/responses")
_PASSED = ("model", "stream", "temperature", "metadata", EXTENSION)
_REASONING = {"effort": None, "summary": None}


def chat_call(asked: Asked) -> ChatCall:
    """The request as a chat call. Raises Refused."""
    body = asked.body
    if body.get("previous_response_id") is not None:
        message = f"Previous response with id '{body['previous_response_id']}' not found (simulated)."
        raise Refused(message, param="previous_response_id", code="previous_response_not_found")
    given = body.get("input")
    if isinstance(given, str) and given:
        items: list[Any] = [{"role": "user", "content": given}]
    elif isinstance(given, list) and given:
        items = given
    else:
        raise Refused("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    said: list[dict[str, Any]] = []
    if isinstance(body.get("instructions"), str):
        said.append({"role": "system", "content": body["instructions"]})
    for index, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("role") or item.get("type"), str):
            raise Refused(f"Invalid value: 'input[{index}]'.", param=f"input[{index}]", code="invalid_value")
        said.append(_message(item))
    chat: dict[str, Any] = {"messages": said, **{name: body[name] for name in _PASSED if body.get(name) is not None}}
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = body["max_output_tokens"]
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": form.get("schema")}}
    elif form.get("type") == "json_object":
        chat["response_format"] = {"type": "json_object"}
    _tools(body, chat)
    return ChatCall(chat)


def _message(item: dict[str, Any]) -> dict[str, Any]:
    """An item as a message, its texts joined; what is none is left to be counted as it is."""
    kind = item.get("type")
    if kind == "function_call_output":
        return {"role": "tool", "content": item.get("output")}
    if kind not in (None, "message"):
        return {"role": "assistant", "content": [item]}
    content = item.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
        content = "".join(part["text"] for part in content)
    return {"role": item.get("role"), "content": content}


def _tools(body: dict[str, Any], chat: dict[str, Any]) -> None:
    functions = [tool for tool in body.get("tools") or () if isinstance(tool, dict) and tool.get("type") == "function"]
    if not functions:
        return
    chat["tools"] = [{"type": "function", "function": {name: tool.get(name) for name in ("name", "parameters")}} for tool in functions]
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif isinstance(choice, str):
        chat["tool_choice"] = choice


def _usage(usage: Usage) -> dict[str, Any]:
    prompt, output = usage["prompt_tokens"], usage["completion_tokens"]
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + output,
    }


def _response(answer_id: str, created: int, call: ChatCall, **more: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "id": answer_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": call.limit,
        "metadata": {},
        "model": call.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": _REASONING,
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
    }
    return {**whole, **more, SIMULATED: True}


def _ended(choice: Choice) -> dict[str, Any]:
    if choice.finish_reason != "length":
        return {"status": "completed"}
    return {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}


def _item(answer_id: str, choice: Choice, status: str, *, whole: bool = True) -> dict[str, Any]:
    """The one item that is answered; not whole: as it begins."""
    if choice.tool is not None:
        call = {"type": "function_call", "call_id": f"call_{answer_id[-12:]}", "name": choice.tool}
        return {"id": f"fc_{answer_id[5:]}", **call, "arguments": choice.text if whole else "", "status": status}
    content = [_part(choice.text)] if whole else []
    return {"id": f"msg_{answer_id[5:]}", "type": "message", "role": "assistant", "content": content, "status": status}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def answer_body(answer_id: str, created: int, call: ChatCall, choices: list[Choice], usage: Usage | None) -> bytes:
    """The JSON answer; it has one choice."""
    ended = _ended(choices[0])
    item = _item(answer_id, choices[0], ended["status"])
    return encode(_response(answer_id, created, call, **ended, output=[item], usage=None if usage is None else _usage(usage)))


class Events:
    """Writes the events of one streamed response; it has one item."""

    malformed = (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":\n\n'
        b"this line is no field of an event stream\n\n"
    )

    def __init__(self, answer_id: str, created: int, call: ChatCall, usage: Usage) -> None:
        self._id = answer_id
        self._created = created
        self._call = call
        self._usage = usage
        self._number = 0
        self._choice = Choice("", 0, "stop")

    @property
    def error(self) -> bytes:
        words = "The server had an error while processing your request (simulated)."
        failed = _response(self._id, self._created, self._call, status="failed", error={"code": "server_error", "message": words})
        return self._event("response.failed", response=failed)

    def opening(self, index: int, choice: Choice) -> bytes:
        self._choice = choice
        begun = _response(self._id, self._created, self._call)
        told = self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)
        item = _item(self._id, choice, "in_progress", whole=False)
        told += self._event("response.output_item.added", output_index=0, item=item)
        if choice.tool is None:
            told += self._event("response.content_part.added", item_id=item["id"], output_index=0, content_index=0, part=_part(""))
        return told

    def pieces(self, index: int, choice: Choice, tokens_per_event: int) -> Iterator[tuple[int, bytes]]:
        """(tokens, event) for each piece of the content."""
        size = tokens_per_event * BYTES_PER_TOKEN
        item = _item(self._id, choice, "in_progress", whole=False)["id"]
        for start in range(0, len(choice.text), size):
            piece = choice.text[start : start + size]
            if choice.tool is None:
                place: dict[str, Any] = {"item_id": item, "output_index": 0, "content_index": 0}
                event = self._event("response.output_text.delta", **place, delta=piece, logprobs=[])
            else:
                event = self._event("response.function_call_arguments.delta", item_id=item, output_index=0, delta=piece)
            yield text_tokens(piece), event

    def closing(self, index: int, choice: Choice) -> bytes:
        item = _item(self._id, choice, "completed")
        if choice.tool is None:
            place: dict[str, Any] = {"item_id": item["id"], "output_index": 0, "content_index": 0}
            told = self._event("response.output_text.done", **place, text=choice.text, logprobs=[])
            told += self._event("response.content_part.done", **place, part=_part(choice.text))
        else:
            told = self._event(
                "response.function_call_arguments.done", item_id=item["id"], output_index=0, name=choice.tool, arguments=choice.text
            )
        return told + self._event("response.output_item.done", output_index=0, item=item)

    def ending(self, *, usage: bool, done: bool) -> bytes:
        if not done:
            return b""
        ended = _ended(self._choice)
        item = _item(self._id, self._choice, ended["status"])
        counted = _usage(self._usage) if usage else None
        whole = _response(self._id, self._created, self._call, **ended, output=[item], usage=counted)
        return self._event(f"response.{ended['status']}", response=whole)

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, "sequence_number": number, **fields}))
