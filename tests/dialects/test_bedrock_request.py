"""What Converse is asked: each field of the pivot said, said nearly and named, or refused by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.proxy.dialects.bedrock import BedrockBack
from apps.proxy.dialects.translation import Sent, Unsupported
from tests.dialects.bedrock_recordings import sdk_takes

BACK = BedrockBack()
CLAUDE, OLD_CLAUDE, NEW_CLAUDE = (
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic.claude-3-7-sonnet-20250219-v1:0",
    "anthropic.claude-sonnet-4-6",
)
NOVA, NOVA_2, LLAMA, GPT, QWEN = (
    "us.amazon.nova-lite-v1:0",
    "amazon.nova-2-lite-v1:0",
    "meta.llama3-2-1b-instruct-v1:0",
    "openai.gpt-oss-120b-1:0",
    "qwen.qwen3-32b-v1:0",
)
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdef"
HI = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
CALLED = [
    HI,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":"x"}'}},
            {"id": "c2", "type": "function", "function": {"name": "f", "arguments": ""}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "one"},
    {"role": "tool", "tool_call_id": "c2", "content": "broken", "is_error": True},
]
FORM = {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": SCHEMA, "strict": True}}


def ask(model: str = CLAUDE, *, messages: list[dict[str, Any]] | None = None, stream: bool = False, **fields: Any) -> Sent:
    """Whatever is asked, AWS's SDK would take it."""
    payload = {"model": "route", "messages": messages or [HI], **fields}
    before = json.dumps(payload)
    sent = BACK.request(payload, model, stream=stream)
    assert json.dumps(payload) == before
    sdk_takes(sent.body, model, "ConverseStream" if stream else "Converse", sent.path)
    return sent


def part(part: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = ask(messages=[{"role": "user", "content": [part]}], **fields).body["messages"][0]["content"]
    return content


def test_the_model_stands_in_the_path() -> None:
    assert ask().path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    assert ask(PROFILE, stream=True).path.endswith("application-inference-profile%2Fabcdef/converse-stream")
    assert ask().body == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    assert ask().approximated == ()


def test_system_prompts_neighbours_and_marks() -> None:
    sent = ask(
        messages=[
            {"role": "developer", "content": "be", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": ""}],
            },
            {"role": "user", "content": "b", "name": "x"},
            {"role": "system", "content": "late"},
            {"role": "assistant", "content": "c", "refusal": "no"},
            HI,
        ]
    )
    assert sent.body == {
        "system": [{"text": "be"}, {"cachePoint": {"type": "default", "ttl": "1h"}}, {"text": "late"}],
        "messages": [
            {"role": "user", "content": [{"text": "a"}, {"cachePoint": {"type": "default"}}, {"text": "b"}]},
            {"role": "assistant", "content": [{"text": "c"}, {"text": "no"}]},
            {"role": "user", "content": [{"text": "hi"}]},
        ],
    }
    assert sent.approximated == (
        "messages[].name: left out",
        "messages[]: a system message in the middle became part of the system prompt",
    )
    alone = ask(messages=[{"role": "system", "content": "be"}])
    assert alone.body == {"messages": [{"role": "user", "content": [{"text": "be"}]}]} and alone.approximated


def test_parts() -> None:
    def file(**file: str) -> dict[str, Any]:
        return {"type": "file", "file": file}

    assert part({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}) == [
        {"image": {"format": "png", "source": {"bytes": "aGk="}}}
    ]
    assert part({"type": "image_url", "image_url": "s3://b/a.jpeg"}) == [
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://b/a.jpeg"}}}}
    ]
    assert part({"type": "input_audio", "input_audio": {"format": "wav", "data": "aGk="}}) == [
        {"audio": {"format": "wav", "source": {"bytes": "aGk="}}}
    ]
    assert part(file(file_data="data:image/webp;base64,aGk=")) == [{"image": {"format": "webp", "source": {"bytes": "aGk="}}}]
    assert part(file(file_data="data:video/mp4;base64,aGk=")) == [{"video": {"format": "mp4", "source": {"bytes": "aGk="}}}]
    assert part(file(file_url="s3://b/a.pdf", filename="a.pdf")) == [
        {"document": {"format": "pdf", "name": "a", "source": {"s3Location": {"uri": "s3://b/a.pdf"}}}}
    ]
    sent = ask(
        messages=[
            {
                "role": "user",
                "content": [
                    file(file_data="data:application/pdf;base64,aGk="),
                    file(file_data="data:text/plain;base64,aGk="),
                    file(file_data="data:text/x-c;base64,aGk=", filename="my_file (1).c"),
                    file(file_data="data:text/csv;base64,aGk=", filename="my file (1).csv"),
                ],
            }
        ]
    )
    documents = [block["document"] for block in sent.body["messages"][0]["content"]]
    assert [(one["format"], one["name"]) for one in documents] == [
        ("pdf", "Document 1"),
        ("txt", "Document 2"),
        ("txt", "my file (1)"),
        ("csv", "my file (1) 2"),
    ]
    assert sent.approximated == ("messages[].content[].file.filename: in the characters that a name may have",)


def test_calls_and_their_results() -> None:
    sent = ask(messages=CALLED, tools=[TOOL])
    assert sent.body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"a": "x"}}},
                {"toolUse": {"toolUseId": "c2", "name": "f", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "c1", "content": [{"text": "one"}]}},
                {"toolResult": {"toolUseId": "c2", "content": [{"text": "broken"}], "status": "error"}},
            ],
        },
    ]
    long = "call:" + "x" * 80
    turns = [
        HI,
        {"role": "assistant", "tool_calls": [{"id": long, "function": {"name": "f"}, "signature": "gemini:x"}]},
        {"role": "tool", "tool_call_id": long, "content": [], "cache_control": {"type": "ephemeral"}},
    ]
    for model in (CLAUDE, NOVA):
        sent = ask(model, messages=turns, tools=[TOOL])
        call, result = sent.body["messages"][1]["content"][0]["toolUse"], sent.body["messages"][2]["content"]
        assert call["toolUseId"] == result[0]["toolResult"]["toolUseId"] and len(call["toolUseId"]) <= 64
        assert result[1] == {"cachePoint": {"type": "default"}}
        assert sent.approximated == ("messages[].tool_calls[].signature: left out, it is another provider's",)


