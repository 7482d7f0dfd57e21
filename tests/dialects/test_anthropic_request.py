"""The pivot's requests as Anthropic's: what each generation of models is told, what is approximated, what cannot be said."""

from __future__ import annotations

from typing import Any

import pytest

from apps.proxy.dialects.anthropic import AnthropicBack
from apps.proxy.dialects.anthropic_models import budget_of, generation
from apps.proxy.dialects.anthropic_wire import STRUCTURED_TOOL
from apps.proxy.dialects.translation import Sent, Unsupported

BACK = AnthropicBack()
OLD, BUDGETS, FITTING, NEW = "claude-3-7-sonnet-20250219", "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-8"
CLOSED = {"type": "object", "additionalProperties": False}
SHOWN = {"type": "adaptive", "display": "summarized"}
BUDGET = {"type": "enabled", "budget_tokens": 2000}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
HI = {"role": "user", "content": "Hi"}


def sent(model: str = BUDGETS, messages: list[Any] | None = None, stream: bool = False, **fields: Any) -> Sent:
    return BACK.request({"model": "app", "max_tokens": 4000, "messages": messages or [HI], **fields}, model, stream=stream)


def beside(found: Sent) -> dict[str, Any]:
    return {name: value for name, value in found.body.items() if name not in ("model", "max_tokens", "messages")}


def named(found: Sent) -> set[str]:
    return {note.partition(":")[0] for note in found.approximated}


@pytest.mark.parametrize(
    ("model", "fields", "body", "approximated"),
    [
        (BUDGETS, {"stop": "a", "user": "u", "top_k": 3}, {"stop_sequences": ["a"], "metadata": {"user_id": "u"}, "top_k": 3}, set()),
        (BUDGETS, {"safety_identifier": "u"}, {"metadata": {"user_id": "u"}}, set()),
        (BUDGETS, {"service_tier": "default"}, {"service_tier": "standard_only"}, set()),
        (BUDGETS, {"service_tier": "flex"}, {}, {"service_tier"}),
        (BUDGETS, {"temperature": 1.5}, {"temperature": 1}, {"temperature"}),
        (OLD, {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2, "top_p": 0.9}, set()),
        (BUDGETS, {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2}, {"top_p"}),
        (BUDGETS, {"temperature": 0.2, "top_p": 1}, {"temperature": 0.2}, set()),
        (NEW, {"temperature": 0.2, "top_p": 1}, {}, {"temperature"}),
        (BUDGETS, {"seed": 7, "frequency_penalty": 0, "store": False, "presence_penalty": 0.5, "metadata": {"a": "b"}}, {},
         {"seed", "presence_penalty", "metadata"}),
        (BUDGETS, {"reasoning_effort": "medium"}, {"thinking": BUDGET}, {"reasoning_effort"}),
        (BUDGETS, {"reasoning_effort": "low", "max_tokens": 500}, {}, {"reasoning_effort"}),
        (BUDGETS, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, set()),
        (NEW, {"reasoning_effort": "high"}, {"thinking": SHOWN, "output_config": {"effort": "high"}}, set()),
        (NEW, {"reasoning_effort": "minimal"}, {"thinking": SHOWN, "output_config": {"effort": "low"}},
         {"reasoning_effort"}),
        (FITTING, {"reasoning_effort": "xhigh"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
         {"reasoning_effort"}),
        (NEW, {"thinking": BUDGET}, {"thinking": SHOWN},
         {"thinking.budget_tokens"}),
        (BUDGETS, {"thinking": {"type": "adaptive"}}, {"thinking": BUDGET}, {"thinking"}),
        (NEW, {"thinking": "disabled"}, {}, set()),
        ("claude-sonnet-5-5", {"thinking": {"type": "disabled"}}, {"thinking": {"type": "between_tools"}}, {"thinking"}),
        ("claude-opus-5-5", {"thinking": {"type": "disabled"}}, {"output_config": {"effort": "low"}}, {"thinking"}),
        (BUDGETS, {"thinking": BUDGET, "temperature": 0.1},
         {"thinking": BUDGET}, {"temperature"}),
        (BUDGETS, {"response_format": SCHEMA}, {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}}, set()),
        (BUDGETS, {"response_format": {"type": "text"}}, {}, set()),
    ],
)  # fmt: skip
def test_what_a_model_takes_is_said_and_the_rest_is_named(
    model: str, fields: dict[str, Any], body: dict[str, Any], approximated: set[str]
) -> None:
    found = sent(model, **fields)
    assert beside(found) == body
    assert named(found) == approximated
    assert found.path == "/messages"


