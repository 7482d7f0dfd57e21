"""What is in the way is named with its remedy before anything starts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.launcher import keys, preflight, stores
from controlplane.launcher.instance import Instance, InstanceError, Lock
from controlplane.launcher.postgres import SUPERUSER, Postgres
from controlplane.launcher.preflight import PreflightError
from controlplane.launcher.redis import Redis


def test_a_taken_port_names_who_has_it_and_the_flag() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PreflightError, match=rf"process {os.getpid()}.*--web-port"):
            preflight.check_port("127.0.0.1", taken.getsockname()[1], "--web-port")


def test_a_free_port_passes_and_stays_free() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    preflight.check_port("127.0.0.1", port, "--web-port")
    preflight.check_port("127.0.0.1", port, "--web-port")


def test_a_foreign_address_is_named() -> None:
    with pytest.raises(PreflightError, match="not an address of this machine"):
        preflight.check_port("192.0.2.1", 8000, "--web-port")


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(PreflightError, match="free some space"):
        preflight.check_disk(tmp_path)


def test_an_unreachable_database_is_named_without_its_password() -> None:
    with pytest.raises(PreflightError, match="cannot be reached") as caught:
        preflight.check_database("postgresql://bulkhead:hunter2@127.0.0.1:1/bulkhead")
    assert "hunter2" not in str(caught.value)


def test_an_unreachable_redis_is_named_without_its_password() -> None:
    with pytest.raises(PreflightError, match="cannot be used") as caught:
        preflight.check_redis("redis://:hunter2@127.0.0.1:1/0")
    assert "hunter2" not in str(caught.value)


def test_an_old_redis_is_refused(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    assert preflight.check_redis(redis_server.url)
    monkeypatch.setattr("redis.Redis.info", lambda self, section: {"redis_version": "6.0.16"})
    with pytest.raises(PreflightError, match=r"needs 6\.2"):
        preflight.check_redis(redis_server.url)


def test_an_own_server_gets_the_proxies_role_or_says_how(postgres_server: Callable[..., Postgres]) -> None:
    server = postgres_server()
    import psycopg

    version, warnings = preflight.check_database(server.url())
    assert int(version.split(".")[0]) >= 16
    assert warnings == []
    with pytest.raises(PreflightError, match="CREATE ROLE bulkhead_proxy"):
        stores.own_proxy_role(server.url(), "new-password")
    superuser = server.url(user=SUPERUSER)
    url = stores.own_proxy_role(superuser, "new-password")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_user, current_database()").fetchone() == ("bulkhead_proxy", "bulkhead")


def test_a_second_launcher_on_the_same_data_is_refused(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "var")
    instance.make()
    with Lock(instance):
        assert instance.launcher() == os.getpid()
        with pytest.raises(InstanceError, match=rf"already runs.*{os.getpid()}.*manage.py down"), Lock(Instance(tmp_path / "var")):
            pass
    assert instance.launcher() is None
    assert not instance.lock_file.exists()


def test_the_lock_of_a_dead_launcher_holds_nobody_up(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "var")
    instance.make()
    instance.lock_file.write_text("1")
    with Lock(instance):
        assert instance.launcher() == os.getpid()


def test_secrets_are_private_made_once_and_distinct(tmp_path: Path) -> None:
    made = keys.make_all(tmp_path)
    assert keys.make_all(tmp_path) == made
    assert len(set(made.values())) == len(made)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o600}
    assert subprocess.run(["ls", tmp_path / "secrets"], capture_output=True, text=True, check=True).stdout.split() == sorted(made)
