"""One instance = one data directory: its layout, its lock, and ``up.json``, what it says of itself while it runs."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from controlplane.launcher import death


class InstanceError(Exception):
    """The instance cannot be started, stopped or read; the message says what to do."""


class Instance:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.up_json = self.data_dir / "up.json"
        self.lock_file = self.data_dir / "up.lock"
        self.logs = self.data_dir / "log"

    def make(self) -> None:
        """The data directory itself. As root others may pass through it, never list it: the postgres user must reach its part."""
        if not self.data_dir.exists():
            mode = 0o711 if os.geteuid() == 0 else 0o700
            try:
                self.data_dir.mkdir(mode=mode, parents=True)
            except OSError as error:
                raise InstanceError(f"{self.data_dir} cannot be made ({error.strerror}): choose another with --data-dir") from None
            self.data_dir.chmod(mode)
        if not self.data_dir.is_dir() or not os.access(self.data_dir, os.W_OK | os.X_OK):
            raise InstanceError(f"{self.data_dir} is not a directory we may write to: choose another with --data-dir")
        for name, mode in (("journal", 0o700), ("proxy", 0o700), ("log", 0o700), ("beat", 0o700), ("static", 0o700)):
            (self.data_dir / name).mkdir(mode=mode, exist_ok=True)

    def launcher(self) -> int | None:
        """The pid of the launcher that holds the lock; None when nobody does."""
        try:
            with self.lock_file.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = file.read().strip()
                    return int(text) if text.isdigit() else 0
        except FileNotFoundError:
            pass
        return None

    def read(self) -> dict[str, Any]:
        """``up.json``; empty while no instance has everything answering."""
        try:
            facts = json.loads(self.up_json.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        except PermissionError:
            raise InstanceError(f"{self.up_json} belongs to another user: ask as the user who started this instance") from None
        return facts if isinstance(facts, dict) else {}

    def write(self, facts: dict[str, Any]) -> None:
        """Replace ``up.json`` at once, mode 0600."""
        part = self.up_json.with_name("up.json.part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(facts, file, indent=2)
            file.write("\n")
        part.rename(self.up_json)

    def forget(self) -> None:
        self.up_json.unlink(missing_ok=True)


class Lock:
    """The instance's lock: the kernel releases it however the launcher ends; a clean end also removes the file."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._fd = -1

    def __enter__(self) -> Lock:
        path = self._instance.lock_file
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(fd, 32).decode(errors="replace").strip()
                os.close(fd)
                raise InstanceError(
                    f"Bulkhead already runs on {self._instance.data_dir} (launcher process {holder or 'unknown'}): "
                    "`manage.py status` shows it, `manage.py down` stops it, --data-dir with other ports starts a second one"
                ) from None
            try:
                same = os.stat(path).st_ino == os.fstat(fd).st_ino
            except FileNotFoundError:
                same = False
            if same:
                break
            os.close(fd)  # the holder before us removed the file between our open and our lock
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        self._fd = fd
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._instance.lock_file.unlink(missing_ok=True)
        os.close(self._fd)


def process_state(pid: int | None) -> str:
    """``running`` or ``gone``."""
    return "running" if pid and death.alive(pid) else "gone"
