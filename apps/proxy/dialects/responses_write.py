"""The pivot's request as one for a response: messages become items, and what responses do not have is named or refused."""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects.responses_wire import unsealed
from apps.proxy.dialects.translation import Payload, Sent, Unsupported

PATH = "/responses"
_SAME = (
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
)
"""Fields that responses have, too, in the same words."""
_ELSEWHERE = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "verbosity",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "thinking",
        "store",
        "n",
        "modalities",
    }
)
"""Fields that are read one by one."""
_NEARLY = {
    "seed": "left out, responses have none",
    "frequency_penalty": "left out, responses have none",
    "presence_penalty": "left out, responses have none",
    "top_k": "left out, responses have none",
    "prediction": "left out, it would only make the answer faster",
    "cache_control": "left out, the provider decides what it caches",
}
_NOTHING: tuple[Any, ...] = (None, False, 0, [], {}, "")
_PARTS = {"user": "input_text", "system": "input_text", "developer": "input_text", "tool": "input_text", "assistant": "output_text"}
_NO_WORDS = "Responses have no words for it: leave it out."


def request_write(payload: Payload, model: str, *, stream: bool) -> Sent:
    """Raises Unsupported, with the path in ``payload``."""
    said: dict[str, str] = {}
    for name in payload:
        if name in _SAME or name in _ELSEWHERE or payload[name] in _NOTHING:
            continue
        if name not in _NEARLY:
            raise Unsupported(name, f"The field {name!r} cannot be told to this target. {_NO_WORDS}")
        said[name] = _NEARLY[name]
    if payload.get("n") not in (None, 1):
        raise Unsupported("n", "A response has one answer: ask for n of 1.")
    if payload.get("modalities") not in (None, ["text"]):
        raise Unsupported("modalities", "A response is text only.")
    body: Payload = {"model": model}
    items = _Items(said)
    instructions, body["input"] = items.write(payload.get("messages"))
    if instructions is not None:
        body["instructions"] = instructions
    for name in _SAME:
        if payload.get(name) is not None:
            body[name] = payload[name]
    cap = payload.get("max_completion_tokens")
    cap = payload.get("max_tokens") if cap is None else cap
    if cap is not None:
        body["max_output_tokens"] = cap
    body["store"] = payload.get("store") is True  # a chat completion is not kept unless somebody asks for it
    _tools(payload, body)
    _text(payload, body)
    _thinking(payload, body, said, items.thought)
    if stream:
        body["stream"] = True
    return Sent(PATH, body, tuple([f"{field}: {what}" for field, what in said.items()]))


