"""A replica that hangs up is knocked at: out where nobody listens any more, in where it only closed what was idle. One of which nothing
is heard is asked, however many requests are still being sent there."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from apps.contracts.fleet import EndpointFacts, ReplicaEndpoint
from apps.proxy.engine import Engine
from apps.proxy.fleet import watch as watching
from apps.proxy.fleet.replicas import Fleet
from apps.proxy.fleet.watch import Watch
from apps.proxy.http import dial
from apps.proxy.http.client import Pool
from apps.proxy.runtime import Origin


class Flight:
    """An attempt, as far as the watch looks at it."""

    def __init__(self, target: Any, connection: Any, first_byte_ns: int) -> None:
        self.target, self.connection, self.first_byte_ns = target, connection, first_byte_ns


class Stage:
    """A watch over one replica on a port of this machine."""

    def __init__(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        self.origin = Origin("http", "127.0.0.1", port, True, "", 8, True)
        self.pool = Pool(dial.Origin("http", "127.0.0.1", port, allow_private=True))
        self.fleet = Fleet(loop.time)
        engine = SimpleNamespace(loop=loop, pool=lambda origin: self.pool, forget=lambda origin: None, in_flight=set(), on_hang_up=None)
        self.watch = Watch(cast(Engine, engine), self.fleet)
        self.pool.on_hang_up = lambda: engine.on_hang_up(self.origin)
        url = f"http://127.0.0.1:{port}"
        fact = ReplicaEndpoint(replica="one", organisation="o", deployment="chat", url=url, model="m", epoch=1, sequence=1)
        self.fleet.of("o", "chat")
        self.fleet.apply(EndpointFacts(epoch=1, sequence=1, whole=True, endpoints=[fact]))
        [self.replica] = next(iter(self.fleet)).replicas.values()
        self.replica.place = cast(Any, SimpleNamespace(origin=self.origin))

    def flights(self, *attempts: Any) -> None:
        """What runs there."""
        self.watch._engine.in_flight = set(attempts)

    async def knocked(self) -> None:
        """The knock that somebody's hanging up led to is over."""
        while self.watch._knocking:
            await asyncio.sleep(0.01)

    async def idle(self) -> None:
        """A connection that nobody uses."""
        connection = await self.pool.connect(5.0)
        self.pool.give_back(connection)


async def test_who_only_closes_what_was_idle_stays() -> None:
    visits: list[asyncio.StreamWriter] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(writer)
        await reader.read()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    stage = Stage(server.sockets[0].getsockname()[1])
    await stage.idle()
    while not visits:
        await asyncio.sleep(0.01)
    visits[0].close()
    while len(visits) < 2:
        await asyncio.sleep(0.01)
    await stage.knocked()
    assert stage.replica.why == "" and stage.replica.open
    assert stage.pool.open == 0 or stage.pool.idle == 0, "the knock's own connection is closed"
    server.close()


async def test_who_died_is_out() -> None:
    visits: list[asyncio.StreamWriter] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(writer)
        await reader.read()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    stage = Stage(server.sockets[0].getsockname()[1])
    await stage.idle()
    while not visits:
        await asyncio.sleep(0.01)
    server.close()
    visits[0].close()
    while stage.replica.why == "":
        await asyncio.sleep(0.01)
    assert stage.replica.why == "connection" and not stage.replica.open


async def test_who_lets_in_and_hangs_up_at_once_is_asked_again() -> None:
    """A process that dies closes one thing after the other."""
    doors: list[asyncio.Server] = []
    visits = 0

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        if visits == 2:
            doors[0].close()
        writer.close()

    doors.append(await asyncio.start_server(visited, "127.0.0.1", 0))
    stage = Stage(doors[0].sockets[0].getsockname()[1])
    await stage.idle()
    while stage.replica.why == "":
        await asyncio.sleep(0.01)
    assert visits == 2


async def test_other_peoples_connections_knock_nowhere() -> None:
    stage = Stage(9)
    stage.watch._hung_up(stage.origin._replace(port=10))
    assert not stage.watch._knocking
    stage.replica.why = "silence"
    stage.watch._hung_up(stage.origin)
    assert not stage.watch._knocking, "it is out, and asked already"
    assert watching.KNOCKS * watching.DYING_SECONDS < 1.0


async def test_requests_that_go_there_are_no_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(9)
    now = asyncio.get_running_loop().time()
    asked: list[str] = []
    monkeypatch.setattr(stage.watch, "_ask", lambda replica, place: asked.append(replica.id))

    def looked(*flights: tuple[float, bool]) -> bool:
        """Whether it is asked while these run there: (seconds since the last byte or since it was sent, whether bytes have come)."""
        asked.clear()
        stage.flights(
            *(
                Flight(
                    target=SimpleNamespace(seat=stage.replica), connection=SimpleNamespace(last_byte_at=now - ago), first_byte_ns=int(came)
                )
                for ago, came in flights
            )
        )
        stage.watch.look()
        return bool(asked)

    assert not looked((0.1, False))
    assert looked((3.0, False))
    assert looked((3.0, False), (1.0, False), (0.0, False)), "others are sent there every second"
    assert looked((3.0, True), (0.1, False)), "a stream that stands still"
    assert not looked((9.0, False), (0.5, True)), "another's bytes come"
    stage.replica.answered = now - 1.0
    assert not looked((9.0, False)), "it has answered a moment ago"
    stage.replica.answered, stage.replica.missed, stage.replica.since = 0.0, 1, now - 0.5
    looked((1.0, False), (0.0, False))
    assert stage.replica.missed == 1, "what was sent since changes nothing"
    looked((1.0, False), (0.0, True))
    assert stage.replica.missed == 0
