"""The pivot's stream as a response's events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.proxy.dialects.responses import ResponsesFront, ResponsesFrontStream
from apps.proxy.dialects.translation import Chunk, Trouble
from tests.dialects.responses_recordings import EVENT, accumulated, events_of
from tests.scale import examples

ASKED: dict[str, Any] = {"model": "route", "input": "x", "stream": True}
SIGNED = {"type": "thinking", "thinking": "hmm", "signature": "anthropic's"}
HIDDEN = {"type": "redacted_thinking", "data": "xyz"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **more: Any) -> Chunk:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason, **more}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice]}


def tool(index: int | None, ident: str | None = None, name: str | None = None, arguments: str = "") -> Chunk:
    call: dict[str, Any] = {"function": {"arguments": arguments, **({"name": name} if name else {})}}
    if index is not None:
        call["index"] = index
    if ident:
        call |= {"id": ident, "type": "function"}
    return chunk({"tool_calls": [call]})


def told(chunks: list[Chunk], asked: dict[str, Any] | None = None) -> dict[str, Any]:
    """The whole response, as the SDK has it at the end."""
    front = ResponsesFrontStream({**ASKED, **(asked or {})})
    return accumulated(b"".join([front.feed(one) for one in chunks]) + front.close())


def kinds(stream: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events_of(stream)]


def test_the_events_of_a_text_in_their_order() -> None:
    front = ResponsesFrontStream(ASKED)
    stream = (
        front.feed(chunk({"role": "assistant", "content": ""})) + front.feed(chunk({"content": "a"})) + front.feed(chunk({"content": "b"}))
    )
    stream += front.feed(chunk({}, "stop")) + front.feed({"choices": [], "usage": USAGE})
    assert "completed" not in kinds(stream)  # which the record must be written before
    stream += front.close()
    assert kinds(stream) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    whole = accumulated(stream)
    assert whole["output"][0]["content"][0]["text"] == "ab"
    assert whole["usage"]["input_tokens"] == 3
    assert stream.startswith(b'event: response.created\ndata: {"type":"response.created","sequence_number":0,')
    assert front.feed(chunk({"content": "late"})) == front.close() == front.error(Trouble("late", "server_error")) == b""


def test_the_events_of_a_call_in_their_order() -> None:
    front = ResponsesFrontStream(ASKED)
    stream = front.feed(tool(0, "a", "f")) + front.feed(tool(0, arguments='{"x":')) + front.feed(tool(0, arguments="1}"))
    stream += front.feed(chunk({}, "tool_calls")) + front.close()
    assert kinds(stream)[2:] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    item = accumulated(stream)["output"][0]
    assert (item["call_id"], item["name"], item["arguments"], item["status"]) == ("a", "f", '{"x":1}', "completed")


@pytest.mark.parametrize(
    ("summary", "events"),
    [
        (None, ["content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done"]),
        (
            "auto",
            [
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
            ],
        ),
    ],
)
def test_the_events_of_thoughts_in_their_order(summary: str | None, events: list[str]) -> None:
    front = ResponsesFrontStream({**ASKED, "reasoning": {"summary": summary}})
    stream = front.feed(chunk({"reasoning_content": "hmm"})) + front.feed(chunk({"thinking_blocks": [SIGNED]}))
    stream += front.feed(chunk({"content": "a"})) + front.feed(chunk({}, "stop")) + front.close()
    assert kinds(stream)[2:8] == ["output_item.added", *events, "output_item.done"]
    item = accumulated(stream)["output"][0]
    assert item["content" if summary is None else "summary"][0]["text"] == "hmm"
    assert "hmm" not in item["encrypted_content"]  # the item's own text is what was signed


CALLS: dict[str, tuple[list[Chunk], list[tuple[str, str, str]]]] = {
    "two, one after the other": (
        [tool(0, "a", "f", "{}"), tool(1, "b", "g", "{"), tool(1, arguments="}")],
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    "two at once": (
        [
            tool(0, "a", "f"),
            tool(1, "b", "g"),
            tool(0, arguments="{1"),
            tool(1, arguments="{2"),
            tool(0, arguments="}"),
            tool(1, arguments="}"),
        ],
        [("a", "f", "{1}"), ("b", "g", "{2}")],
    ),
    "the same index for all": ([tool(0, "a", "f", "{}"), tool(0, "b", "f", "{}")], [("a", "f", "{}"), ("b", "f", "{}")]),
    "no index at all": (
        [tool(None, "a", "f", "{}"), tool(None, "b", "f", "{"), tool(None, arguments="}")],
        [("a", "f", "{}"), ("b", "f", "{}")],
    ),
    "the id again with each piece": ([tool(0, "a", "f", "{"), tool(0, "a", None, "}")], [("a", "f", "{}")]),
    "a name that comes late": ([tool(0, "a", None, "{"), tool(0, None, "f", "}")], [("a", "f", "{}")]),
    "a name that never comes": ([tool(0, "a", None, "{}")], [("a", "", "{}")]),
    "no id": ([tool(0, None, "f", "{}")], [("call_1_0", "f", "{}")]),
    "no arguments": ([tool(0, "a", "f")], [("a", "f", "{}")]),
    "arguments that are not JSON": ([tool(0, "a", "f", "{oops")], [("a", "f", "{oops")]),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_however_servers_number_them(name: str) -> None:
    chunks, calls = CALLS[name]
    whole = told([*chunks, chunk({}, "tool_calls")])
    assert [(item["call_id"], item["name"], item["arguments"]) for item in whole["output"]] == calls


def test_a_custom_call_and_one_that_is_signed() -> None:
    custom = chunk({"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "in"}}]})
    more = chunk({"tool_calls": [{"index": 0, "custom": {"input": "put"}, "signature": "gemini's"}]})
    whole = told([custom, more, chunk({}, "tool_calls")])
    call, signed = whole["output"]
    assert (call["type"], call["input"]) == ("custom_tool_call", "input")
    output = {"type": "custom_tool_call_output", "call_id": "a", "output": "o"}
    again = ResponsesFront().read({"model": "m", "input": [call, signed, output]}).payload
    assert again["messages"][0]["tool_calls"][0]["signature"] == "gemini's"


THOUGHTS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "piece by piece, then signed": ([{"reasoning_content": "h"}, {"reasoning_content": "mm"}, {"thinking_blocks": [SIGNED]}], [SIGNED]),
    "at once": ([{"thinking_blocks": [SIGNED, HIDDEN]}], [SIGNED, HIDDEN]),
    "hidden": ([{"thinking_blocks": [HIDDEN]}], [HIDDEN]),
    "two, signed together": (
        [{"reasoning_content": "hmm"}, {"reasoning_content": "oh"}, {"thinking_blocks": [SIGNED, {**SIGNED, "thinking": "oh"}]}],
        [SIGNED, {**SIGNED, "thinking": "oh"}],
    ),
    "a second one after the first": (
        [{"reasoning_content": "hmm"}, {"thinking_blocks": [SIGNED]}, {"reasoning_content": "hmm"}, {"thinking_blocks": [SIGNED]}],
        [SIGNED, SIGNED],
    ),
    "signed after the text": ([{"reasoning_content": "hmm"}, {"content": "a"}, {"thinking_blocks": [SIGNED]}], [SIGNED]),
    "a signature without a text": ([{"thinking_blocks": [{**SIGNED, "thinking": ""}]}], [{**SIGNED, "thinking": ""}]),
}


@pytest.mark.parametrize("summary", [None, "auto"])
@pytest.mark.parametrize("name", THOUGHTS)
def test_signed_thoughts_come_back_unchanged(name: str, summary: str | None) -> None:
    deltas, blocks = THOUGHTS[name]
    whole = told([*[chunk(delta) for delta in deltas], chunk({"content": "end"}), chunk({}, "stop")], {"reasoning": {"summary": summary}})
    messages = ResponsesFront().read({"model": "m", "input": whole["output"]}).payload["messages"]
    assert [block for message in messages for block in message.get("thinking_blocks", ())] == blocks


def test_thoughts_that_nobody_signed_are_told_apart_from_a_providers_own() -> None:
    whole = told([chunk({"reasoning_content": "hmm"}), chunk({"content": "a"}), chunk({}, "stop")])
    messages = ResponsesFront().read({"model": "m", "input": whole["output"]}).payload["messages"]
    assert messages == [{"role": "assistant", "content": "a", "reasoning_content": "hmm"}]


def test_refusals_citations_and_log_probabilities() -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    likely = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]}
    whole = told([chunk({"content": "a"}, logprobs=likely), chunk({"annotations": [cited]}), chunk({"refusal": "no"}), chunk({}, "stop")])
    text, refusal = whole["output"][0]["content"]
    assert text["logprobs"] == likely["content"]
    assert text["annotations"][0]["url"] == "u"
    assert refusal == {"type": "refusal", "refusal": "no"}


def test_a_stream_that_reached_its_bound_is_incomplete() -> None:
    whole = told([chunk({"content": "a"}), chunk({}, "length")])
    assert (whole["status"], whole["incomplete_details"], whole["output"][0]["status"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
        "incomplete",
    )


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("in_band", [False, True])
def test_a_stream_that_breaks_is_a_failure_at_which_sdks_raise(begun: bool, in_band: bool) -> None:
    front = ResponsesFrontStream(ASKED)
    stream = front.feed(chunk({"content": "half"})) + front.feed(tool(0, "a", "f", "{")) if begun else b""
    if in_band:
        stream += front.feed({"error": {"message": "gone", "type": "server_error", "code": "upstream_gone"}})
    else:
        stream += front.error(Trouble("gone", "server_error", "upstream_gone"))
    assert front.close() == b""
    events = events_of(stream)
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        EVENT.validate_python(event, strict=True)
    error = events[-1]
    assert (error["type"], error["message"], error["code"], error["error"]["type"]) == ("error", "gone", "upstream_gone", "server_error")
    assert [event["type"] for event in events].count("response.failed") == begun
    if begun:
        response = events[-2]["response"]
        assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
        assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


NAMES = ["type", "thinking", "signature", "id", "index", "function", "name", "arguments"]
TOLD = ["content", "refusal", "reasoning_content", "reasoning", "thinking_blocks", "tool_calls", "annotations"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x", "thinking", "stop", "\ud83d"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=5,
)
DELTAS = st.dictionaries(st.sampled_from(TOLD), JSON, max_size=3)
CHUNKS = st.builds(
    lambda delta, reason, usage, index: {"choices": [{"delta": delta, "finish_reason": reason, "index": index}], "usage": usage},
    DELTAS | JSON,
    JSON,
    JSON,
    JSON,
)


@settings(max_examples=examples(90))
@given(st.lists(CHUNKS | st.dictionaries(st.sampled_from(["choices", "usage", "id", "created"]), JSON), max_size=6))
def test_any_events_are_a_stream_that_sdks_read(chunks: list[Chunk]) -> None:
    """OpenAI-compatible servers write all sorts of things; apps get a stream that their SDK puts together without a complaint."""
    told(chunks)
