"""The proxy's side of Postgres: a server that hangs is away, not waited for, and found again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest

from apps.contracts.leases import RECALL_CHANNEL
from apps.proxy import store as module
from apps.proxy.errors import StartError
from apps.proxy.store import Store, StoreAway
from tests.conftest import FreshDatabase

pytestmark = pytest.mark.kill


@contextlib.asynccontextmanager
async def running(url: str) -> AsyncIterator[Store]:
    store = Store(url, str(uuid4()))
    store.identity = {"name": "proxy-1", "host": "here", "pid": os.getpid(), "public_url": "", "admin_url": ""}
    task = asyncio.create_task(store.run())
    try:
        await until_connected(store)
        yield store
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_connected(store: Store) -> None:
    async with asyncio.timeout(60):
        while not store.connected:
            await asyncio.sleep(0.01)


def backend(database: FreshDatabase) -> int:
    """The server's process for the store's calls: the one that does not listen."""
    with psycopg.connect(database.superuser_url) as connection:
        row = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE usename = 'bulkhead_proxy' AND datname = %s AND query NOT LIKE 'LISTEN%%'",
            [database.name],
        ).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_call_to_a_hung_server_ends_and_the_next_one_finds_a_new_connection(
    fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 60.0)  # no heartbeat gets in between
    async with running(fresh_database.proxy_url) as store:
        assert await store.lease_sync() == []
        pid = backend(fresh_database)
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(StoreAway):
                await store._query("SELECT * FROM proxy_api.lease_sync(%s)", store._boot, seconds=0.3)
            assert time.monotonic() - began < 10, "psycopg's own cancellation would wait for the hung server"
            await until_connected(store)
            assert await store.lease_sync() == []
            assert backend_alive(pid)
        finally:
            os.kill(pid, signal.SIGCONT)


def backend_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_a_call_that_is_cancelled_leaves_no_half_read_connection(fresh_database: FreshDatabase) -> None:
    async with running(fresh_database.proxy_url) as store:
        call = asyncio.create_task(store._query("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until_connected(store)
        assert await store.lease_sync() == []


def test_a_url_that_is_none_stops_the_start() -> None:
    with pytest.raises(StartError, match="BULKHEAD_PROXY_DATABASE_URL"):
        Store("postgresql://[half", str(uuid4()))


async def test_what_is_notified_is_heard_after_a_silence_and_after_the_connection_was_lost(
    fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 60.0)  # nothing but the notification can tell it
    heard: list[int] = []

    def tell(*windows: int) -> None:
        with psycopg.connect(fresh_database.superuser_url) as connection:  # one transaction: they come together
            for window in windows:
                connection.execute("SELECT pg_notify(%s, %s)", [RECALL_CHANNEL, str(window)])

    async def until_heard(window: int) -> None:
        """Told again and again: a listener that connects just now misses what was said before."""
        async with asyncio.timeout(60):
            while window not in heard:
                await asyncio.to_thread(tell, window)
                await asyncio.sleep(0.02)

    async with running(fresh_database.proxy_url) as store:
        store.on_recall = heard.append
        await until_heard(1)
        await asyncio.sleep(0.3)  # longer than psycopg's own looks are apart
        await asyncio.to_thread(tell, 2, 3, 4)
        async with asyncio.timeout(60):
            while 4 not in heard:
                await asyncio.sleep(0.01)
        assert [window for window in heard if window != 1] == [2, 3, 4]
        with psycopg.connect(fresh_database.superuser_url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'bulkhead_proxy' AND datname = %s AND query LIKE 'LISTEN%%'",
                [fresh_database.name],
            )
        await until_heard(5)
