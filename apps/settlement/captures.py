"""Takes captured samples from this host's spool to Postgres, in a thread of the shipper that settlement never waits for.

A file is deleted once its sample is committed, or when it can never be stored; while Postgres is away it stays.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from cryptography.fernet import Fernet
from django.db import Error, connection

from apps.contracts.captures import MAKING, MAX_FILE, SUFFIX, SampleError, sample_open
from apps.usage.capture_services import sample_store
from controlplane.masterkey import VaultError

log = logging.getLogger("bulkhead.shipper")

EVERY_SECONDS = 1.0
MOST = 100
"""Files of one round."""
STALE_SECONDS = 3600
"""A file still being written after so long was its proxy's last."""


class CaptureSpool:
    """The spool of one host and the thread that empties it. ``key``: the proxies' seal key."""

    def __init__(self, folder: Path, key: Fernet) -> None:
        self.stored = self.refused = 0
        self._folder = folder
        self._key = key
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="captures", daemon=True)
        self._failing = False

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 3.0) -> None:
        self._stop.set()
        self._thread.join(seconds)

    def ship(self) -> int:
        """One round, oldest requests first; how many samples were stored. Raises Django's database errors and VaultError."""
        stored = 0
        for path in self._files():
            if self._take(path):
                stored += 1
        self.stored += stored
        return stored

    def _files(self) -> list[Path]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        for name in names:
            if name.endswith(MAKING):
                self._sweep(self._folder / name)
        return [self._folder / name for name in sorted(name for name in names if name.endswith(SUFFIX))[:MOST]]

    def _sweep(self, path: Path) -> None:
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
        except OSError:
            return  # finished or gone meanwhile

    def _take(self, path: Path) -> bool:
        try:
            sealed = path.read_bytes() if path.stat().st_size <= MAX_FILE else b""
            sample = sample_open(sealed, self._key)
        except FileNotFoundError:
            return False
        except SampleError as error:
            log.error("the captured sample %s cannot be opened (%s); it is deleted", path.name, error)
            self.refused += 1
            path.unlink(missing_ok=True)
            return False
        stored = sample_store(sample=sample)
        path.unlink(missing_ok=True)
        self.refused += not stored
        return stored

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            try:
                self.ship()
                self._failing = False
            except (Error, OSError, VaultError) as error:
                if not self._failing:
                    log.warning("captured samples wait in %s: %s", self._folder, str(error).strip().split("\n")[0])
                self._failing = True
                connection.close()
        connection.close()