def test_tools_and_their_choice() -> None:
    cached = {**TOOL, "function": {"name": "g", "strict": True}, "cache_control": {"type": "ephemeral"}}
    config = ask(tools=[TOOL, cached], tool_choice="required").body["toolConfig"]
    assert config == {
        "tools": [
            {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": SCHEMA}}},
            {"toolSpec": {"name": "g", "inputSchema": {"json": {"type": "object", "properties": {}}}, "strict": True}},
            {"cachePoint": {"type": "default"}},
        ],
        "toolChoice": {"any": {}},
    }
    assert ask(tools=[TOOL], tool_choice="auto").body["toolConfig"]["toolChoice"] == {"auto": {}}
    named = {"type": "function", "function": {"name": "f"}}
    assert ask(tools=[TOOL], tool_choice=named).body["toolConfig"]["toolChoice"] == {"tool": {"name": "f"}}
    none = ask(tools=[TOOL], tool_choice="none")
    assert "toolConfig" not in none.body and none.approximated == ("tool_choice: none, the tools were not offered",)
    assert ask(LLAMA, tools=[cached]).approximated == ("tools[].function.strict: left out, this model has no such promise",)


def test_thinking_is_given_back_to_who_signed_it() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "EuYB"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "redacted_thinking", "data": "bedrock:/w=="},
    ]
    turns = [HI, {"role": "assistant", "content": "x", "thinking_blocks": blocks}, HI]
    assert ask(messages=turns).body["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "EuYB"}}},
        {"reasoningContent": {"redactedContent": "RW13Sw=="}},
        {"reasoningContent": {"redactedContent": "/w=="}},
        {"text": "x"},
    ]
    note = ("messages[].reasoning_content: left out, it was not signed by this provider",)
    foreign = [{"type": "thinking", "thinking": "hm", "signature": "gemini:x"}, {"type": "redacted_thinking", "data": "gemini:x"}]
    for model, message in (
        (CLAUDE, {"thinking_blocks": foreign}),
        (CLAUDE, {"reasoning_content": "hm"}),
        (NOVA, {"thinking_blocks": blocks}),
    ):
        sent = ask(model, messages=[HI, {"role": "assistant", "content": "x", **message}, HI])
        assert sent.body["messages"][1]["content"] == [{"text": "x"}] and sent.approximated == note


