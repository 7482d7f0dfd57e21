"""Embedded PostgreSQL by itself: starts, refuses strangers, recovers from every kind of death."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from controlplane.launcher import death
from controlplane.launcher.postgres import PROXY, Passwords, Postgres
from controlplane.launcher.postgres_place import PostgresError

Factory = Callable[..., Postgres]


def test_the_owner_gets_a_database_with_vector(postgres_server: Factory) -> None:
    server = postgres_server()
    with psycopg.connect(server.url()) as connection:
        assert connection.info.server_version >= 160000
        names = {row[0] for row in connection.execute("SELECT extname FROM pg_extension").fetchall()}
    assert names == {"plpgsql", "vector"}
    with psycopg.connect(server.url(user=PROXY)) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (PROXY,)


def test_passwords_and_socket_directory_keep_strangers_out(postgres_server: Factory) -> None:
    server = postgres_server()
    assert server.location.sockets.stat().st_mode & 0o777 == 0o700
    assert server.location.data.stat().st_mode & 0o777 == 0o700
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://bulkhead:wrong@/bulkhead?host={server.location.sockets}")


def test_committed_rows_survive_kill_9(postgres_server: Factory) -> None:
    server = postgres_server()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (1)")
    server.kill()
    server.start()
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]


def test_left_over_backend_and_reused_pid_do_not_stop_a_start(postgres_server: Factory) -> None:
    server = postgres_server()
    holding = psycopg.connect(server.url(), autocommit=True)
    backend = holding.info.backend_pid
    os.kill(backend, signal.SIGSTOP)  # a stopped backend does not notice its postmaster's death
    pid_file = server.location.data / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    server.kill()
    assert death.alive(backend)
    # The pid file now names a living process of some other program, as after a reboot of a container.
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]))
    server.start()
    assert not death.alive(backend)
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with contextlib.suppress(psycopg.Error):
        holding.close()


def test_a_second_server_on_the_same_data_is_refused(postgres_server: Factory) -> None:
    server = postgres_server()
    second = Postgres(server.home, passwords=server.passwords)
    with pytest.raises(PostgresError, match="already runs"):
        second.start()
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_data_of_another_version_is_refused_with_advice(postgres_server: Factory) -> None:
    server = postgres_server()
    server.stop()
    (server.location.data / "PG_VERSION").write_text("15\n")
    with pytest.raises(PostgresError, match="pg_dumpall"):
        server.start()


def test_a_vanished_database_is_not_silently_replaced(postgres_server: Factory) -> None:
    server = postgres_server()
    server.stop()
    server.location.data.rename(server.location.data.with_name("elsewhere"))
    again = Postgres(server.home, passwords=server.passwords)
    with pytest.raises(PostgresError, match="begin with an empty database"):
        again.start()
    (server.location.data.with_name("elsewhere")).rename(server.location.data)


def test_a_full_disk_is_named_before_anything_starts(postgres_server: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    server = postgres_server()
    server.stop()
    monkeypatch.setattr("controlplane.launcher.postgres_place.MINIMUM_FREE_BYTES", 1 << 62)
    with pytest.raises(PostgresError, match="free some space"):
        server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
def test_root_moves_what_the_service_user_cannot_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Path(tempfile.mkdtemp(prefix="bulkhead-elsewhere-", dir="/tmp"))
    elsewhere.chmod(0o711)
    monkeypatch.setattr("controlplane.launcher.postgres_place.ELSEWHERE", (elsewhere / "missing" / "there", elsewhere))
    monkeypatch.setattr("controlplane.launcher.postgres_place._runs", lambda wheel, user: False)  # as in a private checkout
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = Postgres(private / "postgres", passwords=Passwords.random(), settings={"fsync": "off"})
    try:
        server.start()
        assert server.location.data.is_relative_to(elsewhere)
        assert server.location.binaries.is_relative_to(elsewhere)
        assert server.location.data.stat().st_uid != 0
        assert private.stat().st_mode & 0o777 == 0o700
        again = Postgres(private / "postgres", passwords=server.passwords)
        assert again.location.data == server.location.data
    finally:
        server.stop()
        shutil.rmtree(elsewhere, ignore_errors=True)


def test_stop_leaves_no_process_and_no_lock(postgres_server: Factory) -> None:
    server = postgres_server()
    data, sockets = server.location.data, server.location.sockets
    server.stop()
    deadline = time.monotonic() + 30
    while death.processes_in(data) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not death.processes_in(data)
    assert not (data / "postmaster.pid").exists()
    assert list(sockets.iterdir()) == []
