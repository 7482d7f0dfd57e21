"""Gemini's streams: the same chunks however the bytes are cut, and a defined end for every nonsense."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.proxy.dialects.gemini import GeminiBack
from apps.proxy.dialects.gemini_fields import MAKER
from apps.proxy.dialects.sse import MAX_EVENT_BYTES
from apps.proxy.dialects.translation import NotAnAnswer

BACK = GeminiBack()


def event(*parts: dict[str, Any], index: int | None = None, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}}
    for name in ("finishReason", "finishMessage", "logprobsResult"):
        if name in fields:
            candidate[name] = fields.pop(name)
    if index is not None:
        candidate["index"] = index
    return {"candidates": [candidate], "responseId": "r1", "modelVersion": "gemini-x", **fields}


CALL = {"functionCall": {"name": "look", "args": {"at": '}"{é\\'}}, "thoughtSignature": "Q0ND"}
EVENTS = [
    event({"text": "hm", "thought": True}, usageMetadata={"promptTokenCount": 3}),
    event({"text": 'grüße "{]}\\ 🙂'}),
    event({"text": " more"}),
    event(CALL, {"functionCall": {"name": "hear", "id": "mine"}}),
    event({"functionCall": {"name": "look"}}),
    event(
        {"text": "", "thoughtSignature": "QkJC"},
        finishReason="STOP",
        usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 2, "serviceTier": "flex"},
    ),
]


def sse(events: list[dict[str, Any]], end: str = "\r\n") -> bytes:
    return "".join(f"data: {json.dumps(one, ensure_ascii=False)}{end}{end}" for one in events).encode()


def array(events: list[dict[str, Any]], indent: int | None = None) -> bytes:
    return ("[" + "\n,\r\n".join(json.dumps(one, ensure_ascii=False, indent=indent) for one in events) + "\n]\n").encode()


def chunks_of(*pieces: bytes) -> tuple[list[dict[str, Any]], bool]:
    stream = BACK.stream({"model": "asked"})
    chunks = [chunk for piece in pieces for chunk in stream.feed(piece)]
    chunks += stream.close()
    return [{name: value for name, value in chunk.items() if name != "created"} for chunk in chunks], stream.finished


def deltas(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def test_a_stream() -> None:
    chunks, finished = chunks_of(sse(EVENTS))
    assert finished
    assert all((chunk["id"], chunk["object"], chunk["model"]) == ("r1", "chat.completion.chunk", "gemini-x") for chunk in chunks)
    signed = {"type": "thinking", "thinking": "", "signature": MAKER + "QkJC"}
    first, second, third = (
        {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
        for identity, name, arguments in (
            ("call_r1_0", "look", json.dumps(CALL["functionCall"]["args"], ensure_ascii=False, separators=(",", ":"))),  # type: ignore[index]
            ("mine", "hear", "{}"),
            ("call_r1_2", "look", "{}"),
        )
    )
    assert deltas(chunks) == [
        {"role": "assistant", "reasoning_content": "hm"},
        {"content": 'grüße "{]}\\ 🙂'},
        {"content": " more"},
        {"tool_calls": [{"index": 0, **first, "signature": "Q0ND"}, {"index": 1, **second}]},
        {"tool_calls": [{"index": 2, **third}]},
        {"thinking_blocks": [signed]},
    ]
    ends = [(choice["finish_reason"], choice.get("native_finish_reason")) for chunk in chunks for choice in chunk["choices"]]
    assert ends == [(None, None)] * 5 + [("tool_calls", "STOP")]
    assert chunks[-1]["choices"] == [] and chunks[-1]["service_tier"] == "flex"
    assert (chunks[-1]["usage"]["prompt_tokens"], chunks[-1]["usage"]["completion_tokens"]) == (9, 2)


WHOLE = chunks_of(sse(EVENTS))


@pytest.mark.parametrize(
    "data", [sse(EVENTS), sse(EVENTS, "\n"), array(EVENTS), b"\xef\xbb\xbf" + sse(EVENTS)], ids=["crlf", "lf", "array", "bom"]
)
def test_cut_at_every_byte(data: bytes) -> None:
    for cut in range(len(data) + 1):
        assert chunks_of(data[:cut], data[cut:]) == WHOLE
    assert chunks_of(*(data[at : at + 1] for at in range(len(data)))) == WHOLE


@given(st.lists(st.integers(0, 2000), max_size=12), st.booleans())
def test_cut_anywhere(cuts: list[int], as_array: bool) -> None:
    data = array(EVENTS, indent=1) if as_array else sse(EVENTS)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    assert chunks_of(*(data[start:end] for start, end in pairwise(edges))) == WHOLE


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_at_all_break_it(pieces: list[bytes]) -> None:
    for opening in (b"", b"[", b"data: "):
        stream = BACK.stream({})
        try:
            for piece in (opening, *pieces):
                stream.feed(piece)
            stream.close()
        except NotAnAnswer:
            continue
        assert not stream.finished


def test_several_candidates_end_each_for_itself() -> None:
    opened = [event({"text": "a"}, index=0), event({"text": "b"}, index=1), event({"text": "c"}, index=0, finishReason="STOP")]
    chunks, finished = chunks_of(sse(opened))
    assert not finished
    chunks, finished = chunks_of(sse([*opened, event(index=1, finishReason="MAX_TOKENS")]))
    assert finished
    told = [(choice["index"], choice["delta"].get("content"), choice["finish_reason"]) for chunk in chunks for choice in chunk["choices"]]
    assert told == [(0, "a", None), (1, "b", None), (0, "c", "stop"), (1, None, "length")]


def test_a_blocked_prompt_is_a_filtered_answer() -> None:
    chunks, finished = chunks_of(sse([{"promptFeedback": {"blockReason": "JAILBREAK"}, "usageMetadata": {"promptTokenCount": 4}}]))
    assert finished
    (ended,) = chunks[0]["choices"]
    assert (ended["finish_reason"], ended["native_finish_reason"]) == ("content_filter", "promptFeedback.blockReason=JAILBREAK")
    assert chunks[1]["usage"]["prompt_tokens"] == 4


def test_logprobs_come_with_their_event() -> None:
    result = {"chosenCandidates": [{"token": "a", "logProbability": -1}]}
    chunks, _ = chunks_of(
        sse([event({"text": "a"}, logprobsResult=result), event({"text": "b"}, finishReason="STOP", logprobsResult=result)])
    )
    assert [choice["logprobs"]["content"][0]["token"] for chunk in chunks for choice in chunk["choices"]] == ["a", "a"]


@pytest.mark.parametrize(
    ("data", "told", "finished"),
    [
        (b"", [], False),
        (b" \r\n", [], False),
        (b"data: \n\n: only a comment\n\n", [], False),
        (sse(EVENTS[1:2]), ["content"], False),  # its end is missing
        (sse(EVENTS[1:2]) + b"data: {", None, False),  # cut within an event
        (sse([event({"text": "a"}, finishReason="STOP"), event()]), ["content"], True),  # says its end twice
        (sse([event({"text": "a"}, finishReason="STOP")]) + b"data: [DONE]\n\n", ["content"], True),
        (
            sse([event({"text": "a"})]) + b'data: {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}\n\n',
            ["content", "busy"],
            False,
        ),
        (b'[{"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}]', ["slow"], False),
        (b'{"error": {"code": 400, "message": "bad"}}', ["bad"], False),
    ],
)
def test_ends_that_are_none(data: bytes, told: list[str] | None, finished: bool) -> None:
    stream = BACK.stream({})
    chunks = stream.feed(data)
    if told is None:
        with pytest.raises(NotAnAnswer):
            stream.close()
    else:
        chunks += stream.close()
        said = [chunk["error"]["message"] if "error" in chunk else "content" for chunk in chunks if chunk.get("choices") != []]
        assert said == told
    assert stream.finished is finished


@pytest.mark.parametrize(
    "data",
    [
        b"<!doctype html><title>502</title>",
        b"data: <html>\n\n",
        b"data: [1]\n\n",
        b"[1, 2]",
        b'["x"]',
        sse([event({"text": "a"})]) + sse([event({"text": "b"}, responseId="r2")]),  # another answer is spliced in
        sse([event({"text": "a"}, finishReason="STOP"), event({"text": "b"})]),  # it goes on after its end
        sse([event({"text": "a"}), event(finishReason="MALFORMED_FUNCTION_CALL")]),
        sse([event({"functionCall": {"name": "f", "args": "x"}})]),
        sse([event({"inlineData": {"data": "aGk="}})]),
        sse([event({"text": "a"}, index="x")]),  # type: ignore[arg-type]
        sse([event({"text": "a"}, responseId=3)]),
        sse([event({"text": "hi"})]).replace(b"hi", b"\xff"),
        b"data: " + b"x" * (MAX_EVENT_BYTES + 1),
        b'[{"a": "' + b"x" * (MAX_EVENT_BYTES + 1),
    ],
    ids=lambda data: data[:40].decode("utf-8", "replace"),
)
def test_nonsense_is_no_answer(data: bytes) -> None:
    stream = BACK.stream({})
    with pytest.raises(NotAnAnswer):
        stream.feed(data)
    assert not stream.finished or b"STOP" in data


def test_usage_that_cannot_be_read_is_no_answer() -> None:
    stream = BACK.stream({})
    stream.feed(sse([event({"text": "a"}, finishReason="STOP", usageMetadata={"promptTokenCount": "many"})]))
    with pytest.raises(NotAnAnswer, match="usage"):
        stream.close()
