"""The pivot's request as Cohere's. Source: Cohere's API reference, "Chat API (v2)".

What a model does not take is left out or said nearly, and named; what cannot be said at all is Unsupported.
"""

from __future__ import annotations

from apps.proxy.dialects.pivot import function_of, others_check, schema_wanted, stops_of, thinking_of
from apps.proxy.dialects.translation import Payload, Sent, Unsupported

PATH = "/v2/chat"
EXTENSIONS = ("documents", "citation_options", "safety_mode", "priority")
"""Fields of Cohere's that an app may send by their own names; they pass untouched."""
_SAID = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "stop",
        "tools",
        "tool_choice",
        "thinking",
        "reasoning_effort",
        "response_format",
        "n",
        "modalities",
        *EXTENSIONS,
    }
)
_IMPOSSIBLE = {
    "logprobs": "its log probabilities are not those of single tokens",
    "top_logprobs": "its log probabilities are not those of single tokens",
    "logit_bias": "no token can be favoured",
    "audio": "it does not speak",
    "web_search_options": "its search cannot be translated",
    "functions": "use 'tools'",
    "function_call": "use 'tool_choice'",
    "guided_json": "use 'response_format'",
    "guided_regex": "an answer's form can only be given by a JSON schema",
    "guided_choice": "an answer's form can only be given by a JSON schema",
    "guided_grammar": "an answer's form can only be given by a JSON schema",
    "grammar": "an answer's form can only be given by a JSON schema",
}
_NUMBERS = {
    "temperature": ("temperature", 0.0, None),
    "top_p": ("p", 0.01, 0.99),
    "top_k": ("k", 0, 500),
    "seed": ("seed", None, None),
    "frequency_penalty": ("frequency_penalty", 0.0, 1.0),
    "presence_penalty": ("presence_penalty", 0.0, 1.0),
}
"""By the pivot's name: Cohere's, the least and the most that there is."""
_UNTHOUGHT = "messages[].reasoning_content: left out, this model takes no thinking back"


def request(payload: Payload, model: str, *, stream: bool) -> Sent:
    """Raises Unsupported."""
    messages = payload.get("messages")
    if type(messages) is not list or not messages:
        raise Unsupported("messages", "The field 'messages' must be a list with at least one message.")
    writer = _Writer(payload, thinks="reasoning" in model.lower())
    body: Payload = {"model": model, "stream": stream}
    writer.check_others()
    body["messages"] = [writer.message(message, f"messages[{number}]") for number, message in enumerate(messages)]
    writer.settings(body)
    writer.thinking(body)
    writer.tools(body)
    writer.form(body)
    for name in EXTENSIONS:
        if payload.get(name) is not None:
            body[name] = payload[name]
    return Sent(PATH, body, tuple(writer.notes))


