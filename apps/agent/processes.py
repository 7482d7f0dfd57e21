"""Engines as processes: started under a guardian, found again by a restarted agent, and ended with all that they started.

Each launch has a directory of its own, ``<state>/launches/<mark>/``, mode 0700: ``launch.json`` (it holds the environment: the guardian
removes it once read), ``meta.json`` (what the agent wants to know when it comes back), ``engine.json``, ``exit.json``, ``log``. The mark
stands in the environment of everything that the launch starts, so that leftovers are found even where session and parents say nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apps.agent.failures import StartError
from apps.agent.tail import tail_of

MARK = "BULKHEAD_LAUNCH"
STATE = "BULKHEAD_AGENT_STATE"
"""Environment of all that this agent starts: which launch, and which agent's directory."""
_GUARDIAN = Path(__file__).with_name("guardian.py")
CONNECT_SECONDS = 10.0


class Process:
    """One launch, connected to its guardian. ``exited`` is set when nothing of it is left; ``code`` then: the exit code, negative for a
    signal, None where nobody saw it. ``error``: why it could not even be run, else "". ``address``, ``near``: of ``drivers.Running``."""

    def __init__(self, directory: Path, meta: dict[str, Any], guardian: subprocess.Popen[bytes] | None) -> None:
        self.directory = directory
        self.meta = meta
        self.address = self.near = "127.0.0.1"
        self.pid = 0
        self.code: int | None = None
        self.error = ""
        self.exited = asyncio.Event()
        self._guardian = guardian
        self._writer: asyncio.StreamWriter | None = None
        self._listens: asyncio.Task[None] | None = None

    @property
    def mark(self) -> str:
        return self.directory.name

    def terminate(self) -> None:
        """SIGTERM to the engine's first process: it may finish what runs."""
        self._say({"signal": int(signal.SIGTERM)})

    def kill(self) -> None:
        """SIGKILL to the engine and all that it started."""
        self._say({"kill": True})

    async def end(self, grace: float) -> None:
        """SIGTERM, ``grace`` seconds, SIGKILL; returns when nothing is left."""
        if grace > 0:
            self.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self.exited.wait()
        if not self.exited.is_set():
            self.kill()
            try:
                async with asyncio.timeout(5.0):
                    await self.exited.wait()
            except TimeoutError:  # a guardian that does not do what it is told: past it
                await asyncio.to_thread(sweep, self.directory)
                await self.exited.wait()

    def lines(self, most: int) -> list[str]:
        """The end of its log, oldest first, credentials taken out."""
        return tail_of(self.directory / "log", most)

    def remember(self, meta: Mapping[str, Any]) -> None:
        """What ``adopt`` gives back from now on. Raises OSError."""
        self.meta = {**meta, "machine": machine_boot()}
        write_json(self.directory / "meta.json", self.meta)

    def leave(self) -> None:
        """Let go of it: its guardian waits for the next agent, so long as it was told to at the start."""
        if self._listens is not None:
            self._listens.cancel()
        if self._writer is not None:
            self._writer.close()

    def remove(self) -> None:
        """Drop what it left on the disk."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _say(self, message: dict[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _connect(self) -> None:
        """Raises StartError."""
        number = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            deadline = time.monotonic() + CONNECT_SECONDS
            while True:
                try:
                    reader, self._writer = await asyncio.open_unix_connection(f"/proc/self/fd/{number}/guardian.sock")
                    async with asyncio.timeout(CONNECT_SECONDS):
                        hello = json.loads(await reader.readline() or b"{}")
                    self.pid = int(hello.get("pid", 0))
                    break
                except (OSError, ValueError, TimeoutError) as error:
                    over = self._guardian is None or self._guardian.poll() is not None or (self.directory / "exit.json").exists()
                    if over or time.monotonic() > deadline:
                        raise StartError(f"its guardian does not answer: {error}") from None
                    await asyncio.sleep(0.01)
        finally:
            os.close(number)
        self._listens = asyncio.create_task(self._listen(reader), name=f"guardian of {self.mark}")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await reader.readline()
            except (OSError, ValueError):
                line = b""
            if not line:
                break
        await self._ended()

    async def _ended(self) -> None:
        if self._guardian is not None:
            await asyncio.to_thread(self._guardian.wait)
        last = read_json(self.directory / "exit.json")
        # Where the guardian was killed it could not finish its work; where it was not, this finds nothing.
        await asyncio.to_thread(sweep, self.directory)
        self.code = last.get("code") if isinstance(last.get("code"), int) else None
        self.error = str(last.get("error") or "")
        if self._writer is not None:
            self._writer.close()
        self.exited.set()


async def spawn(
    state: Path, *, argv: Sequence[str], environment: Mapping[str, str], directory: Path, orphan_seconds: float, meta: dict[str, Any]
) -> Process:
    """Start an engine. orphan_seconds: how long it may go on without an agent. meta: JSON-able, given back by ``adopt``.

    What cannot be executed is no error here: the process ends at once with code 127 and ``error`` set. Raises StartError, OSError.
    """
    mark = secrets.token_hex(16)
    place = state / "launches" / mark
    place.mkdir(mode=0o700, parents=True)
    marked = {**environment, MARK: mark, STATE: str(state)}
    launch = {"argv": list(argv), "environment": marked, "directory": str(directory), "orphan_seconds": orphan_seconds}
    meta = {**meta, "machine": machine_boot()}
    write_json(place / "meta.json", meta)
    write_json(place / "launch.json", launch)
    guardian = _guardian(place, {MARK: mark, STATE: str(state), "PATH": os.defpath})
    process = Process(place, meta, guardian)
    try:
        await process._connect()
    except StartError as error:
        if (place / "exit.json").exists():
            await process._ended()
            return process
        said = (place / "guardian.log").read_text(errors="replace").strip().rpartition("\n")[2]
        guardian.kill()
        guardian.wait()
        await asyncio.to_thread(sweep, place)
        raise StartError(f"{error} {said}".strip()) from None
    return process


def _guardian(place: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with open(place / "guardian.log", "wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARDIAN), str(place)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )


async def adopt(place: Path) -> Process | None:
    """Connect to a launch of an earlier agent. None: nothing of it runs any more; what was left of it has been ended."""
    meta = read_json(place / "meta.json")
    process = Process(place, meta, None)
    if meta.get("machine") == machine_boot() and not (place / "exit.json").exists():
        with contextlib.suppress(StartError, OSError):
            await process._connect()
            return process
    await asyncio.to_thread(sweep, place)
    return None


def launches(state: Path) -> list[Path]:
    """The directories of all launches of which anything is left on the disk."""
    try:
        return sorted(path for path in (state / "launches").iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def sweep(place: Path, seconds: float = 10.0) -> int:
    """End everything that a launch started, its guardian too; how many processes there were. Blocks until they are gone."""
    engine = read_json(place / "engine.json")
    same_machine = read_json(place / "meta.json").get("machine") == machine_boot()
    session, started = (int(engine.get("pid", 0)), int(engine.get("started", 0))) if same_machine else (0, 0)
    return _end(lambda: _of_launch(place.name, session, started), seconds)


def sweep_strays(state: Path, keep: set[str]) -> int:
    """End what this directory's agents started and none of the launches ``keep`` (marks) accounts for."""
    return _end(lambda: _strays(str(state), keep), 10.0)


