"""The pivot's request as Anthropic's: what goes into the body beside the conversation (``anthropic_said``).

What a model of this name does not take is left out or said nearly, and named; what cannot be said at all is Unsupported.
Source: Anthropic's API reference, "Create a Message".
"""

from __future__ import annotations

from apps.proxy.dialects.anthropic_models import LEAST_BUDGET, Generation, budget_of, generation
from apps.proxy.dialects.anthropic_said import Conversation
from apps.proxy.dialects.anthropic_schema import held
from apps.proxy.dialects.anthropic_wire import STRUCTURED_TOOL
from apps.proxy.dialects.pivot import function_of, numbers_of, others_check, schema_wanted, stops_of
from apps.proxy.dialects.translation import Payload, Sent, Unsupported

DEFAULT_MAX_TOKENS = 4096
"""Where nobody set a cap: this format cannot be asked without one."""
PATH, COUNT_PATH = "/messages", "/messages/count_tokens"
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
        "user",
        "safety_identifier",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "thinking",
        "reasoning_effort",
        "response_format",
        "service_tier",
        "n",
        "modalities",
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
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_TIERS = {"auto": "auto", "default": "standard_only"}
_JSON_ASKED = "Answer with one JSON object and nothing else: no words around it, no code fence."


def request(payload: Payload, model: str, *, stream: bool) -> Sent:
    """Raises Unsupported."""
    writer = _Writer(payload, generation(model))
    body: Payload = {"model": model, "max_tokens": writer.max_tokens}
    writer.write(body)
    if stream:
        body["stream"] = True
    return Sent(PATH, body, tuple(writer.notes))


def count_request(payload: Payload, model: str) -> Sent:
    """How many tokens this input is, asked of the provider: the same without what only an answer needs. Raises Unsupported."""
    sent = request(payload, model, stream=False)
    kept = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config")
    return Sent(COUNT_PATH, {name: sent.body[name] for name in kept if name in sent.body}, sent.approximated)


