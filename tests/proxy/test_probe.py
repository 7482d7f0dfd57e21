"""Probes against real sockets: servers that answer, refuse, stall, cut, trickle and are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from apps.contracts.snapshot import BreakerPolicy, Endpoint, ProviderFragment, Target
from apps.proxy.breaker import Breakers
from apps.proxy.http.client import ClientLimits, Origin, Pool
from apps.proxy.probe import AGREE_SECONDS, MAX_ANSWER_BYTES, Prober, can_probe, probe
from apps.proxy.runtime import CompiledTarget
from apps.simulator.harness import SimulatorServer
from controlplane.launcher.redis import free_port

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def compiled(port: int, model: str = "m", path: str = "/v1") -> CompiledTarget:
    endpoint = Endpoint(name="main", base_url=f"http://127.0.0.1:{port}{path}")
    provider = ProviderFragment(id="p", name="sim", kind="openai", endpoints=[endpoint], allow_private_addresses=True)
    return CompiledTarget(Target(provider="sim", model=model), provider, endpoint, b"sk-secret", "")


def pool_of(port: int, connections: int = 4) -> Pool:
    return Pool(Origin("http", "127.0.0.1", port, allow_private=True), None, ClientLimits(connections=connections))


class Served:
    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[bytes] = []
        self.connections = 0


@asynccontextmanager
async def server(*says: bytes, then: str = "keep") -> AsyncIterator[Served]:
    """Says one of ``says`` to each request, the last again and again; then keeps the connection, closes it, or stalls."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        try:
            while True:
                served.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(says[min(len(served.requests), len(says)) - 1])
                if then == "close":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    served = Served(listening.sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        listening.close()


async def test_a_server_that_answers() -> None:
    async with server(OK) as served:
        pool = pool_of(served.port)
        assert await probe(pool, compiled(served.port), 10)
        assert await probe(pool, compiled(served.port), 10)
        assert served.connections == 1 and pool.idle == 1, "its connection is kept and used again"
        request = served.requests[0]
        assert request.startswith(b"GET /v1/models HTTP/1.1\r\n") and b"authorization: Bearer sk-secret\r\n" in request
        assert b"content-" not in request
        pool.close()


@pytest.mark.parametrize(
    ("status", "well"),
    [
        (200, True),
        (204, True),
        (404, True),
        (405, True),
        (401, False),
        (403, False),
        (429, False),
        (500, False),
        (502, False),
        (503, False),
    ],
)
async def test_what_a_status_says(status: int, well: bool) -> None:
    body = b"" if status == 204 else b"content-length: 0\r\n"
    async with server(b"HTTP/1.1 %d Says\r\n%b\r\n" % (status, body)) as served:
        pool = pool_of(served.port)
        assert await probe(pool, compiled(served.port), 10) is well
        pool.close()


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", id="cut"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="not HTTP"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="never final"),
    ],
)
async def test_what_is_no_answer(says: bytes) -> None:
    async with server(says, then="close") as served:
        pool = pool_of(served.port)
        assert not await probe(pool, compiled(served.port), 10)
        assert pool.open == 0 or await gone(pool)


async def gone(pool: Pool) -> bool:
    """A closed connection's room is free again, a moment later."""
    for _ in range(2_000):
        if pool.open == 0:
            return True
        await asyncio.sleep(0.005)
    return False


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"])
async def test_silence_is_a_no_and_holds_no_connection(says: bytes) -> None:
    async with server(says) as served:
        pool = pool_of(served.port)
        assert not await probe(pool, compiled(served.port), 0.2)
        assert await gone(pool)


async def test_nobody_listens() -> None:
    port = free_port()
    assert not await probe(pool_of(port), compiled(port), 10)


async def test_a_full_pool_is_a_no() -> None:
    """All connections stall: what a request would meet, too."""
    async with server(b"") as served:
        pool = pool_of(served.port, connections=1)
        connection = await pool.connect(10)
        assert not await probe(pool, compiled(served.port), 0.2)
        connection.abort()


