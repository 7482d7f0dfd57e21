"""What Converse answers, whole and in streams, and what is no answer."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.proxy.dialects.bedrock import BedrockBack
from apps.proxy.dialects.eventstream import encode
from apps.proxy.dialects.translation import Chunk, NotAnAnswer, Unsupported
from tests.dialects.bedrock_recordings import accumulated, learnt
from tests.dialects.nonsense import JSON, ODD, places, spoilt
from tests.dialects.test_bedrock_request import CALLED, CLAUDE, FORM, TOOL
from tests.scale import examples

BACK = BedrockBack()
SAID: dict[str, Any] = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "EuYB"}}},
                {"reasoningContent": {"redactedContent": b64encode(b"EmwK").decode()}},
                {"reasoningContent": {"redactedContent": b64encode(b"\xff").decode()}},
                {"text": "a"},
                {"citationsContent": {"content": [{"text": "b"}], "citations": []}},
                {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"a": 1}}},
                {"toolUse": {"toolUseId": "c2", "name": "f", "input": None}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 15, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 3},
    "serviceTier": {"type": "flex"},
    "metrics": {"latencyMs": 1},
}
LEARNT = {
    "text": "ab",
    "thoughts": "hm",
    "blocks": [
        {"type": "thinking", "thinking": "hm", "signature": "EuYB"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "redacted_thinking", "data": "bedrock:/w=="},
    ],
    "calls": [("c1", "f", {"a": 1}), ("c2", "f", {})],
    "finish": ("tool_calls", "tool_use"),
    "usage": (15, 5, 4, 3),
}


def event(name: str, **payload: Any) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return encode(headers, json.dumps(payload).encode())


def piece(index: int, **delta: Any) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=index, delta=delta)


def called(index: int, call_id: str) -> bytes:
    return event("contentBlockStart", contentBlockIndex=index, start={"toolUse": {"toolUseId": call_id, "name": "f"}})


def ended(index: int) -> bytes:
    return event("contentBlockStop", contentBlockIndex=index)


START, STOP = event("messageStart", role="assistant"), event("messageStop", stopReason="end_turn")
USAGE = event("metadata", usage=SAID["usage"], metrics={"latencyMs": 1}, serviceTier={"type": "flex"})
STREAM = [
    START,
    piece(0, reasoningContent={"text": "h"}),
    piece(0, reasoningContent={"text": "m"}),
    piece(0, reasoningContent={"signature": "EuYB"}),
    ended(0),
    piece(1, reasoningContent={"redactedContent": b64encode(b"Em").decode()}),
    piece(1, reasoningContent={"redactedContent": b64encode(b"wK").decode()}),
    ended(1),
    piece(2, reasoningContent={"redactedContent": b64encode(b"\xff").decode()}),
    ended(2),
    piece(3, text="a"),
    piece(3, citation={"title": "t"}),
    piece(3, text="b"),
    ended(3),
    called(4, "c1"),
    called(5, "c2"),
    piece(4, toolUse={"input": '{"a"'}),
    piece(4, toolUse={"input": ":1}"}),
    ended(4),
    event("somethingNew", x=1),
    event("messageStop", stopReason="tool_use"),
    USAGE,
]


def read(*pieces: bytes) -> list[Chunk]:
    """Raises NotAnAnswer; a stream that is not finished is told by the last chunk's absence."""
    stream = BACK.stream({"model": "m"})
    chunks = [chunk for data in pieces for chunk in stream.feed(data)]
    chunks += stream.close()
    for chunk in chunks:
        for name in ("id", "created"):
            chunk.pop(name, None)
    assert stream.finished == any(choice["finish_reason"] for chunk in chunks for choice in chunk.get("choices", ()))
    return chunks


def test_a_whole_answer() -> None:
    completion = BACK.answer(json.dumps(SAID).encode(), {"model": "m"})
    choice = completion["choices"][0]
    assert learnt(choice["message"], choice, completion["usage"]) == LEARNT
    assert completion["model"] == "m" and completion["id"] and completion["service_tier"] == "flex"
    assert completion["usage"]["prompt_tokens"] == 10


