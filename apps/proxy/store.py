"""The only file of the proxy with SQL: config deltas, heartbeats, leases, past requests, notifications.

The proxy's role may EXECUTE the functions of schema ``proxy_api`` and nothing else. Two connections: one listens (``bulkhead_config``,
``bulkhead_recall``, ``bulkhead_replicas``), one calls. Everything reconnects by itself with back-off; while Postgres is away calls fail
at once with ``StoreAway`` and the proxy goes on with what it holds. A server that hangs, or a network that swallows packets, is away too:
a call that gets no answer in time ends its connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from apps.contracts.fleet import REPLICAS_CHANNEL, EndpointFacts, ReplicaEndpoint
from apps.contracts.leases import RECALL_CHANNEL, LeaseReturn, LeaseState, LeaseWant
from apps.contracts.snapshot import Change, Delta
from apps.proxy.errors import StartError

log = logging.getLogger("bulkhead.store")

CONFIG_CHANNEL = "bulkhead_config"
POLL_SECONDS = 5.0
"""The backstop for a lost notification; also the heartbeat's rhythm."""
CONNECT_SECONDS = 3
BACKOFF_SECONDS = (0.1, 2.0)
CALL_SECONDS = 4.0
"""A call without an answer for so long ends its connection; below the leases' own patience."""
FETCH_SECONDS = 30.0
"""The same for a delta, which may be the whole config."""
_PROBES = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "15000"}
"""So that the listening connection notices within half a minute that nobody is there any more."""

_encode = msgspec.json.Encoder().encode
_GRANT = "SELECT * FROM proxy_api.lease_grant(%s, %s::jsonb)"
_RETURN = "SELECT * FROM proxy_api.lease_return(%s, %s::jsonb)"
_REPLICAS = "SELECT epoch, sequence, whole, endpoint FROM proxy_api.proxy_replicas(%s, %s)"
_SYNC = "SELECT * FROM proxy_api.lease_sync(%s)"


class StoreAway(Exception):
    """Postgres does not answer."""