class _Writer:
    __slots__ = ("generation", "max_tokens", "notes", "payload", "turns")

    def __init__(self, payload: Payload, made: Generation) -> None:
        self.payload = payload
        self.generation = made
        self.notes: dict[str, None] = {}
        self.max_tokens = self._cap()
        self.turns = Conversation(self.notes)

    def _cap(self) -> int:
        caps = [self.payload.get(name) for name in ("max_completion_tokens", "max_tokens")]
        cap = next((cap for cap in caps if cap is not None), DEFAULT_MAX_TOKENS)
        if type(cap) is not int or cap < 1:
            raise Unsupported("max_tokens", "This format needs 'max_tokens' to be a whole number from 1 on.")
        return cap

    def write(self, body: Payload) -> None:
        payload = self.payload
        messages = payload.get("messages")
        if type(messages) is not list or not messages:
            raise Unsupported("messages", "The field 'messages' must be a list with at least one message.")
        self._check_others()
        self.turns.read(messages)
        if not self.generation.continues and self.turns.ends_with_answer:
            raise Unsupported(f"messages[{len(messages) - 1}]", "This model does not go on from a last message of its own.")
        self._thinking(body)
        self._sampling(body)
        self._tools(body)
        self._form(body)
        system = self.turns.system_said()
        if system:
            body["system"] = system
        body["messages"] = self.turns.said
        self._stops(body)
        user = payload.get("user") or payload.get("safety_identifier")
        if user is not None:
            if type(user) is not str:
                raise Unsupported("user", "The field 'user' must be a text.")
            body["metadata"] = {"user_id": user}
        tier = payload.get("service_tier")
        if tier is not None:
            if type(tier) is str and tier in _TIERS:
                body["service_tier"] = _TIERS[tier]
            else:
                self.notes["service_tier: the provider's own choice"] = None

    def _check_others(self) -> None:
        notes = others_check(self.payload, said=_SAID, impossible=_IMPOSSIBLE)
        self.notes.update(dict.fromkeys(notes))

    def _stops(self, body: Payload) -> None:
        stops = stops_of(self.payload)
        for number, one in enumerate(stops):
            if not one or one.isspace():
                raise Unsupported(f"stop[{number}]", "This format takes no stop sequence of white space alone.")
        if stops:
            body["stop_sequences"] = stops

    # thinking, and what it excludes

    def _thinking(self, body: Payload) -> None:
        thinking, effort = self.payload.get("thinking"), self.payload.get("reasoning_effort")
        kind = thinking.get("type") if type(thinking) is dict else thinking
        if kind not in (None, "enabled", "adaptive", "disabled"):
            raise Unsupported("thinking", "The field 'thinking' must be enabled, adaptive or disabled.")
        if effort not in (None, "none", "minimal", "low", "medium", "high", "xhigh"):
            raise Unsupported("reasoning_effort", "The field 'reasoning_effort' must be none, minimal, low, medium, high or xhigh.")
        if kind == "disabled" or (kind is None and effort == "none"):
            self._silence(body)
        elif kind == "enabled":
            budget = thinking.get("budget_tokens") if type(thinking) is dict else None
            if type(budget) is not int or budget < 1:
                raise Unsupported("thinking.budget_tokens", "The field 'thinking.budget_tokens' must be a whole number of tokens.")
            if self.generation.takes_budget:
                self._budget(body, budget)
            else:
                self.notes["thinking.budget_tokens: as this model sees fit"] = None
                self._as_it_sees_fit(body)
        elif self.generation.thinks_as_it_sees_fit and (kind or effort):
            self._as_it_sees_fit(body)
            if effort:
                level = self.generation.effort(effort)
                body["output_config"] = {"effort": level}
                if level != effort:
                    self.notes[f"reasoning_effort: {level}"] = None
        elif kind or effort:
            budget = budget_of(effort or "medium", self.max_tokens)
            name = "reasoning_effort" if effort else "thinking"
            if budget:
                self.notes[f"{name}: a budget of {budget} tokens"] = None
                self._budget(body, budget)
            else:
                self.notes[f"{name}: left out, 'max_tokens' leaves no room for it"] = None

    def _silence(self, body: Payload) -> None:
        silence = self.generation.silence
        if silence == "never":
            self.notes["thinking: as little as this model can"] = None
            body["output_config"] = {"effort": "low"}
        elif silence == "between_tools":
            self.notes["thinking: between tools only"] = None
            body["thinking"] = {"type": silence}
        elif silence:
            body["thinking"] = {"type": silence}

    def _as_it_sees_fit(self, body: Payload) -> None:
        body["thinking"] = {"type": "adaptive"}
        if self.generation.hides_thoughts:
            body["thinking"]["display"] = "summarized"

    def _budget(self, body: Payload, wanted: int) -> None:
        if self.turns.open_call_without_thinking:
            self.notes["thinking: left out, the call that is being answered was made without"] = None
            return
        choice = self.payload.get("tool_choice")
        if self.payload.get("tools") and (type(choice) is dict or choice == "required"):
            self.notes["thinking: left out, a call is forced"] = None
            return
        budget = min(max(LEAST_BUDGET, wanted), self.max_tokens - 1)
        if budget < LEAST_BUDGET:
            self.notes["thinking: left out, 'max_tokens' leaves no room for it"] = None
            return
        if budget != wanted:
            self.notes[f"thinking.budget_tokens: {budget}"] = None
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}

    def _sampling(self, body: Payload) -> None:
        said = numbers_of(self.payload, ("temperature", "top_p", "top_k"))
        if not said:
            return
        thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
        if not self.generation.takes_sampling or thinks:
            why = "thinking allows none" if self.generation.takes_sampling else "this model takes none"
            for name, value in said.items():
                if value != 1 or name == "top_k":
                    self.notes[f"{name}: left out, {why}"] = None
            return
        if said.get("temperature", 0) > 1:
            said["temperature"] = 1
            self.notes["temperature: 1, the most there is"] = None
        if "temperature" in said and not self.generation.takes_both_samplings and said.pop("top_p", 1) != 1:
            self.notes["top_p: left out, this model takes one of temperature and top_p"] = None
        body.update(said)

    # tools

    def _tools(self, body: Payload) -> None:
        tools = self.payload.get("tools")
        if tools is not None and type(tools) is not list:
            raise Unsupported("tools", "The field 'tools' must be a list.")
        if not tools:
            return
        body["tools"] = [self._tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
        choice = self.payload.get("tool_choice")
        alone = self.payload.get("parallel_tool_calls") is False
        if choice is None and not alone:
            return
        said: Payload
        if type(choice) is dict:
            function = choice.get("function")
            name = function.get("name") if type(function) is dict else None
            if choice.get("type") != "function" or type(name) is not str:
                raise Unsupported("tool_choice", "This format can be made to call one named function, any, or none.")
            said = {"type": "tool", "name": name}
        elif choice is None:
            said = {"type": "auto"}
        elif type(choice) is str and choice in _CHOICES:
            said = {"type": _CHOICES[choice]}
        else:
            raise Unsupported("tool_choice", "The field 'tool_choice' must be auto, required, none or name a function.")
        if alone and said["type"] != "none":
            said["disable_parallel_tool_use"] = True
        body["tool_choice"] = said

    def _tool(self, tool: object, at: str) -> Payload:
        function = function_of(tool, at)
        parameters = function.get("parameters")
        said: Payload = {"name": function["name"], "input_schema": parameters or {"type": "object", "properties": {}}}
        if "type" not in said["input_schema"]:
            said["input_schema"] = {"type": "object", **said["input_schema"]}
        if function.get("description") is not None:
            said["description"] = function["description"]
        if function.get("strict") is True:
            if self.generation.takes_schema:
                said["strict"] = True
                said["input_schema"] = self._held(said["input_schema"], "tools[].function.parameters")
            else:
                self.notes["tools[].function.strict: left out, this model has no such promise"] = None
        if isinstance(tool, dict) and tool.get("cache_control") is not None:
            said["cache_control"] = tool["cache_control"]
        return said

    def _held(self, schema: Payload, field: str) -> Payload:
        worded: dict[str, None] = {}
        said = held(schema, worded)
        if worded:
            self.notes[f"{field}: {', '.join(worded)} said in words, not held"] = None
        return said

    # the answer's form

    def _form(self, body: Payload) -> None:
        kind, described = schema_wanted(self.payload)
        if kind == "text":
            return
        if kind == "json_object":
            self.turns.system.append({"type": "text", "text": _JSON_ASKED})
            self.notes["response_format: asked for in words"] = None
            return
        schema = described["schema"]
        if self.generation.takes_schema:
            body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": self._held(schema, "response_format")}
            if described.get("strict") is False:
                self.notes["response_format.json_schema.strict: held strictly"] = None
            return
        forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
        if forced:
            raise Unsupported("response_format", "This model cannot be given both a form for its answer and a call that it has to make.")
        tool = {"name": STRUCTURED_TOOL, "description": described.get("description") or "Give the answer.", "input_schema": schema}
        offered = body.get("tools", [])
        body["tools"] = [*offered, tool]
        thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
        if thinks:  # thinking and a forced call exclude each other
            body["tool_choice"] = {"type": "auto"}
            self.turns.system.append({"type": "text", "text": f"Give your answer by calling the tool {STRUCTURED_TOOL}."})
        elif offered and body.get("tool_choice", {}).get("type") != "none":
            body["tool_choice"] = {"type": "any"}
        else:
            body["tool_choice"] = {"type": "tool", "name": STRUCTURED_TOOL}
        self.notes["response_format: as the arguments of a tool that is called"] = None
