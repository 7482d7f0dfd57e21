"""What of a Gemini request everybody can be told, and marks for what costs beside its words: for choosing and counting, never sent.

A request that only Google's own models can be told (its tools, its caches, answers that are images) still reaches them as the app wrote
it. What lies before the call (limits, budgets, plans) knows such a request by this outline.
"""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects import gemini_read, gemini_settings
from apps.proxy.dialects.gemini_fields import Names, listed
from apps.proxy.dialects.translation import Asked, Payload

_DROPPED = ("includeServerSideToolInvocations", "include_server_side_tool_invocations", "retrievalConfig", "retrieval_config")
_MIME = ("responseMimeType", "response_mime_type")
_SCHEMAS = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema", "_responseJsonSchema")
_SAID = frozenset(gemini_read.PART) - {"thought", "thoughtSignature", "thought_signature", "mediaResolution", "media_resolution"}
_MODALITIES = ("responseModalities", "response_modalities")


def outline(body: Payload) -> Asked:
    """Raises Unsupported where even what everybody knows is wrong. Cost that no words bound is marked as chat completions would have it:
    a tool that runs at the provider, a part or modality that is no text."""
    if type(body.get("generateContentRequest")) is dict:
        return outline({name: value for name, value in body["generateContentRequest"].items() if name != "model"})
    marks: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] = []
    known: Payload = {name: value for name, value in body.items() if name in gemini_read.REQUEST}
    if body.get("cachedContent") or body.get("cached_content"):
        marks.append({"type": "cached_content"})
    beyond = _settings(known)
    if type(known.get("contents")) in (list, dict):
        known["contents"] = [_content(one, marks) for one in listed(known["contents"], "contents")]
    if known.get("tools") is not None:
        known["tools"] = [_tool(one, tools) for one in listed(known["tools"], "tools")]
    for name in ("toolConfig", "tool_config"):
        if type(known.get(name)) is dict:
            known[name] = {key: value for key, value in known[name].items() if key not in _DROPPED}
    asked = gemini_read.read(known)
    payload = asked.payload
    if marks:
        payload["messages"] = [*payload["messages"], {"role": "user", "content": marks}]
    if tools:
        payload["tools"] = [*payload.get("tools", ()), *tools]
    if beyond:
        payload["modalities"] = ["text", *beyond]
    return asked


def _known(value: dict[str, Any], names: Names) -> dict[str, Any]:
    return {name: one for name, one in value.items() if name in names}


def _settings(known: Payload) -> list[str]:
    """Drops what only Gemini has; gives the modalities that are no text."""
    beyond: list[str] = []
    for name in ("generationConfig", "generation_config"):
        config = known.get(name)
        if type(config) is not dict:
            continue
        config = _known(config, gemini_settings.CONFIG)
        for key in _MODALITIES:
            given = config.get(key)
            if type(given) is list:
                beyond += [kind.lower() for kind in given if type(kind) is str and kind.upper() not in gemini_settings.TEXT]
                config[key] = [kind for kind in given if type(kind) is str and kind.upper() in gemini_settings.TEXT]
        kinds = [config.get(key) for key in _MIME if config.get(key) is not None]
        if kinds and kinds[0] not in ("application/json", "text/plain"):
            config = {key: one for key, one in config.items() if key not in (*_MIME, *_SCHEMAS)}
        known[name] = config
    return beyond


def _content(content: Any, marks: list[dict[str, Any]]) -> Any:
    if type(content) is not dict or type(content.get("parts")) not in (list, dict):
        return content
    model = content.get("role") == "model"
    return {**content, "parts": [_part(one, model, marks) for one in listed(content["parts"], "parts")]}


def _part(part: Any, model: bool, marks: list[dict[str, Any]]) -> Any:
    """What Google's tools said is text of the body and counted with it; images that a model made are counted as images."""
    if type(part) is not dict:
        return part
    known = _known(part, gemini_read.PART)
    media = [known.pop(name) for name in ("inlineData", "inline_data", "fileData", "file_data") if name in known] if model else []
    for one in media:
        kind = (one.get("mimeType") or one.get("mime_type") or "") if type(one) is dict else ""
        marks.append({"type": "image_url" if str(kind).startswith("image/") else "file"})
    for name in ("functionResponse", "function_response"):
        response = known.get(name)
        if type(response) is dict:
            known[name] = {key: value for key, value in response.items() if key not in ("willContinue", "will_continue")}
    return known if _SAID & known.keys() else {**known, "text": ""}


def _tool(tool: Any, tools: list[dict[str, Any]]) -> Any:
    if type(tool) is not dict:
        return tool
    known = _known(tool, gemini_settings.TOOL)
    tools.extend({"type": name} for name, value in tool.items() if name not in known and value is not None)
    for name in ("functionDeclarations", "function_declarations"):
        if name in known:
            known[name] = [_declared(one) for one in listed(known[name], name)]
    return known


def _declared(declaration: Any) -> Any:
    if type(declaration) is not dict:
        return declaration
    return {name: value for name, value in declaration.items() if name != "behavior"}
