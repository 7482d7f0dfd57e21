"""What an app asks in Anthropic's format, as the pivot's request.

Two kinds of things go wrong: what is no request at all is refused wherever it would go; what the pivot has no word for (a provider's own
tools, files it keeps, blocks of its own making) could still be told to a target of this format. ``outline`` reads past the latter.
Source: Anthropic's API reference, "Create a Message" and "Count tokens in a Message".
"""

from __future__ import annotations

from apps.proxy.dialects.anthropic_turns import Turns
from apps.proxy.dialects.translation import Asked, Payload, Unsupported

_READ = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "metadata",
        "stream",
        "service_tier",
        "cache_control",
    }
)
_REFUSED = {
    "container": "a container of the provider's",
    "mcp_servers": "servers that the provider calls",
    "inference_geo": "where the provider computes",
    "user_profile_id": "a profile that the provider keeps",
    "workspace_id": "a workspace of the provider's",
}
_NEARLY = {
    "context_management": "the conversation is not shortened",
    "diagnostics": "none are given",
    "speed": "as fast as the target is",
    "fallbacks": "the route's own targets are asked",
}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TIERS = {"auto": "auto", "standard_only": "default"}


def read(body: Payload) -> Asked:
    """Raises Unsupported for what is wrong, and for what only a target of this format could be told."""
    return _Reader(outline=False).read(body)


def outline(body: Payload) -> Asked:
    """The same without what only a target of this format can be told: enough to count and to choose by, when no other target is asked."""
    return _Reader(outline=True).read(body)


