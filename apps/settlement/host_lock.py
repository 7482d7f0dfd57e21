"""One shipper per host: a lock that the kernel releases with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LOCK_FILE = "shipper.lock"


class ShipperBusy(Exception):
    """Another shipper of this host holds the lock."""


class HostLock:
    """``journal/shipper.lock``: one shipper per host, released by the kernel with the process."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = os.open(root / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> None:
        """Raises ShipperBusy with the holder's pid."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise ShipperBusy(f"another shipper (pid {holder}) settles this host's journals") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._fd)