def _end(find: Any, seconds: float) -> int:
    ended: set[int] = set()
    deadline = time.monotonic() + seconds
    while found := set(find()):
        ended |= found
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return len(ended)


def _of_launch(mark: str, session: int, started: int) -> Iterator[int]:
    """By session, as long as the number means what it meant; and by the mark in the environment."""
    ours = session > 0
    if ours:
        leader = _stat(session)
        ours = leader is None or (bool(started) and int(leader[19]) == started)
    wanted = f"{MARK}={mark}".encode()
    for pid in _living():
        fields = _stat(pid)
        if fields is None or fields[0] in ("Z", "X"):
            continue
        if (ours and int(fields[3]) == session) or wanted in _environment(pid):
            yield pid


def _strays(state: str, keep: set[str]) -> Iterator[int]:
    wanted = f"{STATE}={state}".encode()
    for pid in _living():
        environment = _environment(pid)
        if wanted not in environment:
            continue
        mark = next((entry[len(MARK) + 1 :].decode() for entry in environment if entry.startswith(MARK.encode() + b"=")), "")
        fields = _stat(pid)
        if mark not in keep and fields is not None and fields[0] not in ("Z", "X"):
            yield pid


def _living() -> Iterator[int]:
    me = os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != me:
            yield int(name)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _stat(pid: int) -> list[str] | None:
    """Fields of ``/proc/PID/stat`` from the third on: state, parent, group, session ... start time at 19."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def machine_boot() -> str:
    """Changes when the machine starts anew: process numbers of another boot mean nothing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, document: Any) -> None:
    """Whole or not at all, readable by the owner only. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
