"""Cohere's Chat API: what it is asked, what it answers, and what is neither."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.proxy.dialects.cohere import CohereBack
from apps.proxy.dialects.translation import Chunk, NotAnAnswer, Sent, Unsupported
from tests.conformance.recordings import needs_recordings
from tests.conformance.table import reported
from tests.dialects.bedrock_recordings import accumulated
from tests.dialects.cohere_recordings import ANSWER, REQUEST, STREAM, learnt, recordings_check
from tests.dialects.nonsense import JSON, ODD, places, spoilt
from tests.dialects.test_bedrock_request import CALLED, FORM, HI, SCHEMA, TOOL
from tests.scale import examples

BACK = CohereBack()
MODEL, THINKER = "command-a-03-2025", "command-a-reasoning-08-2025"


def ask(model: str = MODEL, *, messages: list[dict[str, Any]] | None = None, stream: bool = False, **fields: Any) -> Sent:
    payload = {"model": "route", "messages": messages or [HI], **fields}
    before = json.dumps(payload)
    sent = BACK.request(payload, model, stream=stream)
    assert json.dumps(payload) == before
    return sent


@needs_recordings
def test_recorded_exchanges_say_the_same_after_the_pivot() -> None:
    recordings_check()
    passed = [one.direction for one in reported("cohere") if one.outcome == "passed"]
    assert (passed.count(REQUEST), passed.count(ANSWER), passed.count(STREAM)) == (22, 18, 4)


def test_a_conversation() -> None:
    assert ask(stream=True) == Sent("/v2/chat", {"model": MODEL, "stream": True, "messages": [HI]})
    image = {"type": "image_url", "image_url": {"url": "https://h/a.png", "detail": "low"}}
    sent = ask(
        messages=[{"role": "developer", "content": "be"}, {"role": "user", "content": [{"type": "text", "text": "a"}, image]}, *CALLED]
    )
    assert sent.body["messages"] == [
        {"role": "system", "content": "be"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, image]},
        HI,
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":"x"}'}},
                {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "broken"},
    ]
    assert sent.approximated == ("messages[].is_error: left out",)


def test_thinking_goes_back_as_the_model_takes_it() -> None:
    thought = {"role": "assistant", "content": "x", "reasoning_content": "hm"}
    assert ask(THINKER, messages=[HI, thought]).body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "x"},
    ]
    plain = ask(messages=[HI, thought])
    assert plain.body["messages"][1] == {"role": "assistant", "content": "x"} and len(plain.approximated) == 1
    planned = ask(messages=[HI, {**CALLED[1], "reasoning_content": "I will"}])
    assert planned.body["messages"][1]["tool_plan"] == "I will" and planned.approximated == ()
    signed = {"role": "assistant", "content": "x", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}
    sent = ask(THINKER, messages=[HI, signed])
    assert sent.body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm"} and "signatures" in sent.approximated[0]


@pytest.mark.parametrize(
    ("model", "fields", "said", "notes"),
    [
        (MODEL, {"tool_choice": "required", "tools": [TOOL]}, {"tool_choice": "REQUIRED", "tools": [TOOL]}, ()),
        (MODEL, {"tool_choice": "none", "tools": [TOOL]}, {"tool_choice": "NONE", "tools": [TOOL]}, ()),
        (MODEL, {"tool_choice": "auto", "tools": [TOOL]}, {"tools": [TOOL]}, ()),
        (
            MODEL,
            {
                "tools": [TOOL, {"type": "function", "function": {"name": "g"}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
            {"tools": [TOOL], "tool_choice": "REQUIRED"},
            (),
        ),
        (
            MODEL,
            {"tools": [{"type": "function", "function": {"name": "g", "strict": True}}]},
            {
                "tools": [{"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}],
                "strict_tools": True,
            },
            (),
        ),
        (MODEL, {"response_format": FORM}, {"response_format": {"type": "json_object", "json_schema": SCHEMA}}, ()),
        (MODEL, {"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}, ()),
        (
            MODEL,
            {"max_tokens": 9, "temperature": 0.2, "top_p": 0.5, "top_k": 3, "seed": 4, "presence_penalty": 0.5, "stop": "x"},
            {"max_tokens": 9, "temperature": 0.2, "p": 0.5, "k": 3, "seed": 4, "presence_penalty": 0.5, "stop_sequences": ["x"]},
            (),
        ),
        (
            MODEL,
            {"top_p": 1, "frequency_penalty": -1, "user": "u"},
            {"p": 0.99, "frequency_penalty": 0.0},
            ("user: left out", "top_p: 0.99, the most there is", "frequency_penalty: 0.0, the least there is"),
        ),
        (THINKER, {"thinking": {"type": "enabled", "budget_tokens": 9}}, {"thinking": {"type": "enabled", "token_budget": 9}}, ()),
        (THINKER, {"reasoning_effort": "low"}, {"thinking": {"type": "enabled"}}, ("reasoning_effort: as this model sees fit",)),
        (THINKER, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, ()),
        (MODEL, {"reasoning_effort": "low"}, {}, ("reasoning_effort: left out, this model does not think aloud",)),
        (MODEL, {"documents": ["d"], "safety_mode": "OFF"}, {"documents": ["d"], "safety_mode": "OFF"}, ()),
    ],
)
def test_fields(model: str, fields: dict[str, Any], said: dict[str, Any], notes: tuple[str, ...]) -> None:
    sent = ask(model, **fields)
    assert sent.body == {"model": model, "stream": False, "messages": [HI], **said}
    assert sent.approximated == notes


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"top_k": "x"}, "top_k"),
        ({"tools": [TOOL], "response_format": FORM}, "response_format"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"thinking": "deep"}, "thinking"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "tool", "tool_call_id": "c", "content": [{"type": "image_url", "image_url": "https://h"}]}]},
            "messages[0].content[0]",
        ),
        ({"messages": [{"role": "critic"}]}, "messages[0].role"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as refused:
        ask(**fields)
    assert refused.value.field == field


def event(type: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type.encode(), json.dumps({"type": type, **fields}).encode())


def message(**fields: Any) -> dict[str, Any]:
    return {"message": fields}


USAGE = {"billed_units": {"input_tokens": 7, "output_tokens": 3}, "tokens": {"input_tokens": 70, "output_tokens": 4}, "cached_tokens": 5}
SAID: dict[str, Any] = {
    "id": "r1",
    "message": {
        "role": "assistant",
        "tool_plan": "I ",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "ab"}],
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "c2", "function": {"name": "f"}},
        ],
        "citations": [{"start": 0, "end": 1, "text": "a", "sources": []}],
    },
    "finish_reason": "TOOL_CALL",
    "usage": USAGE,
}
START = event("message-start", id="r1", delta=message(role="assistant", content=[], tool_plan="", tool_calls=[], citations=[]))
END = event("message-end", delta={"finish_reason": "TOOL_CALL", "usage": USAGE})
STREAM_SAID = [
    START,
    event("tool-plan-delta", delta=message(tool_plan="I ")),
    event("content-start", index=0, delta=message(content={"type": "thinking", "thinking": ""})),
    event("content-delta", index=0, delta=message(content={"thinking": "hm"})),
    event("content-end", index=0),
    event("content-delta", index=1, delta=message(content={"text": "ab"})),
    event("citation-start", index=0, delta=message(citations={"start": 0, "end": 1, "text": "a", "sources": []})),
    event("citation-end", index=0),
    event(
        "tool-call-start", index=0, delta=message(tool_calls={"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}})
    ),
    event("tool-call-delta", index=0, delta=message(tool_calls={"function": {"arguments": '{"a":'}})),
    event("tool-call-delta", index=0, delta=message(tool_calls={"function": {"arguments": "1}"}})),
    event("tool-call-end", index=0),
    event("tool-call-start", index=1, delta=message(tool_calls={"id": "c2", "function": {"name": "f"}})),
    event("something-new"),
    END,
    b"data: [DONE]\n\n",
]
LEARNT = {
    "text": "ab",
    "thoughts": "I hm",
    "calls": [("c1", "f", {"a": 1}), ("c2", "f", {})],
    "citations": [{"start": 0, "end": 1, "text": "a", "sources": []}],
    "finish": ("tool_calls", "TOOL_CALL"),
    "usage": (7, 3, 5),
}


def read(*pieces: bytes) -> list[Chunk]:
    stream = BACK.stream({})
    chunks = [chunk for data in pieces for chunk in stream.feed(data)] + stream.close()
    assert stream.finished == any(choice["finish_reason"] for chunk in chunks for choice in chunk.get("choices", ()))
    for chunk in chunks:
        chunk.pop("created", None)
    return chunks


def test_a_whole_answer_and_a_stream_say_the_same() -> None:
    completion = BACK.answer(json.dumps(SAID).encode(), {})
    choice = completion["choices"][0]
    assert learnt(choice["message"], choice, completion["usage"]) == LEARNT
    chunks = read(*STREAM_SAID)
    found, last = accumulated(chunks)
    found["citations"] = [one for chunk in chunks for choice in chunk["choices"] for one in choice["delta"].get("citations", ())]
    assert learnt(found, last, chunks[-1]["usage"]) == LEARNT and chunks[0]["id"] == "r1"
    whole = b"".join(STREAM_SAID)
    assert read(*[whole[place : place + 1] for place in range(len(whole))]) == chunks
    for cut in range(0, len(whole), 11):
        assert read(whole[:cut], whole[cut:]) == chunks


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop"), ("MAX_TOKENS", "length"), ("TOOL_CALL", "stop"), ("NEW", "content_filter")],
)
def test_why_it_ended(reason: str, finish: str) -> None:
    said = {"id": "r", "message": {"content": [{"type": "text", "text": "a"}]}, "finish_reason": reason}
    assert BACK.answer(json.dumps(said).encode(), {})["choices"][0]["finish_reason"] == finish
    assert read(START, event("message-end", delta={"finish_reason": reason}))[-1]["choices"][0]["finish_reason"] == finish


def test_a_failure_in_a_stream_is_an_error() -> None:
    assert read(START, event("message-end", delta={"finish_reason": "ERROR", "error": "broken"}))[-1]["error"]["message"] == "broken"
    assert read(START, event("content-delta", delta=message(content={"text": "a"})))[-1]["choices"][0]["delta"] == {"content": "a"}


CALL = event("tool-call-start", index=0, delta=message(tool_calls={"id": "c", "function": {"name": "f"}}))


@pytest.mark.parametrize(
    "pieces",
    [
        [b"<html>gateway</html>"],
        [b'{"message":"no stream"}'],
        [START, START],
        [event("content-delta", delta=message(content={"text": "a"}))],
        [START, event("content-delta", delta=message(content={}))],
        [START, event("content-delta")],
        [START, event("content-delta", delta=message(content=5))],
        [START, CALL, CALL],
        [START, event("tool-call-delta", index=0, delta=message(tool_calls={"function": {"arguments": "{}"}}))],
        [START, CALL, event("tool-call-end", index=0), event("tool-call-end", index=0)],
        [START, event("tool-call-start", index=0, delta=message(tool_calls={"id": "", "function": {"name": "f"}}))],
        [START, event("message-end", delta={})],
        [START, b"data: {}\n\n"],
        [START, b"data: \xff\n\n"],
    ],
)
def test_what_is_no_stream_of_this_format(pieces: list[bytes]) -> None:
    with pytest.raises(NotAnAnswer):
        read(*pieces)


@pytest.mark.parametrize("reason", ["ERROR", "TIMEOUT", ""])
def test_a_failure_is_no_answer(reason: str) -> None:
    with pytest.raises(NotAnAnswer):
        BACK.answer(json.dumps({**SAID, "finish_reason": reason}).encode(), {})


@pytest.mark.parametrize(
    ("status", "body", "type_", "code"),
    [
        (401, b'{"message":"invalid api token"}', "authentication_error", "invalid_api_key"),
        (404, b'{"id":"x","message":"model not found"}', "not_found_error", "model_not_found"),
        (400, b'{"message":"too many tokens: size limit exceeded"}', "invalid_request_error", "context_length_exceeded"),
        (429, b"[]", "rate_limit_error", "rate_limit_exceeded"),
        (500, b"<html>\xff", "server_error", None),
        (422, b'{"message":5}', "invalid_request_error", None),
    ],
)
def test_errors(status: int, body: bytes, type_: str, code: str | None) -> None:
    trouble = BACK.error(status, body)
    assert (trouble.type, trouble.code) == (type_, code) and trouble.message


ASKED: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://h/a.png", "detail": "low"}}], "name": "n"},
        {
            "role": "assistant",
            "content": "x",
            "reasoning_content": "r",
            "refusal": "n",
            "thinking_blocks": [{"type": "thinking", "thinking": "t"}],
        },
        *CALLED,
    ],
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "thinking": {"type": "enabled", "budget_tokens": 5},
    "stop": ["x"],
    "top_k": 3,
    "max_tokens": 5,
}


def test_any_field_at_all() -> None:
    for path in places(ASKED):
        for odd in ODD:
            try:
                BACK.request(spoilt(ASKED, path, odd), THINKER, stream=False)
            except Unsupported:
                continue
    for path in places(SAID):
        for odd in ODD:
            try:
                json.dumps(BACK.answer(json.dumps(spoilt(SAID, path, odd)).encode(), {}))
            except NotAnAnswer:
                continue


@settings(max_examples=examples(60))
@given(JSON, st.sampled_from(["content-delta", "tool-call-start", "tool-call-delta", "message-end", "message-start", "citation-start"]))
def test_anything_at_all(value: Any, kind: str) -> None:
    body = json.dumps(value).encode()
    for act in (
        lambda: BACK.answer(body, {}),
        lambda: BACK.stream({}).feed(START + event(kind, delta=value)),
        lambda: BACK.stream({}).feed(START + event(kind, delta={"message": value})),
    ):
        try:
            act()
        except NotAnAnswer:
            continue
    assert BACK.error(500, body).message