class _Items:
    """Messages become items. thought: the model's own reasoning is among them."""

    def __init__(self, said: dict[str, str]) -> None:
        self._said = said
        self._items: list[Payload] = []
        self._custom: set[str] = set()
        self.thought = False

    def write(self, messages: Any) -> tuple[str | None, list[Payload]]:
        """(instructions, input): a system prompt that stands first, and alone is a text, is the instructions."""
        if type(messages) is not list:
            raise Unsupported("messages", "The field 'messages' must be a list.")
        instructions = None
        for number, message in enumerate(messages):
            path = f"messages[{number}]"
            if type(message) is not dict:
                raise Unsupported(path, f"{path} must be an object.")
            role, content = message.get("role"), message.get("content")
            if number == 0 and role in ("system", "developer") and type(content) is str and content:
                instructions = content
                continue
            if message.get("name") is not None and role != "tool":
                self._said["messages[].name"] = "left out, responses name nobody"
            if role == "assistant":
                self._assistant(message, path)
            elif role == "tool":
                self._result(message, path)
            elif role in ("user", "system", "developer"):
                self._items.append({"role": role, "content": self._content(content, role, path)})
            else:
                raise Unsupported(f"{path}.role", f"A message of role {role!r} cannot be told to this target. {_NO_WORDS}")
        return instructions, self._items

    def _assistant(self, message: Payload, path: str) -> None:
        for name in ("audio", "function_call"):
            if message.get(name) is not None:
                raise Unsupported(f"{path}.{name}", _NO_WORDS)
        self._thoughts(message, path)
        content, refusal = message.get("content"), message.get("refusal")
        if refusal:
            parts = self._content(content, "assistant", path) if content else []
            parts = [{"type": "output_text", "text": parts}] if type(parts) is str else parts
            self._items.append({"role": "assistant", "content": [*parts, {"type": "refusal", "refusal": refusal}]})
        elif content or (content is not None and not message.get("tool_calls") and not message.get("thinking_blocks")):
            self._items.append({"role": "assistant", "content": self._content(content, "assistant", path)})
        for number, call in enumerate(_list(message, "tool_calls", path)):
            self._items.append(self._call(call, f"{path}.tool_calls[{number}]"))

    def _thoughts(self, message: Payload, path: str) -> None:
        own = False
        for block in _list(message, "thinking_blocks", path):
            item = unsealed(block.get("signature")) if type(block) is dict else None
            if item is None:
                self._said["messages[].thinking_blocks"] = "left out where another model thought them"
                continue
            own = self.thought = True
            self._items.append(item)
        if message.get("reasoning_content") and not own:
            self._said["messages[].reasoning_content"] = "left out where another model thought it"

    def _call(self, call: Any, path: str) -> Payload:
        kind = call.get("type", "function") if type(call) is dict else None
        named = call.get(kind) if kind in ("function", "custom") else None
        if type(named) is not dict:
            raise Unsupported(path, f"{path} must be the call of a function or a custom tool.")
        if kind == "function":
            given = named.get("arguments")
            return {"type": "function_call", "call_id": call.get("id"), "name": named.get("name"), "arguments": given or "{}"}
        self._custom.add(str(call.get("id")))
        return {"type": "custom_tool_call", "call_id": call.get("id"), "name": named.get("name"), "input": named.get("input") or ""}

    def _result(self, message: Payload, path: str) -> None:
        ident = message.get("tool_call_id")
        if message.get("is_error"):
            self._said["messages[].is_error"] = "left out, the output says it itself"
        kind = "custom_tool_call_output" if str(ident) in self._custom else "function_call_output"
        output = self._content(message.get("content"), "tool", path)
        self._items.append({"type": kind, "call_id": ident, "output": output})

    def _content(self, content: Any, role: str, path: str) -> Any:
        if type(content) is str:
            return content
        if content is None:
            return ""
        if type(content) is not list:
            raise Unsupported(f"{path}.content", f"{path}.content must be a text or a list of parts.")
        return [self._part(part, role, f"{path}.content[{number}]") for number, part in enumerate(content)]

    def _part(self, part: Any, role: str, path: str) -> Payload:
        kind = part.get("type") if type(part) is dict else None
        made: Payload
        if kind == "text":
            made = {"type": _PARTS[role], "text": part.get("text")}
        elif kind == "refusal":
            made = {"type": "refusal", "refusal": part.get("refusal")}
        elif kind == "image_url" and type(part.get("image_url")) is dict and role != "assistant":
            made = {"type": "input_image", "image_url": part["image_url"].get("url"), "detail": part["image_url"].get("detail") or "auto"}
        elif kind == "file" and type(part.get("file")) is dict and role != "assistant":
            file = part["file"]
            made = {name: file[name] for name in ("file_data", "file_id", "file_url", "filename") if file.get(name) is not None}
            if "file_url" in made:
                made.pop("filename", None)  # the URL has one
            made["type"] = "input_file"
        elif kind == "input_audio" and role == "user":
            made = {"type": "input_audio", "input_audio": part.get("input_audio")}
        else:
            raise Unsupported(path, f"A part of type {kind!r} in a message of role {role!r} cannot be told to this target. {_NO_WORDS}")
        if part.get("prompt_cache_breakpoint") is not None:
            made["prompt_cache_breakpoint"] = part["prompt_cache_breakpoint"]
        elif part.get("cache_control") is not None:
            self._said["cache_control"] = _NEARLY["cache_control"]
        return made


