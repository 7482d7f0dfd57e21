"""A stream is the same however its bytes are cut: chunks from transport to transport, parsed, split in the middle of anything."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.contracts.usage import Tokens
from apps.proxy.dialects.openai import OpenAIStream
from apps.proxy.http.client import Connection, Pool, _chunk
from apps.proxy.http.dial import Origin
from tests.proxy.http.memory import Loop, Transport
from tests.scale import examples

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Relay:
    """What an attempt does with a stream, without the rest of the proxy."""

    def __init__(self, connection: Connection, watch: OpenAIStream, *, raw: bool) -> None:
        self.connection, self.watch, self.use_raw = connection, watch, raw
        self.given = b""
        self.raws = 0
        self.taken = self.bodies = b""
        self.ended = False
        self.error: Exception | None = None

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        assert status == 200
        if self.use_raw:
            self.connection.raw = self.raw
            self.connection.raw_to = self.write

    def raw(self, wire: bytes, start: int) -> bool:
        if not self.watch.passes(wire, start):
            return False
        self.raws += 1
        assert wire[:start].lower() == b"%x\r\n" % (len(wire) - start - 2)
        self.taken += wire
        self.bodies += wire[start:-2]
        return True

    def write(self, wire: bytes) -> None:
        """One or more chunks: exactly those that were taken since the last write, in order."""
        assert wire == self.taken
        self.given += self.bodies
        self.taken = self.bodies = b""

    def data(self, chunk: bytes) -> None:
        assert not self.taken
        self.given += self.watch.feed(chunk)

    def flush(self) -> None:
        pass

    def end(self) -> None:
        self.ended = True

    def failed(self, error: Exception) -> None:
        self.error = error


def relay(segments: list[bytes], *, raw: bool, hide_usage: bool = False) -> Relay:
    connection = Connection(Pool(Origin("http", "127.0.0.1", 1)), Loop())  # type: ignore[arg-type]
    connection.connection_made(Transport())  # type: ignore[arg-type]
    sink = Relay(connection, OpenAIStream(hide_usage=hide_usage), raw=raw)
    connection.send(b"GET / HTTP/1.1\r\n\r\n", sink, replay_safe=False)
    for segment in segments:
        if sink.ended or sink.error is not None:
            break
        connection.data_received(segment)
    return sink


def delta(text: str, tail: str = "") -> bytes:
    choice = f'{{"index":0,"delta":{{"content":{json.dumps(text)}}},"finish_reason":null}}'
    return f'data: {{"id":"c","object":"chat.completion.chunk","choices":[{choice}]{tail}}}\n\n'.encode()


FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
DONE = b"data: [DONE]\n\n"

event = st.one_of(
    st.text(max_size=20).map(delta),
    st.text(max_size=20).map(lambda text: delta(text, ',"usage":null')),
    st.sampled_from(['"usage":{', "[DONE]", '"error"', "data: x\n\n", "\r\n"]).map(delta),
    st.just(b": ping\n\n"),
    st.just(b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """(the body, the wire in segments): chunked anyhow, segmented anyhow."""
    events = [delta("first"), *draw(st.lists(event, max_size=12)), FINISH, USAGE, DONE]
    body = b"".join(events)
    if draw(st.booleans()):
        chunks = events
    else:
        cuts = sorted(draw(st.lists(st.integers(1, len(body) - 1), max_size=8, unique=True)))
        chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    wires = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    if draw(st.booleans()):
        segments = [HEAD, *wires, b"0\r\n\r\n"]
    else:
        whole = HEAD + b"".join(wires) + b"0\r\n\r\n"
        cuts = sorted(draw(st.lists(st.integers(1, len(whole) - 1), max_size=20, unique=True)))
        segments = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return body, segments


@given(streams(), st.booleans())
@settings(max_examples=examples(300), deadline=None)
def test_bytes_cut_anyhow_say_the_same(stream: tuple[bytes, list[bytes]], raw: bool) -> None:
    body, segments = stream
    sink = relay(segments, raw=raw)
    assert sink.ended and sink.error is None
    assert sink.watch.close()
    assert sink.given + sink.watch.rest == body
    assert sink.watch.tokens == Tokens(input=7, output=3)
    assert not sink.watch.rest.replace(DONE, b"")


@given(streams())
@settings(max_examples=examples(100), deadline=None)
def test_the_usage_chunk_is_hidden_and_nothing_else(stream: tuple[bytes, list[bytes]]) -> None:
    body, segments = stream
    sink = relay(segments, raw=True, hide_usage=True)
    assert sink.watch.close() and sink.given + sink.watch.rest == body.replace(USAGE, b"")


def test_ordinary_chunks_go_past_the_parser() -> None:
    wires = [b"%x\r\n%b\r\n" % (len(e), e) for e in [delta(f"word {i}") for i in range(50)]]
    end = b"".join(b"%X\r\n%b\r\n" % (len(e), e) for e in (FINISH, USAGE, DONE))
    sink = relay([HEAD, *wires, end + b"0\r\n\r\n"], raw=True)
    assert sink.ended and sink.raws >= 48 and sink.watch.close()


@pytest.mark.parametrize("size", [b"+5a", b"0x5a", b" 5a", b"5a ", b"5_a", b"5a;x=1", b"", b"-1"])
def test_only_plain_sizes_go_past_the_parser(size: bytes) -> None:
    sink = relay([HEAD, b"%x\r\n%b\r\n" % (len(delta("a")), delta("a")), size + b"\r\n" + delta("b") + b"\r\n"], raw=True)
    assert sink.raws == 0


def test_output_is_measured_in_bytes_of_text() -> None:
    texts = ["hé", "llo", " wörld"]
    wires = [b"%x\r\n%b\r\n" % (len(delta(t)), delta(t)) for t in texts]
    for raw in (True, False):
        assert relay([HEAD, *wires], raw=raw).watch.output_bytes() == sum(len(t.encode()) for t in texts)


LINE = re.compile(rb"([0-9a-fA-F]{1,6})\r\n")


@settings(max_examples=examples(300))
@given(before=st.binary(max_size=3), line=st.text("0019afAFgG \r\n;x", max_size=9), data=st.binary(max_size=4))
def test_a_size_line_is_digits_and_nothing_else(before: bytes, line: str, data: bytes) -> None:
    wire = before + line.encode() + b"\r\n" + data
    found = LINE.match(wire, len(before))
    size = int(found[1], 16) if found is not None else 0
    assert _chunk(wire, len(before)) == ((found.end(), found.end() + size + 2) if found is not None and size else (0, 0))
