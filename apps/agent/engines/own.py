"""The interpreter that runs engines of our own (``apps.engine``), and what it has: they are processes of an environment of their own, and
nothing of theirs is imported here."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from apps.agent.engines.protocol import EngineSettings

ROOT = Path(__file__).resolve().parents[3]
INSTALL = "python deploy/engine.py installs them on this worker, or BULKHEAD_AGENT_ENGINE_PYTHON names an interpreter that has them."
_ASK = """
import importlib.metadata, sys
for name in sys.argv[1:]:
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        print(name, "")
"""


class Packages(NamedTuple):
    """versions: of those that are there. problem: "" where all are."""

    versions: dict[str, str]
    problem: str


def python_of(settings: EngineSettings) -> str:
    """The interpreter that the settings name; else the one of ``var/engine`` where it was installed; else the agent's own."""
    if settings.python:
        return settings.python
    installed = ROOT / "var" / "engine" / "bin" / "python"
    return str(installed) if (ROOT / "var" / "engine" / ".locked").is_file() and installed.exists() else sys.executable


def packages_of(settings: EngineSettings, *names: str) -> Packages:
    """Asked once, and again when something was installed."""
    python = python_of(settings)
    return _asked(python, _changed(python), names)


def environment(bearer: str) -> dict[str, str]:
    """What every engine of our own sees. The token not by the command line, which everybody on the machine can read."""
    found = {"PYTHONPATH": str(ROOT)}
    return {**found, "BULKHEAD_ENGINE_BEARER": bearer} if bearer else found


def _changed(python: str) -> tuple[float, ...]:
    """When the interpreter's packages changed, so far as that can be seen cheaply."""
    times = []
    for path in (Path(python), *Path(python).parent.parent.glob("lib/python3*/site-packages")):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            times.append(0.0)
    return tuple(times)


@lru_cache(maxsize=16)
def _asked(python: str, changed: tuple[float, ...], names: tuple[str, ...]) -> Packages:
    try:
        done = subprocess.run(
            [python, "-I", "-c", _ASK, *names], capture_output=True, text=True, timeout=30, env={"PATH": os.environ.get("PATH", "")}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Packages({}, f"{python} cannot be run: {error}. BULKHEAD_AGENT_ENGINE_PYTHON names the interpreter of our own engines.")
    if done.returncode != 0:
        return Packages({}, f"{python} cannot be asked what it has: {done.stderr.strip()[-200:]}")
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    versions = {name: version for name, version in found.items() if version}
    missing = [name for name in names if name not in versions]
    return Packages(
        versions, f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed here: {INSTALL}" if missing else ""
    )
