"""Whatever stands in any field, of an app's request or of a provider's answer: a refusal or no answer, never another error."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings

from apps.proxy.dialects.gemini import GeminiBack, GeminiFront, GeminiNative
from apps.proxy.dialects.translation import NotAnAnswer, Unsupported
from tests.dialects.nonsense import JSON, ODD, places, spoilt
from tests.scale import examples

FRONT, BACK, NATIVE = GeminiFront(), GeminiBack(), GeminiNative()
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}, "signature": "QUFB"}
BLOCKS = [{"type": "thinking", "thinking": "hm", "signature": "EuYB"}, {"type": "redacted_thinking", "data": "x"}]
ASKED_OF_GEMINI = {
    "systemInstruction": {"parts": [{"text": "s"}]},
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}, "mediaResolution": {"level": "x"}}],
        },
        {
            "role": "model",
            "parts": [{"text": "t", "thought": True, "thoughtSignature": "QUFB"}, {"functionCall": {"name": "f", "args": {"a": 1}}}],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "f", "response": {"output": "x"}, "parts": [{"fileData": {"fileUri": "gs://a"}}]}}],
        },
    ],
    "generationConfig": {
        "topK": 3,
        "stopSequences": ["x"],
        "responseLogprobs": True,
        "logprobs": 2,
        "responseModalities": ["TEXT"],
        "responseMimeType": "application/json",
        "responseSchema": {
            "type": "OBJECT",
            "propertyOrdering": ["a"],
            "properties": {"a": {"type": "STRING", "nullable": True, "enum": ["x"]}},
        },
        "thinkingConfig": {"thinkingBudget": 5, "includeThoughts": True},
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
    },
    "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA, "behavior": "BLOCKING"}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}},
    "labels": {"a": "b"},
    "serviceTier": "flex",
}
ASKED = {
    "messages": [
        {"role": "system", "content": "s", "name": "n"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://h/a.png", "detail": "low"}}],
        },
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "aGk=", "filename": "a.pdf"}}]},
        {"role": "assistant", "content": "x", "tool_calls": [CALL], "thinking_blocks": BLOCKS, "reasoning_content": "r", "refusal": "n"},
        {"role": "tool", "tool_call_id": "c1", "content": '{"a": 1}'},
    ],
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}},
    "reasoning_effort": "low",
    "service_tier": "flex",
    "metadata": {"a": "b"},
    "stop": ["x"],
    "seed": 2**40,
    "logprobs": True,
    "top_logprobs": 3,
    "modalities": ["text"],
}
LOGPROBS = {"content": [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2.0}]}]}
USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "prompt_tokens_details": {"audio_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
MESSAGE = {"role": "assistant", "content": "x", "reasoning_content": "r", "thinking_blocks": BLOCKS, "tool_calls": [CALL], "refusal": "n"}
COMPLETION = {
    "id": "r1",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls", "native_finish_reason": "STOP", "logprobs": LOGPROBS}],
    "usage": USAGE,
}
CHUNKS = [
    {
        "id": "r1",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {**MESSAGE, "tool_calls": [{"index": 0, **CALL}]}, "logprobs": LOGPROBS}],
    },
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}, "finish_reason": "stop"}]},
    {"choices": [], "usage": USAGE, "service_tier": "flex"},
]
SAID = {
    "candidates": [
        {
            "index": 0,
            "content": {
                "parts": [
                    {"text": "a", "thought": True, "thoughtSignature": "QUFB"},
                    {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c"}},
                ]
            },
            "finishReason": "SAFETY",
            "finishMessage": "n",
            "logprobsResult": {"chosenCandidates": [{"token": "a", "logProbability": -1}], "topCandidates": [{"candidates": []}]},
        }
    ],
    "usageMetadata": {"promptTokenCount": 3, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}], "serviceTier": "flex"},
    "promptFeedback": {"blockReason": "X", "blockReasonMessage": "x"},
    "responseId": "r1",
    "createTime": "2026-05-28T14:45:17Z",
}


def test_any_field_of_a_request() -> None:
    for whole, act in (
        (ASKED_OF_GEMINI, FRONT.read),
        (ASKED_OF_GEMINI, FRONT.outline),
        (ASKED, lambda body: BACK.request(body, "gemini-3-pro", stream=True)),
    ):
        act(whole)
        for path in places(whole):
            for odd in ODD:
                try:
                    act(spoilt(whole, path, odd))
                except Unsupported:
                    continue
    for path in places(ASKED_OF_GEMINI):
        for odd in ODD:
            assert NATIVE.changed(spoilt(ASKED_OF_GEMINI, path, odd), "gemini-3-pro", 5)


def test_any_field_of_an_answer() -> None:
    BACK.answer(json.dumps(SAID).encode(), {})
    for path in places(SAID):
        for odd in ODD:
            body = json.dumps(spoilt(SAID, path, odd)).encode()
            NATIVE.answer(body)
            watch, stream = NATIVE.stream(), BACK.stream({})
            watch.feed(b"data: %b\n\n" % body)
            watch.close()
            watch.output_bytes()
            for act in (
                lambda body=body: BACK.answer(body, {}),
                lambda body=body, stream=stream: (stream.feed(b"data: %b\n\n" % body), stream.close()),
            ):
                try:
                    act()
                except NotAnAnswer:
                    continue


def test_any_field_of_what_another_provider_said() -> None:
    asked = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    json.dumps(FRONT.answer(COMPLETION, asked))
    for path in places(COMPLETION):
        for odd in ODD:
            try:
                json.dumps(FRONT.answer(spoilt(COMPLETION, path, odd), asked))
            except NotAnAnswer:
                continue
    for path in places(CHUNKS):
        for odd in ODD:
            stream = FRONT.stream(asked)
            try:
                data = b"".join([stream.feed(chunk) for chunk in spoilt(CHUNKS, path, odd)]) + stream.close()
            except NotAnAnswer:
                continue
            for line in data.split(b"\r\n\r\n"):
                assert not line or json.loads(line[6:])


@settings(max_examples=examples(60))
@given(JSON)
def test_anything_at_all(value: Any) -> None:
    body = json.dumps(value).encode()
    for act in (lambda: FRONT.read(value), lambda: BACK.answer(body, {}), lambda: BACK.stream({}).feed(b"data: %b\n\n" % body)):
        try:
            act()
        except (Unsupported, NotAnAnswer):
            continue
    assert BACK.error(500, body).message
