"""Every ``BULKHEAD_*`` setting that Django's processes read, in one place; the pure processes' twin is
``apps.contracts.env``. ``DATABASE_URL`` and ``REDIS_URL`` are honoured as everybody expects."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from apps.contracts.env import Reader, SettingError

BASE_DIR = Path(__file__).resolve().parent.parent
read = Reader()


def data_dir() -> Path:
    """Where embedded services, secrets and journals live. ``BULKHEAD_DATA_DIR``, default ``var``."""
    return Path(os.environ.get("BULKHEAD_DATA_DIR") or BASE_DIR / "var").absolute()


def secret(name: str, file_name: str) -> bytes | None:
    """``NAME``, else ``NAME_FILE``, else ``DATA_DIR/secrets/<file_name>``; None where none exists yet."""
    if os.environ.get(name) or os.environ.get(f"{name}_FILE"):
        return read.secret(name)
    path = data_dir() / "secrets" / file_name
    return path.read_bytes().strip() if path.is_file() else None


def running() -> dict[str, Any]:
    """What the instance that runs on our data directory says of itself (``up.json``); empty while none runs or it is not ours to read."""
    try:
        facts = json.loads((data_dir() / "up.json").read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def database_url() -> str:
    """``DATABASE_URL`` (or ``BULKHEAD_DATABASE_URL``), else that of the instance running on our data directory, else empty."""
    return os.environ.get("DATABASE_URL") or os.environ.get("BULKHEAD_DATABASE_URL") or str(running().get("database_url", ""))


def redis_url() -> str:
    """``REDIS_URL`` (or ``BULKHEAD_REDIS_URL``), else that of the instance running on our data directory, else the usual port."""
    named = os.environ.get("REDIS_URL") or os.environ.get("BULKHEAD_REDIS_URL") or running().get("redis_url")
    return str(named or "redis://127.0.0.1:6379/0")


TCP_PROBES = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "15000"}
"""libpq's settings by which a server that vanished from the network is noticed within half a minute; no effect on sockets."""


def django_database(url: str) -> dict[str, Any]:
    """Django's DATABASES entry for a ``postgresql://`` URL; sockets by ``?host=/path``."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise SettingError(f"DATABASE_URL must start with postgresql://, not {parts.scheme!r}")
    options = {**TCP_PROBES, **dict(parse_qsl(parts.query))}
    host = options.pop("host", parts.hostname or "")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "bulkhead",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(options.pop("port", parts.port or "")),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }
