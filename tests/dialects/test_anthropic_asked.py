"""What apps ask in Anthropic's format, as the pivot has it; and what cannot be asked so."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from apps.proxy.dialects.anthropic import AnthropicBack, AnthropicFront
from apps.proxy.dialects.anthropic_wire import SIGNATURE_IN_ID
from apps.proxy.dialects.translation import Trouble, Unsupported

FRONT = AnthropicFront()
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}


def read(*content: Any, **fields: Any) -> dict[str, Any]:
    return FRONT.read({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": list(content) or "Hi"}], **fields}).payload


def said(**fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    asked = FRONT.read({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields})
    return {name: value for name, value in asked.payload.items() if name not in ("model", "messages", "max_tokens")}, asked.approximated


@pytest.mark.parametrize(
    ("fields", "pivot", "approximated"),
    [
        (
            {"stop_sequences": ["a"], "top_k": 4, "top_p": 0.5, "temperature": 1},
            {"stop": ["a"], "top_k": 4, "top_p": 0.5, "temperature": 1},
            (),
        ),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}, ()),
        ({"metadata": {"other": "u"}}, {}, ("metadata.other",)),
        ({"service_tier": "standard_only"}, {"service_tier": "default"}, ()),
        ({"stream": True}, {"stream": True}, ()),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, ()),
        ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}, ()),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, {"reasoning_effort": "low"}, ()),
        ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}, ()),
        ({"output_config": {"effort": "max"}}, {"reasoning_effort": "xhigh"}, ("output_config.effort",)),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}}},
            (),
        ),
        ({"context_management": {"edits": []}, "speed": "standard"}, {}, ("context_management",)),
        ({"speed": "fast"}, {}, ("speed",)),
        ({"brand_new": 1}, {}, ("brand_new",)),
    ],
)
def test_settings_have_their_places_in_the_pivot(fields: dict[str, Any], pivot: dict[str, Any], approximated: tuple[str, ...]) -> None:
    found, notes = said(**fields)
    assert found == pivot
    assert tuple(note.partition(":")[0] for note in notes) == approximated


@pytest.mark.parametrize(
    ("choice", "pivot"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "look"}, {"tool_choice": {"type": "function", "function": {"name": "look"}}}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"tool_choice": "auto", "parallel_tool_calls": False}),
    ],
)
def test_tools_are_offered_and_chosen(choice: dict[str, Any], pivot: dict[str, Any]) -> None:
    found, notes = said(tools=[{**TOOL, "strict": True, "cache_control": {"type": "ephemeral"}}], tool_choice=choice)
    function = {"name": "look", "description": "Looks.", "parameters": TOOL["input_schema"], "strict": True}
    assert found.pop("tools") == [{"type": "function", "function": function, "cache_control": {"type": "ephemeral"}}]
    assert found == pivot
    assert notes == ()


def test_a_choice_without_tools_says_nothing() -> None:
    assert said(tool_choice={"type": "any"}) == ({}, ())


def test_a_system_prompt_comes_first_as_text_or_in_parts() -> None:
    assert read(system="Be brief.")["messages"][0] == {"role": "system", "content": "Be brief."}
    marked = {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}
    assert read(system=[{"type": "text", "text": "a"}, marked])["messages"][0]["content"] == [{"type": "text", "text": "a"}, marked]


def test_images_and_documents_become_parts_of_the_pivot() -> None:
    messages = read(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}, "title": "Plan"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
    )["messages"]
    assert messages[0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "Plan"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "document.txt"}},
        {"type": "file", "file": {"file_url": "https://example.com/a.pdf", "filename": "document.pdf"}},
    ]


def test_a_turn_with_thinking_calls_and_results_becomes_messages() -> None:
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Look."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}},
                    {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "seen", "is_error": True},
                    {
                        "type": "tool_result",
                        "tool_use_id": "t2",
                        "content": [
                            {"type": "text", "text": "this"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                        ],
                    },
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
    }
    asked = FRONT.read(body)
    assert asked.approximated == ()
    assert asked.payload["messages"] == [
        {"role": "user", "content": "Look."},
        {
            "role": "assistant",
            "content": "Looking.",
            "reasoning_content": "hm",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "x"}],
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}},
                {"id": "t2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "seen", "is_error": True},
        {
            "role": "tool",
            "tool_call_id": "t2",
            "content": [{"type": "text", "text": "this"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}],
        },
        {"role": "user", "content": "And now?"},
    ]


def test_a_signature_that_went_out_in_a_calls_id_comes_back_as_one() -> None:
    signed = f"t1{SIGNATURE_IN_ID}{urlsafe_b64encode('sig/ü'.encode()).decode().rstrip('=')}"
    payload = FRONT.read(
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": "Look."},
                {"role": "assistant", "content": [{"type": "tool_use", "id": signed, "name": "look", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": signed}]},
            ],
        }
    ).payload
    call = payload["messages"][1]["tool_calls"][0]
    assert (call["id"], call["signature"]) == ("t1", "sig/ü")
    assert payload["messages"][2]["tool_call_id"] == "t1"


def test_what_is_said_in_another_order_or_left_out_is_named() -> None:
    late = [{"type": "text", "text": "a"}, {"type": "tool_result", "tool_use_id": "t", "content": "b"}]
    asked = FRONT.read({"model": "m", "messages": [{"role": "user", "content": late}]})
    assert [message["role"] for message in asked.payload["messages"]] == ["tool", "user"]
    assert "messages[0].content[1]" in asked.approximated[0]
    document = {"source": {"type": "text", "data": "x"}, "type": "document", "citations": {"enabled": True}, "context": "of May"}
    asked = FRONT.read({"model": "m", "messages": [{"role": "user", "content": [document]}]})
    assert {note.partition(":")[0].rpartition(".")[2] for note in asked.approximated} == {"citations", "context"}
    assert asked.payload["messages"][0]["content"][0] == {"type": "text", "text": "of May"}


def user(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def model(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": list(content)}]}


FOREIGN = [
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0]"),
    ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
    ({"container": "c"}, "container"),
    ({"inference_geo": "eu"}, "inference_geo"),
    ({"thinking": {"type": "between_tools"}}, "thinking.type"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
        "messages[0].content[0].source",
    ),
    (model({"type": "server_tool_use", "id": "s"}), "messages[0].content[0]"),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference"}]}]}]},
        "messages[0].content[0].content[0]",
    ),
]


@pytest.mark.parametrize(("fields", "field"), FOREIGN, ids=[field for _, field in FOREIGN])
def test_what_only_this_format_has_is_refused_by_its_field_and_left_out_of_an_outline(fields: dict[str, Any], field: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    with pytest.raises(Unsupported) as refused:
        FRONT.read(body)
    assert refused.value.field == field
    assert field in str(refused.value)
    assert FRONT.outline(body).payload["messages"]


def test_an_outline_shows_tools_that_are_billed_apart() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [search, TOOL], "tool_choice": {"type": "auto"}}
    assert [tool["type"] for tool in FRONT.outline(body).payload["tools"]] == ["web_search_20250305", "function"]


WRONG = [
    ({"model": None}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": ["Hi"]}, "messages[0]"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    (user("x"), "messages[0].content[0]"),
    (user({"type": "text"}), "messages[0].content[0].text"),
    (user({"type": "tool_result"}), "messages[0].content[0].tool_use_id"),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": 1}]}]},
        "messages[0].content[0].content",
    ),
    (model({"type": "tool_use", "id": 1}), "messages[0].content[0].id"),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": "c"}]}]},
        "messages[0].content[0].input",
    ),
    ({"system": 5}, "system"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"temperature": "hot"}, "temperature"),
    ({"stop_sequences": "a"}, "stop_sequences"),
    ({"stream": "yes"}, "stream"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    ({"service_tier": "gold"}, "service_tier"),
    ({"service_tier": []}, "service_tier"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": []}}, "thinking.type"),
    ({"thinking": "on"}, "thinking"),
    ({"output_config": {"effort": []}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format.type"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"tools": [TOOL], "tool_choice": {"type": []}}, "tool_choice.type"),
]


@pytest.mark.parametrize(("fields", "field"), WRONG, ids=[f"{field} {number}" for number, (_, field) in enumerate(WRONG)])
def test_what_is_no_request_is_refused_by_its_field_also_in_an_outline(fields: dict[str, Any], field: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    for reading in (FRONT.read, FRONT.outline):
        with pytest.raises(Unsupported) as refused:
            reading(body)
        assert refused.value.field == field


MARK = {"type": "ephemeral"}
FULL: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "s", "cache_control": MARK}],
    "tools": [{**TOOL, "strict": True, "allowed_callers": ["direct"], "cache_control": MARK}],
    "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["a"],
    "temperature": 1,
    "service_tier": "auto",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}, "cache_control": MARK},
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "text", "text": "x"}]},
                    "title": "t",
                    "context": "c",
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": "x"},
                {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}, "caller": {"type": "direct"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "text", "text": "x"}],
                    "is_error": True,
                    "cache_control": MARK,
                }
            ],
        },
    ],
}
ODD = [None, True, 0, -1, 1.5, "", "x", "\ud800", [], {}, [None], ["x"], {"type": []}, {"type": "text"}, [{}], [[]], {"a": {"b": [1]}}]


def odd_versions(value: Any) -> Iterator[Any]:
    """The value with each thing in it replaced by each odd one, one at a time; it shares what is not replaced."""
    yield from ODD
    places: Any = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
    for place, inner in places:
        for odd in odd_versions(inner):
            if type(value) is dict:
                yield {**value, place: odd}
            else:
                yield [*value[:place], odd, *value[place + 1 :]]


def test_any_field_may_hold_anything_and_is_said_or_refused() -> None:
    back = AnthropicBack()
    said, fields = 0, set()
    for body in odd_versions(FULL):
        if type(body) is not dict:
            continue
        for reading in (FRONT.read, FRONT.outline):
            try:
                payload = reading(body).payload
                back.request(payload, "claude-sonnet-4-5", stream=False)
                said += 1
            except Unsupported as refused:
                fields.add(refused.field)
    assert said > 100 and len(fields) > 30 and all(fields)


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
def test_a_conversation_that_a_server_would_hold_is_refused_as_sdks_understand_it(thread: dict[str, Any]) -> None:
    """Wherever it would go: told without its beginning, it would be another conversation."""
    front = AnthropicFront()
    for read in (front.read, front.outline):
        with pytest.raises(Unsupported) as caught:
            read({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "?"}], "thread": thread})
        assert caught.value.field == "thread"
    error = front.error(400, Trouble("no", "invalid_request_error", "invalid_field", "thread"), "r-1")["error"]
    assert error["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert "details" not in front.error(400, Trouble("no", "invalid_request_error", None, "messages"), "r-1")["error"]