def test_a_stream() -> None:
    chunks = read(*STREAM)
    message, choice = accumulated(chunks)
    assert learnt(message, choice, chunks[-1]["usage"]) == LEARNT
    assert chunks[-1]["service_tier"] == "flex" and chunks[-1]["choices"] == []


def test_a_stream_cut_at_every_byte() -> None:
    whole, expected = b"".join(STREAM), read(*STREAM)
    assert read(*[whole[place : place + 1] for place in range(len(whole))]) == expected
    for cut in range(0, len(whole), 7):
        assert read(whole[:cut], whole[cut:]) == expected


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "content_filter"),
        ("tool_use", "stop"),  # without a call there is none to wait for
    ],
)
def test_why_it_ended(reason: str, finish: str) -> None:
    said = {"output": {"message": {"content": [{"text": "a"}]}}, "stopReason": reason}
    assert BACK.answer(json.dumps(said).encode(), {})["choices"][0]["finish_reason"] == finish
    chunks = read(START, piece(0, text="a"), event("messageStop", stopReason=reason))
    assert chunks[-1]["choices"][0]["finish_reason"] == finish
    assert chunks[-1]["choices"][0]["native_finish_reason"] == reason


def test_usage_before_the_end_counts_and_what_follows_the_end_is_not_read() -> None:
    chunks = read(START, piece(0, text="a"), USAGE, STOP, b"anything else")
    assert chunks[-1]["usage"]["total_tokens"] == 15
    assert read(START, STOP, USAGE, START)[-1]["usage"]["total_tokens"] == 15
    assert read(START, piece(0, text="a"), STOP, USAGE[:-3])[-1]["choices"][0]["finish_reason"] == "stop"


def failed(kind: str, name: str, payload: bytes) -> bytes:
    headers = {":message-type": kind, f":{kind}-type" if kind == "exception" else ":error-code": name}
    return encode(headers, payload)


@pytest.mark.parametrize(
    ("data", "type_", "code"),
    [
        (failed("exception", "throttlingException", b'{"message":"slow"}'), "rate_limit_error", "rate_limit_exceeded"),
        (failed("exception", "modelStreamErrorException", b'{"originalMessage":"slow"}'), "server_error", "model_error"),
        (failed("exception", "validationException", b'{"message":"slow"}'), "invalid_request_error", None),
        (failed("exception", "newException", b"slow"), "server_error", None),
        (failed("error", "internalFailure", b"slow"), "server_error", None),
    ],
)
def test_an_exception_in_a_stream_ends_it_with_an_error(data: bytes, type_: str, code: str | None) -> None:
    chunks = read(START, piece(0, text="a"), data + STOP, USAGE)
    error = chunks[-1]["error"]
    assert (error["type"], error["code"]) == (type_, code) and "slow" in error["message"]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"<html><body>gateway</body></html>"],
        [b'{"message":"not a stream at all"}'],
        [START, START],
        [piece(0, text="a")],
        [START, piece(0, text="a"), ended(0), piece(0, text="b")],
        [START, called(0, "c"), called(0, "d")],
        [START, called(0, "c"), piece(0, text="a")],
        [START, piece(0, text="a"), piece(0, toolUse={"input": "{}"})],
        [START, piece(0, toolUse={"input": "{}"})],
        [START, piece(0, image={})],
        [START, ended(0), ended(0)],
        [START, event("contentBlockStart", contentBlockIndex=0, start={"image": {}})],
        [
            START,
            event("contentBlockStart", contentBlockIndex=0, start={"toolUse": {"toolUseId": "c", "name": "f", "type": "server_tool_use"}}),
        ],
        [START, piece(0, reasoningContent={"redactedContent": "*"})],
        [START, event("messageStop")],
        [START, event("messageStop", stopReason="malformed_model_output")],
        [START, STOP, piece(0, text="a")],
        [START, encode({":message-type": "event", ":event-type": "contentBlockDelta"}, b"\xff{")],
        [START, encode({":event-type": "contentBlockDelta"}, b"{}")],
        [START, piece(0, text="a")[:-2]],
        [START, piece(0, text="a"), STOP[:-1] + b"\x00"],
    ],
)
def test_what_is_no_stream_of_this_format(pieces: list[bytes]) -> None:
    with pytest.raises(NotAnAnswer):
        read(*pieces)


