"""An app's request for a response, as a chat completion's: items become messages, and what only this format has is named or refused."""

from __future__ import annotations

from typing import Any, NoReturn

from apps.proxy.dialects.responses_wire import reasoning_text, sealed, unwrapped
from apps.proxy.dialects.translation import Asked, Payload, Unsupported

_SAME = (
    "model",
    "temperature",
    "top_p",
    "user",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "moderation",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "top_k",
)
"""Fields that chat completions have, too, in the same words."""
_ELSEWHERE = frozenset(
    {
        "input",
        "instructions",
        "include",
        "max_output_tokens",
        "max_tool_calls",
        "parallel_tool_calls",
        "reasoning",
        "stream",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "truncation",
        "store",
    }
)
"""Fields that are read one by one. ``store`` is for who keeps responses, which no provider of another format does."""
_REFUSED = {
    "previous_response_id": "the response that it names is not known here any more: send the whole conversation as 'input'",
    "conversation": "conversations are kept by a provider of this format only: send the whole conversation as 'input'",
    "prompt": "stored prompts are kept by a provider of this format only: send 'instructions' and 'input'",
    "background": "responses in the background are made by a provider of this format only: leave it out",
    "context_management": "compaction is done by a provider of this format only: leave it out",
}
_NOTHING: tuple[Any, ...] = (None, False, [], {}, "")
_TOOL_FIELDS = frozenset({"type", "name", "description", "parameters", "strict", "format"})
_INCLUDABLE = frozenset(
    {
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
        "reasoning.encrypted_content",
        "message.output_text.logprobs",
    }
)
EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh"})


def request_read(body: Payload) -> Asked:
    """Raises Unsupported, with the path in ``body``."""
    said: dict[str, str] = {}
    for name in body:
        if name not in _ELSEWHERE and name not in _SAME and body[name] not in _NOTHING:
            raise Unsupported(name, f"The field {name!r} cannot be told to this target: {_REFUSED.get(name, 'it is not known')}.")
    payload: Payload = {name: body[name] for name in _SAME if body.get(name) is not None}
    payload["messages"] = _Turns(said).read(body)
    _tools(body, payload, said)
    _output(body, payload, said)
    _reasoning(body.get("reasoning"), payload, said)
    return Asked(payload, tuple([f"{field}: {what}" for field, what in said.items()]))


def items_of(given: Any) -> list[Any]:
    """``input`` as a list of items. Raises Unsupported where it is neither text nor list."""
    if type(given) is str:
        return [{"role": "user", "content": given}]
    if type(given) is not list:
        _wrong("input", "a text or a list of items")
    return given