def test_a_budget_for_thinking_fits_its_cap_and_a_forced_call_excludes_it() -> None:
    found = sent(thinking={"type": "enabled", "budget_tokens": 9000})
    assert found.body["thinking"]["budget_tokens"] == 3999 and named(found) == {"thinking.budget_tokens"}
    found = sent(thinking={"type": "enabled", "budget_tokens": 5})
    assert found.body["thinking"]["budget_tokens"] == 1024 and named(found) == {"thinking.budget_tokens"}
    found = sent(thinking={"type": "enabled", "budget_tokens": 2000}, max_tokens=1024)
    assert "thinking" not in found.body and named(found) == {"thinking"}
    found = sent(thinking=BUDGET, tools=[TOOL], tool_choice="required")
    assert "thinking" not in found.body and named(found) == {"thinking"}
    assert sent(thinking=BUDGET, tool_choice="required").body["thinking"] == BUDGET


def test_bounds_that_cannot_be_held_are_said_in_words() -> None:
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "Years."},
            "tags": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string", "pattern": "a+", "format": "color"}},
            "either": {"oneOf": [{"$ref": "#/$defs/x"}, {"type": "string", "format": "date"}]},
            "open": {"type": "object", "additionalProperties": True},
        },
        "$defs": {"x": {"type": "number", "multipleOf": 2}},
    }
    wanted = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "description": 'Years. {"minimum":0}'},
            "tags": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "string", "description": '{"pattern":"a+","format":"color"}'},
                "description": '{"maxItems":3}',
            },
            "either": {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "string", "format": "date"}]},
            "open": {"type": "object", "additionalProperties": False},
        },
        "$defs": {"x": {"type": "number", "description": '{"multipleOf":2}'}},
        "additionalProperties": False,
    }
    found = sent(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}})
    assert found.body["output_config"]["format"]["schema"] == wanted
    assert named(found) == {"response_format"} and "minimum" in found.approximated[0] and "format" in found.approximated[0]
    function = {"name": "look", "parameters": schema, "strict": True}
    found = sent(tools=[{"type": "function", "function": function}])
    assert found.body["tools"] == [{"name": "look", "input_schema": wanted, "strict": True}]
    assert named(found) == {"tools[].function.parameters"}
    loose = sent(tools=[{"type": "function", "function": {**function, "strict": False}}])
    assert loose.body["tools"][0]["input_schema"] == schema and not loose.approximated


def test_the_cap_is_the_newer_field_and_there_is_always_one() -> None:
    assert sent(max_completion_tokens=7).body["max_tokens"] == 7
    assert BACK.request({"messages": [HI]}, BUDGETS, stream=True).body == {
        "model": BUDGETS,
        "max_tokens": 4096,
        "messages": [HI],
        "stream": True,
    }


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": {"type": "function", "function": {"name": "look"}}}, {"type": "tool", "name": "look"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "required"}, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_tools_are_offered_and_forced(fields: dict[str, Any], choice: dict[str, Any] | None) -> None:
    found = sent(tools=[TOOL], **fields)
    assert found.body["tools"] == [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]
    assert found.body.get("tool_choice") == choice
    assert found.approximated == ()


def test_a_model_without_structured_output_is_made_to_call_a_tool_and_that_is_said() -> None:
    found = sent(OLD, response_format=SCHEMA)
    assert found.body["tools"][0]["name"] == STRUCTURED_TOOL
    assert found.body["tools"][0]["input_schema"] == {"type": "object"}
    assert found.body["tool_choice"] == {"type": "tool", "name": STRUCTURED_TOOL}
    assert named(found) == {"response_format"}
    assert sent(OLD, response_format=SCHEMA, tools=[TOOL]).body["tool_choice"] == {"type": "any"}
    with pytest.raises(Unsupported, match="both"):
        sent(OLD, response_format=SCHEMA, tools=[TOOL], tool_choice="required")
    thinking = sent(OLD, response_format=SCHEMA, thinking={"type": "enabled", "budget_tokens": 1024})
    assert thinking.body["tool_choice"] == {"type": "auto"}
    assert STRUCTURED_TOOL in thinking.body["system"][0]["text"]


