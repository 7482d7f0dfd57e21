"""Streams of Anthropic's format that pass from a provider to an app as they are: what is seen of them, and what is held back."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from apps.proxy.dialects.anthropic import AnthropicStream
from tests.dialects.anthropic_events import PING, START, STOP, WHOLE, call, event, finish, text
from tests.scale import examples


def watched(*pieces: bytes) -> tuple[AnthropicStream, bytes]:
    watch = AnthropicStream()
    return watch, b"".join(watch.feed(one) for one in pieces)


def test_what_passes_is_what_came_and_the_last_event_waits() -> None:
    watch, passed = watched(WHOLE)
    assert passed == WHOLE.removesuffix(STOP)
    assert watch.rest == STOP
    assert watch.finished and watch.has_output and watch.close()
    assert watch.feed(START) == b""
    assert watch.output_bytes() >= len("Hm, ü.Looking 👀.".encode())


def test_output_shows_with_the_first_piece_and_usage_counts_at_the_end() -> None:
    watch, _ = watched(START + PING + event("content_block_start", index=0, content_block={"type": "text", "text": ""}))
    assert not watch.has_output
    watch.feed(event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"}))
    assert watch.has_output
    assert watch.tokens is None
    assert not watch.close()
    assert watch.tokens is None
    assert watch.output_bytes() == 1


def test_a_chunk_on_the_wire_passes_only_where_it_is_one_ordinary_event() -> None:
    data = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"})
    wire = b"%x\r\n%b\r\n" % (len(data), data)
    start = wire.index(data)
    watch = AnthropicStream()
    assert not watch.passes(wire, start)
    watch.feed(START + data)
    assert watch.passes(wire, start)
    assert watch.passed_bytes == len(data)
    for odd in (data + data, data[:-1], STOP, data.replace(b"content_block_delta", b"error"), data.replace(b"\n", b"\r\n")):
        assert not watch.passes(b"%x\r\n%b\r\n" % (len(odd), odd), len(b"%x\r\n" % len(odd)))
    assert watch.output_bytes() == 2


def test_an_error_a_hole_and_a_missing_end_are_seen() -> None:
    watch, passed = watched(START + text(0, "x") + event("error", error={"type": "overloaded_error", "message": "Overloaded"}) + STOP)
    assert passed == START + text(0, "x")
    assert json.loads(watch.error)["error"]["message"] == "Overloaded"
    assert not watch.close()
    watch, passed = watched(START + text(0, "x"), b"event: content_block_delta\ndata: {oops\n\n", finish())
    assert passed == START + text(0, "x") + finish()
    assert watch.malformed == 1
    assert watch.close() and watch.rest == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    watch, _ = watched(START + text(0, "x") + finish()[:-30])
    assert not watch.close()
    watch, passed = watched(WHOLE.removesuffix(b"\n"))
    assert watch.close() and passed + watch.rest == WHOLE


@given(st.lists(st.sampled_from([START, PING, text(0, "a" * 40), call(1, "f", "{}"), finish(), b": hi\n\n", b"data: x\n\n"]), max_size=30))
def test_what_passes_is_always_a_part_of_what_came(events: list[bytes]) -> None:
    _, passed = watched(*events)
    whole = b"".join(events).replace(b"data: x\n\n", b"")
    assert whole.startswith(passed)


def test_long_streams_are_measured_and_not_kept() -> None:
    watch = AnthropicStream()
    watch.feed(START)
    one = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "ü" * 500})
    for _ in range(examples(600)):
        watch.feed(one)
    assert watch.output_bytes() == 1000 * examples(600)