class _Turns:
    """Items become messages. What the assistant said between two turns of the app becomes one message, unless an order would be lost."""

    def __init__(self, said: dict[str, str]) -> None:
        self._said = said
        self._messages: list[Payload] = []
        self._open: Payload | None = None
        """The assistant's message that may still be added to."""
        self._signatures: dict[str, str] = {}

    def read(self, body: Payload) -> list[Payload]:
        instructions = body.get("instructions")
        if instructions is not None:
            if type(instructions) is not str:
                _wrong("instructions", "a text")
            if instructions:
                self._messages.append({"role": "system", "content": instructions})
        for number, item in enumerate(items_of(body.get("input", ""))):
            self._item(item, f"input[{number}]")
        for message in self._messages:
            if "content" not in message:
                message["content"] = None if "tool_calls" in message else ""
        if self._signatures:
            self._sign()
        return self._messages

    def _item(self, item: Any, path: str) -> None:
        if type(item) is not dict:
            _wrong(path, "an object")
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind == "message":
            self._message(item, path)
        elif kind == "function_call":
            function = {"name": _text(item, "name", path), "arguments": _text(item, "arguments", path)}
            self._call({"id": _text(item, "call_id", path), "type": "function", "function": function})
        elif kind == "custom_tool_call":
            custom = {"name": _text(item, "name", path), "input": _text(item, "input", path)}
            self._call({"id": _text(item, "call_id", path), "type": "custom", "custom": custom})
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._open = None
            output = item.get("output")
            if type(output) is list:
                output = [self._part(part, f"{path}.output[{number}]") for number, part in enumerate(output)]
            elif type(output) is not str:
                _wrong(f"{path}.output", "a text or a list of parts")
            self._messages.append({"role": "tool", "tool_call_id": _text(item, "call_id", path), "content": output})
        elif kind == "reasoning":
            self._thought(item)
        elif kind == "item_reference":
            raise Unsupported(path, f"{path} refers to an item that is kept elsewhere: send the item itself.")
        elif type(kind) is str:
            raise Unsupported(path, f"An item of type {kind!r} is understood by a provider of this format only: leave it out.")
        else:
            _wrong(f"{path}.type", "the type of an item")

    def _message(self, item: Payload, path: str) -> None:
        role, content = item.get("role"), item.get("content")
        if role not in ("user", "assistant", "system", "developer"):
            _wrong(f"{path}.role", "one of 'user', 'assistant', 'system' and 'developer'")
        if type(content) is list:
            content = [self._part(part, f"{path}.content[{number}]") for number, part in enumerate(content)]
        elif type(content) is not str:
            _wrong(f"{path}.content", "a text or a list of parts")
        if role != "assistant":
            self._open = None
            self._messages.append({"role": role, "content": content})
            return
        if item.get("phase"):
            self._said["input[].phase"] = "left out, no other format tells comments from answers"
        if type(content) is list and len(content) == 1 and content[0]["type"] == "text":
            content = content[0]["text"]
        message = self._assistant(after="content")
        if "tool_calls" in message:  # chat completions have a turn's text before its calls only
            self._said[path] = "told before the tool calls of its turn"
        message["content"] = _parts(message["content"]) + _parts(content) if "content" in message else content

    def _call(self, call: Payload) -> None:
        self._assistant(after="tool_calls").setdefault("tool_calls", []).append(call)

    def _thought(self, item: Payload) -> None:
        marks = unwrapped(item.get("encrypted_content"))
        text = reasoning_text(item)
        if marks is None:
            blocks = [{"type": "thinking", "thinking": text, "signature": sealed(item)}]
        else:
            blocks = []
            for mark in marks:
                if mark.get("type") != "tool_call":
                    blocks.append(mark if mark.get("type") != "thinking" or "thinking" in mark else {**mark, "thinking": text})
                elif type(mark.get("id")) is str and type(mark.get("signature")) is str:
                    self._signatures[mark["id"]] = mark["signature"]
            if not blocks and not text:
                return
        message = self._assistant(after="reasoning")
        if text:
            before = message.get("reasoning_content")
            message["reasoning_content"] = text if before is None else f"{before}\n\n{text}"
        if blocks:
            message["thinking_blocks"] = message.get("thinking_blocks", []) + blocks

    def _assistant(self, *, after: str) -> Payload:
        """The message to add to: a new one where text or thoughts would move before text that came first. Behind tool calls
        none may begin, as their outputs must follow."""
        message = self._open
        if message is None or ("tool_calls" not in message and "content" in message and after != "tool_calls"):
            message = {"role": "assistant"}
            self._messages.append(message)
            self._open = message
        return message

    def _sign(self) -> None:
        for message in self._messages:
            for call in message.get("tool_calls", ()):
                if call["id"] in self._signatures:
                    call["signature"] = self._signatures[call["id"]]

    def _part(self, part: Any, path: str) -> Payload:
        if type(part) is not dict:
            _wrong(path, "an object")
        kind = part.get("type")
        made: Payload
        if kind in ("input_text", "output_text", "text"):
            made = {"type": "text", "text": _text(part, "text", path)}
            if part.get("annotations"):
                self._said["input[].content[].annotations"] = "left out, citations are not told again"
        elif kind == "refusal":
            made = {"type": "refusal", "refusal": _text(part, "refusal", path)}
        elif kind == "input_image":
            made = self._image(part, path)
        elif kind == "input_file":
            file = {
                name: _text(part, name, path) for name in ("file_data", "file_id", "file_url", "filename") if part.get(name) is not None
            }
            if not file.keys() - {"filename"}:
                _wrong(path, "a file with 'file_data', 'file_url' or 'file_id'")
            made = {"type": "file", "file": file}
        elif kind == "input_audio" and type(part.get("input_audio")) is dict:
            made = {"type": "input_audio", "input_audio": part["input_audio"]}
        else:
            raise Unsupported(path, f"A part of type {kind!r} cannot be told to this target.")
        if part.get("prompt_cache_breakpoint") is not None:
            made["prompt_cache_breakpoint"] = part["prompt_cache_breakpoint"]
            made["cache_control"] = {"type": "ephemeral"}
        return made

    def _image(self, part: Payload, path: str) -> Payload:
        if part.get("image_url") is None:
            raise Unsupported(f"{path}.file_id", "An image that a provider keeps can be read by that provider only: send 'image_url'.")
        image: Payload = {"url": _text(part, "image_url", path)}
        detail = part.get("detail")
        if detail is not None:
            if detail == "original":
                self._said["input[].content[].detail"] = "'original' is told as 'high'"
                detail = "high"
            image["detail"] = detail
        return {"type": "image_url", "image_url": image}


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if type(content) is str else content


def _tools(body: Payload, payload: Payload, said: dict[str, str]) -> None:
    tools = body.get("tools")
    if tools:
        if type(tools) is not list:
            _wrong("tools", "a list")
        payload["tools"] = [_tool(tool, f"tools[{number}]", said) for number, tool in enumerate(tools)]
        if body.get("parallel_tool_calls") is not None:
            payload["parallel_tool_calls"] = body["parallel_tool_calls"]
    choice = body.get("tool_choice")
    if choice is not None and (tools or choice not in ("auto", "none")):
        payload["tool_choice"] = _choice(choice)
    if body.get("max_tool_calls") is not None:
        said["max_tool_calls"] = "without effect, there are no tools that a provider runs"


