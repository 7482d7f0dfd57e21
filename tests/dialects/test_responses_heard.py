"""A provider's stream of a response as the pivot's events."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from apps.proxy.dialects.responses import ResponsesBackStream
from apps.proxy.dialects.translation import Chunk, NotAnAnswer
from tests.scale import examples


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join([b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in events])


def response(**more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "created_at": 5, "model": "m", "status": "in_progress", "output": [], **more}


BEGUN = {"type": "response.created", "response": response()}
TEXT = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "hé\u20ac", "annotations": []}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": '{"x":1}'}
CUSTOM = {"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "in"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hmm"}], "encrypted_content": "gAAA"}
COUNTED = {"input_tokens": 3, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 2}}


def ended(*output: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": response(status=status, output=list(output), usage=COUNTED, **more)}


def delta(kind: str, text: Any, place: int = 0, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": place, "content_index": 0, "delta": text, **more}


def added(item: dict[str, Any], place: int = 0) -> dict[str, Any]:
    empty = {
        name: "" if name in ("arguments", "input") else [] if name in ("content", "summary") else value for name, value in item.items()
    }
    return {"type": "response.output_item.added", "output_index": place, "item": empty}


def done(item: dict[str, Any], place: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": place, "item": item}


WHOLE = sse(
    BEGUN,
    {"type": "response.in_progress", "response": response()},
    added(THOUGHT),
    delta("reasoning_summary_text", "hm", summary_index=0),
    delta("reasoning_summary_text", "m", summary_index=0),
    done(THOUGHT),
    added(TEXT, 1),
    delta("output_text", "h", 1),
    delta("output_text", "é\u20ac", 1),
    done(TEXT, 1),
    added(CALL, 2),
    delta("function_call_arguments", '{"x"', 2),
    delta("function_call_arguments", ":1}", 2),
    done(CALL, 2),
    ended(THOUGHT, TEXT, CALL),
)


class Said:
    """What the pivot's events say together."""

    def __init__(self, chunks: list[Chunk]) -> None:
        choices = [choice for one in chunks for choice in one.get("choices", ())]
        deltas = [choice["delta"] for choice in choices]
        self.text = "".join(one.get("content") or "" for one in deltas)
        self.thoughts = "".join(one.get("reasoning_content") or "" for one in deltas)
        self.blocks = [block for one in deltas for block in one.get("thinking_blocks", ())]
        self.refusal = "".join(one.get("refusal") or "" for one in deltas)
        self.annotations = [one for piece in deltas for one in piece.get("annotations", ())]
        self.reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
        self.errors = [one["error"] for one in chunks if "error" in one]
        self.usage = [one["usage"] for one in chunks if "usage" in one]
        self.calls: dict[int, list[str]] = {}
        for piece in deltas:
            for call in piece.get("tool_calls", ()):
                held = self.calls.setdefault(call["index"], ["", "", ""])
                inner = call.get("function") or call.get("custom")
                held[0] += call.get("id", "")
                held[1] += inner.get("name", "")
                held[2] += inner.get("arguments", "") + inner.get("input", "")


def heard(stream: bytes) -> tuple[Said, bool]:
    back = ResponsesBackStream()
    return Said([*back.feed(stream), *back.close()]), back.finished


def test_a_whole_stream() -> None:
    said, whole = heard(WHOLE)
    assert whole
    assert (said.text, said.thoughts, said.calls, said.reasons) == ("hé\u20ac", "hmm", {0: ["a", "f", '{"x":1}']}, ["tool_calls"])
    assert said.blocks[0]["thinking"] == "hmm"
    assert "gAAA" in said.blocks[0]["signature"]
    assert said.usage[0]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_split_at_every_byte() -> None:
    back = ResponsesBackStream()
    expected = [*back.feed(WHOLE), *back.close()]
    single = ResponsesBackStream()
    assert [one for at in range(len(WHOLE)) for one in single.feed(WHOLE[at : at + 1])] + single.close() == expected


