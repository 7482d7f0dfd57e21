"""Recorded exchanges with the Gemini API, run through its front and back; what became of each is reported for the table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from google.genai import types

from apps.proxy.dialects.gemini import GeminiBack, GeminiFront, VertexBack, path_parts
from apps.proxy.dialects.translation import NotAnAnswer, Unsupported
from tests.conformance.recordings import Recording, recordings
from tests.conformance.table import report

FRONT = GeminiFront()
HOSTS = {"gemini": "generativelanguage.googleapis.com", "vertex": "aiplatform.googleapis.com"}
BACKS = {"gemini": GeminiBack(), "vertex": VertexBack()}

NOT_COMPARED = {
    "spelling": "snake_case is written as camelCase, base64 for URLs as the usual one, 40.0 as 40, a lone object as a list",
    "generationConfig.responseModalities": "TEXT alone is what holds without it",
    "generationConfig.thinkingConfig.includeThoughts": "false is what holds without it",
    "generationConfig.responseSchema": "said as responseJsonSchema",
    "tools[].functionDeclarations[].parameters": "said as parametersJsonSchema",
    "toolConfig.functionCallingConfig": "AUTO, and all functions allowed, hold without it; VALIDATED where told as nearly said",
    "safetySettings": "told as nearly said",
    "systemInstruction.role": "means nothing",
    "contents": "one role's contents after each other are one; a model's thoughts, texts and calls stand together",
    "functionCall.id": "made where the app gave none: every other format needs one",
}
"""What a recorded request may differ in from the one that we would send, and why."""
NOT_COMPARED_OF_ANSWERS = {
    "groundingMetadata, urlContextMetadata": "only tools that run at Google have them, which are refused before",
    "safetyRatings, avgLogprobs, tokenId, finishMessage of STOP": "chat completions have no word for them",
    "promptTokensDetails, serviceTier": "modalities are told where they are not text alone; the tier is told as trafficType",
    "toolUsePromptTokenCount": "is input and counted with it",
    "createTime": "to the second",
    "responseId": "made where the provider gave none",
    "thoughts": "not shown to an app that did not ask to see them",
}
"""The same of answers."""


REQUEST, ANSWER, STREAM = "app's request to provider's", "provider's answer to app's", "provider's stream to app's"
SAMPLE = 40
"""Exchanges with OpenAI that are said in this format too."""


def recordings_check() -> None:
    check("gemini")
    openai_check()


def check(format: str) -> None:
    for recording in recordings(host=HOSTS[format]):
        parts = path_parts(recording.path)
        if parts is None or not parts.method.lower().endswith("generatecontent"):
            continue
        _request_check(format, recording, parts.model)
        _answer_check(format, recording)


def openai_check() -> None:
    """What OpenAI's apps ask is a request of Gemini's, and what OpenAI answers an answer of it."""
    for recording in islice(recordings(host="api.openai.com", path="/chat/completions", folder="test_openai/"), SAMPLE):
        if not isinstance(recording.asked, dict):
            continue
        try:
            sent = BACKS["gemini"].request(recording.asked, "gemini-3-flash-preview", stream=False)
        except Unsupported as refused:
            report("gemini", "OpenAI's request to provider's", recording.name, "skipped", f"refused: {_kind(refused.field)}")
        else:
            request_parses(sent.body)
            report("gemini", "OpenAI's request to provider's", recording.name, "passed")
        if recording.status == 200 and not recording.streamed:
            _openai_answer_check(json.loads(recording.answer))
            report("gemini", "OpenAI's answer to app's", recording.name, "passed")


def _openai_answer_check(completion: dict[str, Any]) -> None:
    said = types.GenerateContentResponse.model_validate(FRONT.answer(completion, {"contents": []}))
    assert said.usage_metadata is not None and said.usage_metadata.total_token_count == completion["usage"]["total_tokens"]
    assert said.candidates is not None and said.candidates[0].content is not None
    message, parts = completion["choices"][0]["message"], said.candidates[0].content.parts or []
    assert "".join(part.text or "" for part in parts) == (message.get("content") or "") + (message.get("refusal") or "")
    calls = [part.function_call for part in parts if part.function_call]
    assert [(call.id, call.name, call.args) for call in calls] == [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls") or ()
    ]


def _request_check(format: str, recording: Recording, model: str) -> None:
    try:
        asked = FRONT.read(recording.asked)
    except Unsupported as refused:
        report(format, REQUEST, recording.name, "skipped", f"refused: {_kind(refused.field)}")
        return
    sent = BACKS[format].request(asked.payload, model, stream=recording.streamed)
    method = "streamGenerateContent?alt=sse" if recording.streamed else "generateContent"
    assert recording.path.endswith(sent.path.removesuffix("?alt=sse")) and sent.path.endswith(method), recording.name
    validated = any(note.startswith("toolConfig.functionCallingConfig.mode") for note in asked.approximated)
    expected, made = canonical(recording.asked, validated=validated), canonical(sent.body)
    _same_ids(expected, made)
    assert made == expected, f"{recording.name}: {_difference(made, expected)}"
    request_parses(sent.body)
    report(format, REQUEST, recording.name, "passed")


def _answer_check(format: str, recording: Recording) -> None:
    direction = STREAM if recording.streamed else ANSWER
    back = BACKS[format]
    asked = recording.asked
    expected = list(events(recording.answer)) if recording.streamed else [json.loads(recording.answer)]
    try:
        if recording.streamed:
            reading, writing = back.stream({}), FRONT.stream(asked)
            chunks = [*reading.feed(recording.answer), *reading.close()]
            assert reading.finished, recording.name
            made = list(events(b"".join([*(writing.feed(chunk) for chunk in chunks), writing.close()])))
        else:
            made = [FRONT.answer(back.answer(recording.answer, {}), asked)]
    except NotAnAnswer as refused:
        report(format, direction, recording.name, "skipped", f"cannot be asked for: {str(refused).partition(',')[0]}")
        return
    for one in made:
        types.GenerateContentResponse.model_validate(one)
    identified = "responseId" in expected[0]
    assert told(made, asked, identified=identified) == told(expected, asked), recording.name
    report(format, direction, recording.name, "passed")


def _kind(field: str) -> str:
    return "".join(sign for sign in field if not sign.isdigit())


def events(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.splitlines():
        if line.startswith(b"data:"):
            yield json.loads(line[5:])


def request_parses(body: dict[str, Any]) -> None:
    """As the SDK's own types read it, which forbid what they do not know."""
    for content in [*body["contents"], *([body["systemInstruction"]] if "systemInstruction" in body else [])]:
        types.Content.model_validate(content)
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))
    for tool in body.get("tools", []):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    assert body.keys() <= {"contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "labels", "serviceTier"}


def told(said: list[dict[str, Any]], asked: dict[str, Any], *, identified: bool = True) -> dict[str, Any]:
    """What an app has learnt when all of it was read, in the fields that matter. identified: the provider gave the answer an id."""
    shown = canonical(asked)["generationConfig"].get("thinkingConfig", {}).get("includeThoughts") is True
    candidates: dict[int, dict[str, Any]] = {}
    found: dict[str, Any] = {"candidates": candidates}
    for one in said:
        for candidate in one.get("candidates", []):
            kept = candidates.setdefault(candidate.get("index", 0), {"text": "", "thoughts": "", "calls": [], "signatures": []})
            for part in candidate.get("content", {}).get("parts") or []:
                if "thoughtSignature" in part:
                    kept["signatures"].append(part["thoughtSignature"])
                if "functionCall" in part:
                    kept["calls"].append((part["functionCall"]["name"], part["functionCall"].get("args", {})))
                elif not part.get("thought"):
                    kept["text"] += part.get("text", "")
                elif shown:
                    kept["thoughts"] += part["text"]
            if "finishReason" in candidate:
                kept["finish"] = candidate["finishReason"]
                kept["note"] = candidate.get("finishMessage", "") if candidate["finishReason"] != "STOP" else ""
            if "logprobsResult" in candidate:
                kept["logprobs"] = json.loads(json.dumps(candidate["logprobsResult"]), object_hook=_without_token_id)
        for name in ("promptFeedback", "modelVersion", "responseId"):
            if name in one and (name != "responseId" or identified):
                found[name] = one[name]
        if "promptTokenCount" in (usage := one.get("usageMetadata", {})):
            found["usage"] = (
                usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0),
                usage.get("candidatesTokenCount", 0),
                usage.get("thoughtsTokenCount", 0),
                usage.get("cachedContentTokenCount", 0),
            )
    found["usage"] = found.get("usage", (0, 0, 0, 0))
    return found


