"""The walls of the house: who may import what, and what the pure packages must not pull in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("django", "rest_framework", "celery")


@pytest.mark.parametrize(
    "module",
    [
        "apps.contracts.usage",
        "apps.contracts.snapshot",
        "apps.proxy.server",
        "apps.proxy.process",
        "apps.simulator.server",
        "apps.agent.agent",
        "apps.engine.http.server",
        "apps.engine.built_in.command",
    ],
)
def test_importing_a_pure_module_pulls_in_no_framework(module: str) -> None:
    script = f"import sys, {module}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not set(FRAMEWORKS) & set(loaded)
    assert "controlplane" not in loaded


@pytest.mark.parametrize("module", ["controlplane.launcher.postgres", "controlplane.launcher.redis", "controlplane.launcher.cli"])
def test_the_launcher_starts_without_django(module: str) -> None:
    script = f"import sys, {module}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not {*FRAMEWORKS, "psycopg", "redis"} & set(loaded)


@pytest.mark.skipif(os.environ.get("BULKHEAD_LINTED") == "1", reason="`make test` has just asked lint-imports itself")
def test_import_walls_hold() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports", "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "misc"])
def test_no_module_is_named_after_nothing(name: str) -> None:
    found = [path for top in ("apps", "controlplane", "tests") for path in (ROOT / top).rglob(f"{name}*") if path.stem == name]
    assert found == []