@settings(max_examples=examples(60))
@given(st.lists(st.integers(0, len(WHOLE)), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_split_anywhere_with_any_line_ends(cuts: list[int], end: bytes) -> None:
    reference = ResponsesBackStream()
    expected = [*reference.feed(WHOLE), *reference.close()]
    stream = WHOLE.replace(b"\n", end)
    back = ResponsesBackStream()
    places = [0, *sorted(cuts), len(stream)]
    found = [one for begin, until in pairwise(places) for one in back.feed(stream[begin:until])]
    assert found + back.close() == expected


GIVEN: dict[str, tuple[bytes, dict[str, Any]]] = {
    "no pieces, only items": (
        sse(BEGUN, done(THOUGHT), done(TEXT, 1), done(CALL, 2), ended()),
        {"text": "hé\u20ac", "thoughts": "hmm", "calls": {0: ["a", "f", '{"x":1}']}},
    ),
    "no pieces and no items": (
        sse(BEGUN, ended(THOUGHT, TEXT, CALL)),
        {"text": "hé\u20ac", "thoughts": "hmm", "calls": {0: ["a", "f", '{"x":1}']}},
    ),
    "pieces that stop early": (sse(BEGUN, added(TEXT), delta("output_text", "h"), done(TEXT), ended(TEXT)), {"text": "hé\u20ac"}),
    "arguments that stop early": (
        sse(BEGUN, added(CALL), delta("function_call_arguments", '{"x'), done(CALL), ended(CALL)),
        {"calls": {0: ["a", "f", '{"x":1}']}},
    ),
    "arguments that come with the call": (
        sse(BEGUN, {**added(CALL), "item": CALL}, done(CALL), ended(CALL)),
        {"calls": {0: ["a", "f", '{"x":1}']}},
    ),
    "other ids and places in the end": (
        sse(BEGUN, added(TEXT), delta("output_text", "hé\u20ac"), done(TEXT), ended({**THOUGHT, "id": "rs_x"}, {**TEXT, "id": "msg_x"})),
        {"text": "hé\u20ac", "thoughts": "hmm"},
    ),
    "a text that was never announced": (sse(BEGUN, delta("output_text", "hi"), ended()), {"text": "hi"}),
    "two messages": (
        sse(BEGUN, delta("output_text", "a"), done(TEXT | {"content": []}), delta("output_text", "b", 1), ended()),
        {"text": "a\n\nb"},
    ),
    "two parts of a summary": (
        sse(BEGUN, delta("reasoning_summary_text", "a", summary_index=0), delta("reasoning_summary_text", "b", summary_index=1), ended()),
        {"thoughts": "a\n\nb"},
    ),
    "words and their summary": (
        sse(BEGUN, delta("reasoning_text", "words"), delta("reasoning_summary_text", "sum", summary_index=0), ended()),
        {"thoughts": "words"},
    ),
    "a refusal": (sse(BEGUN, delta("refusal", "no"), ended()), {"refusal": "no"}),
    "a custom call": (
        sse(
            BEGUN,
            added({"type": "custom_tool_call", "call_id": "c", "name": "g", "input": ""}),
            delta("custom_tool_call_input", "in"),
            ended(),
        ),
        {"calls": {0: ["c", "g", "in"]}},
    ),
    "no event names, and a last line without its end": (
        b"".join([b"data: %b\n\n" % json.dumps(one).encode() for one in (BEGUN, delta("output_text", "hi"))])
        + b"data: "
        + json.dumps(ended()).encode(),
        {"text": "hi"},
    ),
    "comments, [DONE] and events of tools": (
        b": wait\n\n"
        + sse(
            BEGUN,
            {"type": "response.web_search_call.searching", "item_id": "ws", "output_index": 0},
            delta("output_text", "hi", 1),
            ended(),
        )
        + b"data: [DONE]\n\n",
        {"text": "hi"},
    ),
    "a second end": (sse(BEGUN, delta("output_text", "hi"), ended(), ended(), BEGUN), {"text": "hi"}),
    "a start that is missing": (sse({**BEGUN, "type": "response.in_progress"}, delta("output_text", "hi"), ended()), {"text": "hi"}),
}


@pytest.mark.parametrize("name", GIVEN)
def test_however_servers_tell_it(name: str) -> None:
    stream, expected = GIVEN[name]
    said, whole = heard(stream)
    assert whole
    assert not said.errors
    assert len(said.reasons) == 1
    assert len(said.usage) == 1
    assert {field: getattr(said, field) for field in expected} == expected


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "length")]
)
def test_a_stream_that_is_incomplete(reason: str, finish: str) -> None:
    said, whole = heard(sse(BEGUN, delta("output_text", "hi"), ended(status="incomplete", incomplete_details={"reason": reason})))
    assert (whole, said.reasons) == (True, [finish])