class Store:
    """on_config(head), on_recall(window), on_replicas(sequence), on_clock(offset_us): called on the event loop.

    Raises StartError for a URL that is none."""

    def __init__(self, url: str, boot_id: str) -> None:
        try:
            self._url = make_conninfo("", **{**_PROBES, **conninfo_to_dict(url)})
        except psycopg.ProgrammingError as error:
            raise StartError(f"BULKHEAD_PROXY_DATABASE_URL cannot be read: {str(error).strip()}") from None
        self._boot = boot_id
        self._calls: psycopg.AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stopping = False
        self.connected = False
        self.version = 0
        """The version this proxy runs: what the next heartbeat acknowledges."""
        self.state = "starting"
        self.detail: dict[str, Any] = {}
        self.gauges: Callable[[], dict[str, Any]] = dict
        """What each heartbeat says beside ``detail``, as it is at that moment: it changes all the time and hurries no heartbeat."""
        self.identity: dict[str, Any] = {}
        self.on_config: Callable[[int], None] = lambda head: None
        self.on_recall: Callable[[int], None] = lambda window: None
        self.on_replicas: Callable[[int], None] = lambda sequence: None
        self.on_clock: Callable[[int], None] = lambda offset_us: None

    # --- calls ---

    async def _query(self, query: str, *values: Any, seconds: float = CALL_SECONDS) -> list[tuple[Any, ...]]:
        async with self._lock:
            connection = self._calls
            if connection is None:
                raise StoreAway("Postgres is away")
            timer = asyncio.get_running_loop().call_later(seconds, _hang_up, connection)
            try:
                cursor = await connection.execute(query, values)
                return await cursor.fetchall() if cursor.description is not None else []
            except psycopg.OperationalError as error:
                await self._lost(error)
                raise StoreAway(str(error)) from error
            except asyncio.CancelledError:
                # the answer may still be on its way: this connection cannot be trusted with another question
                self._calls = None
                self.connected = False
                self._wake.set()
                await connection.close()
                raise
            finally:
                timer.cancel()

    async def _lost(self, error: Exception) -> None:
        if self.connected:
            log.warning("Postgres went away: %s", str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
        self.connected = False
        connection, self._calls = self._calls, None
        self._wake.set()
        if connection is not None:
            await connection.close()

    async def lease_grant(self, wants: Sequence[LeaseWant]) -> list[LeaseState]:
        return _states(await self._query(_GRANT, self._boot, _encode(wants).decode()))

    async def lease_return(self, returns: Sequence[LeaseReturn]) -> list[LeaseState]:
        return _states(await self._query(_RETURN, self._boot, _encode(returns).decode()))

    async def lease_sync(self) -> list[LeaseState]:
        return _states(await self._query(_SYNC, self._boot))

    async def request_record(self, id: UUID, key_id: str) -> dict[str, Any] | None:
        rows = await self._query("SELECT proxy_api.request_record(%s, %s)", id, key_id)
        found: dict[str, Any] | None = rows[0][0]
        return found

    async def response_put(self, key: str, id: str, previous: str, organisation: str, seconds: int, size: int, sealed: bytes) -> None:
        """size: bytes of what is sealed. Its earlier turns are kept as long as this one."""
        await self._query(
            "SELECT proxy_api.response_put(%s, %s, %s, %s, %s, %s, %s)", key, id, previous, organisation, seconds, size, sealed
        )

    async def response_chain(self, key: str, id: str, turns: int, size: int) -> list[tuple[str, str, int, bytes]]:
        """A stored response and its earlier turns, newest first: (id, the turn before it, milliseconds since the epoch, sealed)."""
        rows = await self._query("SELECT * FROM proxy_api.response_chain(%s, %s, %s, %s)", key, id, turns, size)
        return [(row[0], row[1], row[2], bytes(row[3])) for row in rows]

    async def response_drop(self, key: str, id: str) -> bool:
        rows = await self._query("SELECT proxy_api.response_drop(%s, %s)", key, id)
        return bool(rows[0][0])

    async def config_delta(self, base: int) -> Delta:
        """What leads from ``base`` to the head. Base 0 gives the whole config."""
        rows = await self._query("SELECT version, section, object_id, body FROM proxy_api.config_delta(%s)", base, seconds=FETCH_SECONDS)
        changes = [Change(section, id, None if body is None else bytes(body)) for _, section, id, body in rows if section]
        return Delta(base, rows[0][0] if rows else base, changes)

    async def heartbeat(self) -> int:
        """Tell what we run and how we are; gives the head version. Measures the clock's offset by the round trip's middle."""
        before = time.time_ns()
        rows = await self._query(
            "SELECT now_ms, head FROM proxy_api.heartbeat(%s, %s, %s, %s::jsonb)",
            self._boot,
            self.version,
            self.state,
            _encode({**self.detail, **self.gauges()}).decode(),
        )
        after = time.time_ns()
        now_ms, head = rows[0]
        self.on_clock(now_ms * 1000 - (before + after) // 2000)
        return int(head or 0)

    async def proxies_live(self) -> int:
        """Proxies that were heard of lately, this one among them. Raises StoreAway."""
        rows = await self._query("SELECT proxy_api.proxies_live()")
        return int(rows[0][0])

    async def replica_facts(self, epoch: int, after: int) -> EndpointFacts | None:
        """Endpoints of replicas that changed after (epoch, after); (0, 0) gives all. None where the control plane knows no replicas.
        Raises StoreAway, and ``msgspec.ValidationError`` for what is none."""
        try:
            rows = await self._query(_REPLICAS, epoch, after)
        except (psycopg.errors.UndefinedFunction, psycopg.errors.InsufficientPrivilege):
            return None  # an older control plane
        if not rows:
            return None
        endpoints = [msgspec.convert(row[3], ReplicaEndpoint) for row in rows if row[3] is not None]
        return EndpointFacts(epoch=rows[0][0], sequence=rows[0][1], whole=rows[0][2], endpoints=endpoints)

    # --- upkeep ---

    async def run(self) -> None:
        """Keeps both connections, listens, polls as a backstop; until cancelled."""
        listening = asyncio.create_task(self._listen())
        try:
            pause = BACKOFF_SECONDS[0]
            while True:
                if self._calls is None:
                    try:
                        await self._connect()
                        pause = BACKOFF_SECONDS[0]
                    except (psycopg.Error, OSError) as error:
                        log.debug("no connection to Postgres: %s", error)
                        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                        pause = min(pause * 2, BACKOFF_SECONDS[1])
                        continue
                try:
                    self.on_config(await self.heartbeat())
                except (StoreAway, psycopg.Error) as error:
                    log.warning("the heartbeat failed: %s", error)
                    await asyncio.sleep(pause)
                    continue
                self._wake.clear()
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            if self._calls is not None:
                await self._calls.close()

    def beat_soon(self) -> None:
        """Heartbeat now rather than at the next poll: a new version is acknowledged within milliseconds."""
        self._wake.set()

    async def _connect(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=CONNECT_SECONDS)
        connection.prepare_threshold = 1
        who = self.identity
        timer = asyncio.get_running_loop().call_later(CALL_SECONDS, _hang_up, connection)
        try:
            await connection.execute(
                "SELECT proxy_api.register(%s, %s, %s, %s, %s, %s)",
                (self._boot, who["name"], who["host"], who["pid"], who["public_url"], who["admin_url"]),
            )
        except BaseException:
            await connection.close()
            raise
        finally:
            timer.cancel()
        self._calls = connection
        self.connected = True

    async def _listen(self) -> None:
        pause = BACKOFF_SECONDS[0]
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=CONNECT_SECONDS)
                async with connection:
                    for channel in (CONFIG_CHANNEL, RECALL_CHANNEL, REPLICAS_CHANNEL):
                        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    pause = BACKOFF_SECONDS[0]
                    self._wake.set()  # whatever was said while we could not hear
                    while True:
                        async for note in connection.notifies(timeout=0):
                            self._heard(note.channel, note.payload)
                        await _readable(connection.fileno())
            except (psycopg.Error, OSError) as error:
                log.debug("not listening: %s", error)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, BACKOFF_SECONDS[1])

    def _heard(self, channel: str, payload: str) -> None:
        try:
            number = int(payload)
        except ValueError:
            log.warning("unreadable notification on %s: %r", channel, payload[:80])
            return
        if channel == CONFIG_CHANNEL:
            self.on_config(number)
        elif channel == REPLICAS_CHANNEL:
            self.on_replicas(number)
        else:
            self.on_recall(number)


async def _readable(descriptor: int) -> None:
    """Until there is something to read, be it the end. ``notifies`` without a timeout would look ten times a second."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


def _hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    """End a connection under a call that waits for its answer. Cancelling the call instead would wait for the server's word."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as handle:
            handle.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.OperationalError):
        return  # closed already


def _states(rows: list[tuple[Any, ...]]) -> list[LeaseState]:
    return [
        LeaseState(
            budget=row[0],
            lease=row[1] or 0,
            window=row[2] or 0,
            generation=row[3] or 0,
            granted=row[4] or 0,
            returned=row[5] or 0,
            starts_at_ms=row[6] or 0,
            ends_at_ms=row[7] or 0,
            limit=row[8] or 0,
            spent=row[9] or 0,
            leased=row[10] or 0,
        )
        for row in rows
    ]
