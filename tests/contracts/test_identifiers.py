"""UUIDv7: valid, ordered by time, unique, also across a fork."""

from __future__ import annotations

import os
import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.identifiers import uuid7, uuid7_bytes, uuid7_unix_ms, uuid_text

TIMES = st.integers(0, 2**48 - 1)


@given(TIMES)
def test_the_timestamp_can_be_read_back(ms: int) -> None:
    value = uuid7(ms)
    assert uuid7_unix_ms(value) == uuid7_unix_ms(value.bytes) == ms
    assert value.version == 7
    assert value.variant == "specified in RFC 4122"


@given(TIMES, TIMES)
def test_later_ids_sort_after_earlier_ones_as_bytes_and_as_text(first: int, second: int) -> None:
    early, late = uuid7_bytes(min(first, second)), uuid7_bytes(max(first, second))
    if first != second:
        assert early < late
        assert uuid_text(early) < uuid_text(late)


@given(st.binary(min_size=16, max_size=16))
def test_text_is_the_canonical_one(raw: bytes) -> None:
    assert uuid_text(raw) == str(UUID(bytes=raw))


def test_many_ids_of_one_millisecond_differ() -> None:
    assert len({uuid7_bytes(1) for _ in range(20_000)}) == 20_000


def test_now_is_the_default() -> None:
    before = time.time_ns() // 1_000_000
    assert before <= uuid7_unix_ms(uuid7()) <= time.time_ns() // 1_000_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_repeat_its_parents_ids() -> None:
    uuid7_bytes()  # the pool is filled before the fork
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"".join(uuid7_bytes(1) for _ in range(50)))
        os._exit(0)
    os.close(write)
    mine = {uuid7_bytes(1) for _ in range(50)}
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    theirs = {data[at : at + 16] for at in range(0, len(data), 16)}
    assert len(theirs) == 50
    assert not mine & theirs
