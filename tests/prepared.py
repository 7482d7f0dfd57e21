"""Postgres servers of tests' own that begin with a copy: initdb takes seconds, the migrations ten, and both make the same every time.

Under ``make accept`` each migrates by itself, and so does the first instance of ``tests/launcher/test_up.py`` always.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from controlplane.launcher.postgres import SUPERUSER, Passwords, Postgres

FAST = {"fsync": "off", "full_page_writes": "off", "max_connections": "300", "autovacuum_naptime": "30s"}
"""Safe against SIGKILL of processes, not against power loss; ``synchronous_commit`` stays on."""
SECRETS = {"superuser": "postgres_password", "owner": "db_password", "proxy": "proxy_db_password"}
"""Whose password -> the file of an instance that keeps it (``controlplane.launcher.keys``)."""


def make_short_dir(prefix: str) -> Path:
    """A directory under /tmp that the unprivileged postgres user may pass through, with a short path for sockets."""
    path = Path(tempfile.mkdtemp(prefix=f"bulkhead-{prefix}-", dir="/tmp"))
    path.chmod(0o711)
    return path


class Prepared(Postgres):
    """A server whose first files are a copy of ``model`` where that exists; else it makes them, and leaves a copy there."""

    def __init__(self, home: Path, *, model: Path, **options: Any) -> None:
        super().__init__(home, **options)
        self.model = model

    def _initialise(self) -> None:
        data = self.location.data
        if self.model.exists():
            subprocess.run(["cp", "-a", self.model, data], check=True)
            (self.home / "location.json").write_text(json.dumps({"data": str(data)}))
        else:
            super()._initialise()
            subprocess.run(["cp", "-a", data, self.model], check=True)


def model_migrated(model: Path, *, empty: Path, passwords: Passwords, source: Postgres, template: str) -> None:
    """Makes ``model`` from that of an empty server: its database ``bulkhead`` is then what ``template`` is at the server ``source``."""
    directory = make_short_dir("postgres")
    server = Prepared(directory / "postgres", model=empty, passwords=passwords, settings=FAST, log=directory / "postgres.log")
    try:
        server.start()
        programs = server.location.binaries / "bin"
        dump = subprocess.run(
            [programs / "pg_dump", source.url(user=SUPERUSER, database=template)], check=True, capture_output=True
        ).stdout  # fmt: skip
        subprocess.run(
            [programs / "psql", "-qX", "-v", "ON_ERROR_STOP=1", server.url(user=SUPERUSER)],
            input=dump, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        server.stop()
        subprocess.run(["cp", "-a", server.location.data, model], check=True)
    finally:
        server.stop()
        shutil.rmtree(server.location.data.parent, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


def begin_with(data_dir: Path, model: Path, passwords: Passwords) -> None:
    """A data directory as ``up`` leaves one behind that was stopped after the migrations."""
    data_dir.mkdir(mode=0o711)
    data_dir.chmod(0o711)
    secrets = data_dir / "secrets"
    secrets.mkdir(mode=0o700)
    for whose, name in SECRETS.items():
        (secrets / name).write_text(getattr(passwords, whose))
        (secrets / name).chmod(0o600)
    Prepared(data_dir / "postgres", model=model, passwords=passwords).prepare()