def test_a_stream_that_breaks_off_between_events_is_not_finished() -> None:
    assert [chunk["choices"][0]["delta"].get("content") for chunk in read(START, piece(0, text="a"))] == ["", "a"]


@pytest.mark.parametrize(
    "said",
    [
        b"<html>",
        b"[]",
        b'{"message":"no"}',
        b'{"output":{"message":{"content":[]}}}',
        b'{"output":{"message":{"content":[{"video":{}}]}},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":[{"toolUse":{"toolUseId":"c","name":"f","input":[1]}}]}},"stopReason":"tool_use"}',
        b'{"output":{"message":{"content":[]}},"stopReason":"malformed_tool_use"}',
    ],
)
def test_what_is_no_answer(said: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        BACK.answer(said, {})


@pytest.mark.parametrize(
    ("status", "body", "type_", "code"),
    [
        (400, b'{"message":"The provided model identifier is invalid."}', "invalid_request_error", "model_not_found"),
        (400, b'{"message":"Input is too long for requested model."}', "invalid_request_error", "context_length_exceeded"),
        (403, b'{"message":"The security token included in the request is invalid."}', "authentication_error", "invalid_api_key"),
        (403, b'{"Message":"User is not authorized to perform: bedrock:InvokeModel"}', "permission_error", None),
        (400, b'{"__type":"com.amazon.coral#ThrottlingException","message":"slow"}', "rate_limit_error", "rate_limit_exceeded"),
        (429, b'{"message":"Too many requests"}', "rate_limit_error", "rate_limit_exceeded"),
        (424, b"{}", "server_error", "model_error"),
        (503, b"<html>\xff", "server_error", "overloaded"),
        (500, b"", "server_error", None),
        (418, b'{"message":5}', "invalid_request_error", None),
    ],
)
def test_errors(status: int, body: bytes, type_: str, code: str | None) -> None:
    trouble = BACK.error(status, body)
    assert (trouble.type, trouble.code) == (type_, code) and trouble.message


ASKED: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "s", "cache_control": {"ttl": "5m"}},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.b"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "s3://b/a.png", "detail": "low"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": "wav", "data": "aGk="}}]},
        {"role": "assistant", "content": "x", "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "EuYB"}]},
        *CALLED,
    ],
    "tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": FORM,
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "additionalModelRequestFields": {"inferenceConfig": {}},
    "metadata": {"a": "b"},
    "stop": ["x"],
    "top_k": 3,
    "temperature": 1,
    "service_tier": "flex",
    "max_tokens": 5000,
    "n": 1,
}


def test_any_field_of_a_request() -> None:
    models = (CLAUDE, "amazon.nova-2-lite-v1:0", "meta.llama3")
    BACK.request(ASKED, CLAUDE, stream=False)
    for number, path in enumerate(places(ASKED)):
        for odd in ODD:
            try:
                BACK.request(spoilt(ASKED, path, odd), models[number % 3], stream=False)
            except Unsupported:
                continue


def test_any_field_of_an_answer() -> None:
    for path in places(SAID):
        for odd in ODD:
            try:
                json.dumps(BACK.answer(json.dumps(spoilt(SAID, path, odd)).encode(), {}))
            except NotAnAnswer:
                continue


@settings(max_examples=examples(60))
@given(JSON, st.sampled_from(["contentBlockDelta", "contentBlockStart", "contentBlockStop", "messageStop", "metadata"]))
def test_anything_at_all(value: Any, name: str) -> None:
    body = json.dumps(value).encode()
    whole = encode({":message-type": "event", ":event-type": name}, body)
    for act in (
        lambda: BACK.answer(body, {}),
        lambda: BACK.stream({}).feed(START + whole),
        lambda: BACK.request({"messages": value}, CLAUDE, stream=True),
    ):
        try:
            act()
        except (NotAnAnswer, Unsupported):
            continue
    assert BACK.error(500, body).message