def _list(holder: Payload, name: str, path: str) -> list[Any]:
    found = holder.get(name)
    if found is None:
        return []
    if type(found) is not list:
        raise Unsupported(f"{path}.{name}", f"{path}.{name} must be a list.")
    return found


def _tools(payload: Payload, body: Payload) -> None:
    tools = payload.get("tools")
    if tools:
        if type(tools) is not list:
            raise Unsupported("tools", "The field 'tools' must be a list.")
        body["tools"] = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
        if payload.get("parallel_tool_calls") is not None:
            body["parallel_tool_calls"] = payload["parallel_tool_calls"]
    if payload.get("tool_choice") is not None:
        body["tool_choice"] = _choice(payload["tool_choice"])


def _tool(tool: Any, path: str) -> Payload:
    kind = tool.get("type") if type(tool) is dict else None
    named = tool.get(kind) if kind in ("function", "custom") else None
    if type(named) is not dict:
        raise Unsupported(path, f"{path} must be a function or a custom tool.")
    made: Payload = {"type": kind, "name": named.get("name")}
    if named.get("description") is not None:
        made["description"] = named["description"]
    if kind == "function":
        # a function of a response is strict unless it says otherwise, and one of a chat completion is not
        made["parameters"] = named.get("parameters") or {"type": "object", "properties": {}}
        made["strict"] = named.get("strict") is True
        return made
    form = named.get("format")
    if type(form) is dict and type(form.get("grammar")) is dict:
        made["format"] = {"type": "grammar", **form["grammar"]}
    elif form is not None:
        made["format"] = form
    return made


def _choice(choice: Any) -> Any:
    if choice in ("auto", "none", "required"):
        return choice
    kind = choice.get("type") if type(choice) is dict else None
    named = choice.get(kind) if kind in ("function", "custom", "allowed_tools") else None
    if type(named) is not dict:
        raise Unsupported("tool_choice", "The field 'tool_choice' must be 'auto', 'none', 'required' or a tool.")
    if kind == "allowed_tools":
        return {"type": kind, "mode": named.get("mode", "auto"), "tools": [_choice(tool) for tool in _list(named, "tools", "tool_choice")]}
    return {"type": kind, "name": named.get("name")}


def _text(payload: Payload, body: Payload) -> None:
    text: Payload = {}
    form = payload.get("response_format")
    if form is not None:
        kind = form.get("type") if type(form) is dict else None
        if kind == "json_schema" and type(form.get("json_schema")) is dict:
            schema = form["json_schema"]
            text["format"] = {"type": kind, **{name: schema[name] for name in schema if schema[name] is not None}}
        elif kind in ("text", "json_object"):
            text["format"] = {"type": kind}
        else:
            raise Unsupported("response_format", "The field 'response_format' must be of type 'text', 'json_schema' or 'json_object'.")
    if payload.get("verbosity") is not None:
        text["verbosity"] = payload["verbosity"]
    if text:
        body["text"] = text
    if payload.get("logprobs"):
        body["include"] = ["message.output_text.logprobs"]
        if payload.get("top_logprobs") is not None:
            body["top_logprobs"] = payload["top_logprobs"]


def _thinking(payload: Payload, body: Payload, said: dict[str, str], thought: bool) -> None:
    effort, thinking = payload.get("reasoning_effort"), payload.get("thinking")
    kind = thinking.get("type") if type(thinking) is dict else thinking
    if kind == "disabled":
        said["thinking"] = "left to the model, not all of them can do without"
    elif kind == "enabled" and effort is None:
        budget = thinking.get("budget_tokens") if type(thinking) is dict else None
        tokens = budget if type(budget) is int else 0
        effort = "low" if tokens <= 4_096 else "medium" if tokens <= 16_384 else "high"
        said["thinking.budget_tokens"] = f"told as effort {effort!r}"
    if effort is not None:
        body["reasoning"] = {"effort": effort}
    if (effort is not None and effort != "none") or kind == "adaptive" or thought:
        # as nothing is kept, the next turn must bring it along; models that do not think refuse to be asked
        body["include"] = [*body.get("include", ()), "reasoning.encrypted_content"]
