"""Whole instances under load and under fire. Small by default; ``make accept`` (BULKHEAD_ACCEPT=1) runs them at full size."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.launcher.conftest import Bulkhead, clean_environment

FULL = os.environ.get("BULKHEAD_ACCEPT") == "1"
MATERIAL = Path(__file__).resolve().parents[3] / "shared" / "material"


class Instance(Bulkhead):
    def command(self, *arguments: str, timeout: float = 110, **environ: str) -> str:
        """A management command against this instance; its output. Fails with it when the command fails."""
        import subprocess
        import sys

        from tests.launcher.conftest import ROOT

        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**clean_environment(), "BULKHEAD_DATA_DIR": str(self.data_dir), **environ},
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.facts["database_url"], autocommit=True)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(statement, values).fetchall()  # type: ignore[arg-type]


@pytest.fixture
def instance() -> Iterator[Callable[..., Instance]]:
    made: list[Instance] = []

    def start(*arguments: str) -> Instance:
        directory = Path(tempfile.mkdtemp(prefix="bulkhead-accept-", dir="/tmp"))
        directory.chmod(0o711)
        one = Instance(directory / "var")
        made.append(one)
        done = one.up(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return one

    yield start
    for one in made:
        one.down()
        shutil.rmtree(one.data_dir.parent, ignore_errors=True)
