"""The pivot's request as Ollama's. Source: Ollama's API reference, "Chat", and its list of a model's parameters."""

from __future__ import annotations

import json

from apps.proxy.dialects.pivot import function_of, numbers_of, others_check, schema_wanted, stops_of, thinking_of
from apps.proxy.dialects.translation import Payload, Sent, Unsupported

PATH = "/api/chat"
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_SAID = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "stream",
        "stream_options",
        "stop",
        "tools",
        "tool_choice",
        "thinking",
        "reasoning_effort",
        "response_format",
        "n",
        "modalities",
        "keep_alive",
        "options",
        *_OPTIONS,
    }
)
_IMPOSSIBLE = {
    "logprobs": "they are left to other targets",
    "top_logprobs": "they are left to other targets",
    "logit_bias": "no token can be favoured",
    "audio": "it does not speak",
    "web_search_options": "it does not search",
    "functions": "use 'tools'",
    "function_call": "use 'tool_choice'",
}
_LEVELS = {"minimal": "low", "xhigh": "high"}


def request(payload: Payload, model: str, *, stream: bool) -> Sent:
    """Raises Unsupported. ``options`` (an object) and ``keep_alive`` are Ollama's own, and pass."""
    messages = payload.get("messages")
    if type(messages) is not list or not messages:
        raise Unsupported("messages", "The field 'messages' must be a list with at least one message.")
    writer = _Writer(payload)
    writer.check_others()
    body: Payload = {"model": model, "stream": stream}
    body["messages"] = [writer.message(message, f"messages[{number}]") for number, message in enumerate(messages)]
    writer.settings(body)
    writer.thinking(body, levels="gpt-oss" in model.lower())
    writer.tools(body)
    writer.form(body)
    return Sent(PATH, body, tuple(writer.notes))


