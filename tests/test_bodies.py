"""Bodies beyond the limit are refused before anything of them is stored, however their length is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.bodies import PATIENCE, BodyLimit

MOST = 1_000


class Sender:
    """A client that sends chunks, and may leave. got: what was answered; asked: how many chunks were taken."""

    def __init__(self, *chunks: int, length: str | None = None, leaves: bool = False) -> None:
        self.chunks, self.leaves = list(chunks), leaves
        self.headers = [] if length is None else [(b"content-length", length.encode())]
        self.got: list[dict[str, Any]] = []
        self.taken = 0

    async def receive(self) -> dict[str, Any]:
        if self.taken == len(self.chunks):
            return {"type": "http.disconnect"}
        self.taken += 1
        more = self.leaves or self.taken < len(self.chunks)
        return {"type": "http.request", "body": b"x" * self.chunks[self.taken - 1], "more_body": more}

    async def send(self, message: dict[str, Any]) -> None:
        self.got.append(message)

    @property
    def status(self) -> int:
        return int(self.got[0]["status"]) if self.got else 0


class Store:
    """An application that stores whole bodies first, as Django's handler does."""

    def __init__(self) -> None:
        self.stored: list[int] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        self.stored.append(size)
        await send({"type": "http.response.start", "status": 200, "headers": []})


def sent(sender: Sender) -> tuple[Sender, Store]:
    store = Store()
    scope = {"type": "http", "headers": sender.headers}
    asyncio.run(BodyLimit(store, most_bytes=MOST)(scope, sender.receive, sender.send))
    return sender, store


@pytest.mark.parametrize("length", ["1000", None])
def test_what_fits_is_passed_on(length: str | None) -> None:
    sender, store = sent(Sender(400, 600, length=length))
    assert (sender.status, store.stored) == (200, [1_000])


@pytest.mark.parametrize("length", ["1001", None])
def test_what_does_not_is_refused_once_and_stored_nowhere(length: str | None) -> None:
    sender, store = sent(Sender(400, 601, length=length))
    assert (sender.status, store.stored) == (413, [])
    assert [message["type"] for message in sender.got] == ["http.response.start", "http.response.body"]
    assert b"At most 10 MB" in sender.got[1]["body"]


def test_without_end_it_is_not_read_for_ever() -> None:
    sender, store = sent(Sender(*[MOST] * 100, length="100000"))
    assert (sender.status, store.stored) == (413, []) and sender.taken <= PATIENCE + 1


@pytest.mark.parametrize("length", ["5000", None])
def test_whoever_leaves_is_answered_nothing(length: str | None) -> None:
    sender, store = sent(Sender(600, 600, length=length, leaves=True))
    assert (sender.got, store.stored) == ([], [])


def test_other_protocols_pass() -> None:
    store = Store()

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    asyncio.run(BodyLimit(store)({"type": "lifespan"}, gone, gone))
    assert store.stored == []
