"""Streams of Anthropic's format: read from providers, told to apps, passed through; cut anywhere, with nonsense in them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.usage import Tokens
from apps.proxy.dialects.anthropic import AnthropicBack, AnthropicFront, AnthropicStream
from apps.proxy.dialects.anthropic_wire import STRUCTURED_TOOL
from apps.proxy.dialects.translation import Chunk, NotAnAnswer, Trouble
from tests.dialects.anthropic_events import START, STOP, WHOLE, block, call, event, finish, text
from tests.dialects.anthropic_recordings import accumulated

FRONT, BACK = AnthropicFront(), AnthropicBack()
SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}


def chunks_of(*pieces: bytes, payload: dict[str, Any] | None = None, finished: bool = True) -> list[Chunk]:
    stream = BACK.stream(payload or {})
    found = [chunk for piece in pieces for chunk in stream.feed(piece)] + stream.close()
    assert stream.finished is finished
    return [{name: value for name, value in chunk.items() if name != "created"} for chunk in found]


def told(chunks: list[Chunk], asked: dict[str, Any] | None = None) -> bytes:
    stream = FRONT.stream(asked or {})
    return b"".join(stream.feed(chunk) for chunk in chunks) + stream.close()


def delta(index: int = 0, finish_reason: str | None = None, **fields: Any) -> Chunk:
    return {"id": "chatcmpl-1", "model": "m", "choices": [{"index": index, "delta": fields, "finish_reason": finish_reason}]}


def piece(index: int, arguments: str, **fields: Any) -> Chunk:
    name = fields.pop("name", None)
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return delta(tool_calls=[{"index": index, "function": function, **fields}])


def test_a_stream_is_read_as_chunks() -> None:
    head = {"id": "msg_1", "object": "chat.completion.chunk", "model": "m"}
    deltas = [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm, "},
        {"reasoning_content": "ü."},
        {"thinking_blocks": [{"type": "thinking", "thinking": "Hm, ü.", "signature": "c2ln"}]},
        {"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]},
        {"content": "Lo"},
        {"content": "öking 👀."},
        {"tool_calls": [{"index": 0, "id": "toolu_3", "type": "function", "function": {"name": "look", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ': "ü"}'}}]},
        {"tool_calls": [{"index": 1, "id": "toolu_4", "type": "function", "function": {"name": "look", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ]
    *said, last, counted = chunks_of(WHOLE)
    assert said == [{**head, "choices": [{"index": 0, "delta": one, "finish_reason": None}]} for one in deltas]
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "tool_calls", "native_finish_reason": "tool_use"}]
    assert counted["choices"] == []
    assert counted["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 9,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
    }


def test_a_stream_that_went_through_the_pivot_is_the_same_to_the_sdk() -> None:
    found = accumulated(told(chunks_of(WHOLE)))
    assert found == accumulated(WHOLE)
    assert [one["type"] for one in found["content"]] == ["thinking", "redacted_thinking", "text", "tool_use", "tool_use"]


def test_a_stream_split_anywhere_gives_the_same_chunks() -> None:
    whole = chunks_of(WHOLE)
    for line_end in (b"\n", b"\r\n", b"\r"):
        data = WHOLE.replace(b"\n", line_end)
        assert chunks_of(*(data[at : at + 1] for at in range(len(data)))) == whole


@given(cuts=st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_a_stream_in_random_pieces_gives_the_same_chunks_and_passes_unchanged(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[start:end] for start, end in pairwise(places)]
    assert chunks_of(*pieces) == chunks_of(WHOLE)
    watch = AnthropicStream()
    passed = b"".join(watch.feed(one) for one in pieces)
    assert watch.close() and watch.finished
    assert passed + watch.rest == WHOLE
    assert watch.tokens == Tokens(input=10, output=9, cache_read=3, cache_write=2)


NONSENSE = {
    "a page": b"<!DOCTYPE html><html><body>Bad gateway</body></html>",
    "an object": b'{"type":"message","content":[]}',
    "no JSON": START + b"event: content_block_delta\ndata: {oops\n\n",
    "no object": START + b"event: content_block_delta\ndata: [1]\n\n",
    "invalid UTF-8": START + text(0, "x").replace(b'"x"', b'"\xff"'),
    "a second start": START + START,
    "a start without a message": event("message_start"),
    "no start": text(0, "x"),
    "an end without a start": finish(),
    "an end without a reason": START + STOP,
    "wrong types": START + event("content_block_delta", index="first", delta={"type": "text_delta", "text": "x"}),
    "text that is none": START + event("content_block_start", index=0, content_block={"type": "text", "text": 5}),
    "a block twice": START + text(0, "x") + text(0, "y"),
    "a block without a start": START + event("content_block_delta", index=3, delta={"type": "text_delta", "text": "x"}),
    "an end of no block": START + event("content_block_stop", index=3),
    "a delta without a delta": START
    + event("content_block_start", index=0, content_block={"type": "text"})
    + event("content_block_delta", index=0),
    "a start of nothing": START + event("content_block_start", index=0),
    "a piece of another kind": START + block(0, {"type": "text", "text": ""}, {"type": "input_json_delta", "partial_json": "{}"}),
    "a call without a name": START + call(0, ""),
    "a call with a list": START + call(0, "look", input=[1]),
    "a block nobody asked for": START + block(0, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
    "redacted thinking without data": START + block(0, {"type": "redacted_thinking"}),
}


@pytest.mark.parametrize("stream", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_no_answer(stream: bytes) -> None:
    for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        reading = BACK.stream({})
        with pytest.raises(NotAnAnswer):
            [reading.feed(one) for one in pieces]
        assert not reading.finished


@given(st.binary(max_size=200) | st.builds(lambda a, b: WHOLE[:a] + b, st.integers(0, len(WHOLE)), st.binary(max_size=40)))
def test_whatever_comes_is_read_or_no_answer_and_passes_or_is_left_out(data: bytes) -> None:
    reading = BACK.stream({})
    try:
        chunks = [*reading.feed(data), *reading.close()]
    except NotAnAnswer:
        chunks = []
    told(chunks)
    watch = AnthropicStream()
    watch.feed(data)
    watch.close()
    assert watch.output_bytes() >= 0


def test_a_stream_that_breaks_off_is_not_finished() -> None:
    for end in (START, START + text(0, "x"), WHOLE[: WHOLE.index(b"event: message_delta")]):
        reading = BACK.stream({})
        reading.feed(end)
        reading.close()
        assert not reading.finished


def test_a_stream_whose_last_event_is_missing_is_whole_after_its_reason() -> None:
    assert chunks_of(WHOLE.removesuffix(STOP)) == chunks_of(WHOLE)
    assert chunks_of(WHOLE.removesuffix(b"\n\n")) == chunks_of(WHOLE)


def test_an_error_in_the_stream_ends_it() -> None:
    failed = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    *_, last = chunks_of(START + failed + text(0, "x") + STOP, finished=False)
    assert last == {"error": {"message": "Overloaded", "type": "overloaded_error", "code": None}}


def test_events_that_are_not_known_and_what_follows_the_end_are_passed_over() -> None:
    odd = START + event("weather", sky="blue") + b": comment\n\n" + b"data: [DONE]\n\n" + WHOLE.removeprefix(START) + START + b"garbage\n\n"
    assert chunks_of(odd) == chunks_of(WHOLE)


def test_half_of_a_character_costs_that_character_alone() -> None:
    data = START + text(0, "a?b").replace(b"a?b", b"a\\ud83db") + finish() + STOP
    assert chunks_of(data)[1]["choices"][0]["delta"] == {"content": "a?b"}


def test_an_input_that_comes_whole_at_its_start_is_the_calls() -> None:
    chunks = chunks_of(START + call(0, "look", input={"a": 1}) + finish("tool_use") + STOP)
    assert json.loads(chunks[2]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]) == {"a": 1}


def test_the_structured_tools_arguments_are_the_answers_text() -> None:
    data = START + call(0, STRUCTURED_TOOL, '{"a":', "1}") + finish("tool_use") + STOP
    chunks = chunks_of(data, payload=SCHEMA)
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[:3]] == ["", '{"a":', "1}"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks_of(data)[-2]["choices"][0]["finish_reason"] == "tool_calls"
    with pytest.raises(NotAnAnswer):
        chunks_of(START + text(0, "Sure:") + call(1, STRUCTURED_TOOL, "{}"), payload=SCHEMA)


@pytest.mark.parametrize(
    ("reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("refusal", "content_filter"),
    ],
)
def test_stop_reasons_come_back_as_they_were(reason: str, finish_reason: str) -> None:
    data = START + text(0, "x") + finish(reason, stop_sequence="###" if reason == "stop_sequence" else None) + STOP
    chunks = chunks_of(data)
    assert chunks[-2]["choices"][0]["finish_reason"] == finish_reason
    found = accumulated(told(chunks))
    assert (found["stop_reason"], found["stop_sequence"]) == (reason, "###" if reason == "stop_sequence" else None)


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "category": None, "explanation": "No."}
    found = accumulated(told(chunks_of(START + finish("refusal", stop_details=details) + STOP)))
    assert (found["stop_reason"], found["stop_details"]["explanation"], found["content"]) == ("refusal", "No.", [])
    spoken = accumulated(told([delta(refusal="I "), delta(refusal="won't."), delta(finish_reason="stop")]))
    assert (spoken["stop_reason"], spoken["content"]) == ("refusal", [{"type": "text", "text": "I won't."}])


# telling apps


def test_calls_whose_pieces_come_mixed_are_told_one_after_the_other() -> None:
    chunks = [
        piece(0, "", id="a", name="look"),
        piece(0, '{"x":'),
        piece(1, '{"y"', id="b:1", name="hear"),
        piece(1, ":2}"),
        piece(2, "", name="smell"),
        piece(0, "1}"),
        delta(finish_reason="tool_calls"),
    ]
    found = accumulated(told(chunks))
    assert [(one["name"], one["input"]) for one in found["content"]] == [("look", {"x": 1}), ("hear", {"y": 2}), ("smell", {})]
    assert found["content"][0]["id"] == "a"
    assert found["content"][1]["id"].startswith("b_1_")
    assert found["content"][2]["id"].startswith("toolu_msg_")
    assert found["stop_reason"] == "tool_use"


BROKEN = {
    "arguments that are no JSON": [piece(0, "{oops}", id="a", name="look"), delta(finish_reason="tool_calls")],
    "arguments that are a list": [piece(0, "[1]", id="a", name="look"), delta(finish_reason="stop")],
    "a call without a name": [piece(0, "{}", id="a"), delta(finish_reason="tool_calls")],
    "text amid a call": [piece(0, "{", id="a", name="look"), delta(content="x"), piece(0, "}")],
    "a call that goes on after its end": [
        piece(0, "{}", id="a", name="look"),
        piece(1, "{}", id="b", name="look"),
        piece(0, '{"x": 1}'),
    ],
    "an error": [delta(content="x"), {"error": {"message": "broke", "type": "server_error"}}],
    "an error that is a text": [{"error": "broke"}],
}


@pytest.mark.parametrize("chunks", BROKEN.values(), ids=BROKEN.keys())
def test_what_an_sdk_could_not_read_ends_in_one_error(chunks: list[Chunk]) -> None:
    stream = told(chunks)
    assert stream.count(b"event: error\n") == 1
    assert b"message_stop" not in stream
    *_, last = stream.decode().strip().split("\n\n")
    assert json.loads(last.partition("data: ")[2])["error"]["type"] == "api_error"


def test_arguments_that_the_cap_cut_off_are_told_as_far_as_they_came() -> None:
    found = accumulated(told([piece(0, '{"x": 1, "y', id="a", name="look"), delta(finish_reason="length")]))
    assert found["stop_reason"] == "max_tokens"
    assert found["content"][0]["input"] == {"x": 1}


def test_thinking_of_a_provider_that_signs_nothing_is_told_without_a_signature() -> None:
    found = accumulated(told([delta(reasoning_content="Hm."), delta(reasoning="So."), delta(content="x"), delta(finish_reason="stop")]))
    assert found["content"][0] == {"type": "thinking", "thinking": "Hm.So.", "signature": ""}
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "x"}]
    found = accumulated(told([delta(content=parts), delta(finish_reason="stop")]))
    assert found["content"] == [{"type": "thinking", "thinking": "Hm.", "signature": ""}, {"type": "text", "text": "x"}]


def test_thinking_that_an_app_wants_left_out_is_signed_and_empty() -> None:
    found = accumulated(told(chunks_of(WHOLE), {"thinking": {"type": "adaptive", "display": "omitted"}}))
    assert found["content"][0] == {"type": "thinking", "thinking": "", "signature": "c2ln"}


def test_a_calls_signature_travels_in_its_id() -> None:
    chunks = [delta(tool_calls=[{"index": 0, "id": "a", "signature": "gemini:x", "function": {"name": "look", "arguments": "{}"}}])]
    call_id = accumulated(told([*chunks, delta(finish_reason="tool_calls")]))["content"][0]["id"]
    answered = {"role": "assistant", "content": [{"type": "tool_use", "id": call_id, "name": "look", "input": {}}]}
    read = FRONT.read({"model": "m", "messages": [answered]}).payload["messages"][0]["tool_calls"][0]
    assert (read["id"], read["signature"]) == ("a", "gemini:x")


ODD = [
    {},
    {"choices": None},
    {"choices": [None]},
    {"choices": [{"delta": None}]},
    {"choices": [{"index": 1, "delta": {"content": "other"}}]},
    delta(content=5),
    delta(content=[{"type": "text"}, None, {"type": "thinking", "thinking": [5]}]),
    delta(tool_calls={"a": 1}),
    delta(tool_calls=[None]),
    delta(thinking_blocks=[None, {"type": "thinking", "thinking": 5, "signature": 5}, {"type": "odd"}]),
    delta(reasoning_content=["x"], refusal=5),
    {"id": 5, "model": 5, "choices": [{"delta": {"content": "x"}, "finish_reason": 5}], "usage": 5},
    {"choices": [], "usage": {"prompt_tokens": "many", "prompt_tokens_details": 5, "completion_tokens": -1}},
]


def test_odd_chunks_never_raise_and_the_stream_is_one_that_an_sdk_reads() -> None:
    for chunk in ODD:
        accumulated(told([chunk]))
    accumulated(told(ODD))


@given(
    st.lists(
        st.sampled_from([delta(content="x"), delta(reasoning_content="r"), piece(0, "{}", name="f"), piece(1, "{", name="g"), *ODD]),
        max_size=8,
    )
)
def test_any_order_of_chunks_gives_a_stream_that_ends_once(chunks: list[Chunk]) -> None:
    stream = told(chunks)
    assert stream.count(b"event: message_stop\n") + stream.count(b"event: error\n") == 1
    if b"event: error\n" not in stream:
        accumulated(stream)


def test_an_error_is_told_with_its_code() -> None:
    stream = FRONT.stream({})
    stream.feed(delta(content="x"))
    said = stream.error(Trouble("Too many.", "rate_limit_error", "rate_limited", "model"))
    assert said.startswith(b"event: error\ndata: ")
    error = {"type": "rate_limit_error", "message": "Too many.", "code": "rate_limited", "param": "model"}
    assert json.loads(said.partition(b"data: ")[2]) == {"type": "error", "error": error}
    assert stream.feed(delta(content="y")) == stream.close() == b""
