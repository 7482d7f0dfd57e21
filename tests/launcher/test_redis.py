"""Embedded Redis by itself."""

from __future__ import annotations

import socket
import threading

import pytest
import redis

from controlplane.launcher import stores
from controlplane.launcher.redis import Redis, RedisError


def test_answers_only_with_the_password(redis_server: Redis) -> None:
    assert redis.Redis.from_url(redis_server.url).ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=redis_server.port).ping()


def test_proxies_have_a_user_who_sees_no_queues(redis_server: Redis) -> None:
    proxy = redis.Redis.from_url(redis_server.proxy_url)
    assert proxy.ping()
    with pytest.raises(redis.exceptions.NoPermissionError):
        proxy.lrange("alerts", 0, -1)


def test_which_redis_proxies_get(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded one as their own user; on the operator's own server only what the operator says."""
    monkeypatch.delenv("BULKHEAD_PROXY_REDIS_URL", raising=False)
    assert stores.proxy_redis(redis_server) == redis_server.proxy_url
    assert stores.proxy_redis("redis://:owner@example.test/0") == ""
    monkeypatch.setenv("BULKHEAD_PROXY_REDIS_URL", "redis://proxy@example.test/0")
    assert stores.proxy_redis("redis://:owner@example.test/0") == "redis://proxy@example.test/0"


def test_accepted_work_survives_kill_9(redis_server: Redis) -> None:
    redis.Redis.from_url(redis_server.url).lpush("alerts", "one")
    redis_server.kill()
    redis_server.start()
    assert redis.Redis.from_url(redis_server.url).lrange("alerts", 0, -1) == [b"one"]


def test_a_left_over_server_is_ended_first(redis_server: Redis) -> None:
    second = Redis(redis_server.home, port=redis_server.port, password=redis_server.password)
    second.start()
    assert redis_server.process is not None
    assert redis_server.process.wait(60) != 0
    second.stop()


def test_a_taken_port_ends_with_advice(redis_server: Redis, tmp_path: pytest.TempPathFactory) -> None:
    other = Redis(tmp_path / "redis", port=redis_server.port)  # type: ignore[operator]
    with pytest.raises(RedisError, match="ended with code"):
        other.start()
    other.stop()


def test_a_port_that_is_let_go_meanwhile_is_taken(redis_server: Redis) -> None:
    redis_server.stop()
    holder = socket.create_server(("127.0.0.1", redis_server.port))
    timer = threading.Timer(0.5, holder.close)
    timer.start()
    redis_server.start()
    timer.join()
    assert redis_server.answers()


def test_the_configuration_with_the_password_is_private(redis_server: Redis) -> None:
    assert (redis_server.home / "redis.conf").stat().st_mode & 0o777 == 0o600
