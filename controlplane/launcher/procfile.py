"""The Procfile's lines as processes to run: names, arguments and the environment that each may see."""

from __future__ import annotations

import re
import shlex
import signal
import string
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from honcho.environ import parse_procfile

PURE = ("proxy", "sim-east", "sim-west", "traffic", "agent")
"""Processes that must not see the owner's database, the master key or anybody's provider credentials."""

PURE_ENVIRONMENT = re.compile(r"PATH|HOME|LANG|LC_.*|TZ|TMPDIR|PYTHON.*|VIRTUAL_ENV|SSL_CERT_.*|BULKHEAD_.*")
PRIVATE_ENVIRONMENT = re.compile(r"BULKHEAD_(MASTER_KEY|SECRET_KEY|DATABASE_URL|REDIS_URL)(_FILE)?")

QUIET = ("postgres", "redis", "worker", "beat")
"""Processes whose own lines go to their logs only: other people's programs, at length about nothing."""

LAST_WORD = {"postgres": signal.SIGINT, "redis": signal.SIGTERM}
"""What the kernel sends when the launcher dies: the stores shut down cleanly, everything else is crash-safe by design."""

STOP_SIGNAL = {"postgres": signal.SIGINT}
"""Postgres: fast shutdown; SIGTERM would wait for every session to end."""


class ProcfileError(Exception):
    """The Procfile cannot be used; the message names the line."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process to keep alive. ``kind`` is its name in the Procfile; ``name`` is unique (``proxy-2``)."""

    name: str
    kind: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    stop_signal: int = signal.SIGTERM
    last_word: int = signal.SIGKILL
    quiet: bool = False


class Procfile:
    def __init__(self, path: Path) -> None:
        try:
            self._lines: Mapping[str, str] = parse_procfile(path.read_text()).processes
        except OSError as error:
            raise ProcfileError(f"{path} cannot be read: {error.strerror}") from None
        self.path = path

    def spec(self, kind: str, environment: Mapping[str, str], *, name: str | None = None) -> ProcessSpec:
        """The process of line ``kind`` with ``$NAME`` filled in from ``environment``."""
        line = self._lines.get(kind)
        if line is None:
            raise ProcfileError(f"{self.path} has no line {kind!r}")
        try:
            argv = tuple(string.Template(word).substitute(environment) for word in shlex.split(line))
        except (KeyError, ValueError) as error:
            raise ProcfileError(f"{self.path}, line {kind!r}: {error} is not set or not a $NAME") from None
        if "python" in argv:  # this very interpreter, whatever PATH says; ``nice`` may stand before it
            at = argv.index("python")
            argv = (*argv[:at], sys.executable, *argv[at + 1 :])
        if kind in PURE:
            environment = {k: v for k, v in environment.items() if PURE_ENVIRONMENT.fullmatch(k) and not PRIVATE_ENVIRONMENT.fullmatch(k)}
        return ProcessSpec(
            name=name or kind,
            kind=kind,
            argv=argv,
            environment=environment,
            stop_signal=STOP_SIGNAL.get(kind, signal.SIGTERM),
            last_word=LAST_WORD.get(kind, signal.SIGKILL),
            quiet=kind in QUIET,
        )
