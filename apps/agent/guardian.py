"""The tiny process above one engine: ``python -I -S guardian.py DIRECTORY``. It exists so that no engine outlives its agent.

An agent that is killed can end nothing any more, and the kernel's death signal reaches a child, never a grandchild. So each engine has a
guardian: a session of its own, one thread, a few megabytes, nothing imported but the standard library. It reads ``launch.json`` in its
directory, starts the engine in a further session, keeps the end of its output in ``log``, and

- while an agent is connected to ``guardian.sock``, does what it is told;
- where none has been for ``orphan_seconds``, ends the engine: a restarted agent has that long to take it over, and the first one ten
  seconds at least;
- when the engine's first process ends, by whatever, ends everything else that it started, and writes ``exit.json``.

All that an engine starts stays below its guardian (a subreaper), however it forks. If the guardian itself is killed, the kernel ends the
engine's first process, and the agent, or the next one, ends the rest by session and by mark (``apps.agent.processes``).

Lines of JSON over the socket. Agent: ``{"signal": 15}`` to the engine's session, ``{"kill": true}`` to everything below.
Guardian: ``{"pid": N, "guardian": N}`` at each connection, ``{"exit": code, "error": "..."}`` at the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any

LOG_BYTES = 512 * 1024
"""Of ``log``; a fuller one becomes ``log.1``."""
FIRST_SECONDS = 10.0
"""What the agent that started this guardian has, at least, to connect to it for the first time."""
KILL_SECONDS = 5.0
"""What an orphan has between SIGTERM and SIGKILL."""
_PDEATHSIG, _SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


class Guardian:
    """``directory``: an open file descriptor of the launch's own directory: a path may be longer than a socket's address may be."""

    def __init__(self, directory: int) -> None:
        self.directory = directory
        with open(self.path("launch.json"), encoding="utf-8") as file:
            self.launch: dict[str, Any] = json.load(file)
        os.unlink(self.path("launch.json"))  # it holds the engine's environment
        self.orphan_seconds = float(self.launch["orphan_seconds"])
        self.patience = max(self.orphan_seconds, FIRST_SECONDS)
        self.engine: subprocess.Popen[bytes] | None = None
        self.code: int | None = None
        self.error = ""
        self.agent: socket.socket | None = None
        self.heard = b""
        self.alone_since = time.monotonic()
        self.ending_since = 0.0
        self.log = -1

    def path(self, name: str) -> str:
        return f"/proc/self/fd/{self.directory}/{name}"

    def run(self) -> None:
        _libc.prctl(_SUBREAPER, 1, 0, 0, 0)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path("guardian.sock"))
        listener.listen(4)
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever wants the engine to end tells the agent, or kills
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.open_log()
        output = self.start()
        poll = select.poll()
        for number in (listener.fileno(), wake, *([output] if output >= 0 else [])):
            poll.register(number, select.POLLIN)
        while True:
            for number, _ in poll.poll(1000 if self.agent is not None and not self.ending_since else 100):
                if number == wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4096)
                elif number == output:
                    if not self.write(output):
                        poll.unregister(output)
                        output = -1
                elif number == listener.fileno():
                    self.connect(listener, poll)
                elif self.agent is not None and number == self.agent.fileno():
                    self.obey(poll)
            self.reap()
            if self.code is not None and not _below(os.getpid()):
                if output >= 0:
                    self.write(output)
                self.say({"exit": self.code, "error": self.error})
                return
            if self.code is not None or (self.ending_since and time.monotonic() - self.ending_since > KILL_SECONDS):
                self.kill_all(signal.SIGKILL)
            elif self.agent is None and not self.ending_since and time.monotonic() - self.alone_since > self.patience:
                self.ending_since = time.monotonic()
                self.note("no agent came back: ends the engine")
                self.to_engine(signal.SIGTERM)

    def start(self) -> int:
        """The read end of the engine's output; -1 where it could not be started, which ``exit.json`` then says."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read_end, False)
        parent = os.getpid()

        def tie() -> None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            _libc.prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(137)

        try:
            self.engine = subprocess.Popen(
                self.launch["argv"],
                env=self.launch["environment"],
                cwd=self.launch["directory"],
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
                preexec_fn=tie,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self.error = f"{self.launch['argv'][0]} could not be started: {getattr(error, 'strerror', None) or error}"
            self.ended(127)
            os.close(read_end)
            read_end = -1
        else:
            self.record("engine.json", {"pid": self.engine.pid, "guardian": os.getpid(), "started": _started(self.engine.pid)})
        finally:
            os.close(write_end)
        return read_end

    def connect(self, listener: socket.socket, poll: select.poll) -> None:
        fresh, _ = listener.accept()
        if self.agent is not None:  # the newer agent is the one: the older is dead or about to be
            poll.unregister(self.agent.fileno())
            self.agent.close()
        fresh.settimeout(5.0)
        self.agent, self.heard, self.patience = fresh, b"", self.orphan_seconds
        poll.register(fresh.fileno(), select.POLLIN)
        self.say({"pid": self.engine.pid if self.engine is not None else 0, "guardian": os.getpid()})

    def obey(self, poll: select.poll) -> None:
        assert self.agent is not None
        try:
            data = self.agent.recv(65_536)
        except OSError:
            data = b""
        if not data:
            poll.unregister(self.agent.fileno())
            self.agent.close()
            self.agent, self.alone_since = None, time.monotonic()
            return
        *lines, self.heard = (self.heard + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if order.get("kill"):
                self.kill_all(signal.SIGKILL)
            elif "signal" in order:
                self.to_engine(int(order["signal"]))

    def say(self, message: dict[str, Any]) -> None:
        if self.agent is not None:
            with contextlib.suppress(OSError):
                self.agent.sendall(json.dumps(message).encode() + b"\n")

    def to_engine(self, number: int) -> None:
        """To the engine's first process: what it started is its own affair while it lives."""
        if self.engine is not None and self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.engine.pid, number)

    def kill_all(self, number: int) -> None:
        for pid in _below(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if self.engine is not None and pid == self.engine.pid:
                self.engine.returncode = os.waitstatus_to_exitcode(status)
                self.ended(self.engine.returncode)

    def ended(self, code: int) -> None:
        self.code = code
        self.record("exit.json", {"code": code, "error": self.error, "at_ms": time.time_ns() // 1_000_000})

    def record(self, name: str, document: dict[str, Any]) -> None:
        """Whole or not at all; a full disk must not stop a guardian."""
        with contextlib.suppress(OSError):
            with open(self.path(f"{name}.new"), "w", encoding="utf-8") as file:
                json.dump(document, file)
            os.replace(self.path(f"{name}.new"), self.path(name))

    def open_log(self) -> None:
        with contextlib.suppress(OSError):
            self.log = os.open(self.path("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, sentence: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self.log, f"[guardian] {sentence}\n".encode())

    def write(self, output: int) -> bool:
        """Move what the engine said to the log. False: nobody will say anything more."""
        for _ in range(64):
            try:
                data = os.read(output, 65_536)
            except BlockingIOError:
                return True
            if not data:
                return False
            with contextlib.suppress(OSError):
                os.write(self.log, data)
                if os.fstat(self.log).st_size > LOG_BYTES:
                    os.replace(self.path("log"), self.path("log.1"))
                    os.close(self.log)
                    self.open_log()
        return True


def _stat(pid: int | str) -> list[str]:
    """Fields of ``/proc/PID/stat`` from the third on: state, parent, group, session ... start time at 19."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def _started(pid: int) -> int:
    try:
        return int(_stat(pid)[19])
    except (OSError, IndexError):
        return 0


def _below(root: int) -> list[int]:
    """Every living process below ``root``."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = _stat(name)
            except (OSError, IndexError):
                continue
            if fields[0] not in ("Z", "X"):
                children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        fresh = children.get(waiting.pop(), [])
        found += fresh
        waiting += fresh
    return found


if __name__ == "__main__":
    os.umask(0o077)
    Guardian(os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)).run()
