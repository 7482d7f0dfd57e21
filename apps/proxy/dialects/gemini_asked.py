"""What a chat completion asks of the answer and of tools, in Gemini's words: ``generationConfig``, declarations, calling modes."""

from __future__ import annotations

import re
from typing import Any

from apps.proxy.dialects.gemini_words import MAX_SEED, generation
from apps.proxy.dialects.translation import Payload, Unsupported

_SAID = frozenset(
    {
        "messages",
        "model",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning_effort",
        "thinking",
        "modalities",
        "service_tier",
        "metadata",
    }
)
_NEARLY = {
    "user": "not told to the provider",
    "safety_identifier": "not told to the provider",
    "prompt_cache_key": "left out: the provider caches by itself",
    "prompt_cache_retention": "left out: the provider caches by itself",
    "cache_control": "left out: the provider caches by itself",
    "store": "left out: nothing is stored",
    "prediction": "left out: nothing is predicted",
    "verbosity": "left out",
    "min_p": "left out",
    "top_a": "left out",
    "typical_p": "left out",
    "repetition_penalty": "left out",
}
_UNSAID = {
    "functions": "functions cannot be said to Gemini; put them into tools",
    "function_call": "function_call cannot be said to Gemini; use tool_choice",
    "logit_bias": "logit_bias cannot be said to Gemini",
    "audio": "audio cannot be asked of Gemini through chat completions",
    "web_search_options": "web_search_options cannot be said to Gemini",
}
_SAME = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
"""Tokens of thinking by effort, where a model takes no words for it: as Google's own OpenAI-compatible endpoint has them."""


class Asking:
    """One request while it is said. tier, labels: what stands beside ``generationConfig``."""

    def __init__(self, payload: Payload, model: str, vertex: bool) -> None:
        self.payload = payload
        self.model = model
        self.approximated: list[str] = []
        self.tier: str | None = None
        self.labels: dict[str, str] = {}
        for name, value in payload.items():
            if name in _SAID or value is None or value is False:
                continue
            if name in _UNSAID:
                raise Unsupported(name, _UNSAID[name])
            if name not in _NEARLY:
                raise Unsupported(name, f"{name} cannot be said to Gemini")
            self.nearly(name, _NEARLY[name])
        self._service_tier(vertex)
        self._metadata(vertex)

    def nearly(self, field: str, what: str) -> None:
        self.approximated.append(f"{field}: {what}")

    def _service_tier(self, vertex: bool) -> None:
        tier = self.payload.get("service_tier")
        if tier in (None, "auto"):
            return
        if type(tier) is not str or tier not in _TIERS or (vertex and tier != "default"):
            self.nearly("service_tier", "the standard one")
        elif not vertex:
            self.tier = _TIERS[tier]

    def _metadata(self, vertex: bool) -> None:
        metadata = self.payload.get("metadata")
        if not metadata:
            return
        if not vertex or type(metadata) is not dict:
            self.nearly("metadata", "not told to the provider")
            return
        for name, value in metadata.items():
            if type(value) is str and _LABEL.fullmatch(name) and _LABEL_VALUE.fullmatch(value):
                self.labels[name] = value
            else:
                self.nearly(f"metadata.{name}", "not told to the provider: labels are lower-case, of at most 63 letters, digits, _ and -")


def settings_said(asking: Asking, details: set[str]) -> dict[str, Any]:
    """``generationConfig``. details: what was said of images."""
    payload = asking.payload
    config: dict[str, Any] = {}
    for name, theirs in _SAME.items():
        if (value := payload.get(name)) is not None:
            config[theirs] = value
    cap = payload.get("max_completion_tokens")
    if cap is None:
        cap = payload.get("max_tokens")
    if cap is not None:
        config["maxOutputTokens"] = cap
    if (stop := payload.get("stop")) is not None:
        config["stopSequences"] = [stop] if type(stop) is str else stop
    seed = payload.get("seed")
    if type(seed) is int and not -MAX_SEED <= seed <= MAX_SEED:
        seed &= MAX_SEED
        asking.nearly("seed", f"folded into 31 bits: {seed}")
    if seed is not None:
        config["seed"] = seed
    if payload.get("logprobs") is True:
        config["responseLogprobs"] = True
        if payload.get("top_logprobs"):
            config["logprobs"] = payload["top_logprobs"]
    modalities = payload.get("modalities")
    if modalities is not None and modalities != ["text"]:
        raise Unsupported("modalities", "modalities: only text can be asked of Gemini through chat completions")
    _response_format(asking, config)
    if thinking := _thinking(asking):
        config["thinkingConfig"] = thinking
    if len(details) == 1:
        config["mediaResolution"] = f"MEDIA_RESOLUTION_{next(iter(details)).upper()}"
    elif details:
        asking.nearly("image_url.detail", "images of different detail are all seen as the provider sees them by itself")
    return config


def _response_format(asking: Asking, config: dict[str, Any]) -> None:
    asked = asking.payload.get("response_format")
    if asked is None:
        return
    kind = asked.get("type") if type(asked) is dict else None
    if kind == "text":
        return
    if kind not in ("json_object", "json_schema"):
        raise Unsupported("response_format.type", "response_format.type must be text, json_object or json_schema")
    if asking.payload.get("tools") and (0, 0) < generation(asking.model) < (3, 0):
        raise Unsupported("response_format", f"{asking.model} takes no tools together with a format of the answer")
    config["responseMimeType"] = "application/json"
    if kind == "json_schema":
        described = asked.get("json_schema")
        schema = described.get("schema") if type(described) is dict else None
        if type(schema) is not dict:
            raise Unsupported("response_format.json_schema.schema", "response_format.json_schema.schema must be an object")
        config["responseJsonSchema"] = schema


