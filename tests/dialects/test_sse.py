"""Server-sent events are framed alike, however their bytes were cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.proxy.dialects import sse
from apps.proxy.dialects.sse import Event, Framer
from apps.proxy.dialects.translation import NotAnAnswer

BLOCKS = [
    b"data: one\n\n",
    b"event: name\ndata: two\n\n",
    b"event: name\ndata: two\ndata: more\n\n",
    b"event: \ndata: three\n\n",
    b"event: alone\n\n",
    b"data:tight\n\n",
    b"data: \n\n",
    b"data\n\n",
    b"data: id first\nid: 7\n\n",
    b"id: 7\ndata: after\n\n",
    b"event: a\nevent: b\ndata: four\n\n",
    b"data: before\nevent: late\n\n",
    b": a comment\n\n",
    b"\n",
    b"\n\n",
    b"event: half\n",
    "data: ü 👀\n\n".encode(),
    b"event: \xff\ndata: \xff\n\n",
    b"data: cr\r\n\r\n",
    b"retry: 5\n\n",
    b"no field of ours\n\n",
]


def framed(*pieces: bytes) -> list[Event]:
    framer = Framer()
    return [event for piece in pieces for event in framer.feed(piece)] + framer.close()


@given(st.lists(st.sampled_from(BLOCKS), max_size=8))
def test_events_are_the_same_whole_and_byte_by_byte(blocks: list[bytes]) -> None:
    data = b"".join(blocks)
    apart = framed(*(data[at : at + 1] for at in range(len(data))))
    assert framed(*blocks) == framed(data) == framed(b"", data) == framed(b"\n", data) == apart


@given(st.lists(st.sampled_from(BLOCKS), max_size=8), st.lists(st.integers(0, 200), max_size=12))
def test_events_are_the_same_however_they_are_cut(blocks: list[bytes], cuts: list[int]) -> None:
    data = b"".join(blocks)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assert framed(*(data[start:end] for start, end in pairwise(places))) == framed(data)


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"\xef\xbb\xbfdata: a\n\n", [("message", b"a")]),
        (b"event: x\r\ndata: a\r\n\r\n", [("x", b"a")]),
        (b"data: a\rdata: b\r\r", [("message", b"a\nb")]),
        (b": hi\n\ndata: a\n\n", [("message", b"a")]),
        (b"event: x\n\ndata: a\n\n", [("message", b"a")]),
        (b"data: a", [("message", b"a")]),
        (b"", []),
    ],
)
def test_events_by_the_standard(data: bytes, events: list[tuple[str, bytes]]) -> None:
    assert framed(data) == events
    assert framed(b": begun\n\n", data.removeprefix(b"\xef\xbb\xbf")) == events


@pytest.mark.parametrize("first", [b"", b"data: a\n\n"])
def test_an_event_beyond_measure_is_no_answer(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    assert len(framed(first + b"data: %b\n\n" % (b"x" * 90)))
    for pieces in ([b"data: " + b"x" * 200], [b"data: ", b"x" * 60, b"x" * 60], [b"data: " + b"x" * 60 + b"\n"] * 2):
        framer = Framer()
        framer.feed(first)
        with pytest.raises(NotAnAnswer):
            [framer.feed(piece) for piece in pieces]