FAILED: dict[str, dict[str, Any]] = {
    "failed": {"type": "response.failed", "response": response(status="failed", error={"code": "server_error", "message": "gone"})},
    "an error": {"type": "error", "code": "server_error", "message": "gone", "param": None},
    "an error inside": {"type": "error", "error": {"type": "server_error", "code": "server_error", "message": "gone"}},
    "completed with an error": ended(error={"code": "server_error", "message": "gone"}),
}


@pytest.mark.parametrize("name", FAILED)
def test_a_stream_that_fails_says_so_and_is_not_whole(name: str) -> None:
    said, whole = heard(sse(BEGUN, delta("output_text", "ha"), FAILED[name], delta("output_text", "lf"), ended()))
    assert (whole, said.text, said.reasons) == (False, "ha", [])
    assert [(error["message"], error["code"]) for error in said.errors] == [("gone", "server_error")]


NONSENSE: dict[str, bytes] = {
    "no JSON": b"data: <html>\n\n",
    "a list": b"data: []\n\n",
    "invalid UTF-8": b'data: {"type":"response.output_text.delta","delta":"\xff"}\n\n',
    "no type": b'data: {"delta":"x"}\n\n',
    "a type that is none": b'data: {"type":7}\n\n',
    "a chat completion": b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',
    "a second start": sse(BEGUN),
    "another response's progress": sse({"type": "response.in_progress", "response": response(id="resp_2")}),
    "another response's end": sse({**ended(), "response": response(id="resp_2", status="completed")}),
    "a response that is none": sse({"type": "response.completed", "response": []}),
    "a text that is none": sse(delta("output_text", {"text": "x"})),
    "a thought that is none": sse(delta("reasoning_text", 7)),
    "a refusal that is none": sse(delta("refusal", None)),
    "arguments without a call": sse(delta("function_call_arguments", "{}")),
    "arguments that are none": sse(added(CALL), delta("function_call_arguments", {"x": 1})),
    "a call without a name": sse(added({"type": "function_call", "call_id": "a"})),
    "a place that is none": sse({**delta("output_text", "x"), "output_index": "first"}),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_what_is_no_stream_of_a_response(name: str) -> None:
    back = ResponsesBackStream()
    back.feed(sse(BEGUN))
    with pytest.raises(NotAnAnswer):
        back.feed(NONSENSE[name])
    assert not back.finished


@pytest.mark.parametrize(
    "stream", [b"", b"<html><body>Bad Gateway</body></html>", WHOLE[: len(WHOLE) // 2], sse(BEGUN), b"data: [DONE]\n\n"]
)
def test_a_stream_without_its_end_is_not_whole(stream: bytes) -> None:
    said, whole = heard(stream[: stream.rfind(b"\n\n") + 2])
    assert not whole
    assert said.reasons == []


def test_a_stream_that_begins_with_a_piece_is_none() -> None:
    with pytest.raises(NotAnAnswer):
        ResponsesBackStream().feed(sse(delta("output_text", "x")))


def test_a_citation_is_moved_to_its_place_in_the_whole_text() -> None:
    cited = {"type": "url_citation", "url": "u", "title": "t", "start_index": 1, "end_index": 2}
    place = {"type": "response.output_text.annotation.added", "output_index": 1, "content_index": 0, "annotation": cited}
    filed = {**place, "annotation": {"type": "file_citation", "file_id": "f"}}
    said, _ = heard(sse(BEGUN, delta("output_text", "one"), delta("output_text", "two", 1), place, filed, ended()))
    assert [(one["url_citation"]["start_index"], one["url_citation"]["end_index"]) for one in said.annotations] == [(6, 7)]


def test_pivot_events_parse_as_openais_own() -> None:
    back = ResponsesBackStream()
    for one in [*back.feed(WHOLE), *back.close()]:
        ChatCompletionChunk.model_validate(one, strict=True)
    assert back.finished
