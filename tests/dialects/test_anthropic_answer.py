"""Whole answers and errors of Anthropic's format, in both directions, with nonsense in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message
from anthropic.types.shared import ErrorResponse
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.usage import TokenDetails, Tokens
from apps.proxy.dialects.anthropic import AnthropicBack, AnthropicFront, AnthropicNative, native_answer, native_count
from apps.proxy.dialects.anthropic_wire import STRUCTURED_TOOL
from apps.proxy.dialects.translation import NotAnAnswer, Trouble

FRONT, BACK = AnthropicFront(), AnthropicBack()
USAGE = {
    "input_tokens": 5,
    "cache_read_input_tokens": 3,
    "cache_creation_input_tokens": 2,
    "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 4},
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}


def body(**fields: Any) -> bytes:
    return json.dumps({**MESSAGE, **fields}).encode()


def completion(finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
    }


def test_usage_counts_all_input_and_names_its_parts() -> None:
    usage = BACK.answer(body(), {})["usage"]
    assert usage == {
        "prompt_tokens": 10,
        "completion_tokens": 9,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    assert FRONT.answer({**completion(content="x"), "usage": usage}, {})["usage"] == USAGE
    assert native_answer(body()) == (Tokens(input=10, output=9, cache_read=3, cache_write=2, reasoning=4), None)
    batch = body(usage={"input_tokens": 1, "output_tokens": 1, "service_tier": "batch"})
    assert native_answer(batch) == (Tokens(input=1, output=1, details=TokenDetails(batch=True)), None)
    assert BACK.answer(batch, {})["service_tier"] == "batch"


def test_an_answer_without_usage_is_an_answer() -> None:
    assert "usage" not in BACK.answer(body(usage=None), {})
    assert native_answer(body(usage=None)) == (None, None)


NONSENSE = {
    "a page": b"<html>Bad gateway</html>",
    "nothing": b"",
    "cut": body()[:-9],
    "a list": b"[]",
    "an error": b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
    "another object": b'{"object":"chat.completion","choices":[]}',
    "no content": body(content=None),
    "content that is a text": body(content="Hi"),
    "no reason": body(stop_reason=None),
    "a text that is none": body(content=[{"type": "text", "text": 5}]),
    "a text without text": body(content=[{"type": "text"}]),
    "a call without a name": body(content=[{"type": "tool_use", "id": "a", "input": {}}]),
    "a call with a list": body(content=[{"type": "tool_use", "id": "a", "name": "f", "input": [1]}]),
    "a call with a text": body(content=[{"type": "tool_use", "id": "a", "name": "f", "input": "oops"}]),
    "redacted thinking without data": body(content=[{"type": "redacted_thinking"}]),
    "a block nobody asked for": body(content=[{"type": "server_tool_use", "id": "a", "name": "web_search", "input": {}}]),
    "counts that are texts": body(usage={"input_tokens": "many"}),
    "invalid UTF-8": body().replace(b"Hi", b"\xff"),
    "nested beyond measure": b'{"a":' + b"[" * 100_000,
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_no_answer(answer: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        BACK.answer(answer, {})


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=6),
    st.sampled_from([*MESSAGE]),
)
def test_any_field_may_hold_anything(value: Any, field: str) -> None:
    try:
        told = FRONT.answer(BACK.answer(body(**{field: value}), {}), {})
    except NotAnAnswer:
        return
    Message.model_validate(told, strict=True)


def test_a_call_whose_input_is_json_in_a_text_is_mended() -> None:
    call = {"type": "tool_use", "id": "a", "name": "f", "input": '{"x": 1}'}
    found = BACK.answer(body(content=[call], stop_reason="tool_use"), {})["choices"][0]
    assert found["message"]["tool_calls"][0]["function"]["arguments"] == '{"x": 1}'
    assert found["finish_reason"] == "tool_calls"


def test_the_structured_tools_arguments_are_the_answer() -> None:
    call = {"type": "tool_use", "id": "a", "name": STRUCTURED_TOOL, "input": {"x": 1}}
    answer = body(content=[{"type": "text", "text": "Sure:"}, call], stop_reason="tool_use")
    choice = BACK.answer(answer, SCHEMA)["choices"][0]
    assert (json.loads(choice["message"]["content"]), choice["finish_reason"]) == ({"x": 1}, "stop")
    assert "tool_calls" not in choice["message"]
    assert BACK.answer(answer, {})["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("finish", "message", "reason"),
    [
        ("stop", {"content": "x"}, "end_turn"),
        ("length", {"content": "x"}, "max_tokens"),
        ("content_filter", {"content": None}, "refusal"),
        ("stop", {"refusal": "No."}, "refusal"),
        ("tool_calls", {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}, "tool_use"),
        ("stop", {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": ""}}]}, "tool_use"),
        ("length", {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": '{"x'}}]}, "max_tokens"),
        (None, {"content": "x"}, "end_turn"),
    ],
)
def test_finish_reasons_have_their_words(finish: str | None, message: dict[str, Any], reason: str) -> None:
    told = FRONT.answer(completion(finish, **message), {})
    Message.model_validate(told, strict=True)
    assert told["stop_reason"] == reason


@pytest.mark.parametrize(
    ("choice", "stops", "met"),
    [
        ({"stop_reason": "###"}, ["###"], "###"),
        ({"matched_stop": "###"}, ["###"], "###"),
        ({"stop_sequence": "###"}, None, "###"),
        ({"stop_reason": "###"}, ["other"], None),
        ({"stop_reason": 128009}, ["###"], None),
        ({"stop_reason": ["###"]}, ["###"], None),
    ],
)
def test_the_stop_sequence_that_an_engine_met_is_told(choice: dict[str, Any], stops: list[str] | None, met: str | None) -> None:
    answer = completion(content="x")
    answer["choices"][0] |= choice
    told = FRONT.answer(answer, {"stop_sequences": stops})
    assert (told["stop_sequence"], told["stop_reason"]) == (met, "stop_sequence" if met else "end_turn")


def test_parts_thinking_and_odd_ids_are_told_as_the_sdk_reads_them() -> None:
    message = {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
            {"type": "text", "text": "a"},
            {"type": "odd"},
            {"type": "text", "text": "b"},
        ],
        "tool_calls": [{"id": "x:1", "function": {"name": "f", "arguments": '{"a": 1}'}}, {"function": {"name": "g", "arguments": None}}],
    }
    told = FRONT.answer(completion("tool_calls", **message), {"model": "asked"})
    Message.model_validate(told, strict=True)
    thinking, text, first, second = told["content"]
    assert (thinking["thinking"], thinking["signature"], text["text"]) == ("Hm.", "", "ab")
    assert first["id"].startswith("x_1_") and first["input"] == {"a": 1}
    assert second["id"] == "toolu_msg_chatcmpl-1_1" and second["input"] == {}
    assert told["id"] == "msg_chatcmpl-1"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": []},
        {"choices": [{"message": None}]},
        completion(tool_calls=[{"id": "a"}]),
        completion(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "{oops"}}]),
        completion(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "[1]"}}]),
        completion(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": {"a": 1}}}]),
        completion(tool_calls=["x"]),
    ],
)
def test_what_this_format_cannot_say_is_no_answer(answer: dict[str, Any]) -> None:
    with pytest.raises(NotAnAnswer):
        FRONT.answer(answer, {})


@pytest.mark.parametrize("calls", [5, "x", {"a": 1}, True])
def test_calls_that_are_no_list_are_none(calls: Any) -> None:
    assert FRONT.answer(completion(content="x", tool_calls=calls), {})["content"] == [{"type": "text", "text": "x"}]
    assert BACK.answer(body(), {**SCHEMA, "tools": calls})["choices"][0]["message"]["content"] == "Hi"


@pytest.mark.parametrize(
    ("status", "type_", "told"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (402, "insufficient_quota", "billing_error"),
        (403, "permission_error", "permission_error"),
        (404, "invalid_request_error", "not_found_error"),
        (413, "invalid_request_error", "request_too_large"),
        (429, "rate_limit_error", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (502, "server_error", "api_error"),
        (503, "server_error", "overloaded_error"),
        (504, "timeout_error", "timeout_error"),
        (418, "odd", "invalid_request_error"),
    ],
)
def test_errors_have_their_type_by_status(status: int, type_: str, told: str) -> None:
    said = FRONT.error(status, Trouble("Why.", type_, "a_code", "a.field"), "req_1")
    assert said == {
        "type": "error",
        "error": {"type": told, "message": "Why.", "code": "a_code", "param": "a.field"},
        "request_id": "req_1",
    }
    if told != "request_too_large":  # which the SDK's union of types leaves out
        ErrorResponse.model_validate(said, strict=True)


@pytest.mark.parametrize(
    ("status", "error", "trouble"),
    [
        (400, {"type": "invalid_request_error", "message": "x"}, ("x", "invalid_request_error", None)),
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"},
         ("prompt is too long: 9 > 8", "invalid_request_error", "context_length_exceeded")),
        (400, {"type": "invalid_request_error", "message": "Your credit balance is too low"},
         ("Your credit balance is too low", "insufficient_quota", "insufficient_quota")),
        (401, {"type": "authentication_error", "message": "x"}, ("x", "authentication_error", "invalid_api_key")),
        (404, {"type": "not_found_error", "message": "model: m"}, ("model: m", "not_found_error", "model_not_found")),
        (429, {"type": "rate_limit_error", "message": "x"}, ("x", "rate_limit_error", "rate_limit_exceeded")),
        (529, {"type": "overloaded_error", "message": "x"}, ("x", "server_error", "overloaded")),
        (500, {"type": "novel_error", "message": ""}, ("The provider answered 500 (novel_error).", "server_error", None)),
    ],
)  # fmt: skip
def test_a_providers_error_is_said_in_openais_words(status: int, error: dict[str, Any], trouble: tuple[Any, ...]) -> None:
    said = BACK.error(status, json.dumps({"type": "error", "error": error}).encode())
    assert said == Trouble(*trouble)


@pytest.mark.parametrize("status", [400, 403, 500, 529, 599])
@pytest.mark.parametrize(
    "answer", [b"", b"<html>Bad</html>", b"\xff\xfe", b"[]", b'{"error":"x"}', b'{"error":{"message":5}}', b"x" * 5000]
)
def test_an_error_that_says_nothing_readable_is_told_by_its_beginning(status: int, answer: bytes) -> None:
    trouble = BACK.error(status, answer)
    assert str(status) in trouble.message
    assert len(trouble.message) < 400
    assert trouble.type


def test_what_passes_through_is_changed_only_where_it_must_be() -> None:
    native = AnthropicNative()
    asked = {"model": "m", "messages": [], "max_tokens": 5}
    assert native.changed(asked, "m", None) is asked
    assert native.changed(asked, "n", 7) == {"model": "n", "messages": [], "max_tokens": 7}
    assert asked["model"] == "m"
    assert native.path("m", stream=True) == "/messages"
    assert native.answer(body()) == native_answer(body())
    for answer in NONSENSE.values():
        assert native.answer(answer) is None or b"stop_reason" in answer or b"type" in answer
    assert native_count(b'{"input_tokens":7}') == 7
    assert native_count(b'{"input_tokens":"many"}') is None
