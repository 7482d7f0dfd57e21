"""What a chat completion's request becomes for Gemini, field by field; what cannot be said is refused with its name."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from apps.proxy.dialects.gemini import GeminiBack, VertexBack
from apps.proxy.dialects.gemini_fields import MAKER
from apps.proxy.dialects.gemini_words import SKIP_SIGNATURE
from apps.proxy.dialects.translation import Unsupported

BACK = GeminiBack()
USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
PNG = "data:image/png;base64,aGk="


def body_of(model: str = "gemini-2.5-flash", back: GeminiBack = BACK, **fields: Any) -> dict[str, Any]:
    payload = {"messages": [USER], **fields}
    before = copy.deepcopy(payload)
    body = back.request(payload, model, stream=False).body
    assert payload == before
    return body


def contents(*messages: dict[str, Any], model: str = "gemini-2.5-flash") -> list[dict[str, Any]]:
    return body_of(model, messages=list(messages))["contents"]


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 40}, {"temperature": 0.5, "topP": 0.9, "topK": 40}),
        ({"n": 2, "presence_penalty": 1, "frequency_penalty": -1}, {"candidateCount": 2, "presencePenalty": 1, "frequencyPenalty": -1}),
        ({"max_tokens": 7}, {"maxOutputTokens": 7}),
        ({"max_tokens": 7, "max_completion_tokens": 9}, {"maxOutputTokens": 9}),
        ({"stop": "END"}, {"stopSequences": ["END"]}),
        ({"stop": ["a", "b"], "seed": 3}, {"stopSequences": ["a", "b"], "seed": 3}),
        ({"logprobs": True}, {"responseLogprobs": True}),
        ({"logprobs": True, "top_logprobs": 4}, {"responseLogprobs": True, "logprobs": 4}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
        ),
        ({"modalities": ["text"], "stream_options": {"include_usage": True}, "store": False, "user": None}, {}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 2000}}),
        ({"thinking": {"type": "adaptive"}}, {"thinkingConfig": {"includeThoughts": True}}),
        ({"thinking": "disabled"}, {"thinkingConfig": {"thinkingBudget": 0}}),
        ({"reasoning_effort": "none"}, {"thinkingConfig": {"thinkingBudget": 0}}),
    ],
)
def test_settings(fields: dict[str, Any], config: dict[str, Any]) -> None:
    sent = BACK.request({"messages": [USER], **fields}, "gemini-2.5-flash", stream=False)
    assert sent.body.get("generationConfig", {}) == config
    assert sent.approximated == ()


@pytest.mark.parametrize(
    ("model", "fields", "thinking", "named"),
    [
        ("gemini-2.5-flash", {"reasoning_effort": "low"}, {"includeThoughts": True, "thinkingBudget": 1024}, "reasoning_effort"),
        ("gemini-2.5-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 128}, "reasoning_effort"),
        (
            "gemini-2.5-flash",
            {"thinking": {"type": "enabled", "budget_tokens": 99_999}},
            {"includeThoughts": True, "thinkingBudget": 24_576},
            "thinking.budget_tokens",
        ),
        (
            "gemini-2.5-flash-lite",
            {"thinking": {"type": "enabled", "budget_tokens": 9}},
            {"includeThoughts": True, "thinkingBudget": 512},
            "thinking.budget_tokens",
        ),
        ("gemini-2.5-flash-lite", {"thinking": {"type": "adaptive"}}, {"includeThoughts": True, "thinkingBudget": -1}, ""),
        ("gemini-3-pro-preview", {"reasoning_effort": "medium"}, {"includeThoughts": True, "thinkingLevel": "HIGH"}, "reasoning_effort"),
        ("gemini-3-pro-preview", {"reasoning_effort": "minimal"}, {"includeThoughts": True, "thinkingLevel": "LOW"}, "reasoning_effort"),
        ("gemini-3-flash-preview", {"reasoning_effort": "medium"}, {"includeThoughts": True, "thinkingLevel": "MEDIUM"}, ""),
        ("gemini-3-flash-preview", {"reasoning_effort": "none"}, {"thinkingLevel": "MINIMAL"}, "reasoning_effort"),
        ("gemini-2.0-flash", {"reasoning_effort": "none"}, None, ""),
        ("gemini-2.0-flash", {"reasoning_effort": "high"}, None, "reasoning_effort"),
        ("our-tuned-one", {"thinking": {"type": "enabled", "budget_tokens": 9}}, {"includeThoughts": True, "thinkingBudget": 9}, ""),
    ],
)
def test_thinking_is_said_as_the_model_takes_it(model: str, fields: dict[str, Any], thinking: Any, named: str) -> None:
    sent = BACK.request({"messages": [USER], **fields}, model, stream=False)
    assert sent.body.get("generationConfig", {}).get("thinkingConfig") == thinking
    assert [note.partition(":")[0] for note in sent.approximated] == ([named] if named else [])


@pytest.mark.parametrize(
    ("fields", "calling"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"mode": "NONE"}),
        ({"tool_choice": "required"}, {"mode": "ANY"}),
        ({"tool_choice": {"type": "function", "function": {"name": "look"}}}, {"mode": "ANY", "allowedFunctionNames": ["look"]}),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOL]}}},
            {"mode": "VALIDATED", "allowedFunctionNames": ["look"]},
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}},
            {"mode": "ANY", "allowedFunctionNames": ["look"]},
        ),
        ({"tools": [{"type": "function", "function": {"name": "look", "strict": True}}]}, {"mode": "VALIDATED"}),
    ],
)
def test_tools(fields: dict[str, Any], calling: Any) -> None:
    body = body_of(**{"tools": [TOOL], **fields})
    assert body.get("toolConfig", {}).get("functionCallingConfig") == calling
    declared = body["tools"][0]["functionDeclarations"][0]
    described = {"name": "look", "description": "d", "parametersJsonSchema": {"type": "object"}}
    assert declared == ({"name": "look"} if "tools" in fields else described)


def test_a_conversation_with_tools_and_system_prompts() -> None:
    sent = BACK.request(
        {
            "messages": [
                {"role": "system", "content": "be kind"},
                USER,
                {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]},
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
                {"role": "tool", "tool_call_id": "c2", "content": '{"temperature": 3}'},
                {"role": "user", "content": [{"type": "text", "text": "and?"}]},
                {"role": "developer", "content": [{"type": "text", "text": "be short"}]},
                {"role": "assistant", "content": "done"},
            ],
            "parallel_tool_calls": False,
            "tools": [TOOL],
        },
        "gemini-2.5-flash",
        stream=True,
    )
    assert sent.path == "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert sent.body["systemInstruction"]["parts"] == [{"text": "be kind"}, {"text": "be short"}]
    assert sent.body["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {"at": 1}, "id": identity}} for identity in ("c1", "c2")]},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c1", "name": "look", "response": {"output": "sunny"}}},
                {"functionResponse": {"id": "c2", "name": "look", "response": {"temperature": 3}}},
            ],
        },
        {"role": "user", "parts": [{"text": "and?"}]},
        {"role": "model", "parts": [{"text": "done"}]},
    ]
    assert [note.partition(":")[0] for note in sent.approximated] == ["messages[6]", "parallel_tool_calls"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "image_url", "image_url": {"url": PNG}}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}),
        (
            {"type": "image_url", "image_url": {"url": "https://h/a.webp?x=1"}},
            {"fileData": {"fileUri": "https://h/a.webp?x=1", "mimeType": "image/webp"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
            {"inlineData": {"mimeType": "audio/wav", "data": "aGk="}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "aGk="}},
        ),
        (
            {"type": "file", "file": {"file_data": "aGk=", "filename": "a.pdf"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "aGk="}},
        ),
        ({"type": "file", "file": {"file_url": "gs://b/a.mp4"}}, {"fileData": {"fileUri": "gs://b/a.mp4", "mimeType": "video/mp4"}}),
        ({"type": "refusal", "refusal": "no"}, {"text": "no"}),
    ],
)
def test_parts(part: dict[str, Any], said: dict[str, Any]) -> None:
    assert contents({"role": "user", "content": [part]}) == [{"role": "user", "parts": [said]}]


def test_an_image_whose_address_does_not_say_its_kind_is_named_as_guessed() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://h/picture", "detail": "high"}}
    sent = BACK.request({"messages": [{"role": "user", "content": [part]}]}, "gemini-2.5-flash", stream=False)
    assert sent.body["contents"][0]["parts"][0]["fileData"]["mimeType"] == "image/jpeg"
    assert sent.body["generationConfig"]["mediaResolution"] == "MEDIA_RESOLUTION_HIGH"
    assert sent.approximated == ("messages[0].content[0].image_url.url: its kind is not known by its address; said to be image/jpeg",)


def test_images_of_a_tool_stand_in_its_answer_or_beside_it() -> None:
    image = {"type": "image_url", "image_url": {"url": PNG}}
    said = [USER, {"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "c2"}]}]
    said += [{"role": "tool", "tool_call_id": identity, "content": [image, {"type": "text", "text": "ok"}]} for identity in ("c1", "c2")]
    newer = contents(*said, model="gemini-3-flash-preview")[-1]["parts"]
    assert [len(part["functionResponse"]["parts"]) for part in newer] == [1, 1]
    older = contents(*said)[-1]["parts"]
    assert [next(iter(part)) for part in older] == ["functionResponse", "functionResponse", "inlineData", "inlineData"]


def test_thoughts_go_back_to_gemini_with_its_signatures_and_without_those_of_others() -> None:
    message = {
        "role": "assistant",
        "content": "yes",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "hm", "signature": MAKER + "QUFB"},
            {"type": "thinking", "thinking": "", "signature": MAKER + "QkJC"},
        ],
        "tool_calls": [{**CALL, "signature": "Q0ND"}],
    }
    assert contents(USER, message)[1]["parts"] == [
        {"text": "hm", "thought": True, "thoughtSignature": "QUFB"},
        {"text": "yes", "thoughtSignature": "QkJC"},
        {"functionCall": {"name": "look", "args": {"at": 1}, "id": "c1"}, "thoughtSignature": "Q0ND"},
    ]
    foreign = {"role": "assistant", "content": "yes", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "EuYB"}]}
    sent = BACK.request({"messages": [USER, foreign, USER]}, "gemini-2.5-pro", stream=False)
    assert sent.body["contents"][1]["parts"] == [{"text": "hm", "thought": True}, {"text": "yes"}]
    assert sent.approximated == ("messages[1].thinking_blocks: signatures of another provider are left out",)


def test_calls_that_gemini_did_not_make_pass_the_check_of_gemini_3() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]}
    parts = contents(USER, message, model="models/gemini-3-pro-preview")[1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [SKIP_SIGNATURE, None]
    assert all("thoughtSignature" not in part for part in contents(USER, message)[1]["parts"])


def test_a_system_prompt_alone_is_said_by_the_user() -> None:
    sent = BACK.request({"messages": [{"role": "system", "content": "go"}]}, "gemini-2.5-flash", stream=False)
    assert sent.body == {"contents": [{"role": "user", "parts": [{"text": "go"}]}]}
    assert sent.approximated


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [3]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "x", "audio": {}}]}, "messages[0].audio"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}, "messages[0].content[0].file"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "messages[0].content[0].input_audio"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]}, "messages[0].content[0]"),
        ({"messages": [USER, {"role": "tool", "tool_call_id": "x", "content": ""}]}, "messages[1].tool_call_id"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "x"}}]}, "messages[0].function_call"),
        ({"messages": [{"role": "assistant", "tool_calls": 3}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]}, "messages[0].tool_calls[0]"),
        ({"messages": [{"role": "assistant", "thinking_blocks": [3]}]}, "messages[0].thinking_blocks[0]"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "x", "arguments": "{no"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"functions": [{}]}, "functions"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, "response_format"),
        ({"tools": 3}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function.name"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as refused:
        BACK.request({"messages": [USER], **fields}, "gemini-2.5-flash", stream=False)
    assert refused.value.field == field
    assert str(refused.value)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"user": "u"}, "user"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"min_p": 0.1}, "min_p"),
        ({"store": True}, "store"),
        ({"seed": 2**40 + 5}, "seed"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"messages": [{**USER, "name": "ann"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}]}, "cache_control"),
    ],
)
def test_what_is_left_out_is_named(fields: dict[str, Any], named: str) -> None:
    sent = BACK.request({"messages": [USER], **fields}, "gemini-2.5-flash", stream=False)
    assert [note.partition(":")[0] for note in sent.approximated] == [named]


def test_vertex_has_paths_labels_and_tiers_of_its_own() -> None:
    back = VertexBack()
    sent = back.request(
        {"messages": [USER], "metadata": {"team": "a", "Bad": "x"}, "service_tier": "flex"}, "gemini-2.5-flash", stream=False
    )
    assert sent.path == "/publishers/google/models/gemini-2.5-flash:generateContent"
    assert sent.body["labels"] == {"team": "a"} and "serviceTier" not in sent.body
    assert [note.partition(":")[0] for note in sent.approximated] == ["service_tier", "metadata.Bad"]
    assert back.request({"messages": [USER]}, "endpoints/7", stream=True).path == "/endpoints/7:streamGenerateContent?alt=sse"
    for model in ("claude-sonnet-4", "publishers/anthropic/models/claude-sonnet-4"):
        with pytest.raises(Unsupported, match="another format") as refused:
            back.request({"messages": [USER]}, model, stream=False)
        assert refused.value.field == "model"
    assert body_of(service_tier="flex")["serviceTier"] == "flex"
    assert BACK.request({"messages": [USER]}, "a b/c?", stream=False).path == "/models/a%20b%2Fc%3F:generateContent"
