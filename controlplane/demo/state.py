"""What this machine knows of its demo, in one file: is its traffic on, was it removed, how far is the removal.

A file and not a table, because the launcher decides by it before Postgres answers, and because the demo's traffic has no
database. Only processes of one machine share it, which is where a demo runs. Everything else that pages say of the demo is measured.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

FILE = "demo.json"


@dataclass(frozen=True, slots=True)
class Removal:
    """``state``: running, done or failed. ``step``: what is done now, in words. ``at``: seconds since the epoch."""

    state: str = "running"
    by: str = ""
    at: float = 0.0
    step: str = ""
    done: int = 0
    of: int = 1
    error: str = ""
    organisation: str = ""


@dataclass(frozen=True, slots=True)
class DemoState:
    """``traffic``: whether the demo's own requests are sent. The others are when, in seconds since the epoch, the latest tour's steps
    were taken: sim-east broken, the route switched, both undone; 0 for a step that was not taken yet.
    """

    traffic: bool = True
    broken_at: float = 0.0
    switched_at: float = 0.0
    undone_at: float = 0.0
    removal: Removal | None = None

    @property
    def removed(self) -> bool:
        """Whether it is gone, or going: nothing of it may start again."""
        return self.removal is not None

    @property
    def gone(self) -> bool:
        """Whether the removal is done."""
        return self.removal is not None and self.removal.state == "done"


def demo_state(data_dir: Path) -> DemoState:
    """The state now; a missing or damaged file is a demo that nobody has touched."""
    try:
        found: dict[str, Any] = json.loads((data_dir / FILE).read_text())
        removal = found.pop("removal", None)
        return DemoState(**found, removal=None if removal is None else Removal(**removal))
    except (OSError, ValueError, TypeError, AttributeError):
        return DemoState()


def demo_state_change(data_dir: Path, change: Callable[[DemoState], DemoState]) -> DemoState:
    """Replace the state by ``change(state)``, whole and one writer at a time; returns the new one."""
    with _locked(data_dir):
        now = demo_state(data_dir)
        after = change(now)
        if after != now or not (data_dir / FILE).exists():
            part = data_dir / f"{FILE}.part"
            part.write_text(json.dumps(asdict(after)))
            part.rename(data_dir / FILE)
        return after


def removal_progress(data_dir: Path, **fields: Any) -> DemoState:
    """Note how far a removal is; nothing where none runs."""
    return demo_state_change(data_dir, lambda now: now if now.removal is None else replace(now, removal=replace(now.removal, **fields)))


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    descriptor = os.open(data_dir / f"{FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