def test_json_without_a_schema_is_asked_for_in_words_and_that_is_said() -> None:
    found = sent(response_format={"type": "json_object"}, messages=[{"role": "system", "content": "Be brief."}, HI])
    assert [block["type"] for block in found.body["system"]] == ["text", "text"]
    assert "JSON" in found.body["system"][1]["text"]
    assert named(found) == {"response_format"}


def test_system_prompts_anywhere_are_one_on_top() -> None:
    assert sent(messages=[{"role": "system", "content": "a"}, HI]).body["system"] == "a"
    found = sent(messages=[{"role": "developer", "content": "a"}, HI, {"role": "system", "content": [{"type": "text", "text": "b"}]}])
    assert found.body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert found.body["messages"] == [HI]
    assert len(found.approximated) == 1
    alone = sent(messages=[{"role": "system", "content": "a"}])
    assert alone.body["messages"] == [{"role": "user", "content": "a"}]
    assert "system" not in alone.body and alone.approximated


def test_a_conversation_with_calls_becomes_turns() -> None:
    found = sent(
        messages=[
            HI,
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [CALL, {**CALL, "id": "functions.look:0", "function": {"name": "look", "arguments": ""}}],
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "thinking", "thinking": "hm", "signature": "elsewhere:c2ln"},
                    {"type": "redacted_thinking", "data": "x"},
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "seen", "is_error": True},
            {"role": "tool", "tool_call_id": "functions.look:0", "content": [{"type": "text", "text": ""}]},
            {"role": "user", "content": [{"type": "text", "text": "And?"}], "cache_control": {"type": "ephemeral"}},
        ]
    )
    assistant, user = found.body["messages"][1:]
    thinking, redacted, first, second = assistant["content"]
    assert thinking == {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    assert redacted == {"type": "redacted_thinking", "data": "x"}
    assert first == {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}
    assert second["input"] == {}
    assert second["id"].replace("_", "").isalnum() and second["id"].startswith("functions_look_0_")
    assert user["content"] == [
        {"type": "tool_result", "tool_use_id": "t1", "content": "seen", "is_error": True},
        {"type": "tool_result", "tool_use_id": second["id"]},
        {"type": "text", "text": "And?", "cache_control": {"type": "ephemeral"}},
    ]
    assert named(found) == {"messages[].reasoning_content"}


def test_images_files_and_refusals_are_blocks() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "Plan"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "document.txt"}},
        {"type": "file", "file": {"file_url": "https://example.com/a.pdf"}},
        {"type": "file", "file": {"file_data": "data:image/png;base64,aGk="}},
    ]
    found = sent(messages=[{"role": "user", "content": parts}, {"role": "assistant", "refusal": "No."}, HI])
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    assert found.body["messages"][0]["content"] == [
        image,
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}, "title": "Plan"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        image,
    ]
    assert found.body["messages"][1]["content"] == [{"type": "text", "text": "No."}]
    assert named(found) == {"messages[].content[].image_url.detail"}