def _tool(tool: Any, path: str, said: dict[str, str]) -> Payload:
    if type(tool) is not dict:
        _wrong(path, "an object")
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        raise Unsupported(path, f"The tool {kind!r} is run by a provider of this format only: leave it out, or give a function.")
    for name in tool:
        if name not in _TOOL_FIELDS and tool[name] not in _NOTHING:
            said[f"{path}.{name}"] = "left out"
    made: Payload = {"name": _text(tool, "name", path)}
    if tool.get("description") is not None:
        made["description"] = tool["description"]
    if kind == "function":
        for name in ("parameters", "strict"):
            if tool.get(name) is not None:
                made[name] = tool[name]
        return {"type": "function", "function": made}
    form = tool.get("format")
    if type(form) is dict and form.get("type") == "grammar":
        made["format"] = {"type": "grammar", "grammar": {name: form.get(name) for name in ("definition", "syntax")}}
    elif form is not None:
        made["format"] = form
    return {"type": "custom", "custom": made}


def _choice(choice: Any) -> Any:
    if choice in ("auto", "none", "required"):
        return choice
    if type(choice) is dict:
        kind = choice.get("type")
        if kind in ("function", "custom"):
            return {"type": kind, kind: {"name": _text(choice, "name", "tool_choice")}}
        if kind == "allowed_tools" and type(choice.get("tools")) is list:
            tools = [_choice(tool) for tool in choice["tools"]]
            return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": tools}}
        if type(kind) is str:
            raise Unsupported("tool_choice", f"The tool {kind!r} is run by a provider of this format only.")
    _wrong("tool_choice", "'auto', 'none', 'required' or a tool")


def _output(body: Payload, payload: Payload, said: dict[str, str]) -> None:
    if body.get("max_output_tokens") is not None:
        payload["max_tokens"] = body["max_output_tokens"]
    if body.get("stream") is not None:
        payload["stream"] = body["stream"]
    if body.get("stream"):
        payload["stream_options"] = {"include_usage": True}  # this format always tells it at the end
    text = body.get("text")
    if text is not None:
        if type(text) is not dict:
            _wrong("text", "an object")
        if text.get("verbosity") is not None:
            payload["verbosity"] = text["verbosity"]
        form = text.get("format")
        if form is not None:
            _format(form, payload)
    include = body.get("include") or []
    if type(include) is not list:
        _wrong("include", "a list")
    for number, name in enumerate(include):
        if type(name) is not str or name not in _INCLUDABLE:
            raise Unsupported(f"include[{number}]", f"{name!r} is not known.")
    top = body.get("top_logprobs")
    if "message.output_text.logprobs" in include or (type(top) is int and top > 0):
        payload["logprobs"] = True
        if top is not None:
            payload["top_logprobs"] = top
    if body.get("truncation") not in (None, "disabled"):
        said["truncation"] = "the input is told whole, and refused where it is too long"


def _format(form: Any, payload: Payload) -> None:
    kind = form.get("type") if type(form) is dict else None
    if kind == "json_schema":
        schema = {name: form[name] for name in ("name", "description", "schema", "strict") if form.get(name) is not None}
        payload["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        payload["response_format"] = {"type": "json_object"}
    elif kind != "text":
        _wrong("text.format", "an object of type 'text', 'json_schema' or 'json_object'")


def _reasoning(asked: Any, payload: Payload, said: dict[str, str]) -> None:
    if asked is None:
        return
    if type(asked) is not dict:
        _wrong("reasoning", "an object")
    effort = asked.get("effort")
    if effort is not None:
        if effort == "max":
            effort, said["reasoning.effort"] = "xhigh", "'max' is told as 'xhigh'"
        if type(effort) is not str or effort not in EFFORTS:
            _wrong("reasoning.effort", f"one of {', '.join(sorted(EFFORTS))} and max")
        payload["reasoning_effort"] = effort
    if asked.get("summary") or asked.get("generate_summary"):
        said["reasoning.summary"] = "whatever the model tells of its thinking is given as the summary"
    for name in asked:
        if name not in ("effort", "summary", "generate_summary") and asked[name] not in (None, "auto", "standard"):
            said[f"reasoning.{name}"] = "left out"


def _text(holder: Payload, name: str, path: str) -> str:
    value = holder.get(name)
    if type(value) is not str:
        _wrong(f"{path}.{name}", "a text")
    return value


def _wrong(path: str, wanted: str) -> NoReturn:
    raise Unsupported(path, f"The field {path!r} must be {wanted}.")