class _Reader(Turns):
    __slots__ = ()

    def read(self, body: Payload) -> Asked:
        model, messages = body.get("model"), body.get("messages")
        if type(model) is not str or not model:
            raise Unsupported("model", "The field 'model' must be the name of a model.")
        if type(messages) is not list or not messages:
            raise Unsupported("messages", "The field 'messages' must be a list with at least one message.")
        if body.get("thread") is not None:  # its beginning lies with one provider, unseen by any bound of its cost and out of others' reach
            raise Unsupported("thread", "Conversations are not held by the server: send all messages, without 'thread'.")
        payload: Payload = {"model": model}
        turns: list[Payload] = []
        system = body.get("system")
        if system is not None:
            said = self._texts(system, "system")
            if said:
                turns.append({"role": "system", "content": said})
        for number, message in enumerate(messages):
            self._message(message, f"messages[{number}]", turns)
        payload["messages"] = turns
        if not turns:  # only an outline can have lost all of them
            turns.append({"role": "user", "content": ""})
        if body.get("cache_control") is not None:  # it marks what could last be cached
            turns[-1]["cache_control"] = self._object(body["cache_control"], "cache_control")
        self._settings(body, payload)
        self._tools(body, payload)
        self._thinking(body, payload)
        for name, value in body.items():
            if name in _READ or value is None:
                continue
            if name in _REFUSED:
                self._cannot(name, f"{_REFUSED[name]} can only be asked of a target of this format.")
            elif name != "speed" or value != "standard":
                self._notes[f"{name}: {_NEARLY.get(name, 'left out, it is not known here')}"] = None
        return Asked(payload, tuple(self._notes))

    # settings

    def _settings(self, body: Payload, payload: Payload) -> None:
        for name in ("max_tokens", "top_k"):
            value = body.get(name)
            if value is not None:
                if type(value) is not int or value < 1:
                    raise Unsupported(name, f"The field {name!r} must be a whole number from 1 on.")
                payload[name] = value
        for name in ("temperature", "top_p"):
            value = body.get(name)
            if value is not None:
                if type(value) not in (int, float):
                    raise Unsupported(name, f"The field {name!r} must be a number.")
                payload[name] = value
        stops = body.get("stop_sequences")
        if stops is not None:
            if type(stops) is not list or any(type(stop) is not str for stop in stops):
                raise Unsupported("stop_sequences", "The field 'stop_sequences' must be a list of texts.")
            if stops:
                payload["stop"] = stops
        if "stream" in body:
            if type(body["stream"]) is not bool:
                raise Unsupported("stream", "The field 'stream' must be true or false.")
            payload["stream"] = body["stream"]
        metadata = body.get("metadata")
        if metadata is not None:
            for name, value in self._object(metadata, "metadata").items():
                if name == "user_id":
                    if value is not None:
                        payload["user"] = self._text(value, "metadata.user_id")
                else:
                    self._notes[f"metadata.{name}: left out, it is not known here"] = None
        tier = body.get("service_tier")
        if tier is not None:
            if type(tier) is not str or tier not in _TIERS:
                raise Unsupported("service_tier", "The field 'service_tier' must be 'auto' or 'standard_only'.")
            payload["service_tier"] = _TIERS[tier]

    def _thinking(self, body: Payload, payload: Payload) -> None:
        config = self._object(body.get("output_config") or {}, "output_config")
        wanted = config.get("format") or body.get("output_format")
        if wanted is not None:
            at = "output_config.format" if config.get("format") else "output_format"
            wanted = self._object(wanted, at)
            if wanted.get("type") != "json_schema":
                raise Unsupported(f"{at}.type", f"The field '{at}.type' must be 'json_schema'.")
            schema = self._object(wanted.get("schema"), f"{at}.schema")
            payload["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
        effort = config.get("effort")
        if effort is not None and effort not in ("low", "medium", "high", "xhigh", "max"):
            raise Unsupported("output_config.effort", "The field 'output_config.effort' must be low, medium, high, xhigh or max.")
        for name, value in config.items():
            if name not in ("format", "effort") and value is not None:
                self._notes[f"output_config.{name}: left out, only this format has it"] = None
        thinking = body.get("thinking")
        kind = self._object(thinking, "thinking").get("type") if thinking is not None else None
        if kind == "enabled":
            budget = thinking["budget_tokens"] if type(thinking) is dict and "budget_tokens" in thinking else None
            if type(budget) is not int or budget < 1:
                raise Unsupported("thinking.budget_tokens", "The field 'thinking.budget_tokens' must be a whole number of tokens.")
            payload["thinking"] = {"type": "enabled", "budget_tokens": budget}
        elif kind == "disabled":
            payload["thinking"] = {"type": "disabled"}
        elif kind == "adaptive":
            if effort is None:
                payload["thinking"] = {"type": "adaptive"}
        elif kind == "between_tools":
            self._cannot("thinking.type", "thinking between tools only is known to this format alone.")
        elif thinking is not None:
            raise Unsupported("thinking.type", "The field 'thinking.type' must be 'enabled', 'adaptive' or 'disabled'.")
        if effort is not None:
            if "thinking" in payload:
                self._notes["output_config.effort: left out, thinking says how much"] = None
            else:
                payload["reasoning_effort"] = "xhigh" if effort == "max" else effort
                if effort == "max":
                    self._notes["output_config.effort: xhigh"] = None

    # tools

    def _tools(self, body: Payload, payload: Payload) -> None:
        tools = body.get("tools")
        if tools is not None and type(tools) is not list:
            raise Unsupported("tools", "The field 'tools' must be a list.")
        offered: list[Payload] = []
        for number, tool in enumerate(tools or ()):
            self._tool(self._object(tool, f"tools[{number}]"), f"tools[{number}]", offered)
        if offered:
            payload["tools"] = offered
        choice = body.get("tool_choice")
        if choice is None:
            return
        choice = self._object(choice, "tool_choice")
        kind = choice.get("type")
        if kind == "tool":
            name = self._text(choice.get("name"), "tool_choice.name")
            payload["tool_choice"] = {"type": "function", "function": {"name": name}}
        elif type(kind) is str and kind in _CHOICES:
            payload["tool_choice"] = _CHOICES[kind]
        else:
            raise Unsupported("tool_choice.type", "The field 'tool_choice.type' must be 'auto', 'any', 'tool' or 'none'.")
        if choice.get("disable_parallel_tool_use") is True:
            payload["parallel_tool_calls"] = False
        if not offered:  # the choice of tools that are none
            del payload["tool_choice"]
            payload.pop("parallel_tool_calls", None)

    def _tool(self, tool: Payload, at: str, offered: list[Payload]) -> None:
        if tool.get("type") not in (None, "custom"):
            self._cannot(at, f"a tool of type {tool.get('type')!r} is the provider's own. Offer it as a tool with an 'input_schema'.")
            offered.append(tool)  # in an outline: that it is billed apart must be seen
            return
        function: Payload = {
            "name": self._text(tool.get("name"), f"{at}.name"),
            "parameters": self._object(tool.get("input_schema"), f"{at}.input_schema"),
        }
        if tool.get("description") is not None:
            function["description"] = self._text(tool["description"], f"{at}.description")
        if tool.get("strict"):
            function["strict"] = True
        said: Payload = {"type": "function", "function": function}
        if tool.get("cache_control") is not None:
            said["cache_control"] = self._object(tool["cache_control"], f"{at}.cache_control")
        callers = tool.get("allowed_callers")
        if callers is not None and callers != ["direct"]:
            self._cannot(f"{at}.allowed_callers", "other callers than the model are the provider's own.")
        if tool.get("defer_loading"):
            self._notes["tools[].defer_loading: offered at once"] = None
        if tool.get("eager_input_streaming"):
            self._notes["tools[].eager_input_streaming: streamed as the target does"] = None
        if tool.get("input_examples"):
            self._notes["tools[].input_examples: left out"] = None
        offered.append(said)
