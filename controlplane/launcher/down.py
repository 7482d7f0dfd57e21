"""``manage.py down``: ends the launcher of a data directory, which ends everything else in order."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from controlplane.launcher import death
from controlplane.launcher.instance import Instance, InstanceError

PATIENCE_SECONDS = 60.0
"""Proxies drain up to 30 s, the stores shut down cleanly after them."""


def down(instance: Instance) -> int:
    """Exit code 0 when nothing runs afterwards, also when nothing ran before."""
    holder = instance.launcher()
    if holder is None:
        if instance.up_json.exists():
            instance.forget()
            print(f"Bulkhead was not running on {instance.data_dir}; its stale up.json is removed.")
        else:
            print(f"Bulkhead is not running on {instance.data_dir}.")
        return 0
    _signal(holder, signal.SIGTERM)
    if not _released(instance, PATIENCE_SECONDS):
        _signal(holder, signal.SIGTERM)  # a second one cuts short what still drains
        if not _released(instance, PATIENCE_SECONDS):
            _signal(holder, signal.SIGKILL)  # the kernel takes its children with it
            if not _released(instance, 5.0):
                raise InstanceError(f"launcher process {holder} does not end")
            instance.forget()
            instance.lock_file.unlink(missing_ok=True)
            print(f"Bulkhead on {instance.data_dir} did not stop in time and was killed; the next start recovers.")
            return 0
    deadline = time.monotonic() + 5.0
    while death.alive(holder) and time.monotonic() < deadline:  # it gives the lock back shortly before its own end
        time.sleep(0.01)
    print(f"Bulkhead on {instance.data_dir} is stopped.")
    return 0


def _signal(pid: int, signum: int) -> None:
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
    except PermissionError:
        raise InstanceError(f"launcher process {pid} belongs to another user: stop it as that user") from None


def _released(instance: Instance, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while instance.launcher() is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
