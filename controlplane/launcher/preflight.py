"""Checks before anything starts. Each failure names its remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import shutil
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

NEEDED_BYTES = 1024 * 1024 * 1024
WANTED_FILES = 65536
FEW_FILES = 4096


class PreflightError(Exception):
    """Something on this machine is in the way; the message says what and what to do."""


def check_system() -> None:
    if not sys.platform.startswith("linux"):
        raise PreflightError("the launcher needs Linux (it rests on /proc and on the kernel's parent-death signal): run it in a container")


def check_disk(data_dir: Path) -> None:
    free = shutil.disk_usage(data_dir).free
    if free < NEEDED_BYTES:
        raise PreflightError(
            f"{data_dir} has {free // 2**20} MB free, Bulkhead needs {NEEDED_BYTES // 2**20} MB for its database and journals: "
            "free some space or use --data-dir"
        )


def raise_file_limit() -> str:
    """Lift the soft limit of open files towards the hard one; a sentence when that leaves few, else empty."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"only {now} open files are allowed: raise `ulimit -n` for many streams at once" if now < FEW_FILES else ""


def check_port(host: str, port: int, flag: str, *, wait: float = 0.0) -> None:
    """Somebody listening on ``port`` is named, with the flag that chooses another. ``wait``: a predecessor may still be ending."""
    deadline = time.monotonic() + wait
    while True:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
                return
            except OSError as error:
                if error.errno == errno.EACCES:
                    raise PreflightError(f"port {port} is reserved for root: choose one above 1023 with {flag}") from None
                if error.errno == errno.EADDRNOTAVAIL:
                    raise PreflightError(f"{host} is not an address of this machine") from None
                if error.errno != errno.EADDRINUSE:
                    raise PreflightError(f"port {port} cannot be used ({error.strerror}): choose another with {flag}") from None
        if time.monotonic() > deadline:
            raise PreflightError(f"port {port} is taken by {listener(port)}: stop it, or choose another port with {flag}")
        time.sleep(0.05)


def listener(port: int) -> str:
    """Who listens on TCP ``port``: ``nginx (process 123)``, as far as this user may know."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in os.scandir(f"/proc/{entry.name}/fd"):
                if os.readlink(descriptor.path) in inodes:
                    command = Path(f"/proc/{entry.name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    return f"`{command[:80]}` (process {entry.name})"
    return "another user's process"


def check_database(url: str) -> tuple[str, list[str]]:
    """An own server (``DATABASE_URL``): reachable and new enough. Returns its version and warnings."""
    import psycopg

    if not url.startswith(("postgresql://", "postgres://")):
        raise PreflightError("DATABASE_URL must start with postgresql://: correct it, or unset it to use the embedded PostgreSQL")
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            number = connection.info.server_version
            version = str(connection.info.parameter_status("server_version"))
            vector = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    except psycopg.Error as error:
        raise PreflightError(
            f"DATABASE_URL ({without_password(url)}) cannot be reached: {str(error).strip()}\n"
            "Correct it (user, password, host, database), or unset it to use the embedded PostgreSQL."
        ) from None
    if number < 160000:
        raise PreflightError(f"DATABASE_URL is PostgreSQL {version}, Bulkhead needs 16 or newer: upgrade it, or unset DATABASE_URL")
    return version, [] if vector else ["pgvector is not installed on this server: semantic search stays off"]


def check_redis(url: str) -> str:
    """An own server (``REDIS_URL``): reachable and new enough. Returns its version."""
    import redis

    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5) as connection:
            version = str(connection.info("server")["redis_version"])
    except (redis.RedisError, ValueError) as error:
        raise PreflightError(
            f"REDIS_URL ({without_password(url)}) cannot be used: {error}\nCorrect it, or unset it to use the embedded Redis."
        ) from None
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < (6, 2):
        raise PreflightError(f"REDIS_URL is Redis {version}, Bulkhead needs 6.2 or newer (or Valkey): upgrade it, or unset REDIS_URL")
    return version


def without_password(url: str) -> str:
    """``url`` fit for a terminal or a log."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@", 1)
