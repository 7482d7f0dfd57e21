"""``up --engine``: a tiny model with random weights, made below the instance's directory, and whether this machine's worker serves it."""

from __future__ import annotations

import os
from pathlib import Path

from controlplane.launcher.procfile import ProcessSpec

ROOT = Path(__file__).resolve().parent.parent.parent
NAME = "tiny-llama"
READY_SECONDS = 240.0
"""From the agent's start: PyTorch is read from the disk for the first time."""
MISSING = "the built-in engine's packages are not installed: `make up-engine` installs them (gigabytes, once), then starts"


def models(data_dir: Path) -> Path:
    """Below this the worker of this machine may load models."""
    return data_dir / "models"


def interpreter() -> Path | None:
    """The one that has the engine's packages, as the agent finds it; None where they are not installed."""
    if named := os.environ.get("BULKHEAD_AGENT_ENGINE_PYTHON"):
        return Path(named)
    place = ROOT / "var" / "engine"
    return place / "bin" / "python" if (place / ".locked").is_file() else None


def making(python: Path, data_dir: Path) -> ProcessSpec:
    """Makes the model; done at once where it is there."""
    argv = (str(python), "-m", "apps.engine.built_in.tiny", str(models(data_dir) / NAME))
    return ProcessSpec(name="tiny-llama", kind="prepare", argv=argv, environment={**os.environ, "PYTHONPATH": str(ROOT)})


def served(database_url: str) -> bool:
    """Whether proxies are told of a replica of it that is ready."""
    import psycopg

    wanted = """
        SELECT 1 FROM proxy_api.proxy_replicas(0, 0)
        WHERE endpoint->>'deployment' = %s AND coalesce(endpoint->>'state', 'ready') = 'ready'
    """
    try:
        with psycopg.connect(database_url, connect_timeout=5) as connection:
            return connection.execute(wanted, (NAME,)).fetchone() is not None
    except psycopg.Error:
        return False