def _without_token_id(value: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in value.items() if name != "tokenId"}


def canonical(body: dict[str, Any], *, validated: bool = False) -> dict[str, Any]:
    """A request without what NOT_COMPARED names. validated: its calling mode was told as nearly said."""
    made = _camel(body)
    made.pop("safetySettings", None)
    config = made.setdefault("generationConfig", {})
    if config.get("responseModalities") == ["TEXT"]:
        del config["responseModalities"]
    thinking = config.get("thinkingConfig", {})
    if thinking.get("includeThoughts") is False:
        del thinking["includeThoughts"]
    if not thinking:
        config.pop("thinkingConfig", None)
    if "topK" in config:
        config["topK"] = int(config["topK"])
    if "responseSchema" in config:
        config["responseJsonSchema"] = _lower(config.pop("responseSchema"))
    if "systemInstruction" in made:
        made["systemInstruction"].pop("role", None)
    declared: set[str] = set()
    made["tools"] = made.get("tools", [])
    made["tools"] = [made["tools"]] if isinstance(made["tools"], dict) else made["tools"]
    for tool in made["tools"]:
        for declaration in tool.get("functionDeclarations", []):
            declared.add(declaration["name"])
            if "parameters" in declaration:
                declaration["parametersJsonSchema"] = _lower(declaration.pop("parameters"))
    calling = made.pop("toolConfig", {}).get("functionCallingConfig", {})
    if set(calling.get("allowedFunctionNames", ())) == declared:
        calling.pop("allowedFunctionNames", None)
    if len(declared) == 1 and calling.get("mode") == "ANY":
        calling.pop("allowedFunctionNames", None)
    made["calling"] = {} if calling.get("mode") == "AUTO" or (validated and calling.get("mode") == "VALIDATED") else calling
    made["contents"] = _joined(made["contents"])
    return made