class _Writer:
    __slots__ = ("notes", "payload", "thinks")

    def __init__(self, payload: Payload, *, thinks: bool) -> None:
        """thinks: the model is one that reasons, which its name says."""
        self.payload = payload
        self.thinks = thinks
        self.notes: dict[str, None] = {}

    def check_others(self) -> None:
        notes = others_check(self.payload, said=_SAID, impossible=_IMPOSSIBLE)
        self.notes.update(dict.fromkeys(notes))

    # the conversation

    def message(self, message: object, at: str) -> Payload:
        if type(message) is not dict:
            raise Unsupported(at, f"The field {at!r} must be an object.")
        role = message.get("role")
        for name in ("name", "cache_control", "is_error"):
            if message.get(name) not in (None, False):
                self.notes[f"messages[].{name}: left out"] = None
        if role == "assistant":
            return self._assistant(message, at)
        if role == "tool":
            call_id = message.get("tool_call_id")
            if type(call_id) is not str:
                raise Unsupported(f"{at}.tool_call_id", f"The field '{at}.tool_call_id' must be a text.")
            return {
                "role": "tool",
                "tool_call_id": call_id,
                "content": self._content(message.get("content"), f"{at}.content", images=False),
            }
        if role not in ("user", "system", "developer"):
            raise Unsupported(f"{at}.role", f"This format has no role {role!r}.")
        content = self._content(message.get("content"), f"{at}.content", images=role == "user")
        return {"role": "user" if role == "user" else "system", "content": content}

    def _content(self, content: object, at: str, *, images: bool) -> str | list[Payload]:
        if content is None:
            return ""
        if type(content) is str:
            return content
        if type(content) is not list:
            raise Unsupported(at, f"The field {at!r} must be a text or a list of parts.")
        return [self._part(part, f"{at}[{number}]", images=images) for number, part in enumerate(content)]

    def _part(self, part: object, at: str, *, images: bool) -> Payload:
        if type(part) is not dict:
            raise Unsupported(at, f"The field {at!r} must be an object.")
        kind = part.get("type")
        if part.get("cache_control") is not None:
            self.notes["messages[].content[].cache_control: left out"] = None
        if kind in ("text", "refusal"):
            text = part.get(kind)
            if type(text) is not str:
                raise Unsupported(f"{at}.{kind}", f"The field '{at}.{kind}' must be a text.")
            return {"type": "text", "text": text}
        if kind == "image_url" and images:
            image = part.get("image_url")
            image = {"url": image} if type(image) is str else image
            url = image.get("url") if type(image) is dict else None
            if type(image) is not dict or type(url) is not str or not url.startswith(("https://", "http://", "data:")):
                raise Unsupported(f"{at}.image_url.url", "An image is a URL with http(s) or a data URL.")
            said: Payload = {"url": url}
            if image.get("detail") is not None:
                said["detail"] = image["detail"]
            return {"type": "image_url", "image_url": said}
        raise Unsupported(at, f"This format has no part of type {kind!r} here.")

    def _assistant(self, message: Payload, at: str) -> Payload:
        if message.get("function_call") is not None:
            raise Unsupported(f"{at}.function_call", "Use 'tool_calls'.")
        if message.get("audio") is not None:
            raise Unsupported(f"{at}.audio", "This format does not speak.")
        calls = message.get("tool_calls")
        if calls is not None and type(calls) is not list:
            raise Unsupported(f"{at}.tool_calls", f"The field '{at}.tool_calls' must be a list.")
        said: Payload = {"role": "assistant"}
        content = self._content(message.get("content"), f"{at}.content", images=False)
        refusal = message.get("refusal")
        if type(refusal) is str and refusal:
            content = [*_parts(content), {"type": "text", "text": refusal}]
        thoughts = self._thoughts(message, at)
        if thoughts and self.thinks:
            content = [{"type": "thinking", "thinking": thoughts}, *_parts(content)]
        elif thoughts and calls:
            said["tool_plan"] = thoughts
        elif thoughts:
            self.notes[_UNTHOUGHT] = None
        if content or not calls:
            said["content"] = content
        if calls:
            said["tool_calls"] = [self._call(call, f"{at}.tool_calls[{number}]") for number, call in enumerate(calls)]
        return said

    def _thoughts(self, message: Payload, at: str) -> str:
        """As text: this format signs nothing."""
        text, blocks = message.get("reasoning_content"), message.get("thinking_blocks")
        if blocks is not None and type(blocks) is not list:
            raise Unsupported(f"{at}.thinking_blocks", f"The field '{at}.thinking_blocks' must be a list.")
        if blocks:
            self.notes["messages[].thinking_blocks: without signatures, which are another provider's"] = None
        if type(text) is str and text:
            return text
        found = [block.get("thinking") for block in blocks or () if type(block) is dict]
        return "".join(thought for thought in found if type(thought) is str)

    def _call(self, call: object, at: str) -> Payload:
        function = call.get("function") if type(call) is dict else None
        if type(call) is not dict or type(function) is not dict or call.get("type", "function") != "function":
            raise Unsupported(at, "This format has calls of functions only.")
        call_id, name, arguments = call.get("id"), function.get("name"), function.get("arguments")
        if type(call_id) is not str or type(name) is not str or type(arguments) not in (str, type(None)):
            raise Unsupported(at, "A call needs its 'id', its function's 'name' and 'arguments' as a text.")
        if call.get("signature"):
            self.notes["messages[].tool_calls[].signature: left out, it is another provider's"] = None
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}

    # all else

    def settings(self, body: Payload) -> None:
        payload = self.payload
        cap = next((payload[name] for name in ("max_completion_tokens", "max_tokens") if payload.get(name) is not None), None)
        if cap is not None:
            if type(cap) is not int or cap < 1:
                raise Unsupported("max_tokens", "This format needs 'max_tokens' to be a whole number from 1 on.")
            body["max_tokens"] = cap
        for name, (theirs, least, most) in _NUMBERS.items():
            value = payload.get(name)
            if value is None:
                continue
            if type(value) not in (int, float):
                raise Unsupported(name, f"The field {name!r} must be a number.")
            said = value if least is None else max(least, value)
            said = said if most is None else min(most, said)
            if said != value:
                self.notes[f"{name}: {said}, the {'least' if said > value else 'most'} there is"] = None
            body[theirs] = said
        if stops := stops_of(payload):
            body["stop_sequences"] = stops

    def thinking(self, body: Payload) -> None:
        thinking, (kind, effort) = self.payload.get("thinking"), thinking_of(self.payload)
        if kind is None and effort is None:
            return
        silent = kind == "disabled" or effort == "none"
        name = "thinking" if kind is not None else "reasoning_effort"
        if not self.thinks:
            if not silent:
                self.notes[f"{name}: left out, this model does not think aloud"] = None
            return
        body["thinking"] = {"type": "disabled" if silent else "enabled"}
        budget = thinking.get("budget_tokens") if kind == "enabled" and type(thinking) is dict else None
        if budget is not None:
            if type(budget) is not int or budget < 1:
                raise Unsupported("thinking.budget_tokens", "The field 'thinking.budget_tokens' must be a whole number of tokens.")
            body["thinking"]["token_budget"] = budget
        elif not silent:
            self.notes[f"{name}: as this model sees fit"] = None

    def tools(self, body: Payload) -> None:
        tools, choice = self.payload.get("tools"), self.payload.get("tool_choice")
        if tools is not None and type(tools) is not list:
            raise Unsupported("tools", "The field 'tools' must be a list.")
        if not tools:
            return
        said = [self._tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
        strict = [tool["function"].get("strict") is True for tool in tools]
        if any(strict):
            body["strict_tools"] = True
            if not all(strict):
                self.notes["tools[].function.strict: all of them"] = None
        if type(choice) is dict:
            function = choice.get("function")
            name = function.get("name") if type(function) is dict else None
            forced = [tool for tool in said if tool["function"]["name"] == name]
            if choice.get("type") != "function" or not forced:
                raise Unsupported("tool_choice", "This format can be made to call one of the functions that are offered, any, or none.")
            said, choice = forced, "required"  # what alone is offered is what is called
        body["tools"] = said
        if choice in ("required", "none"):
            body["tool_choice"] = "REQUIRED" if choice == "required" else "NONE"
        elif choice not in (None, "auto"):
            raise Unsupported("tool_choice", "The field 'tool_choice' must be auto, required, none or name a function.")

    def _tool(self, tool: object, at: str) -> Payload:
        function = function_of(tool, at)
        if isinstance(tool, dict) and tool.get("cache_control") is not None:
            self.notes["tools[].cache_control: left out"] = None
        said: Payload = {"name": function["name"], "parameters": function.get("parameters") or {"type": "object", "properties": {}}}
        if function.get("description") is not None:
            said["description"] = function["description"]
        return {"type": "function", "function": said}

    def form(self, body: Payload) -> None:
        kind, described = schema_wanted(self.payload)
        if kind == "text":
            return
        if "tools" in body:
            raise Unsupported("response_format", "This format cannot be given both tools and a form for the answer.")
        body["response_format"] = {"type": "json_object"}
        if described:
            body["response_format"]["json_schema"] = described["schema"]


def _parts(content: str | list[Payload]) -> list[Payload]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)
