"""Ollama's chat API: what it is asked, what it answers, and what is neither."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.proxy.dialects import ollama
from apps.proxy.dialects.ollama import OllamaBack
from apps.proxy.dialects.translation import Chunk, NotAnAnswer, Sent, Unsupported
from tests.conformance.recordings import needs_recordings
from tests.conformance.table import reported
from tests.dialects.bedrock_recordings import accumulated
from tests.dialects.nonsense import ODD, places, spoilt
from tests.dialects.ollama_recordings import ANSWER, REQUEST, STREAM, recordings_check
from tests.dialects.test_bedrock_request import CALLED, FORM, HI, SCHEMA, TOOL

BACK = OllamaBack()


def ask(model: str = "llama3", *, messages: list[dict[str, Any]] | None = None, **fields: Any) -> Sent:
    payload = {"model": "route", "messages": messages or [HI], **fields}
    before = json.dumps(payload)
    sent = BACK.request(payload, model, stream=False)
    assert json.dumps(payload) == before
    return sent


@needs_recordings
def test_recorded_exchanges_say_the_same_after_the_pivot() -> None:
    recordings_check()
    passed = [one.direction for one in reported("ollama") if one.outcome == "passed"]
    assert (passed.count(REQUEST), passed.count(ANSWER), passed.count(STREAM)) == (6, 4, 2)


def test_a_conversation() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}
    user = {"role": "user", "content": [{"type": "text", "text": "a"}, image, {"type": "text", "text": "b"}]}
    sent = ask(
        messages=[{"role": "developer", "content": "be"}, user, *CALLED, {"role": "assistant", "content": "x", "reasoning_content": "hm"}]
    )
    assert sent.path == "/api/chat" and sent.body["messages"] == [
        {"role": "system", "content": "be"},
        {"role": "user", "content": "a\n\nb", "images": ["aGk="]},
        HI,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": {"a": "x"}}}, {"function": {"name": "f", "arguments": {}}}],
        },
        {"role": "tool", "content": "one", "tool_name": "f"},
        {"role": "tool", "content": "broken", "tool_name": "f"},
        {"role": "assistant", "content": "x", "thinking": "hm"},
    ]
    assert sent.approximated == (
        "messages[].content[].image_url.detail: left out",
        "messages[].content: its texts as one",
        "messages[].is_error: left out",
    )


@pytest.mark.parametrize(
    ("model", "fields", "said", "notes"),
    [
        (
            "llama3",
            {"max_tokens": 9, "temperature": 0.2, "top_p": 0.5, "top_k": 3, "seed": 4, "stop": "x", "options": {"num_ctx": 8192}},
            {"options": {"num_ctx": 8192, "num_predict": 9, "temperature": 0.2, "top_p": 0.5, "top_k": 3, "seed": 4, "stop": ["x"]}},
            (),
        ),
        ("llama3", {"keep_alive": "5m", "user": "u"}, {"keep_alive": "5m"}, ("user: left out",)),
        ("llama3", {"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}, ()),
        ("llama3", {"tools": [TOOL], "tool_choice": "none"}, {}, ("tool_choice: none, the tools were not offered",)),
        ("llama3", {"response_format": FORM}, {"format": SCHEMA}, ()),
        ("llama3", {"response_format": {"type": "json_object"}}, {"format": "json"}, ()),
        ("qwen3", {"reasoning_effort": "low"}, {"think": True}, ("reasoning_effort: as this model sees fit",)),
        ("qwen3", {"thinking": {"type": "disabled"}}, {"think": False}, ()),
        ("gpt-oss:20b", {"reasoning_effort": "xhigh"}, {"think": "high"}, ("reasoning_effort: high",)),
        ("gpt-oss:20b", {"reasoning_effort": "low"}, {"think": "low"}, ()),
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
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"options": 5}, "options"),
        ({"max_tokens": "x"}, "max_tokens"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://h/a.png"}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0]"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as refused:
        ask(**fields)
    assert refused.value.field == field


CALL = {"function": {"name": "f", "arguments": {"a": 1}}}
SAID: dict[str, Any] = {
    "model": "m",
    "message": {"role": "assistant", "content": "ab", "thinking": "hm", "tool_calls": [CALL]},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 7,
    "eval_count": 3,
}
LINES = [
    {"message": {"role": "assistant", "content": "", "thinking": "h"}, "done": False},
    {"message": {"role": "assistant", "content": "", "thinking": "m"}, "done": False},
    {"message": {"role": "assistant", "content": "ab"}, "done": False},
    {"message": {"role": "assistant", "content": "", "tool_calls": [CALL]}, "done": False},
    {**SAID, "message": {"role": "assistant", "content": ""}},
]


def lines(*said: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in said)


def read(*pieces: bytes) -> list[Chunk]:
    stream = BACK.stream({})
    chunks = [chunk for data in pieces for chunk in stream.feed(data)] + stream.close()
    assert stream.finished == any(choice["finish_reason"] for chunk in chunks for choice in chunk.get("choices", ()))
    return chunks


def learnt(message: dict[str, Any], choice: dict[str, Any], usage: dict[str, Any]) -> tuple[Any, ...]:
    (call,) = message["tool_calls"]
    told = (call["function"]["name"], json.loads(call["function"]["arguments"]))
    assert call["id"].startswith("call_")
    return message["content"], message["reasoning_content"], told, choice["finish_reason"], usage["total_tokens"]


def test_a_whole_answer_and_a_stream_say_the_same_however_it_is_cut() -> None:
    expected = ("ab", "hm", ("f", {"a": 1}), "tool_calls", 10)
    completion = BACK.answer(json.dumps(SAID).encode(), {})
    assert learnt(completion["choices"][0]["message"], completion["choices"][0], completion["usage"]) == expected
    whole = lines(*LINES)
    ways = [[whole], [whole[:-1]], [whole[place : place + 1] for place in range(len(whole))], [whole, b"anything after its end"]]
    ways += [[whole[:cut], whole[cut:]] for cut in range(0, len(whole), 9)]
    for pieces in ways:
        chunks = read(*pieces)
        assert learnt(*accumulated(chunks), chunks[-1]["usage"]) == expected


def test_why_it_ended() -> None:
    for reason, finish in (("stop", "stop"), ("length", "length"), ("", "stop"), ("new", "content_filter")):
        said = {"message": {"content": "a"}, "done": True, "done_reason": reason}
        assert BACK.answer(json.dumps(said).encode(), {})["choices"][0]["finish_reason"] == finish


def test_an_error_in_a_stream_and_a_stream_that_breaks_off() -> None:
    assert read(lines(LINES[2], {"error": "out of memory"}))[-1]["error"]["message"] == "out of memory"
    assert read(lines(LINES[2]))[-1]["choices"][0]["delta"] == {"content": "ab"}


@pytest.mark.parametrize(
    "data",
    [
        b"<html>\n",
        b"[]\n",
        b"{}\n",
        b'{"message":5}\n',
        b'{"message":{"content":"\xff"}}\n',
        lines({"message": {"tool_calls": [{"function": {"name": "f", "arguments": "x"}}]}}),
        lines({"message": {"tool_calls": [{"function": {"name": ""}}]}}),
        lines(LINES[2])[:-5],
    ],
)
def test_what_is_no_stream_of_this_format(data: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        read(data)


def test_a_giant_line_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama, "MAX_LINE_BYTES", 100)
    with pytest.raises(NotAnAnswer, match="larger"):
        BACK.stream({}).feed(b"x" * 101)


@pytest.mark.parametrize("said", [b"<html>", b'{"error":"no"}', b'{"message":{"content":"a"},"done":false}', b"{}"])
def test_what_is_no_answer(said: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        BACK.answer(said, {})


@pytest.mark.parametrize(
    ("status", "body", "type_", "code"),
    [
        (404, b'{"error":"model \'x\' not found"}', "not_found_error", "model_not_found"),
        (401, b'{"error":"unauthorized"}', "authentication_error", "invalid_api_key"),
        (503, b'{"error":"server busy"}', "server_error", "overloaded"),
        (500, b"<html>\xff", "server_error", None),
        (400, b'{"error":5}', "invalid_request_error", None),
    ],
)
def test_errors(status: int, body: bytes, type_: str, code: str | None) -> None:
    trouble = BACK.error(status, body)
    assert (trouble.type, trouble.code) == (type_, code) and trouble.message


ASKED: dict[str, Any] = {
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}, {"type": "text", "text": "a"}],
        },
        {"role": "assistant", "content": "x", "reasoning_content": "r", "refusal": "n", "thinking_blocks": []},
        *CALLED,
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "thinking": {"type": "enabled"},
    "response_format": FORM,
    "stop": ["x"],
    "options": {"a": 1},
    "top_k": 3,
}


def test_any_field_at_all() -> None:
    for path in places(ASKED):
        for odd in ODD:
            try:
                BACK.request(spoilt(ASKED, path, odd), "gpt-oss", stream=True)
            except Unsupported:
                continue
    for path in places(SAID):
        for odd in ODD:
            body = json.dumps(spoilt(SAID, path, odd)).encode()
            for act in (lambda body=body: BACK.answer(body, {}), lambda body=body: BACK.stream({}).feed(body + b"\n")):
                try:
                    act()
                except NotAnAnswer:
                    continue