class _Writer:
    __slots__ = ("_names", "notes", "payload")

    def __init__(self, payload: Payload) -> None:
        self.payload = payload
        self.notes: dict[str, None] = {}
        self._names: dict[str, str] = {}
        """Of functions, by the ids of their calls: results go back by name."""

    def check_others(self) -> None:
        notes = others_check(self.payload, said=_SAID, impossible=_IMPOSSIBLE)
        self.notes.update(dict.fromkeys(notes))

    def message(self, message: object, at: str) -> Payload:
        if type(message) is not dict:
            raise Unsupported(at, f"The field {at!r} must be an object.")
        role = message.get("role")
        for name in ("name", "cache_control", "is_error"):
            if message.get(name) not in (None, False):
                self.notes[f"messages[].{name}: left out"] = None
        if role in ("system", "developer", "user"):
            said: Payload = {"role": "user" if role == "user" else "system"}
            self._content(message.get("content"), f"{at}.content", said)
            return said
        if role == "assistant":
            return self._assistant(message, at)
        if role == "tool":
            call_id = message.get("tool_call_id")
            if type(call_id) is not str:
                raise Unsupported(f"{at}.tool_call_id", f"The field '{at}.tool_call_id' must be a text.")
            said = {"role": "tool"}
            self._content(message.get("content"), f"{at}.content", said)
            if call_id in self._names:
                said["tool_name"] = self._names[call_id]
            return said
        raise Unsupported(f"{at}.role", f"This format has no role {role!r}.")

    def _content(self, content: object, at: str, said: Payload) -> None:
        """Texts of one message are one text, images stand beside it."""
        if content is None or type(content) is str:
            said["content"] = content or ""
            return
        if type(content) is not list:
            raise Unsupported(at, f"The field {at!r} must be a text or a list of parts.")
        texts: list[str] = []
        images: list[str] = []
        for number, part in enumerate(content):
            where = f"{at}[{number}]"
            kind = part.get("type") if type(part) is dict else None
            if type(part) is not dict or kind not in ("text", "refusal", "image_url"):
                raise Unsupported(where, f"This format has no part of type {kind!r}.")
            if part.get("cache_control") is not None:
                self.notes["messages[].content[].cache_control: left out"] = None
            if kind != "image_url":
                if type(part.get(kind)) is not str:
                    raise Unsupported(f"{where}.{kind}", f"The field '{where}.{kind}' must be a text.")
                texts.append(part[kind])
                continue
            image = part.get("image_url")
            url = image.get("url") if type(image) is dict else image
            head, _, data = url.partition(";base64,") if type(url) is str else ("", "", "")
            if not head.startswith("data:image/") or not data:
                raise Unsupported(f"{where}.image_url.url", "Ollama fetches no images: send a data URL in base64.")
            if type(image) is dict and image.get("detail") not in (None, "auto"):
                self.notes["messages[].content[].image_url.detail: left out"] = None
            images.append(data)
        said["content"] = "\n\n".join(texts)
        if len(texts) > 1:
            self.notes["messages[].content: its texts as one"] = None
        if images:
            said["images"] = images

    def _assistant(self, message: Payload, at: str) -> Payload:
        if message.get("function_call") is not None or message.get("audio") is not None:
            raise Unsupported(at, "This format has neither 'function_call' nor 'audio' in a message.")
        said: Payload = {"role": "assistant"}
        self._content(message.get("content"), f"{at}.content", said)
        refusal = message.get("refusal")
        if type(refusal) is str:
            said["content"] += refusal
        thoughts = message.get("reasoning_content")
        if type(thoughts) is str and thoughts:
            said["thinking"] = thoughts
        if message.get("thinking_blocks"):
            self.notes["messages[].thinking_blocks: left out, they are another provider's"] = None
        calls = message.get("tool_calls")
        if calls is not None and type(calls) is not list:
            raise Unsupported(f"{at}.tool_calls", f"The field '{at}.tool_calls' must be a list.")
        if calls:
            said["tool_calls"] = [self._call(call, f"{at}.tool_calls[{number}]") for number, call in enumerate(calls)]
        return said

    def _call(self, call: object, at: str) -> Payload:
        function = call.get("function") if type(call) is dict else None
        if type(call) is not dict or type(function) is not dict or call.get("type", "function") != "function":
            raise Unsupported(at, "This format has calls of functions only.")
        call_id, name, text = call.get("id"), function.get("name"), function.get("arguments") or "{}"
        if type(call_id) is not str or type(name) is not str:
            raise Unsupported(at, "A call needs its 'id' and its function's 'name'.")
        try:
            arguments = json.loads(text) if type(text) is str else None
        except (ValueError, RecursionError):
            arguments = None
        if type(arguments) is not dict:
            raise Unsupported(f"{at}.function.arguments", "This format needs a call's arguments to be a JSON object.")
        if call.get("signature"):
            self.notes["messages[].tool_calls[].signature: left out, it is another provider's"] = None
        self._names[call_id] = name
        return {"function": {"name": name, "arguments": arguments}}

    def settings(self, body: Payload) -> None:
        payload = self.payload
        own = payload.get("options")
        if own is not None and type(own) is not dict:
            raise Unsupported("options", "The field 'options' must be an object.")
        options = dict(own or {})
        cap = next((payload[name] for name in ("max_completion_tokens", "max_tokens") if payload.get(name) is not None), None)
        if cap is not None:
            if type(cap) is not int or cap < 1:
                raise Unsupported("max_tokens", "This format needs 'max_tokens' to be a whole number from 1 on.")
            options["num_predict"] = cap
        for name, value in numbers_of(payload, _OPTIONS).items():
            options[_OPTIONS[name]] = value
        if stops := stops_of(payload):
            options["stop"] = stops
        if options:
            body["options"] = options
        if payload.get("keep_alive") is not None:
            body["keep_alive"] = payload["keep_alive"]

    def thinking(self, body: Payload, *, levels: bool) -> None:
        kind, effort = thinking_of(self.payload)
        if kind is None and effort is None:
            return
        if kind == "disabled" or effort == "none":
            body["think"] = False
            return
        level = _LEVELS.get(effort or "medium", effort or "medium")
        body["think"] = level if levels else True
        if not levels or level != effort:
            self.notes[f"{'reasoning_effort' if effort else 'thinking'}: {level if levels else 'as this model sees fit'}"] = None

    def tools(self, body: Payload) -> None:
        tools, choice = self.payload.get("tools"), self.payload.get("tool_choice")
        if tools is not None and type(tools) is not list:
            raise Unsupported("tools", "The field 'tools' must be a list.")
        if not tools:
            return
        if choice == "none":  # what is not offered is not called
            self.notes["tool_choice: none, the tools were not offered"] = None
            return
        if choice not in (None, "auto"):
            raise Unsupported("tool_choice", "This format cannot force a call: 'tool_choice' is auto or none.")
        body["tools"] = [self._tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]

    def _tool(self, tool: object, at: str) -> Payload:
        function = function_of(tool, at)
        if function.get("strict") is True:
            self.notes["tools[].function.strict: left out, there is no such promise"] = None
        if isinstance(tool, dict) and tool.get("cache_control") is not None:
            self.notes["tools[].cache_control: left out"] = None
        said = {name: function[name] for name in ("name", "description", "parameters") if function.get(name) is not None}
        return {"type": "function", "function": said}

    def form(self, body: Payload) -> None:
        kind, described = schema_wanted(self.payload)
        if kind == "text":
            return
        body["format"] = described["schema"] if described else "json"
