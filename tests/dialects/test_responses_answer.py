"""Whole answers: a provider's response as the pivot's, the pivot's as a response, and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from apps.proxy.dialects.responses import ResponsesBack, ResponsesFront
from apps.proxy.dialects.translation import NotAnAnswer, Trouble
from tests.scale import examples

FRONT, BACK = ResponsesFront(), ResponsesBack()
ASKED: dict[str, Any] = {"model": "route", "input": "x"}
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 15},
}
TOLD_USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 15},
    "total_tokens": 30,
}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "anthropic's"}
HIDDEN = {"type": "redacted_thinking", "data": "xyz"}
CALL = {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def completion(message: dict[str, Any], reason: str = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason, **more}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "m", "choices": [choice], "usage": USAGE}


def told(message: dict[str, Any], reason: str = "stop", asked: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    made = FRONT.answer(completion(message, reason, **more), {**ASKED, **(asked or {})})
    Response.model_validate(made, strict=True)
    return made


def response(output: list[Any], **more: Any) -> bytes:
    said = {"id": "resp_1", "object": "response", "created_at": 5.0, "model": "m", "status": "completed", "output": output, **more}
    return json.dumps(said).encode()


def message_item(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(parts)}


def text_part(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], **more}


def test_a_text_is_a_message() -> None:
    made = told({"content": "hello"})
    assert made["id"] == "resp_1"
    assert (made["status"], made["incomplete_details"], made["model"], made["created_at"]) == ("completed", None, "m", 5)
    part = {"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}
    assert made["output"] == [{"id": "msg_1_0", "type": "message", "status": "completed", "role": "assistant", "content": [part]}]
    assert made["usage"] == TOLD_USAGE


def test_thoughts_come_first_and_calls_last() -> None:
    made = told({"content": "t", "reasoning_content": "hm", "tool_calls": [CALL, {**CALL, "id": "call_b"}]}, "tool_calls")
    assert [item["type"] for item in made["output"]] == ["reasoning", "message", "function_call", "function_call"]
    assert made["output"][0]["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert [item["call_id"] for item in made["output"][2:]] == ["call_a", "call_b"]
    assert len({item["id"] for item in made["output"]}) == 4


def test_who_asks_for_a_summary_gets_the_thoughts_as_one() -> None:
    made = told({"content": "t", "reasoning_content": "hm"}, asked={"reasoning": {"summary": "auto", "effort": "low"}})
    assert made["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert "content" not in made["output"][0]
    assert made["reasoning"] == {"effort": "low", "summary": "auto"}


@pytest.mark.parametrize("summary", [None, "auto"])
def test_what_another_provider_signed_comes_back_unchanged(summary: str | None) -> None:
    """Thinking blocks and signed calls, by way of an app that gives back what it was told."""
    said = {"content": None, "thinking_blocks": [SIGNED, HIDDEN], "tool_calls": [{**CALL, "signature": "gemini's"}]}
    made = told(said, "tool_calls", asked={"reasoning": {"summary": summary}})
    output = {"type": "function_call_output", "call_id": "call_a", "output": "o"}
    payload = FRONT.read({"model": "m", "input": [*made["output"], output]}).payload
    kept = payload["messages"][0]
    assert kept["thinking_blocks"] == [SIGNED, HIDDEN]
    assert kept["tool_calls"] == [{**CALL, "signature": "gemini's"}]
    assert BACK.request(payload, "m", stream=False).body["input"][0]["type"] == "function_call"  # which others' thoughts are kept from


def test_a_providers_own_reasoning_comes_back_as_it_was() -> None:
    item = {"type": "reasoning", "id": "rs_9", "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]}
    item["encrypted_content"] = "gAAA"
    whole = BACK.answer(response([item, message_item(text_part("t"))]), {})
    assert whole["choices"][0]["message"]["reasoning_content"] == "a\n\nb"
    assert told(whole["choices"][0]["message"])["output"][0] == item
    again = BACK.request({"messages": [whole["choices"][0]["message"]]}, "m", stream=False)
    assert again.body["input"][0] == item
    assert again.body["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize(
    ("reason", "status", "details", "last"),
    [
        ("stop", "completed", None, "completed"),
        ("tool_calls", "completed", None, "completed"),
        ("length", "incomplete", {"reason": "max_output_tokens"}, "incomplete"),
        ("content_filter", "incomplete", {"reason": "content_filter"}, "incomplete"),
    ],
)
def test_finish_reasons(reason: str, status: str, details: Any, last: str) -> None:
    made = told({"content": "t"}, reason)
    assert (made["status"], made["incomplete_details"], made["output"][-1]["status"]) == (status, details, last)


def test_refusals_citations_and_log_probabilities() -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 2}}
    likely = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]}
    made = told({"content": "a", "annotations": [cited], "refusal": "no"}, logprobs=likely)
    text, refusal = made["output"][0]["content"]
    assert text["annotations"] == [{"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 2}]
    assert text["logprobs"] == likely["content"]
    assert refusal == {"type": "refusal", "refusal": "no"}


def test_a_custom_call_and_one_without_an_id() -> None:
    calls = [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "free text"}}, {"function": {"name": "g"}}]
    custom, nameless = told({"content": "", "tool_calls": calls}, "tool_calls")["output"]
    assert (custom["type"], custom["input"], custom["call_id"]) == ("custom_tool_call", "free text", "c")
    assert (nameless["arguments"], nameless["call_id"]) == ("{}", "call_1_1")


def test_the_request_is_echoed() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {}}]
    asked = {"instructions": "i", "tools": tools, "metadata": {"a": "b"}, "store": False, "previous_response_id": "resp_0", "user": "u"}
    made = told({"content": "t"}, asked={**asked, "text": {"verbosity": "low"}, "max_output_tokens": 9})
    assert {name: made[name] for name in asked if name != "tools"} == {name: asked[name] for name in asked if name != "tools"}
    assert made["tools"] == [{"type": "function", "name": "f", "parameters": {}, "description": None, "strict": False}]
    assert made["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert made["max_output_tokens"] == 9


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "thinking", "length", "\ud83d"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "thinking", "signature", "id", "function", "name", "text", "token"]), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = ["content", "refusal", "reasoning_content", "thinking_blocks", "tool_calls", "annotations", "role"]


@settings(max_examples=examples(90))
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), JSON, JSON, JSON)
def test_any_completion_is_a_response_that_parses(message: dict[str, Any], reason: Any, logprobs: Any, usage: Any) -> None:
    """OpenAI-compatible servers write all sorts of things; apps get a response that their SDK can read."""
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": logprobs}
    made = FRONT.answer({"id": None, "created": "now", "choices": [choice], "usage": usage}, ASKED)
    Response.model_validate(made, strict=True)


@pytest.mark.parametrize("whole", [{}, {"choices": None}, {"choices": [7]}, {"choices": [{}]}, {"choices": [{"message": "x"}]}])
def test_a_completion_without_an_answer_is_a_response_without_output(whole: dict[str, Any]) -> None:
    made = FRONT.answer(whole, ASKED)
    Response.model_validate(made, strict=True)
    assert made["output"] == []


def test_texts_of_several_messages_are_one() -> None:
    cited = {"type": "url_citation", "url": "u", "title": "t", "start_index": 1, "end_index": 2}
    filed = {"type": "file_citation", "file_id": "f", "filename": "n", "index": 0}
    output = [
        message_item(text_part("one")),
        {"type": "web_search_call", "id": "ws"},
        message_item({**text_part("two"), "annotations": [cited, filed]}),
    ]
    message = BACK.answer(response(output), {})["choices"][0]["message"]
    assert message["content"] == "one\n\ntwo"
    assert message["annotations"] == [
        {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 6, "end_index": 7}}
    ]


def test_calls_of_a_response() -> None:
    output = [
        {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{not json"},
        {"type": "custom_tool_call", "id": "ct_1", "call_id": "b", "name": "g", "input": "text"},
    ]
    choice = BACK.answer(response(output), {})["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{not json"}},  # text in both formats: given as it is
        {"id": "b", "type": "custom", "custom": {"name": "g", "input": "text"}},
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("max_messages", "length"), (None, "length")],
)
def test_a_response_that_is_not_complete(reason: str | None, finish: str) -> None:
    body = response([message_item(text_part("t"))], status="incomplete", incomplete_details={"reason": reason})
    choice = BACK.answer(body, {})["choices"][0]
    assert choice["finish_reason"] == finish
    assert choice.get("native_finish_reason") == reason


def test_usage_of_a_response() -> None:
    whole = BACK.answer(response([], usage=TOLD_USAGE, service_tier="flex"), {})
    assert whole["usage"] == USAGE
    assert whole["service_tier"] == "flex"
    assert "usage" not in BACK.answer(response([]), {})
    sparse = BACK.answer(response([], usage={"input_tokens": 1, "output_tokens": 2, "input_tokens_details": {"cached_tokens": None}}), {})
    assert sparse["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


NONSENSE: dict[str, bytes] = {
    "an HTML page": b"<html><body>502 Bad Gateway</body></html>",
    "nothing": b"",
    "a cut": response([message_item(text_part("t"))])[:-20],
    "invalid UTF-8": b'{"id": "resp_1", "output": [], "model": "\xff"}',
    "a list": b"[]",
    "a chat completion": json.dumps(completion({"content": "t"})).encode(),
    "an error": b'{"error": {"message": "no", "type": "server_error"}}',
    "output that is none": response([]).replace(b"[]", b'"x"'),
    "items that are none": response([7]),
    "usage that is none": response([], usage={"input_tokens": "many"}),
    "a failure": response([], status="failed", error={"code": "server_error", "message": "it broke"}),
    "one that is not finished": response([], status="queued"),
    "a cancelled one": response([], status="cancelled"),
    "a call without a name": response([{"type": "function_call", "call_id": "a", "arguments": "{}"}]),
    "a call without an id": response([{"type": "function_call", "name": "f", "arguments": "{}"}]),
    "arguments that are no text": response([{"type": "function_call", "call_id": "a", "name": "f", "arguments": {"a": 1}}]),
    "nested too deeply": b'{"id":"r","output":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_what_is_no_answer(name: str) -> None:
    with pytest.raises(NotAnAnswer) as refused:
        BACK.answer(NONSENSE[name], {})
    assert str(refused.value)


@pytest.mark.parametrize(
    "content", [None, "plain text", 7, [7], [{"type": "output_text", "text": 7}], [{"type": "output_text", "text": "a", "annotations": 7}]]
)
def test_odd_parts_of_a_message_are_left_out(content: Any) -> None:
    choice = BACK.answer(response([{**message_item(), "content": content}]), {})["choices"][0]
    assert choice["message"]["content"] in ("", "plain text", "a")


ERRORS: dict[str, tuple[int, bytes, Trouble]] = {
    "OpenAI's": (
        400,
        b'{"error": {"message": "bad", "type": "invalid_request_error", "param": "temperature", "code": "too_low"}}',
        Trouble("bad", "invalid_request_error", "too_low", "temperature"),
    ),
    "a number as its code": (500, b'{"error": {"message": "bad", "code": 500}}', Trouble("bad", "server_error", "500")),
    "a text": (429, b'{"error": "slow down"}', Trouble("slow down", "rate_limit_error")),
    "FastAPI's": (404, b'{"detail": "not found"}', Trouble("not found", "not_found_error")),
    "AWS's": (403, b'{"message": "denied"}', Trouble("denied", "permission_error")),
    "a page": (502, b"<html>Bad Gateway</html>", Trouble("<html>Bad Gateway</html>", "server_error")),
    "nothing": (503, b"", Trouble("the provider answered with status 503 and an empty body", "server_error")),
    "invalid UTF-8": (500, b"\xff\xfe", Trouble("\ufffd\ufffd", "server_error")),
    "no object": (418, b"[1]", Trouble("[1]", "invalid_request_error")),
    "an error without words": (401, b'{"error": {}}', Trouble('{"error": {}}', "authentication_error")),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_of_providers(name: str) -> None:
    status, body, trouble = ERRORS[name]
    assert BACK.error(status, body) == trouble
    told_as = FRONT.error(status, trouble, "req_1")
    assert told_as == {"error": {"message": trouble.message, "type": trouble.type, "param": trouble.param, "code": trouble.code}}
