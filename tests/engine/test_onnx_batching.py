"""Rows of many requests run together: whose turn it is, what is padded, what a hang-up and a failure do to the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.engine.onnx.batching import SHORT, UNLIKE, Abandoned, Batcher, Closed, Stop


class Model:
    """Gives each row's first number. opened: batches wait for it. batches: what was computed, and how many rows were abandoned."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.opened.set()
        self.batches: list[list[Sequence[int]]] = []
        self.abandoned = 0
        self.poison: int | None = None

    def __call__(self, rows: Sequence[Sequence[int]], stop: Stop) -> list[int]:
        ended = threading.Event()
        stop.hook = ended.set
        while not self.opened.wait(0.01):
            if ended.is_set() or stop.is_set():
                self.abandoned += len(rows)
                raise Abandoned
        self.batches.append(list(rows))
        if any(row[0] == self.poison for row in rows):
            raise RuntimeError("poison")
        return [row[0] for row in rows]


def row(number: int, length: int = 3) -> list[int]:
    return [number] * length


async def begun(batcher: Batcher, count: int = 1) -> None:
    async with asyncio.timeout(120):
        while batcher.running < count:
            await asyncio.sleep(0.001)


async def test_what_comes_while_a_batch_runs_is_the_next_batch() -> None:
    model = Model()
    model.opened.clear()
    batcher = Batcher(model)
    first = asyncio.create_task(batcher.submit([row(0)]))
    await begun(batcher)
    others = [asyncio.create_task(batcher.submit([row(number)])) for number in range(1, 6)]
    await asyncio.sleep(0)
    assert (batcher.running, batcher.waiting) == (1, 5)
    model.opened.set()
    assert await asyncio.gather(first, *others) == [[number] for number in range(6)]
    assert [len(batch) for batch in model.batches] == [1, 5] and batcher.counts.rows == 6 and batcher.running == 0
    batcher.close()
    with pytest.raises(Closed):
        await batcher.submit([row(1)])


async def test_a_large_request_does_not_hold_up_small_ones() -> None:
    model = Model()
    model.opened.clear()
    batcher = Batcher(model, most_rows=4)
    first = asyncio.create_task(batcher.submit([row(0)]))
    await begun(batcher)
    large = asyncio.create_task(batcher.submit([row(number) for number in range(100, 140)]))
    await asyncio.sleep(0)
    small = [asyncio.create_task(batcher.submit([row(number)])) for number in (1, 2)]
    await asyncio.sleep(0)
    model.opened.set()
    await asyncio.gather(first, *small)
    assert {1, 2} <= {one[0] for batch in model.batches[:2] for one in batch}
    assert await large == list(range(100, 140))
    batcher.close()


async def test_long_texts_and_short_ones_go_apart_and_both_go() -> None:
    model = Model()
    model.opened.clear()
    batcher = Batcher(model, most_tokens=1_000)
    first = asyncio.create_task(batcher.submit([row(0)]))
    await begun(batcher)
    long = [asyncio.create_task(batcher.submit([row(number, 400)])) for number in (1, 2, 3)]
    short = [asyncio.create_task(batcher.submit([row(number, 5)])) for number in (4, 5)]
    await asyncio.sleep(0)
    model.opened.set()
    await asyncio.gather(first, *long, *short)
    assert [[one[0] for one in batch] for batch in model.batches] == [[0], [1, 2], [3], [4, 5]]
    batcher.close()


async def test_who_hangs_up_is_not_computed_and_a_batch_that_nobody_wants_is_ended() -> None:
    model = Model()
    model.opened.clear()
    batcher = Batcher(model, most_rows=2)
    first = asyncio.create_task(batcher.submit([row(0)] * 6))
    await begun(batcher)
    second = asyncio.create_task(batcher.submit([row(1)]))
    waiting = asyncio.create_task(batcher.submit([row(2)] * 9))
    await asyncio.sleep(0)
    for task in (waiting, first):
        task.cancel()
    await asyncio.wait({waiting, first})
    async with asyncio.timeout(120):
        while not model.abandoned:
            await asyncio.sleep(0.001)
    model.opened.set()
    assert await second == [1]
    assert {one[0] for batch in model.batches for one in batch} == {1} and model.abandoned == 2
    batcher.close()


async def test_a_request_that_breaks_a_batch_breaks_no_other() -> None:
    model = Model()
    model.opened.clear()
    batcher = Batcher(model)
    first = asyncio.create_task(batcher.submit([row(0)]))
    await begun(batcher)
    model.poison = 7
    others = [asyncio.create_task(batcher.submit([row(number), row(number)])) for number in (6, 7, 8)]
    await asyncio.sleep(0)
    model.opened.set()
    found = await asyncio.gather(first, *others, return_exceptions=True)
    assert found[:2] == [[0], [6, 6]] and found[3] == [8, 8] and str(found[2]) == "poison"
    assert await batcher.submit([row(9)]) == [9]
    batcher.close()


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=12), min_size=1, max_size=8), st.integers(1, 9), st.integers(1, 900))
def test_everybody_gets_their_own_whatever_comes(requests: list[list[int]], most_rows: int, most_tokens: int) -> None:
    model = Model()

    async def play() -> list[list[int]]:
        batcher = Batcher(model, most_rows, most_tokens)
        tasks = [
            batcher.submit([row(1000 * at + index, length) for index, length in enumerate(lengths)]) for at, lengths in enumerate(requests)
        ]
        found = await asyncio.gather(*tasks)
        batcher.close()
        return found

    assert asyncio.run(play()) == [[1000 * at + index for index in range(len(lengths))] for at, lengths in enumerate(requests)]
    for batch in model.batches:
        lengths = [len(one) for one in batch]
        assert len(batch) <= most_rows and (len(batch) == 1 or max(lengths) * len(batch) <= most_tokens)
        assert max(lengths) <= max(SHORT, min(lengths) * UNLIKE)
