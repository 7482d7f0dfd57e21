"""The same call twice is made once: in one process, in two that share a Redis, and with Redis away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apps.proxy.errors import Refusal
from apps.proxy.idempotency import KEEP_SECONDS, MAX_KEPT_BYTES, Answer, Idempotency

SECRET = b"s" * 32


class Memory:
    """Redis as proxies use it, with a clock that tests turn; ``away`` makes every call fail."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.away = False

    def _here(self) -> None:
        if self.away:
            raise ConnectionError("away")

    async def claim(self, name: str, value: bytes, seconds: float) -> bytes | None:
        self._here()
        there = self.values.get(name)
        if there is None:
            self.values[name] = value
        return there

    async def renew(self, name: str, value: bytes, seconds: float) -> None:
        self._here()

    async def put(self, name: str, value: bytes, seconds: float) -> None:
        self._here()
        self.values[name] = value

    async def get(self, name: str) -> bytes | None:
        self._here()
        return self.values.get(name)

    async def drop(self, name: str, value: bytes) -> None:
        self._here()
        if self.values.get(name) == value:
            del self.values[name]


def answer(idem: Idempotency, body: bytes = b"{}", *, status: int = 200, text: bytes = b"hello") -> Answer:
    return Answer(idem.fingerprint_of("/v1/chat/completions", body), status, b"content-type: application/json\r\n", text, False, "r1")


def ask(idem: Idempotency, body: bytes = b"{}", *, key: str = "k1", header: bytes = b"abc", now: float = 0.0) -> Any:
    return idem.begin(idem.name_of(key, header), idem.fingerprint_of("/v1/chat/completions", body), now)


def name(idem: Idempotency, key: str = "k1", header: bytes = b"abc") -> str:
    return idem.name_of(key, header)


async def test_the_first_call_is_made_and_its_answer_given_again() -> None:
    idem = Idempotency(SECRET)
    assert await ask(idem) == ("new", "proxy", None)
    whole = answer(idem)
    idem.finish(name(idem), whole, 0.0)
    assert await ask(idem) == ("replayed", "proxy", whole)
    assert await ask(idem, now=KEEP_SECONDS + 1.0) == ("new", "proxy", None)


async def test_another_body_is_a_conflict_running_or_done() -> None:
    idem = Idempotency(SECRET)
    await ask(idem)
    refused = await ask(idem, b'{"other":1}')
    assert isinstance(refused, Refusal) and refused.code == "idempotency_conflict"
    idem.finish(name(idem), answer(idem), 0.0)
    refused = await ask(idem, b'{"other":1}')
    assert isinstance(refused, Refusal) and refused.code == "idempotency_conflict"


async def test_another_caller_with_the_same_key_is_another_call() -> None:
    idem = Idempotency(SECRET)
    await ask(idem)
    idem.finish(name(idem), answer(idem), 0.0)
    assert await ask(idem, b'{"other":1}', key="k2") == ("new", "proxy", None)


async def test_calls_join_the_one_that_runs() -> None:
    idem = Idempotency(SECRET)
    await ask(idem)
    joiners = [asyncio.create_task(ask(idem)) for _ in range(5)]
    await asyncio.sleep(0)
    assert idem.joined(name(idem)) and not any(task.done() for task in joiners)
    whole = answer(idem)
    idem.finish(name(idem), whole, 0.0)
    assert await asyncio.gather(*joiners) == [("joined", "proxy", whole)] * 5


async def test_when_the_call_fails_one_of_those_who_joined_makes_it() -> None:
    idem = Idempotency(SECRET)
    await ask(idem)
    joiners = [asyncio.create_task(ask(idem)) for _ in range(4)]
    await asyncio.sleep(0)
    idem.finish(name(idem), None, 0.0)
    for _ in range(5):
        await asyncio.sleep(0)
    done = [task for task in joiners if task.done()]
    assert [task.result()[0] for task in done] == ["new"]
    whole = answer(idem)
    idem.finish(name(idem), whole, 0.0)
    results = await asyncio.gather(*joiners)
    assert sorted(given for given, _, _ in results) == ["joined", "joined", "joined", "new"]


async def test_an_error_is_given_to_those_who_joined_and_not_kept() -> None:
    idem = Idempotency(SECRET)
    await ask(idem)
    joiner = asyncio.create_task(ask(idem))
    await asyncio.sleep(0)
    idem.finish(name(idem), answer(idem, status=400), 0.0)
    assert (await joiner)[2].status == 400
    assert (await ask(idem))[0] == "new"


async def test_two_proxies_make_one_call() -> None:
    memory = Memory()
    a, b = Idempotency(SECRET, memory, "a"), Idempotency(SECRET, memory, "b")
    assert await ask(a) == ("new", "fleet", None)
    other = asyncio.create_task(ask(b))
    await asyncio.sleep(0.02)
    assert not other.done()
    whole = answer(a)
    a.finish(name(a), whole, 0.0)
    assert await asyncio.wait_for(other, 60) == ("replayed", "fleet", whole)
    refused = await ask(b, b'{"other":1}')
    assert isinstance(refused, Refusal)
    assert b"hello" not in b"".join(memory.values.values())


async def test_a_proxy_that_fails_lets_the_other_one_make_the_call() -> None:
    memory = Memory()
    a, b = Idempotency(SECRET, memory, "a"), Idempotency(SECRET, memory, "b")
    await ask(a)
    other = asyncio.create_task(ask(b))
    await asyncio.sleep(0.02)
    a.finish(name(a), None, 0.0)
    assert await asyncio.wait_for(other, 60) == ("new", "fleet", None)


async def test_without_redis_it_holds_within_the_process_and_says_so() -> None:
    memory = Memory()
    memory.away = True
    idem = Idempotency(SECRET, memory, "a")
    assert await ask(idem) == ("new", "proxy", None)
    whole = answer(idem)
    idem.finish(name(idem), whole, 0.0)
    assert await ask(idem) == ("replayed", "proxy", whole)


async def test_what_is_kept_is_bounded() -> None:
    idem = Idempotency(SECRET)
    size = 3 * 1024 * 1024
    for number in range(30):
        header = b"%d" % number
        await ask(idem, header=header)
        idem.finish(name(idem, header=header), answer(idem, text=b"x" * size), 0.0)
    assert idem._kept_bytes <= MAX_KEPT_BYTES
    assert (await ask(idem, header=b"0"))[0] == "new"
    assert (await ask(idem, header=b"29"))[0] == "replayed"


@pytest.mark.parametrize("header", [b"", b"x" * 256])
def test_a_key_has_a_length(header: bytes) -> None:
    assert Idempotency.check(header) is not None


def test_what_other_installations_kept_is_not_read() -> None:
    a, b = Idempotency(SECRET), Idempotency(b"t" * 32)
    assert a.name_of("k", b"h") != b.name_of("k", b"h")
    assert b._open(a._fernet.encrypt(b"anything")) is None
