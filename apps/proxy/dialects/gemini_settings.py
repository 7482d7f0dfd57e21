"""What an app's ``generateContent`` request asks of the answer and of tools, as a chat completion's fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apps.proxy.dialects.gemini_fields import fields, flag, listed, names, number, text, texts, whole
from apps.proxy.dialects.gemini_schema import closed, json_schema
from apps.proxy.dialects.translation import Payload, Unsupported

Nearly = Callable[[str, str], None]
"""Notes a field that is not told quite as asked, and what becomes of it."""
CONFIG = names(
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "presencePenalty",
    "frequencyPenalty",
    "seed",
    "responseLogprobs",
    "logprobs",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "thinkingConfig",
    "mediaResolution",
    "enableEnhancedCivicAnswers",
)
CONFIG["_responseJsonSchema"] = "responseJsonSchema"  # its name while it was a preview
_THINKING = names("includeThoughts", "thinkingBudget", "thinkingLevel")
TOOL = names("functionDeclarations")
_DECLARATION = names("name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior")
_TOOL_CONFIG = names("functionCallingConfig", "includeServerSideToolInvocations")
_CALLING = names("mode", "allowedFunctionNames", "streamFunctionCallArguments")
TEXT = ("TEXT", "MODALITY_UNSPECIFIED")
_LEVELS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh"}
_SERVER_TOOL = "is a tool that runs at Google; only functions can be said to other providers"


def settings_of(value: Any) -> dict[str, Any]:
    return {} if value is None else fields(value, CONFIG, "generationConfig")


def settings_read(given: dict[str, Any], payload: Payload, nearly: Nearly) -> None:
    at = "generationConfig."
    for name, ours in (
        ("temperature", "temperature"),
        ("topP", "top_p"),
        ("presencePenalty", "presence_penalty"),
        ("frequencyPenalty", "frequency_penalty"),
    ):
        if name in given:
            payload[ours] = number(given[name], at + name)
    for name, ours in (("topK", "top_k"), ("candidateCount", "n"), ("maxOutputTokens", "max_tokens"), ("seed", "seed")):
        if name in given:
            payload[ours] = whole(given[name], at + name)
    if "stopSequences" in given:
        payload["stop"] = texts(given["stopSequences"], at + "stopSequences")
    if "responseLogprobs" in given and flag(given["responseLogprobs"], at + "responseLogprobs"):
        payload["logprobs"] = True
        if "logprobs" in given:
            payload["top_logprobs"] = whole(given["logprobs"], at + "logprobs")
    elif "logprobs" in given:
        raise Unsupported(at + "logprobs", "generationConfig.logprobs needs generationConfig.responseLogprobs to be true")
    for number_, kind in enumerate(texts(given.get("responseModalities"), at + "responseModalities")):
        if kind.upper() not in TEXT:
            field = f"{at}responseModalities[{number_}]"
            raise Unsupported(field, f"{field}: only TEXT can be asked of other providers")
    _response_format(given, payload)
    if "thinkingConfig" in given:
        _thinking(given["thinkingConfig"], payload)
    if given.get("enableEnhancedCivicAnswers"):
        nearly(at + "enableEnhancedCivicAnswers", "left out")


def _response_format(given: dict[str, Any], payload: Payload) -> None:
    at = "generationConfig."
    kind = text(given.get("responseMimeType", "text/plain"), at + "responseMimeType")
    schema = None
    if "responseJsonSchema" in given:
        schema = given["responseJsonSchema"]
        if type(schema) is not dict:
            raise Unsupported(at + "responseJsonSchema", "generationConfig.responseJsonSchema must be an object")
    elif "responseSchema" in given:
        schema = json_schema(given["responseSchema"], at + "responseSchema")
    if kind == "text/plain" and schema is None:
        return
    if kind != "application/json":
        raise Unsupported(
            at + "responseMimeType", "generationConfig.responseMimeType must be application/json, or text/plain without a schema"
        )
    if schema is None:
        payload["response_format"] = {"type": "json_object"}
        return
    title = schema.get("title")
    name = "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in title)[:64] if type(title) is str else ""
    asked: dict[str, Any] = {"name": name or "answer", "schema": schema}
    if closed(schema):
        asked["strict"] = True
    payload["response_format"] = {"type": "json_schema", "json_schema": asked}


def _thinking(value: Any, payload: Payload) -> None:
    field = "generationConfig.thinkingConfig"
    given = fields(value, _THINKING, field)
    if "thinkingLevel" in given:
        level = text(given["thinkingLevel"], f"{field}.thinkingLevel").upper()
        if level in _LEVELS:
            payload["reasoning_effort"] = _LEVELS[level]
        elif level != "THINKING_LEVEL_UNSPECIFIED":
            raise Unsupported(f"{field}.thinkingLevel", f"{field}.thinkingLevel must be one of {', '.join(_LEVELS)}")
    elif "thinkingBudget" in given:
        budget = whole(given["thinkingBudget"], f"{field}.thinkingBudget")
        if budget < -1:
            raise Unsupported(f"{field}.thinkingBudget", f"{field}.thinkingBudget must be -1, 0 or a number of tokens")
        if budget > 0:
            payload["thinking"] = {"type": "enabled", "budget_tokens": budget}
        else:
            payload["thinking"] = {"type": "disabled" if budget == 0 else "adaptive"}
    elif given.get("includeThoughts") is True:
        payload["thinking"] = {"type": "adaptive"}


def tools_read(value: Any, payload: Payload, nearly: Nearly) -> list[str]:
    """Names of the functions."""
    made: list[dict[str, Any]] = []
    for number_, tool in enumerate(listed(value, "tools")):
        at = f"tools[{number_}]"
        given = fields(tool, TOOL, at, _SERVER_TOOL)
        for other, declaration in enumerate(listed(given.get("functionDeclarations"), f"{at}.functionDeclarations")):
            made.append(_declared(declaration, f"{at}.functionDeclarations[{other}]", nearly))
    if made:
        payload["tools"] = made
    return [tool["function"]["name"] for tool in made]


def _declared(value: Any, field: str, nearly: Nearly) -> dict[str, Any]:
    given = fields(value, _DECLARATION, field)
    function: dict[str, Any] = {"name": text(given.get("name"), f"{field}.name")}
    if "description" in given:
        function["description"] = text(given["description"], f"{field}.description")
    if "parametersJsonSchema" in given:
        function["parameters"] = given["parametersJsonSchema"]
        if type(function["parameters"]) is not dict:
            raise Unsupported(f"{field}.parametersJsonSchema", f"{field}.parametersJsonSchema must be an object")
    elif "parameters" in given:
        function["parameters"] = json_schema(given["parameters"], f"{field}.parameters")
    for name in ("response", "responseJsonSchema"):
        if name in given:
            nearly(f"{field}.{name}", "not told to the model")
    if given.get("behavior", "UNSPECIFIED") not in ("UNSPECIFIED", "BLOCKING"):
        raise Unsupported(f"{field}.behavior", f"{field}.behavior: other providers wait for a function's answer")
    return {"type": "function", "function": function}


def tool_config_read(value: Any, declared: list[str], payload: Payload, nearly: Nearly) -> None:
    given = fields(value, _TOOL_CONFIG, "toolConfig")
    if given.get("includeServerSideToolInvocations"):
        field = "toolConfig.includeServerSideToolInvocations"
        raise Unsupported(field, f"{field}: other providers run no tools of Google's")
    if "functionCallingConfig" not in given:
        return
    field = "toolConfig.functionCallingConfig"
    calling = fields(given["functionCallingConfig"], _CALLING, field)
    mode = text(calling.get("mode", "AUTO"), f"{field}.mode").upper()
    allowed = texts(calling.get("allowedFunctionNames"), f"{field}.allowedFunctionNames")
    if calling.get("streamFunctionCallArguments"):
        nearly(f"{field}.streamFunctionCallArguments", "arguments are given whole")
    if mode not in ("AUTO", "MODE_UNSPECIFIED", "ANY", "NONE", "VALIDATED"):
        raise Unsupported(f"{field}.mode", f"{field}.mode must be AUTO, ANY, NONE or VALIDATED")
    if not declared:
        return
    if allowed and set(declared) <= set(allowed):
        allowed = []
    if mode == "NONE":
        payload["tool_choice"] = "none"
    elif mode == "ANY":
        payload["tool_choice"] = {"type": "function", "function": {"name": allowed[0]}} if len(allowed) == 1 else "required"
    if len(allowed) > (1 if mode == "ANY" else 0) and mode in ("ANY", "VALIDATED"):
        chosen = [{"type": "function", "function": {"name": name}} for name in allowed]
        payload["tool_choice"] = {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required" if mode == "ANY" else "auto", "tools": chosen},
        }
    elif mode == "VALIDATED":
        if all(closed(tool["function"].get("parameters", {})) for tool in payload["tools"]):
            payload["tools"] = [{**tool, "function": {**tool["function"], "strict": True}} for tool in payload["tools"]]
        else:
            nearly(f"{field}.mode", "arguments are not held to their schemas by every provider")
