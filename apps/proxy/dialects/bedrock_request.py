"""The pivot's request as Converse's: what goes into the body beside the conversation (``bedrock_said``).

What Converse has no words for is said in the maker's own (``additionalModelRequestFields``) where they are known. What a model does not
take is left out or said nearly, and named; what cannot be said at all is Unsupported. Source: AWS's API reference, ``Converse``.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from apps.proxy.dialects.anthropic_models import LEAST_BUDGET, budget_of
from apps.proxy.dialects.bedrock_models import Model, model_of
from apps.proxy.dialects.bedrock_said import Conversation, cache_point
from apps.proxy.dialects.bedrock_wire import TIERS
from apps.proxy.dialects.pivot import function_of, numbers_of, others_check, schema_wanted, stops_of, thinking_of
from apps.proxy.dialects.translation import Payload, Sent, Unsupported

EXTENSIONS = ("guardrailConfig", "performanceConfig", "additionalModelRequestFields")
"""Fields of Converse that an app may send by their own names: objects that pass untouched."""
_DEFAULT_CAP = 4096
"""Tokens of which a budget of thinking is a part where nobody set a cap."""
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
        "stop",
        "tools",
        "tool_choice",
        "thinking",
        "reasoning_effort",
        "response_format",
        "service_tier",
        "metadata",
        "n",
        "modalities",
        *EXTENSIONS,
    }
)
_IMPOSSIBLE = {
    "logprobs": "it gives no log probabilities",
    "top_logprobs": "it gives no log probabilities",
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
_NEAREST = {"minimal": "low", "xhigh": "high"}
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_MOST_METADATA = 16
_JSON_ASKED = "Answer with one JSON object and nothing else: no words around it, no code fence."


def request(payload: Payload, model: str, *, stream: bool) -> Sent:
    """Raises Unsupported."""
    writer = _Writer(payload, model_of(model))
    body: Payload = {}
    writer.write(body)
    return Sent(f"/model/{quote(model, safe='')}/{'converse-stream' if stream else 'converse'}", body, tuple(writer.notes))


class _Writer:
    __slots__ = ("cap", "extra", "inference", "model", "notes", "payload", "turns")

    def __init__(self, payload: Payload, model: Model) -> None:
        self.payload = payload
        self.model = model
        self.notes: dict[str, None] = {}
        self.turns = Conversation(self.notes, signs=model.signs)
        self.inference: Payload = {}
        self.extra: Payload = {}
        self.cap = self._cap()

    def _cap(self) -> int | None:
        caps = [self.payload.get(name) for name in ("max_completion_tokens", "max_tokens")]
        cap = next((cap for cap in caps if cap is not None), None)
        if cap is None:
            return None
        if type(cap) is not int or cap < 1:
            raise Unsupported("max_tokens", "This format needs 'max_tokens' to be a whole number from 1 on.")
        self.inference["maxTokens"] = cap
        return cap

    def write(self, body: Payload) -> None:
        payload = self.payload
        messages = payload.get("messages")
        if type(messages) is not list or not messages:
            raise Unsupported("messages", "The field 'messages' must be a list with at least one message.")
        self._check_others()
        for name in EXTENSIONS:
            value = payload.get(name)
            if value is not None and type(value) is not dict:
                raise Unsupported(name, f"The field {name!r} must be an object.")
        self.extra.update(payload.get("additionalModelRequestFields") or {})
        self.turns.read(messages)
        if self.model.claude is not None and not self.model.claude.continues and self.turns.ends_with_answer:
            raise Unsupported(f"messages[{len(messages) - 1}]", "This model does not go on from a last message of its own.")
        self._form(body)
        self._thinking()
        self._sampling()
        self._stops()
        self._tools(body)
        self._around(body)
        body["messages"] = self.turns.said
        if self.turns.system:
            body["system"] = self.turns.system
        if self.inference:
            body["inferenceConfig"] = self.inference
        if self.extra:
            body["additionalModelRequestFields"] = self.extra

    def _check_others(self) -> None:
        notes = others_check(self.payload, said=_SAID, impossible=_IMPOSSIBLE)
        self.notes.update(dict.fromkeys(notes))

    def _around(self, body: Payload) -> None:
        payload = self.payload
        for name in ("guardrailConfig", "performanceConfig"):
            if payload.get(name) is not None:
                body[name] = payload[name]
        tier = payload.get("service_tier")
        if type(tier) is str and tier in TIERS:
            body["serviceTier"] = {"type": tier}
        elif tier not in (None, "auto"):
            self.notes["service_tier: the provider's own choice"] = None
        metadata = payload.get("metadata")
        if metadata is None:
            return
        if type(metadata) is not dict:
            raise Unsupported("metadata", "The field 'metadata' must be an object.")
        said = {key: value for key, value in metadata.items() if _is_metadata(key, value)}
        said = dict(list(said.items())[:_MOST_METADATA])
        if len(said) != len(metadata):
            self.notes["metadata: without what is no short plain text"] = None
        if said:
            body["requestMetadata"] = said

    def _stops(self) -> None:
        stops = stops_of(self.payload)
        if "" in stops:
            raise Unsupported("stop", "The field 'stop' must be a text or a list of texts, none of them empty.")
        if stops:
            self.inference["stopSequences"] = stops

    # thinking, and what it excludes

    def _thinking(self) -> None:
        thinking, (kind, effort) = self.payload.get("thinking"), thinking_of(self.payload)
        budget = thinking.get("budget_tokens") if kind == "enabled" and type(thinking) is dict else None
        if kind == "enabled" and (type(budget) is not int or budget < 1):
            raise Unsupported("thinking.budget_tokens", "The field 'thinking.budget_tokens' must be a whole number of tokens.")
        if kind is None and effort is None:
            return
        if self.model.claude is not None:
            self._claude_thinks(kind, budget, effort)
        else:
            self._other_thinks(kind, effort)

    def _claude_thinks(self, kind: str | None, budget: int | None, effort: str | None) -> None:
        claude = self.model.claude
        assert claude is not None
        if kind == "disabled" or (kind is None and effort == "none"):
            if claude.silence == "never":
                self.notes["thinking: as little as this model can"] = None
                self.extra["output_config"] = {"effort": "low"}
            elif claude.silence:
                self.extra["thinking"] = {"type": claude.silence}
                if claude.silence != "disabled":
                    self.notes["thinking: between tools only"] = None
            return
        if kind == "enabled" and claude.takes_budget:
            self._budget(budget or LEAST_BUDGET)
            return
        if claude.thinks_as_it_sees_fit:
            self.extra["thinking"] = {"type": "adaptive"}
            if claude.hides_thoughts:
                self.extra["thinking"]["display"] = "summarized"
            if kind == "enabled":
                self.notes["thinking.budget_tokens: as this model sees fit"] = None
            if effort:
                level = claude.effort(effort)
                self.extra["output_config"] = {"effort": level}
                if level != effort:
                    self.notes[f"reasoning_effort: {level}"] = None
            return
        name = "reasoning_effort" if effort else "thinking"
        tokens = budget_of(effort or "medium", self.cap or _DEFAULT_CAP)
        if tokens:
            self.notes[f"{name}: a budget of {tokens} tokens"] = None
            self._budget(tokens)
        else:
            self.notes[f"{name}: left out, 'max_tokens' leaves no room for it"] = None

    def _budget(self, wanted: int) -> None:
        choice = self.payload.get("tool_choice")
        if self.payload.get("tools") and (type(choice) is dict or choice == "required"):
            self.notes["thinking: left out, a call is forced"] = None
            return
        budget = max(LEAST_BUDGET, wanted if self.cap is None else min(wanted, self.cap - 1))
        if self.cap is not None and budget >= self.cap:
            self.notes["thinking: left out, 'max_tokens' leaves no room for it"] = None
            return
        if budget != wanted:
            self.notes[f"thinking.budget_tokens: {budget}"] = None
        self.extra["thinking"] = {"type": "enabled", "budget_tokens": budget}

    def _other_thinks(self, kind: str | None, effort: str | None) -> None:
        """In levels, under the name that the model's maker has for them."""
        name = "reasoning_effort" if effort else "thinking"
        silent = kind == "disabled" or effort == "none"
        level = _NEAREST.get(effort or "medium", effort or "medium")
        if self.model.maker == "openai":
            self.extra["reasoning_effort"] = "low" if silent else level
            if silent:
                self.notes[f"{name}: as little as this model can"] = None
        elif self.model.maker == "qwen" and not silent:
            self.extra["reasoning_config"] = level
        elif self.model.is_nova and "nova-2" in self.model.name:
            self.extra["reasoningConfig"] = {"type": "disabled"} if silent else {"type": "enabled", "maxReasoningEffort": level}
        elif silent:
            return  # it does not think unless it is asked to
        else:
            self.notes[f"{name}: left out, this model is told nothing of it"] = None
            return
        if kind in ("enabled", "adaptive") or (effort and level != effort and not silent):
            self.notes[f"{name}: {level}"] = None

    def _sampling(self) -> None:
        said = numbers_of(self.payload, ("temperature", "top_p", "top_k"))
        claude = self.model.claude
        if claude is not None:
            thinking = self.extra.get("thinking")
            thinks = type(thinking) is dict and thinking.get("type") in ("enabled", "adaptive")
            if not claude.takes_sampling or thinks:
                why = "this model takes none" if not claude.takes_sampling else "thinking allows none"
                for name, value in said.items():
                    if value != 1 or name == "top_k":
                        self.notes[f"{name}: left out, {why}"] = None
                return
            if "temperature" in said and not claude.takes_both_samplings and said.pop("top_p", 1) != 1:
                self.notes["top_p: left out, this model takes one of temperature and top_p"] = None
        if said.get("temperature", 0) > 1:
            said["temperature"] = 1
            self.notes["temperature: 1, the most there is"] = None
        if "temperature" in said:
            self.inference["temperature"] = said["temperature"]
        if "top_p" in said:
            self.inference["topP"] = said["top_p"]
        if "top_k" not in said:
            return
        if claude is not None or self.model.maker == "cohere":
            self.extra["top_k" if claude is not None else "k"] = said["top_k"]
        elif self.model.is_nova:
            own = self.extra.get("inferenceConfig")
            self.extra["inferenceConfig"] = {**(own if type(own) is dict else {}), "topK": said["top_k"]}
        else:
            self.notes["top_k: left out"] = None

    # tools

    def _tools(self, body: Payload) -> None:
        tools, choice = self.payload.get("tools"), self.payload.get("tool_choice")
        if tools is not None and type(tools) is not list:
            raise Unsupported("tools", "The field 'tools' must be a list.")
        if not tools:
            if self.turns.calls:
                raise Unsupported("tools", "This format needs the tools to be offered again that earlier messages called.")
            return
        if choice == "none":  # which has no spelling: what is not offered is not called
            if self.turns.calls:
                raise Unsupported("tool_choice", "This format cannot forbid calls ('none') in a conversation that has some.")
            self.notes["tool_choice: none, the tools were not offered"] = None
            return
        said: list[Payload] = []
        for number, tool in enumerate(tools):
            said.append(self._tool(tool, f"tools[{number}]"))
            if tool.get("cache_control") is not None:
                said.append(cache_point(tool["cache_control"]))
        body["toolConfig"] = {"tools": said}
        if choice is None:
            return
        if type(choice) is dict:
            function = choice.get("function")
            name = function.get("name") if type(function) is dict else None
            if choice.get("type") != "function" or type(name) is not str:
                raise Unsupported("tool_choice", "This format can be made to call one named function, or any.")
            body["toolConfig"]["toolChoice"] = {"tool": {"name": name}}
        elif choice in ("auto", "required"):
            body["toolConfig"]["toolChoice"] = {"auto": {}} if choice == "auto" else {"any": {}}
        else:
            raise Unsupported("tool_choice", "The field 'tool_choice' must be auto, required, none or name a function.")

    def _tool(self, tool: object, at: str) -> Payload:
        function = function_of(tool, at)
        parameters = function.get("parameters")
        schema = parameters or {"type": "object", "properties": {}}
        spec: Payload = {"name": function["name"], "inputSchema": {"json": schema if "type" in schema else {"type": "object", **schema}}}
        if type(function.get("description")) is str and function["description"]:
            spec["description"] = function["description"]
        if function.get("strict") is True:
            if self.model.takes_schema:
                spec["strict"] = True
            else:
                self.notes["tools[].function.strict: left out, this model has no such promise"] = None
        return {"toolSpec": spec}

    # the answer's form

    def _form(self, body: Payload) -> None:
        kind, described = schema_wanted(self.payload)
        if kind == "text":
            return
        if kind == "json_object":
            self.turns.system.append({"text": _JSON_ASKED})
            self.notes["response_format: asked for in words"] = None
            return
        if not self.model.takes_schema:
            raise Unsupported("response_format", "This model cannot be held to a JSON schema.")
        form: Payload = {"schema": json.dumps(described["schema"], separators=(",", ":"))}
        for name in ("name", "description"):
            if type(described.get(name)) is str and described[name]:
                form[name] = described[name]
        if described.get("strict") is False:
            self.notes["response_format.json_schema.strict: held strictly"] = None
        body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": form}}}


def _is_metadata(key: object, value: object) -> bool:
    return type(key) is str and type(value) is str and bool(key) and bool(_METADATA.fullmatch(key)) and bool(_METADATA.fullmatch(value))
