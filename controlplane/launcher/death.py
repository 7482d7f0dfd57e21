"""Children that do not outlive their parent, and who still lives: the Linux facts that the launcher rests on."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Ask the kernel to send ``signum`` to this process when its parent's thread dies; leave at once when it has already.

    Must run after every change of uid or gid: the kernel forgets the wish when credentials change. Survives ``exec``.
    """
    if _libc.prctl(PR_SET_PDEATHSIG, int(signum), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(128 + signum)


def child_guard(signum: int = signal.SIGKILL) -> Callable[[], None]:
    """A ``preexec_fn`` that ties the child to this process. ``Popen(user=, group=)`` runs it after the change of user."""
    parent = os.getpid()
    return lambda: die_with_parent(parent, signum)


def adopt_orphans() -> None:
    """Grandchildren whose parent dies become ours instead of init's, so that a stop can find and end them."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def alive(pid: int) -> bool:
    """Whether ``pid`` is a running process; a zombie is not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:  # another user's process under hidepid
        return True
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def processes_in(directory: Path) -> list[int]:
    """Processes whose working directory is ``directory``; those of other users that we may not look at are left out."""
    wanted = str(directory.resolve())
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            if os.readlink(f"/proc/{entry.name}/cwd") == wanted and alive(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found
