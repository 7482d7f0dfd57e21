"""Responses that pass through: nothing of them is changed, and what matters in them is known."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.proxy.dialects.event_watch import KEEP_RAW, MALFORMED, MAX_CARRY, TOO_LARGE
from apps.proxy.dialects.responses_watch import ResponsesNative, ResponsesStream, native_answer
from apps.proxy.dialects.responses_wire import wrapped
from tests.scale import examples

NATIVE = ResponsesNative()
USAGE = {
    "input_tokens": 9,
    "output_tokens": 5,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens_details": {"reasoning_tokens": 2},
}


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}, separators=(",", ":")).encode())


def response(status: str = "in_progress", **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": status, "error": None, "output": [], "model": "m", **more}


CREATED = event("response.created", response=response()) + event("response.in_progress", response=response())
ADDED = event("response.output_item.added", output_index=0, item={"type": "message", "id": "msg_1"})
PIECES = [event("response.output_text.delta", output_index=0, delta=text) for text in ("h", "é\u20ac", "lo")]
ENDED = event("response.completed", response=response("completed", usage=USAGE))
WHOLE = CREATED + ADDED + b"".join(PIECES) + ENDED
SAID = len("hé\u20aclo".encode())


def fed(stream: bytes, cuts: list[int] | None = None) -> tuple[ResponsesStream, bytes]:
    watch = ResponsesStream()
    places = [0, *sorted(cuts or []), len(stream)]
    passed = b"".join([watch.feed(stream[begin:until]) for begin, until in pairwise(places)])
    watch.close()
    return watch, passed


def check_whole(watch: ResponsesStream, passed: bytes) -> None:
    assert passed + watch.rest == WHOLE
    assert watch.rest == ENDED  # which the record must be written before
    assert watch.finished
    assert watch.tokens is not None
    assert (watch.tokens.input, watch.tokens.output, watch.tokens.cache_read, watch.tokens.reasoning) == (9, 5, 3, 2)
    assert watch.output_bytes() == SAID


def test_split_at_every_byte() -> None:
    check_whole(*fed(WHOLE))
    check_whole(*fed(WHOLE, list(range(len(WHOLE)))))


@settings(max_examples=examples(60))
@given(st.lists(st.integers(0, len(WHOLE)), max_size=10), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_split_anywhere_with_any_line_ends(cuts: list[int], end: bytes) -> None:
    """Other line ends become LF; nothing else changes."""
    check_whole(*fed(WHOLE.replace(b"\n", end), cuts))


def test_output_shows_with_the_first_piece_or_call() -> None:
    for first, shows in ((ADDED, False), (PIECES[0], True), (event("response.output_item.added", item={"type": "function_call"}), True)):
        watch = ResponsesStream()
        assert watch.feed(CREATED + first) == CREATED + first
        assert watch.has_output is shows


def test_pieces_pass_as_they_lie_on_the_wire() -> None:
    watch = ResponsesStream()
    wire = b"%x\r\n%b\r\n" % (len(PIECES[1]), PIECES[1])
    start = wire.index(b"\r\n") + 2
    assert not watch.passes(wire, start)  # nothing is known yet
    watch.feed(CREATED + PIECES[0])
    assert watch.passes(wire, start)
    assert watch.passed_bytes == len(PIECES[1])
    assert watch.output_bytes() == len("hé\u20ac".encode())
    end = b"%x\r\n%b\r\n" % (len(ENDED), ENDED)
    assert not watch.passes(end, end.index(b"\r\n") + 2)
    watch.feed(PIECES[2][:9])
    assert not watch.passes(wire, start)


def test_long_streams_are_measured_and_let_go() -> None:
    watch = ResponsesStream()
    piece = event("response.output_text.delta", delta="x" * 1000)
    count = 3 * KEEP_RAW // len(piece)
    watch.feed(CREATED)
    for _ in range(count):
        watch.feed(piece)
    assert sum(map(len, watch._raw)) <= KEEP_RAW
    assert watch.output_bytes() == 1000 * count


@pytest.mark.parametrize("kind", ["response.incomplete", "response.completed"])
def test_nothing_counts_after_the_end(kind: str) -> None:
    end = event(kind, response=response("incomplete"))
    watch, passed = fed(CREATED + PIECES[0] + end + PIECES[1] + b"data: [DONE]\n\n" + CREATED)
    assert (passed + watch.rest, watch.finished, watch.error, watch.tokens) == (CREATED + PIECES[0] + end, True, "", None)


def test_an_end_without_its_empty_line_is_one() -> None:
    watch, passed = fed(WHOLE[:-2])
    check_whole(watch, passed)


BROKEN: dict[str, tuple[bytes, str]] = {
    "failed": (event("response.failed", response=response("failed", error={"code": "server_error", "message": "gone"})), "gone"),
    "failed without a word": (event("response.failed"), "does not say why"),
    "an error": (event("error", message="gone", code="c", param=None), "gone"),
    "an error inside": (event("error", error={"message": "gone", "type": "server_error"}), "gone"),
    "an error without a type": (b'data: {"error": {"message": "gone"}}\n\n', "gone"),
    "a second start": (CREATED, "a second response began"),
    "no JSON": (b"data: <html>\n\n", json.loads(MALFORMED)["error"]["message"]),
    "an end without a response": (event("response.completed"), json.loads(MALFORMED)["error"]["message"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_stream_that_breaks_stops_before_it(name: str) -> None:
    bad, message = BROKEN[name]
    watch, passed = fed(CREATED + PIECES[0] + bad + PIECES[1] + ENDED)
    assert (passed, watch.finished, watch.rest) == (CREATED + PIECES[0], False, b"")
    assert message in json.loads(watch.error)["error"]["message"]
    assert not watch.close()


@pytest.mark.parametrize("stream", [b"", b"<html>Bad Gateway</html>", CREATED, CREATED + PIECES[0] + PIECES[1][:30]])
def test_a_stream_without_its_end_is_not_whole(stream: bytes) -> None:
    watch, passed = fed(stream)
    assert (watch.finished, watch.error, watch.rest) == (False, "", b"")
    assert stream.startswith(passed)


def test_a_line_without_an_end_ends_the_stream() -> None:
    watch = ResponsesStream()
    watch.feed(b"data: ")
    watch.feed(b"x" * MAX_CARRY)
    assert watch.error == TOO_LARGE
    assert watch.feed(ENDED) == b""


def test_comments_keep_the_connection_alive_and_fields_without_data_do_not_pass() -> None:
    _, passed = fed(b": wait\n\nevent: ping\n\n" + CREATED)
    assert passed == b": wait\n\n" + CREATED


def test_whole_answers() -> None:
    said = native_answer(json.dumps(response("completed", usage=USAGE)).encode())
    assert said is not None
    assert said.tokens is not None
    assert said.tokens.input == 9
    queued = native_answer(json.dumps(response("queued", usage=None)).encode())
    assert queued is not None
    assert queued.tokens is None
    for body in (b"", b"<html>", b"{}", b'{"error":{"message":"no"}}', json.dumps(response("failed")).encode(), b'{"output":7}'):
        assert native_answer(body) is None


def test_requests_pass_as_they_are_but_for_what_must_change() -> None:
    asked = {"model": "route", "input": "x"}
    assert NATIVE.changed(asked, "route", None) is asked
    assert NATIVE.changed(asked, "gpt-5", 99) == {"model": "gpt-5", "input": "x", "max_output_tokens": 99}
    assert NATIVE.changed({**asked, "max_output_tokens": 5}, "route", 99)["max_output_tokens"] == 5
    assert asked == {"model": "route", "input": "x"}
    assert NATIVE.path("gpt-5", stream=True) == "/responses"


def test_what_other_models_thought_is_not_passed_on() -> None:
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    foreign = {**own, "encrypted_content": wrapped([{"type": "redacted_thinking", "data": "x"}])}
    user = {"role": "user", "content": "x"}
    asked = {"model": "m", "input": [user, foreign, own, "odd"]}
    assert NATIVE.changed(asked, "m", None)["input"] == [user, own, "odd"]
    assert len(asked["input"]) == 4