_DATA = {"args", "response", "parameters", "parametersJsonSchema", "responseJsonSchema", "responseSchema", "labels"}
_BYTES = {"thoughtSignature", "data"}


def _camel(value: Any) -> Any:
    if isinstance(value, list):
        return [_camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, one in value.items():
        first, *rest = key.split("_")
        name = first + "".join(word.title() for word in rest)
        if name in _DATA:
            made[name] = one
        elif name in _BYTES:
            made[name] = one.replace("-", "+").replace("_", "/")
        else:
            made[name] = _camel(one)
    return made


def _lower(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_lower(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key.replace("any_of", "anyOf"): one.lower() if key == "type" and isinstance(one, str) else _lower(one)
        for key, one in schema.items()
        if key != "property_ordering"
    }


def _joined(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for content in contents:
        role = content.get("role", "user")
        if made and made[-1]["role"] == role:
            made[-1]["parts"].extend(content["parts"])
        else:
            made.append({"role": role, "parts": list(content["parts"])})
    for content in made:
        if content["role"] == "model":
            content["parts"] = _gathered(content["parts"])
    return made


def _gathered(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    thoughts = "".join(part["text"] for part in parts if part.get("thought"))
    texts = [part for part in parts if "text" in part and not part.get("thought")]
    made: list[dict[str, Any]] = [{"thought": thoughts}] if thoughts else []
    if texts:
        signed = [part["thoughtSignature"] for part in texts if "thoughtSignature" in part]
        made.append({"text": "".join(part["text"] for part in texts), "signed": signed})
    return made + [part for part in parts if "functionCall" in part]


def _same_ids(expected: dict[str, Any], made: dict[str, Any]) -> None:
    """Takes off ids that the app did not give."""
    for theirs, ours in zip(expected["contents"], made["contents"], strict=True):
        for before, after in zip(theirs["parts"], ours["parts"], strict=True):
            for kind in ("functionCall", "functionResponse"):
                if kind in before and "id" not in before[kind]:
                    after.get(kind, {}).pop("id")


def _difference(made: dict[str, Any], expected: dict[str, Any]) -> str:
    return "; ".join(
        f"{key}: {json.dumps(made.get(key))[:800]} is not {json.dumps(expected.get(key))[:800]}"
        for key in sorted({*made, *expected})
        if made.get(key) != expected.get(key)
    )