def _thinking(asking: Asking) -> dict[str, Any]:
    thinking = asking.payload.get("thinking")
    if thinking is not None:
        kind = thinking.get("type") if type(thinking) is dict else thinking
        budget = thinking.get("budget_tokens") if type(thinking) is dict else None
        if kind == "enabled" and type(budget) is int and budget > 0:
            return _budget(asking, budget, "thinking.budget_tokens")
        if kind == "adaptive":
            if not _thinks(asking, "thinking"):
                return {}
            return {"includeThoughts": True, "thinkingBudget": -1} if "flash-lite" in asking.model else {"includeThoughts": True}
        if kind == "disabled":
            return _unthinking(asking, "thinking")
        raise Unsupported("thinking", "thinking must be adaptive, disabled, or enabled with budget_tokens")
    effort = asking.payload.get("reasoning_effort")
    if effort is None:
        return {}
    if effort == "none":
        return _unthinking(asking, "reasoning_effort")
    if type(effort) is not str or effort not in _BUDGETS:
        raise Unsupported("reasoning_effort", f"reasoning_effort must be none or one of {', '.join(_BUDGETS)}")
    release = generation(asking.model)
    if release < (3, 0):
        return _budget(asking, _BUDGETS[effort], "reasoning_effort")
    level = effort
    if "pro" in asking.model:
        level = "low" if effort == "minimal" else "high" if effort == "medium" and release < (3, 1) else effort
    if level == "xhigh":
        level = "high"
    if level != effort:
        asking.nearly("reasoning_effort", f"said as {level}")
    return {"includeThoughts": True, "thinkingLevel": level.upper()}


def _thinks(asking: Asking, field: str) -> bool:
    """Whether the model can think at all; one whose name does not say is asked."""
    if (0, 0) < generation(asking.model) < (2, 5):
        asking.nearly(field, f"{asking.model} does not think")
        return False
    return True


def _budget(asking: Asking, budget: int, field: str) -> dict[str, Any]:
    """Within what the model takes. Budgets are 2.5's way; later models take them too."""
    if not _thinks(asking, field):
        return {}
    most = 32768 if "pro" in asking.model else 24576
    least = 512 if "flash-lite" in asking.model else 128 if "pro" in asking.model else 1
    given = min(max(budget, least), most) if generation(asking.model) == (2, 5) else budget
    if given != budget or field == "reasoning_effort":
        asking.nearly(field, f"at most {given} tokens of thinking")
    return {"includeThoughts": True, "thinkingBudget": given}


def _unthinking(asking: Asking, field: str) -> dict[str, Any]:
    release = generation(asking.model)
    if (0, 0) < release < (2, 5):
        return {}
    pro = "pro" in asking.model
    if release >= (3, 0):
        asking.nearly(field, "thinks as little as it can: it cannot be told not to")
        return {"thinkingLevel": "LOW" if pro else "MINIMAL"}
    if pro and release == (2, 5):
        asking.nearly(field, "at most 128 tokens of thinking: it cannot be told not to")
        return {"thinkingBudget": 128}
    return {"thinkingBudget": 0}


def tools_said(asking: Asking) -> list[dict[str, Any]]:
    tools = asking.payload.get("tools")
    if tools is None:
        return []
    if type(tools) is not list:
        raise Unsupported("tools", "tools must be a list")
    declared = []
    for number, tool in enumerate(tools):
        field = f"tools[{number}]"
        kind = tool.get("type", "function") if type(tool) is dict else None
        if kind != "function":
            raise Unsupported(f"{field}.type", f"{field}.type: only functions can be said to Gemini")
        function = tool.get("function")
        if type(function) is not dict or type(function.get("name")) is not str:
            raise Unsupported(f"{field}.function.name", f"{field}.function.name must be text")
        made = {"name": function["name"]}
        if function.get("description") is not None:
            made["description"] = function["description"]
        if function.get("parameters") is not None:
            made["parametersJsonSchema"] = function["parameters"]
        if tool.get("cache_control") is not None:
            asking.nearly("cache_control", "left out: the provider caches by itself")
        declared.append(made)
    return declared


def choice_said(asking: Asking) -> dict[str, Any]:
    """``functionCallingConfig``; empty where the model may do as it likes."""
    payload = asking.payload
    choice = payload.get("tool_choice")
    if payload.get("parallel_tool_calls") is False and choice != "none":
        asking.nearly("parallel_tool_calls", "the model may call several tools at once")
    if choice is None or choice == "auto":
        held = any(tool["function"].get("strict") is True for tool in payload["tools"])
        return {"mode": "VALIDATED"} if held else {}
    if choice == "none":
        return {"mode": "NONE"}
    if choice == "required":
        return {"mode": "ANY"}
    kind = choice.get("type") if type(choice) is dict else None
    if kind == "function":
        return {"mode": "ANY", "allowedFunctionNames": [_chosen(choice, "tool_choice")]}
    allowed = choice.get("allowed_tools") if kind == "allowed_tools" else None
    if type(allowed) is dict and type(allowed.get("tools")) is list and allowed.get("mode") in ("auto", "required"):
        chosen = [_chosen(tool, f"tool_choice.allowed_tools.tools[{number}]") for number, tool in enumerate(allowed["tools"])]
        return {"mode": "ANY" if allowed["mode"] == "required" else "VALIDATED", "allowedFunctionNames": chosen}
    raise Unsupported("tool_choice", "tool_choice must be auto, none, required, a function, or allowed_tools")


def _chosen(tool: Any, field: str) -> str:
    function = tool.get("function") if type(tool) is dict else None
    name = function.get("name") if type(function) is dict else None
    if type(name) is not str:
        raise Unsupported(f"{field}.function.name", f"{field}.function.name must be text")
    return name
