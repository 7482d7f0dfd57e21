"""What an app's Gemini request says as a chat completion; what no other provider can be told is refused with the app's own path."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from apps.proxy.dialects.gemini import GeminiBack, GeminiFront, path_parts
from apps.proxy.dialects.gemini_fields import MAKER
from apps.proxy.dialects.gemini_schema import json_schema
from apps.proxy.dialects.translation import Unsupported

FRONT = GeminiFront()
HI = [{"role": "user", "parts": [{"text": "hi"}]}]
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
DECLARED = [{"functionDeclarations": [{"name": "look", "parametersJsonSchema": {"type": "object"}}]}]


def read(**fields: Any) -> dict[str, Any]:
    body = {"contents": HI, **fields}
    before = copy.deepcopy(body)
    payload = FRONT.read(body).payload
    assert body == before
    return payload


def messages(*contents: dict[str, Any]) -> list[dict[str, Any]]:
    return read(contents=list(contents))["messages"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"temperature": 1, "topP": 0.5, "top_k": 40.0}, {"temperature": 1, "top_p": 0.5, "top_k": 40}),
        ({"candidateCount": 2, "maxOutputTokens": "9", "seed": 3}, {"n": 2, "max_tokens": 9, "seed": 3}),
        (
            {"stopSequences": ["a"], "presencePenalty": 1, "frequencyPenalty": 0.5},
            {"stop": ["a"], "presence_penalty": 1, "frequency_penalty": 0.5},
        ),
        ({"responseLogprobs": True, "logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"responseLogprobs": False}, {}),
        ({"responseModalities": ["TEXT"], "responseMimeType": "text/plain", "temperature": None}, {}),
        ({"responseMimeType": "application/json"}, {"response_format": {"type": "json_object"}}),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {**CLOSED, "title": "Ein Ä"}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "Ein__", "schema": {**CLOSED, "title": "Ein Ä"}, "strict": True},
                }
            },
        ),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
                }
            },
        ),
        ({"thinkingConfig": {"thinkingBudget": 100}}, {"thinking": {"type": "enabled", "budget_tokens": 100}}),
        ({"thinkingConfig": {"thinking_budget": -1}}, {"thinking": {"type": "adaptive"}}),
        ({"thinkingConfig": {"thinkingBudget": 0}}, {"thinking": {"type": "disabled"}}),
        ({"thinkingConfig": {"includeThoughts": True}}, {"thinking": {"type": "adaptive"}}),
        ({"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "low"}}, {"reasoning_effort": "low"}),
    ],
)
def test_settings(config: dict[str, Any], said: dict[str, Any]) -> None:
    payload = read(generationConfig=config)
    del payload["messages"]
    assert payload == said


@pytest.mark.parametrize(
    ("calling", "choice"),
    [
        ({"mode": "AUTO"}, None),
        ({"mode": "NONE"}, "none"),
        ({"mode": "any"}, "required"),
        ({"mode": "ANY", "allowedFunctionNames": ["look", "hear"]}, "required"),
        ({"mode": "ANY", "allowedFunctionNames": ["look"]}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_which_tools_may_be_called(calling: dict[str, Any], choice: Any) -> None:
    tools = [{"function_declarations": [{"name": "look", "description": "d", "parameters": {"type": "OBJECT"}}, {"name": "hear"}]}]
    payload = read(tools=tools, toolConfig={"functionCallingConfig": calling})
    assert payload.get("tool_choice") == choice
    assert [tool["function"] for tool in payload["tools"]] == [
        {"name": "look", "description": "d", "parameters": {"type": "object"}},
        {"name": "hear"},
    ]


def test_some_of_the_tools() -> None:
    tools = [{"functionDeclarations": [{"name": name} for name in "abc"]}]
    for mode, ours in (("ANY", "required"), ("VALIDATED", "auto")):
        config = {"functionCallingConfig": {"mode": mode, "allowedFunctionNames": ["a", "b"]}}
        choice = read(tools=tools, toolConfig=config)["tool_choice"]
        assert choice["allowed_tools"]["mode"] == ours
        assert [tool["function"]["name"] for tool in choice["allowed_tools"]["tools"]] == ["a", "b"]


def test_validated_arguments_are_strict_tools_where_strictness_takes_them() -> None:
    config = {"functionCallingConfig": {"mode": "VALIDATED"}}
    tools = [{"functionDeclarations": [{"name": "look", "parametersJsonSchema": CLOSED}]}]
    asked = FRONT.read({"contents": HI, "tools": tools, "toolConfig": config})
    assert asked.payload["tools"][0]["function"]["strict"] is True and not asked.approximated
    asked = FRONT.read({"contents": HI, "tools": DECLARED, "toolConfig": config})
    assert "strict" not in asked.payload["tools"][0]["function"]
    assert asked.approximated[0].startswith("toolConfig.functionCallingConfig.mode: ")


def test_a_conversation() -> None:
    payload = read(
        system_instruction={"parts": [{"text": "be kind"}, {"text": "be short"}]},
        contents=[
            {"parts": [{"text": "a"}, {"text": "b"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True, "thoughtSignature": "QUFB"},
                    {"text": "wait", "thoughtSignature": "QkJC"},
                    {"functionCall": {"name": "look", "args": {"at": 1}}, "thoughtSignature": "Q0ND"},
                    {"functionCall": {"name": "look", "id": "mine"}},
                ],
            },
            {
                "role": "function",
                "parts": [
                    {"functionResponse": {"name": "look", "response": {"output": "sunny"}}},
                    {"functionResponse": {"name": "look", "id": "mine", "response": {"temperature": 3}}},
                    {"text": "and?"},
                ],
            },
        ],
    )
    assert payload["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "be kind"}, {"type": "text", "text": "be short"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": "wait",
            "reasoning_content": "hm",
            "thinking_blocks": [
                {"type": "thinking", "thinking": "hm", "signature": MAKER + "QUFB"},
                {"type": "thinking", "thinking": "", "signature": MAKER + "QkJC"},
            ],
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}, "signature": "Q0ND"},
                {"id": "mine", "type": "function", "function": {"name": "look", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "mine", "content": '{"temperature":3}'},
        {"role": "user", "content": "and?"},
    ]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            {"inline_data": {"mime_type": "image/png", "data": "-_8"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,+/8="}},
        ),
        (
            {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a.png"}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}},
            {"type": "image_url", "image_url": {"url": "gs://b/a.png", "detail": "low"}},
        ),
        (
            {"fileData": {"mimeType": "image/png", "fileUri": "https://h/x"}},
            {"type": "image_url", "image_url": {"url": "https://h/x", "format": "image/png"}},
        ),
        (
            {"inlineData": {"mimeType": "audio/mpeg", "data": "aGk="}},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        ),
        (
            {"inlineData": {"mimeType": "application/pdf", "data": "aGk=", "displayName": "a.pdf"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
        ),
        ({"fileData": {"fileUri": "https://h/a.mp4"}}, {"type": "file", "file": {"file_url": "https://h/a.mp4"}}),
    ],
)
def test_media(part: dict[str, Any], said: dict[str, Any]) -> None:
    assert messages({"role": "user", "parts": part}) == [{"role": "user", "content": [said]}]


def test_a_function_that_failed() -> None:
    call = {"role": "model", "parts": [{"functionCall": {"name": "look"}}]}
    answer = {"functionResponse": {"name": "look", "response": {"error": "no window"}}}
    payload = read(contents=[*HI, call, {"parts": [answer]}])
    assert payload["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "no window", "is_error": True}
    sent = GeminiBack().request(payload, "m", stream=False).body["contents"][-1]["parts"][0]["functionResponse"]
    assert sent == {"name": "look", "id": "call_1", "response": {"error": "no window"}}


def test_images_in_a_functions_answer() -> None:
    call = {"role": "model", "parts": [{"functionCall": {"name": "look"}}]}
    answer = {"name": "look", "response": {"ok": 1}, "parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}
    tool = messages(*HI, call, {"role": "user", "parts": [{"functionResponse": answer}]})[-1]
    assert [part["type"] for part in tool["content"]] == ["text", "image_url"]


def test_labels_tier_and_what_is_only_nearly_said() -> None:
    asked = FRONT.read(
        {
            "contents": "hi",
            "labels": {"team": "a"},
            "serviceTier": "STANDARD",
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_MEDIUM"},
        }
    )
    assert asked.payload == {"messages": [{"role": "user", "content": "hi"}], "metadata": {"team": "a"}, "service_tier": "default"}
    assert [note.partition(":")[0] for note in asked.approximated] == ["generationConfig.mediaResolution", "safetySettings"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"contents": []}, "contents"),
        ({"contents": None}, "contents"),
        ({"contents": 3}, "contents"),
        ({"contents": ["x"]}, "contents[0]"),
        ({"contents": [{"role": "robot", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": []}]}, "contents[0].parts"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 3}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"executableCode": {}}]}]}, "contents[0].parts[0].executableCode"),
        ({"contents": [{"parts": [{"text": "x", "videoMetadata": {}}]}]}, "contents[0].parts[0].videoMetadata"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]}, "contents[0].parts[0].inlineData.data"),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f"}}]}]}, "contents[0].parts[0].functionResponse"),
        ({"contents": [{"role": "model", "parts": [{"inlineData": {}}]}]}, "contents[0].parts[0]"),
        (
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": [1]}}]}]},
            "contents[0].parts[0].functionCall.args",
        ),
        ({"systemInstruction": "be kind"}, "systemInstruction"),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction.parts[0].text"),
        ({"cachedContent": "cachedContents/1"}, "cachedContent"),
        ({"modelArmorConfig": {}}, "modelArmorConfig"),
        ({"generationConfig": {"speechConfig": {}}}, "generationConfig.speechConfig"),
        ({"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"generationConfig": {"topK": 1.5}}, "generationConfig.topK"),
        ({"generationConfig": {"seed": True}}, "generationConfig.seed"),
        ({"generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences"),
        ({"generationConfig": {"logprobs": 2}}, "generationConfig.logprobs"),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}, "generationConfig.responseModalities[1]"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
        ({"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": 1}}, "generationConfig.responseJsonSchema"),
        ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "deep"}}}, "generationConfig.thinkingConfig.thinkingLevel"),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": -5}}}, "generationConfig.thinkingConfig.thinkingBudget"),
        ({"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch"),
        ({"tools": [{"code_execution": {}}]}, "tools[0].code_execution"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "behavior": "NON_BLOCKING"}]}]},
            "tools[0].functionDeclarations[0].behavior",
        ),
        ({"toolConfig": {"includeServerSideToolInvocations": True}}, "toolConfig.includeServerSideToolInvocations"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}}, "toolConfig.functionCallingConfig.mode"),
        ({"labels": ["a"]}, "labels"),
        ({"serviceTier": "golden"}, "serviceTier"),
        ({"unheardOf": 1}, "unheardOf"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as refused:
        FRONT.read({"contents": HI, **fields})
    assert refused.value.field == field
    assert field in str(refused.value)


def test_googles_schema_as_json_schema() -> None:
    given = {
        "type": "OBJECT",
        "property_ordering": ["b", "a"],
        "properties": {
            "a": {"type": "STRING", "nullable": True, "enum": ["x"], "minLength": "2", "example": "x"},
            "b": {"type": "ARRAY", "items": {"any_of": [{"type": "INTEGER"}, {"type": "BOOLEAN"}], "nullable": True}, "maxItems": 3},
        },
        "required": ["a"],
    }
    made = json_schema(given, "s")
    assert made == {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", None], "minLength": 2, "examples": ["x"]},
            "b": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "boolean"}, {"type": "null"}]}, "maxItems": 3},
        },
        "required": ["a"],
    }
    assert list(made["properties"]) == ["b", "a"]


def test_what_is_no_schema_is_refused_with_its_place() -> None:
    deep: dict[str, Any] = {"type": "STRING"}
    for _ in range(100):
        deep = {"type": "ARRAY", "items": deep}
    cases = [
        (3, "s"),
        ({"type": "FLOAT"}, "s.type"),
        ({"properties": {"a": {"type": 3}}}, "s.properties.a.type"),
        ({"anyOf": 3}, "s.anyOf"),
        ({"minItems": "x"}, "s.minItems"),
        ({"allOf": []}, "s.allOf"),
        (deep, "s" + ".items" * 65),
    ]
    for schema, field in cases:
        with pytest.raises(Unsupported) as refused:
            json_schema(schema, "s")
        assert refused.value.field == field


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/v1beta/models/gemini-2.5-flash:generateContent", ("gemini-2.5-flash", "generateContent")),
        ("/v1/models/chat%2Fdefault:streamGenerateContent", ("chat/default", "streamGenerateContent")),
        ("/v1beta1/projects/p/locations/l/publishers/google/models/m:generateContent", ("m", "generateContent")),
        ("/v1beta/models/m:countTokens", ("m", "countTokens")),
        ("/v1beta/models/m", None),
        ("/v1beta/models/:generateContent", None),
        ("/v1beta/models/m:", None),
        ("/v1beta/files/m:generateContent", None),
        ("/v1beta/tuned/models/m:generateContent", None),
        ("/other/models/m:generateContent", None),
        ("", None),
    ],
)
def test_paths(path: str, parts: tuple[str, str] | None) -> None:
    assert path_parts(path) == parts
