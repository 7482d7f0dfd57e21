"""Writes of one batch leave together, in order, and never after their connection's end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apps.proxy.http.outbox import FULL, MANY, Outbox, outbox_of


class Wire:
    """A transport that notes what was written to it, and fails as it is told."""

    def __init__(self, log: list[tuple[str, bytes]], name: str, error: Exception | None = None) -> None:
        self.log, self.name, self.error = log, name, error

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.log.append((self.name, data))


def test_keeps_the_order_and_waits_for_the_end_of_the_batch() -> None:
    async def main() -> None:
        log: list[tuple[str, bytes]] = []
        a: Any = Wire(log, "a")
        b: Any = Wire(log, "b")
        outbox = outbox_of(asyncio.get_running_loop())
        outbox.write(a, b"1")
        outbox.write(b, b"2")
        outbox.write(a, b"3")
        assert log == []
        await asyncio.sleep(0)
        assert log == [("a", b"1"), ("b", b"2"), ("a", b"3")]
        outbox.write(b, b"4")
        outbox.flush()
        assert log[3:] == [("b", b"4")]
        await asyncio.sleep(0)
        assert len(log) == 4

    asyncio.run(main())


@pytest.mark.parametrize("error", [RuntimeError("closed"), ValueError("anything")])
def test_a_connection_that_is_gone_keeps_nobody_else_waiting(error: Exception) -> None:
    async def main() -> None:
        log: list[tuple[str, bytes]] = []
        gone: Any = Wire(log, "gone", error)
        here: Any = Wire(log, "here")
        outbox = Outbox(asyncio.get_running_loop())
        outbox.write(gone, b"1")
        outbox.write(here, b"2")
        await asyncio.sleep(0)
        assert log == [("here", b"2")]
        outbox.write(here, b"3")
        await asyncio.sleep(0)
        assert log == [("here", b"2"), ("here", b"3")]

    asyncio.run(main())


def test_what_a_write_causes_to_be_written_leaves_in_the_next_batch() -> None:
    async def main() -> None:
        log: list[tuple[str, bytes]] = []
        outbox = Outbox(asyncio.get_running_loop())

        class Echo(Wire):
            def write(self, data: bytes) -> None:
                super().write(data)
                if data != b"again":
                    again: Any = self
                    outbox.write(again, b"again")

        echo: Any = Echo(log, "echo")
        outbox.write(echo, b"1")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert log == [("echo", b"1"), ("echo", b"again")]

    asyncio.run(main())


def test_a_fast_producer_is_not_held_in_memory() -> None:
    async def main() -> None:
        log: list[tuple[str, bytes]] = []
        wire: Any = Wire(log, "wire")
        outbox = Outbox(asyncio.get_running_loop())
        outbox.write(wire, b"first")
        outbox.write(wire, b"x" * (FULL + 1))
        assert len(log) == 2
        for _ in range(MANY + 1):
            outbox.write(wire, b"piece")
        assert len(log) == 2 + MANY
        await asyncio.sleep(0)
        assert log[-1] == ("wire", b"piece")
        assert len(log) == 3 + MANY

    asyncio.run(main())


def test_one_for_each_loop() -> None:
    async def mine() -> Outbox:
        loop = asyncio.get_running_loop()
        assert outbox_of(loop) is outbox_of(loop)
        return outbox_of(loop)

    assert asyncio.run(mine()) is not asyncio.run(mine())