async def test_a_kept_connection_that_the_server_closed_is_no_verdict() -> None:
    async with server(OK, then="close") as served:
        pool = pool_of(served.port)
        assert await probe(pool, compiled(served.port), 10)
        assert await probe(pool, compiled(served.port), 10), "asked again on a fresh one"
        pool.close()


async def test_a_very_long_list_is_not_read_to_its_end() -> None:
    size = 64 * MAX_ANSWER_BYTES
    async with server(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b" " * (2 * MAX_ANSWER_BYTES)) as served:
        pool = pool_of(served.port)
        assert await probe(pool, compiled(served.port), 10)
        assert await gone(pool)


async def test_cancelled_it_closes_its_connection() -> None:
    async with server(b"") as served:
        pool = pool_of(served.port)
        task = asyncio.create_task(probe(pool, compiled(served.port), 10))
        while not served.requests:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await gone(pool)


async def test_a_format_without_a_free_question() -> None:
    async with server(OK) as served:
        target = compiled(served.port)
        assert can_probe(target)
        target.request_heads = {"chat": target.request_heads["chat"]}
        assert not can_probe(target) and not await probe(pool_of(served.port), target, 10)
        assert served.connections == 0


async def test_the_simulated_provider_answers_and_bills_nothing() -> None:
    with SimulatorServer("sim-probe") as simulator:
        pool = pool_of(simulator.port)
        assert await probe(pool, compiled(simulator.port), 10)
        pool.close()


class Rig:
    """Open breakers of two models at one address, and a prober over them."""

    def __init__(self, port: int) -> None:
        self.now = asyncio.get_running_loop().time
        self.pool = pool_of(port)
        self.targets = {target.label: target for target in (compiled(port, "a"), compiled(port, "b"))}
        self.breakers = Breakers()
        for label in self.targets:
            for _ in range(2):
                self.breakers.of(label, BreakerPolicy(consecutive=2, open_ms=50_000)).failure(self.now())
        self.prober = Prober(self.breakers, self.targets.get, lambda origin: self.pool, self.now)

    def usable(self) -> list[bool]:
        """As soon as proxies had time to agree."""
        return [breaker.usable(self.now() + AGREE_SECONDS) for breaker in self.breakers]


async def test_one_question_serves_all_models_of_an_address() -> None:
    async with server(OK) as served:
        rig = Rig(served.port)
        assert rig.usable() == [False, False]
        await rig.prober.round()
        assert rig.usable() == [True, True] and len(served.requests) == 1
        assert {breaker.state for breaker in rig.breakers} == {"open"}, "a request decides, not the list of models"
        await rig.prober.round()
        assert len(served.requests) == 1, "nothing left to ask"
        rig.pool.close()


async def test_a_list_of_models_that_misled_is_not_asked_again() -> None:
    async with server(OK) as served:
        rig = Rig(served.port)
        await rig.prober.round()
        for breaker in rig.breakers:
            assert breaker.allows(rig.now() + AGREE_SECONDS)
            breaker.failure(rig.now() + AGREE_SECONDS)
        await rig.prober.round()
        assert rig.usable() == [False, False] and len(served.requests) == 1
        rig.pool.close()


async def test_a_no_changes_nothing() -> None:
    async with server(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", OK) as served:
        rig = Rig(served.port)
        before = [breaker.retry_at() for breaker in rig.breakers]
        await rig.prober.round()
        assert [breaker.retry_at() for breaker in rig.breakers] == before
        await rig.prober.round()
        assert rig.usable() == [True, True]
        rig.pool.close()


async def test_what_is_closed_forced_or_gone_is_not_asked() -> None:
    async with server(OK) as served:
        rig = Rig(served.port)
        first, second = rig.targets
        rig.breakers.force(first, "open", rig.now())
        del rig.targets[second]
        rig.breakers.of("closed", BreakerPolicy())
        await rig.prober.round()
        assert served.requests == []