@pytest.mark.parametrize(
    ("model", "fields", "extra", "notes"),
    [
        (CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, ()),
        (
            CLAUDE,
            {"thinking": {"type": "enabled", "budget_tokens": 9000}, "max_tokens": 3000, "temperature": 0.5},
            {"thinking": {"type": "enabled", "budget_tokens": 2999}},
            ("thinking.budget_tokens: 2999", "temperature: left out, thinking allows none"),
        ),
        (
            OLD_CLAUDE,
            {"reasoning_effort": "low", "max_tokens": 10000},
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            ("reasoning_effort: a budget of 2000 tokens",),
        ),
        (
            OLD_CLAUDE,
            {"reasoning_effort": "low", "max_tokens": 100},
            None,
            ("reasoning_effort: left out, 'max_tokens' leaves no room for it",),
        ),
        (OLD_CLAUDE, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, ()),
        (NEW_CLAUDE, {"reasoning_effort": "high"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, ()),
        (NEW_CLAUDE, {"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}, ()),
        (GPT, {"reasoning_effort": "xhigh"}, {"reasoning_effort": "high"}, ("reasoning_effort: high",)),
        (GPT, {"thinking": {"type": "disabled"}}, {"reasoning_effort": "low"}, ("thinking: as little as this model can",)),
        (QWEN, {"reasoning_effort": "high"}, {"reasoning_config": "high"}, ()),
        (NOVA_2, {"reasoning_effort": "low"}, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, ()),
        (LLAMA, {"reasoning_effort": "low"}, None, ("reasoning_effort: left out, this model is told nothing of it",)),
        (LLAMA, {"reasoning_effort": "none"}, None, ()),
        (CLAUDE, {"top_k": 20}, {"top_k": 20}, ()),
        (NOVA, {"top_k": 20}, {"inferenceConfig": {"topK": 20}}, ()),
        (LLAMA, {"top_k": 20}, None, ("top_k: left out",)),
        (LLAMA, {"additionalModelRequestFields": {"x": 1}}, {"x": 1}, ()),
    ],
)
def test_what_only_the_makers_have_words_for(
    model: str, fields: dict[str, Any], extra: dict[str, Any] | None, notes: tuple[str, ...]
) -> None:
    sent = ask(model, **fields)
    assert sent.body.get("additionalModelRequestFields") == extra
    assert sent.approximated == notes


def test_settings() -> None:
    sent = ask(
        NOVA,
        max_completion_tokens=5,
        max_tokens=9,
        temperature=0.2,
        top_p=0.9,
        stop="x",
        service_tier="flex",
        metadata={"team": "a b", "bad": "ü"},
        guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1"},
        performanceConfig={"latency": "optimized"},
        seed=1,
        user="u",
        frequency_penalty=0,
        logprobs=False,
        stream_options={"include_usage": True},
    )
    assert sent.body == {
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "inferenceConfig": {"maxTokens": 5, "temperature": 0.2, "topP": 0.9, "stopSequences": ["x"]},
        "serviceTier": {"type": "flex"},
        "requestMetadata": {"team": "a b"},
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        "performanceConfig": {"latency": "optimized"},
    }
    assert sent.approximated == ("seed: left out", "user: left out", "metadata: without what is no short plain text")
    assert ask(CLAUDE, temperature=0.2, top_p=0.9).body["inferenceConfig"] == {"temperature": 0.2}
    assert ask(NOVA, temperature=1.5).approximated == ("temperature: 1, the most there is",)
    assert ask(service_tier="scale").approximated == ("service_tier: the provider's own choice",)


def test_the_answers_form() -> None:
    form = ask(response_format=FORM).body["outputConfig"]["textFormat"]
    assert form["type"] == "json_schema" and json.loads(form["structure"]["jsonSchema"].pop("schema")) == SCHEMA
    assert form["structure"]["jsonSchema"] == {"name": "n", "description": "d"}
    words = ask(NOVA, response_format={"type": "json_object"})
    assert words.body["system"][0]["text"].startswith("Answer with one JSON object") and words.approximated
    assert "system" not in ask(NOVA, response_format={"type": "text"}).body


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"functions": []}, "functions"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [""]}, "stop"),
        ({"temperature": "hot"}, "temperature"),
        ({"metadata": []}, "metadata"),
        ({"guardrailConfig": "g"}, "guardrailConfig"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"reasoning_effort": "max"}, "reasoning_effort"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"messages": CALLED}, "tools"),
        ({"messages": CALLED, "tools": [TOOL], "tool_choice": "none"}, "tool_choice"),
        ({"messages": [{"role": "critic", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "s3://b/a.png"}]}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://h/a.png"}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "messages[0].content[0].file"),
        (
            {"messages": [HI, {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[1]"}}]}]},
            "messages[1].tool_calls[0].function.arguments",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as refused:
        ask(**fields)
    assert refused.value.field == field


def test_a_model_without_structured_output_or_prefill_is_not_asked_for_it() -> None:
    with pytest.raises(Unsupported, match="JSON schema"):
        ask(NOVA, response_format=FORM)
    with pytest.raises(Unsupported, match="does not go on"):
        ask(NEW_CLAUDE, messages=[HI, {"role": "assistant", "content": "and"}])
