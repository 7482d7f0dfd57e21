"""An app's request for a response, as the pivot's."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.proxy.dialects.responses import ResponsesFront, responses_items_join
from apps.proxy.dialects.responses_wire import sealed, wrapped
from apps.proxy.dialects.translation import Unsupported
from tests.scale import examples

FRONT = ResponsesFront()
FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
PIVOT_FUNCTION = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}}
GRAMMAR = {"type": "grammar", "definition": "start: x", "syntax": "lark"}
OWN = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "anthropic's"}
HIDDEN = {"type": "redacted_thinking", "data": "xyz"}


def read(**fields: Any) -> dict[str, Any]:
    return FRONT.read({"model": "m", "input": "x", **fields}).payload


def call(ident: str, name: str = "f") -> dict[str, Any]:
    return {"type": "function_call", "call_id": ident, "name": name, "arguments": "{}"}


def pivot_call(ident: str, **more: Any) -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": "f", "arguments": "{}"}, **more}


def output(ident: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": ident, "output": "o"}


def tool(ident: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": ident, "content": "o"}


U = {"role": "user", "content": "x"}
ITEMS: dict[str, tuple[list[Any], list[Any]]] = {
    "roles stay where they are": (
        [{"role": "developer", "content": "d"}, U, {"type": "message", "role": "system", "content": "s"}],
        [{"role": "developer", "content": "d"}, U, {"role": "system", "content": "s"}],
    ),
    "parts": (
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "t"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
                    {"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"},
                    {"type": "input_file", "file_url": "https://x/a.pdf"},
                    {"type": "input_file", "file_id": "file_1"},
                    {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                ],
            }
        ],
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "t"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
                    {"type": "file", "file": {"file_url": "https://x/a.pdf"}},
                    {"type": "file", "file": {"file_id": "file_1"}},
                    {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                ],
            }
        ],
    ),
    "parallel calls are one message": (
        [U, {"role": "assistant", "content": "both"}, call("a"), call("b"), output("a"), output("b")],
        [U, {"role": "assistant", "content": "both", "tool_calls": [pivot_call("a"), pivot_call("b")]}, tool("a"), tool("b")],
    ),
    "calls one after the other are two": (
        [U, call("a"), output("a"), call("b"), output("b")],
        [
            U,
            {"role": "assistant", "content": None, "tool_calls": [pivot_call("a")]},
            tool("a"),
            {"role": "assistant", "content": None, "tool_calls": [pivot_call("b")]},
            tool("b"),
        ],
    ),
    "two answers are two": (
        [U, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
        [U, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
    ),
    "text behind calls goes before them": (
        [U, call("a"), {"role": "assistant", "content": "b"}, output("a")],
        [U, {"role": "assistant", "content": "b", "tool_calls": [pivot_call("a")]}, tool("a")],
    ),
    "a custom tool": (
        [U, {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "i"}, {**output("c"), "type": "custom_tool_call_output"}],
        [
            U,
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "i"}}]},
            tool("c"),
        ],
    ),
    "a provider's own reasoning": (
        [U, OWN, {"role": "assistant", "content": "a"}],
        [
            U,
            {
                "role": "assistant",
                "content": "a",
                "reasoning_content": "hm",
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": sealed(OWN)}],
            },
        ],
    ),
    "another provider's reasoning": (
        [U, {**OWN, "encrypted_content": wrapped([{"type": "thinking", "signature": "anthropic's"}, HIDDEN])}, call("a"), output("a")],
        [
            U,
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "thinking_blocks": [SIGNED, HIDDEN],
                "tool_calls": [pivot_call("a")],
            },
            tool("a"),
        ],
    ),
    "a signed call": (
        [
            U,
            call("a"),
            {"type": "reasoning", "summary": [], "encrypted_content": wrapped([{"type": "tool_call", "id": "a", "signature": "s"}])},
            output("a"),
        ],
        [U, {"role": "assistant", "content": None, "tool_calls": [pivot_call("a", signature="s")]}, tool("a")],
    ),
    "outputs in parts": (
        [U, call("a"), {**output("a"), "output": [{"type": "input_image", "image_url": "https://x/y.png"}]}],
        [
            U,
            {"role": "assistant", "content": None, "tool_calls": [pivot_call("a")]},
            {**tool("a"), "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
        ],
    ),
    "a refusal": (
        [U, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        [U, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
    ),
}


@pytest.mark.parametrize("name", ITEMS)
def test_items_become_messages(name: str) -> None:
    items, messages = ITEMS[name]
    before = copy.deepcopy(items)
    assert read(input=items)["messages"] == messages
    assert items == before


FIELDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_output_tokens": ({"max_output_tokens": 9}, {"max_tokens": 9}),
    "stream": ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
    "same words": (
        {"temperature": 0.5, "top_p": 0.1, "user": "u", "metadata": {"a": "b"}, "service_tier": "flex", "safety_identifier": "s"},
        {"temperature": 0.5, "top_p": 0.1, "user": "u", "metadata": {"a": "b"}, "service_tier": "flex", "safety_identifier": "s"},
    ),
    "functions": (
        {"tools": [FUNCTION], "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": [PIVOT_FUNCTION], "tool_choice": "required", "parallel_tool_calls": False},
    ),
    "custom tools": (
        {"tools": [{"type": "custom", "name": "c", "format": GRAMMAR}], "tool_choice": {"type": "custom", "name": "c"}},
        {
            "tools": [
                {
                    "type": "custom",
                    "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"definition": "start: x", "syntax": "lark"}}},
                }
            ],
            "tool_choice": {"type": "custom", "custom": {"name": "c"}},
        },
    ),
    "a forced function": (
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}},
        {"tools": [PIVOT_FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    ),
    "allowed functions": (
        {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}},
        {
            "tools": [PIVOT_FUNCTION],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
        },
    ),
    "a choice among no tools": ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
    "a schema": (
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True}, "verbosity": "low"}},
        {
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}, "strict": True}},
            "verbosity": "low",
        },
    ),
    "any JSON": ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    "text": ({"text": {"format": {"type": "text"}}}, {}),
    "log probabilities": ({"include": ["message.output_text.logprobs"], "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    "effort": ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
    "nothing": ({"background": False, "store": True, "truncation": "disabled", "previous_response_id": None, "prompt": None}, {}),
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_read(name: str) -> None:
    fields, pivot = FIELDS[name]
    assert read(**fields) == {"model": "m", "messages": [U], **pivot}


def test_instructions_are_the_system_prompt() -> None:
    assert read(instructions="be kind")["messages"] == [{"role": "system", "content": "be kind"}, U]
    assert read(instructions="")["messages"] == [U]


SAID_NEARLY: dict[str, dict[str, Any]] = {
    "reasoning.effort": {"reasoning": {"effort": "max"}},
    "reasoning.summary": {"reasoning": {"summary": "auto"}},
    "reasoning.context": {"reasoning": {"context": "all_turns"}},
    "truncation": {"truncation": "auto"},
    "max_tool_calls": {"max_tool_calls": 3},
    "tools[0].defer_loading": {"tools": [{**FUNCTION, "defer_loading": True}]},
    "input[].phase": {"input": [{"role": "assistant", "phase": "commentary", "content": "a"}]},
    "input[].content[].detail": {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "u", "detail": "original"}]}]},
    "input[].content[].annotations": {
        "input": [{"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": [{"type": "url_citation"}]}]}]
    },
    "input[1]": {"input": [call("a"), {"role": "assistant", "content": "behind"}]},
}


@pytest.mark.parametrize("field", SAID_NEARLY)
def test_what_is_said_nearly_is_named(field: str) -> None:
    asked = FRONT.read({"model": "m", "input": "x", **SAID_NEARLY[field]})
    assert [one.partition(": ")[0] for one in asked.approximated] == [field]


REFUSED: dict[str, dict[str, Any]] = {
    "previous_response_id": {"previous_response_id": "resp_1"},
    "conversation": {"conversation": "conv_1"},
    "background": {"background": True},
    "prompt": {"prompt": {"id": "p"}},
    "context_management": {"context_management": [{"type": "compaction"}]},
    "never_heard_of": {"never_heard_of": 1},
    "tools[1]": {"tools": [FUNCTION, {"type": "web_search"}]},
    "tools[0]": {"tools": [{"type": "mcp", "server_label": "s"}]},
    "tools[0].name": {"tools": [{"type": "function"}]},
    "tools": {"tools": "all of them"},
    "tool_choice": {"tools": [FUNCTION], "tool_choice": {"type": "file_search"}},
    "include[0]": {"include": ["the kitchen sink"]},
    "input": {"input": 7},
    "input[0]": {"input": ["x"]},
    "input[1]": {"input": [U, {"type": "item_reference", "id": "msg_1"}]},
    "input[2]": {"input": [U, call("a"), {"type": "computer_call", "id": "c"}]},
    "input[0].role": {"input": [{"role": "nobody", "content": "x"}]},
    "input[0].content": {"input": [{"role": "user", "content": 7}]},
    "input[0].content[0]": {"input": [{"role": "user", "content": [{"type": "input_video"}]}]},
    "input[0].content[0].text": {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
    "input[0].content[0].file_id": {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
    "input[0].arguments": {"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": {}}]},
    "input[0].output": {"input": [{"type": "function_call_output", "call_id": "a"}]},
    "input[0].type": {"input": [{"type": 7}]},
    "instructions": {"instructions": ["be kind"]},
    "text": {"text": "json"},
    "text.format": {"text": {"format": {"type": "yaml"}}},
    "reasoning": {"reasoning": "much"},
    "reasoning.effort": {"reasoning": {"effort": ["low"]}},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_said_is_refused_by_its_name(field: str) -> None:
    with pytest.raises(Unsupported) as refused:
        FRONT.read({"model": "m", "input": "x", **REFUSED[field]})
    assert refused.value.field == field
    assert str(refused.value).endswith(".")


WORDS = ["", "x", "message", "function_call", "reasoning", "user", "assistant", "tool", "function", "text", "input_text", "enabled"]
NAMES = [
    "type",
    "role",
    "content",
    "name",
    "id",
    "call_id",
    "text",
    "summary",
    "format",
    "tools",
    "effort",
    "tool_calls",
    "function",
    "file",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=6,
)
ASKED = ["input", "tools", "tool_choice", "text", "reasoning", "include", "instructions", "stream", "max_output_tokens", "top_logprobs"]


@settings(max_examples=examples(100))
@given(st.dictionaries(st.sampled_from(ASKED), JSON, max_size=4))
def test_any_request_is_read_or_refused(fields: dict[str, Any]) -> None:
    before = json.dumps(fields)
    with contextlib.suppress(Unsupported):
        FRONT.read({"model": "m", "input": "x", **fields})
    assert json.dumps(fields) == before


def test_items_are_joined() -> None:
    previous = [U, {"type": "message", "role": "assistant", "content": "a"}]
    assert responses_items_join(previous, "and?") == [*previous, {"role": "user", "content": "and?"}]
    assert responses_items_join(previous, [output("a")]) == [*previous, output("a")]
    assert len(previous) == 2
    with pytest.raises(Unsupported) as refused:
        responses_items_join(previous, None)
    assert refused.value.field == "input"
