"""Keeps processes alive: starts them, starts them again when they die, and stops them in an order.

One supervisor in one thread watches all of them. The kernel ends every child when the supervisor dies
(``controlplane.launcher.death``), whatever it dies of, so nothing is ever left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from apps.contracts.logs import line_for_people
from controlplane.launcher import death
from controlplane.launcher.procfile import ProcessSpec

FIRST_DELAY = 0.05
LONGEST_DELAY = 10.0
STEADY_SECONDS = 10.0
"""A child that lived this long starts its next back-off from the beginning."""
LOG_BYTES = 16 * 1024 * 1024
"""A log file longer than this is moved to ``<name>.log.1`` first."""
LINE_BYTES = 64 * 1024


class Child:
    """One supervised process over all its lives."""

    def __init__(self, spec: ProcessSpec, log: Path, colour: str) -> None:
        self.spec = spec
        self.log = log
        self.colour = colour
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.starts = 0
        self.delay = FIRST_DELAY
        self.last_code: int | None = None
        self.wanted = True
        self.exited = asyncio.Event()
        self._retry: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    def tail(self, lines: int = 15) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


class Supervisor:
    """``on_change`` is called after every start, so that whoever publishes the pids can do so."""

    def __init__(self, *, directory: Path, logs: Path, printer: Printer | None, on_change: Callable[[], None] = lambda: None) -> None:
        self.children: dict[str, Child] = {}
        self.on_change = on_change
        self._directory = directory
        self._logs = logs
        self._printer = printer
        self._colours = get_colours()
        self._loop = asyncio.get_running_loop()
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        death.adopt_orphans()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    # ---- starting ----------------------------------------------------------------------------------------------

    def start(self, spec: ProcessSpec) -> Child:
        """Start ``spec`` and keep it alive from now on."""
        child = Child(spec, self._logs / f"{spec.name}.log", next(self._colours))
        if self._printer is not None:
            self._printer.width = max(self._printer.width, len(spec.name))
        self.children[spec.name] = child
        self._spawn(child)
        return child

    async def run(self, spec: ProcessSpec) -> Child:
        """Run ``spec`` once to its end; ``last_code`` and ``tail()`` of the result tell how it went."""
        child = self.start(spec)
        child.wanted = False
        if child.process is not None:
            await child.exited.wait()
        del self.children[spec.name]
        return child

    def _spawn(self, child: Child) -> None:
        child._retry = None
        if not child.wanted:
            return
        spec = child.spec
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        try:
            child.process = subprocess.Popen(
                spec.argv,
                env=dict(spec.environment),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,  # Ctrl-C reaches the supervisor only, which stops in order
                preexec_fn=death.child_guard(spec.last_word),
            )
        except OSError as error:
            os.close(read_end)
            self.say(child, f"cannot be started: {error}")
            self._again(child)
            return
        finally:
            os.close(write_end)
        _step_back(child.process.pid, spec.argv)
        child.started_at = time.monotonic()
        child.starts += 1
        child.exited.clear()
        output = _open_log(child.log)
        self._loop.add_reader(read_end, self._drain, child, read_end, output, bytearray())
        self.on_change()

    def _again(self, child: Child) -> None:
        child._retry = self._loop.call_later(child.delay, self._spawn, child)
        child.delay = min(child.delay * 2, LONGEST_DELAY)

    # ---- watching ----------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """SIGCHLD: collect every dead child, adopted orphans too."""
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            child = next((one for one in self.children.values() if one.pid == dead.si_pid), None)
            if child is None or child.process is None:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(dead.si_pid, os.WNOHANG)
                continue
            child.last_code = child.process.wait()
            self._ended(child)

    def _ended(self, child: Child) -> None:
        lived = time.monotonic() - child.started_at
        child.process = None
        child.exited.set()
        if not child.wanted:
            return
        if lived >= STEADY_SECONDS:
            child.delay = FIRST_DELAY
        self.say(child, f"{_cause(child.last_code)} after {lived:.1f} s; starts again in {child.delay:g} s")
        self._again(child)
        self.on_change()

    def _drain(self, child: Child, read_end: int, output: BinaryIO, rest: bytearray) -> None:
        try:
            data = os.read(read_end, LINE_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(read_end)
            os.close(read_end)
            if rest and not child.spec.quiet:
                self._print(child, bytes(rest))
            output.close()
            return
        with contextlib.suppress(OSError):  # a full disk must not stop the supervisor
            output.write(data)
            output.flush()
            if output.tell() > LOG_BYTES:
                os.replace(child.log, f"{child.log}.1")
                fresh = _open_log(child.log)
                os.dup2(fresh.fileno(), output.fileno())
                fresh.close()
        rest += data
        *lines, last = bytes(rest).split(b"\n")
        rest[:] = last if len(last) < LINE_BYTES else b""
        for line in lines if not child.spec.quiet else ():
            self._print(child, line_for_people(line))

    def say(self, child: Child, sentence: str) -> None:
        """A line about ``child`` in its log and on the terminal."""
        line = f"[launcher] {child.spec.name} {sentence}"
        with contextlib.suppress(OSError), _open_log(child.log) as output:
            output.write(f"{line}\n".encode())
        self._print(child, line.encode())

    def _print(self, child: Child, line: bytes) -> None:
        if self._printer is not None and line:
            with contextlib.suppress(OSError, ValueError):  # a closed terminal
                self._printer.write(
                    Message(type="line", data=line, time=datetime.datetime.now(), name=child.spec.name, colour=child.colour)
                )

    # ---- stopping ----------------------------------------------------------------------------------------------

    async def stop(self, names: Iterable[str], *, grace: float, hurry: asyncio.Event | None = None) -> None:
        """Ask these to end, wait up to ``grace`` seconds (or until ``hurry``), then SIGKILL what is left."""
        chosen = [self.children[name] for name in names if name in self.children]
        for child in chosen:
            child.wanted = False
            if child._retry is not None:
                child._retry.cancel()
            if child.process is not None:
                _signal(child.process, child.spec.stop_signal)
        waits = [asyncio.ensure_future(child.exited.wait()) for child in chosen if child.process is not None]
        if waits:
            everything = asyncio.gather(*waits)
            impatient = asyncio.ensure_future((hurry or asyncio.Event()).wait())
            either: list[asyncio.Future[Any]] = [everything, impatient]
            await asyncio.wait(either, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            impatient.cancel()
            for child in chosen:
                if child.process is not None:
                    self.say(child, "does not end: killed")
                    _signal(child.process, signal.SIGKILL)
            await everything

    async def stop_orphans(self) -> None:
        """End what our children left behind: processes adopted from them, of which none should exist."""
        deadline = time.monotonic() + 5.0
        while pids := _children_of(os.getpid()):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM if time.monotonic() < deadline - 3.0 else signal.SIGKILL)
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.02)
            self._reap()


def _signal(process: subprocess.Popen[bytes], which: int) -> None:
    """Not ``Popen.send_signal``: that collects a child which has just died, so that ``_reap`` never hears of it and whoever waits for its
    end waits for ever. Until ``_reap`` has collected it the pid is its own."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, which)


def _open_log(path: Path) -> BinaryIO:
    with contextlib.suppress(OSError):
        if path.stat().st_size > LOG_BYTES:
            os.replace(path, f"{path}.1")
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _children_of(pid: int) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = Path(f"/proc/{entry.name}/stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid and fields[0] not in ("Z", "X"):
                    found.append(int(entry.name))
    return found


def _step_back(pid: int, argv: tuple[str, ...]) -> None:
    """Let what ``nice`` starts step back for other sessions too. Linux shares a core between sessions before it looks at their processes
    (sched(7), autogroup), and every child here is a session of its own: without this, ``nice`` would matter to nobody else."""
    if argv[:2] == ("nice", "-n"):
        with contextlib.suppress(OSError):  # a kernel without autogroups: nice is enough there
            Path(f"/proc/{pid}/autogroup").write_text(argv[2])