def test_thinking_is_left_out_while_a_call_is_answered_that_was_made_without() -> None:
    turns = [HI, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "t1", "content": "x"}]
    found = sent(messages=turns, thinking={"type": "enabled", "budget_tokens": 1024})
    assert "thinking" not in found.body and named(found) == {"thinking"}
    turns[1] = {**turns[1], "thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "c2ln"}]}
    assert sent(messages=turns, thinking={"type": "enabled", "budget_tokens": 1024}).body["thinking"]["budget_tokens"] == 1024


def test_a_last_message_of_the_models_own_is_continued_by_models_that_do() -> None:
    found = sent(messages=[HI, {"role": "assistant", "content": "It is "}])
    assert found.body["messages"][1]["content"] == "It is" and found.approximated
    with pytest.raises(Unsupported) as refused:
        sent(NEW, messages=[HI, {"role": "assistant", "content": "It is"}])
    assert refused.value.field == "messages[1]"


def user(part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


def image(url: str) -> dict[str, Any]:
    return user({"type": "image_url", "image_url": url})


def file(data: str) -> dict[str, Any]:
    return user({"type": "file", "file": {"file_data": data}})


def model(message: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", **message}]}


def called(arguments: str) -> dict[str, Any]:
    return model({"tool_calls": [{**CALL, "function": {"name": "x", "arguments": arguments}}]})


IMPOSSIBLE = [
    ({"n": 2}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "x"}}, "audio"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"functions": [{}]}, "functions"),
    ({"stop": ["a", "\n"]}, "stop[1]"),
    ({"stop": 5}, "stop"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"user": 5}, "user"),
    ({"temperature": "hot"}, "temperature"),
    ({"thinking": {"type": []}}, "thinking"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"reasoning_effort": "enormous"}, "reasoning_effort"),
    ({"reasoning_effort": []}, "reasoning_effort"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"response_format": "json"}, "response_format"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
    ({"tools": [{"function": {}}]}, "tools[0].function.name"),
    ({"tools": [{"function": {"name": "x", "parameters": []}}]}, "tools[0].function.parameters"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": []}, "tool_choice"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": [5]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages"),
    ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    (user(5), "messages[0].content[0]"),
    (user({"type": "input_audio"}), "messages[0].content[0]"),
    (user({"type": "text", "text": 5}), "messages[0].content[0].text"),
    (user({"type": "image_url"}), "messages[0].content[0].image_url.url"),
    (image("ftp://a"), "messages[0].content[0].image_url.url"),
    (image("data:image/png,a"), "messages[0].content[0].image_url.url"),
    (image("data:image/bmp;base64,a"), "messages[0].content[0].image_url.url"),
    (user({"type": "file", "file": {"file_id": "f"}}), "messages[0].content[0].file"),
    (file("data:audio/wav;base64,aGk="), "messages[0].content[0].file.file_data"),
    (file("data:text/plain;base64,/w=="), "messages[0].content[0].file.file_data"),
    ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "https://a"}]}, HI]}, "messages[0].content"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    (model({"function_call": {"name": "x"}}), "messages[0].function_call"),
    (model({"audio": {"id": "x"}}), "messages[0].audio"),
    (model({"tool_calls": "x"}), "messages[0].tool_calls"),
    (model({"tool_calls": [5]}), "messages[0].tool_calls[0]"),
    (model({"tool_calls": [{**CALL, "id": None}]}), "messages[0].tool_calls[0]"),
    (called("[1]"), "messages[0].tool_calls[0].function.arguments"),
    (called("{"), "messages[0].tool_calls[0].function.arguments"),
    (model({"thinking_blocks": {}, "content": "x"}), "messages[0].thinking_blocks"),
    (model({"thinking_blocks": [{}], "content": "x"}), "messages[0].thinking_blocks[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "field"), IMPOSSIBLE, ids=lambda value: value if type(value) is str else "")
def test_what_cannot_be_said_is_refused_by_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as refused:
        BACK.request({"model": "app", "max_tokens": 4000, "messages": [HI], **fields}, BUDGETS, stream=False)
    assert refused.value.field == field
    assert str(refused.value)


@pytest.mark.parametrize(
    ("name", "version", "family"),
    [
        ("claude-3-7-sonnet-20250219", (3, 7), "sonnet"),
        ("claude-3-opus-20240229", (3, 0), "opus"),
        ("claude-sonnet-4-20250514", (4, 0), "sonnet"),
        ("claude-sonnet-4-0", (4, 0), "sonnet"),
        ("claude-opus-4-1-20250805", (4, 1), "opus"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", (4, 5), "haiku"),
        ("claude-opus-4-5@20251101", (4, 5), "opus"),
        ("anthropic/claude-3.5-sonnet", (3, 5), "sonnet"),
        ("claude-fable-5", (5, 0), "fable"),
        ("claude-sonnet-5-5", (5, 5), "sonnet"),
        ("claude-latest", (0, 0), ""),
        ("kimi-k3", (0, 0), ""),
    ],
)
def test_a_models_generation_is_read_from_its_name(name: str, version: tuple[int, int], family: str) -> None:
    assert generation(name) == (version, family)


def test_a_budget_leaves_room_for_an_answer() -> None:
    assert [budget_of(effort, 10_000) for effort in ("minimal", "low", "medium", "high", "xhigh")] == [1024, 2000, 5000, 8000, 9500]
    assert budget_of("xhigh", 1025) == 1024
    assert budget_of("high", 1024) == 0
