"""Every ``BULKHEAD_*`` setting that Django's processes read, in one place; the pure processes' twin is
``apps.contracts.env``. ``DATABASE_URL`` and ``REDIS_URL`` are honoured as everybody expects."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from apps.contracts.env import Reader, SettingError
from apps.contracts.webhooks import secret_key

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


def public_url() -> str:
    """Where people reach the dashboard, without a slash at its end: ``BULKHEAD_PUBLIC_URL``, else that of the instance running on our data
    directory, else empty: then messages carry no links. Read anew each time, because workers start before the instance is up."""
    return read.text("BULKHEAD_PUBLIC_URL", str(running().get("web_url", ""))).rstrip("/")


def database_url() -> str:
    """``DATABASE_URL`` (or ``BULKHEAD_DATABASE_URL``), else that of the instance running on our data directory, else empty."""
    return os.environ.get("DATABASE_URL") or os.environ.get("BULKHEAD_DATABASE_URL") or str(running().get("database_url", ""))


def redis_url() -> str:
    """``REDIS_URL`` (or ``BULKHEAD_REDIS_URL``), else that of the instance running on our data directory, else the usual port."""
    return redis_named() or "redis://127.0.0.1:6379/0"


def redis_named() -> str:
    """The Redis that somebody named or that runs with our instance; empty where the usual port would be a guess."""
    return str(os.environ.get("REDIS_URL") or os.environ.get("BULKHEAD_REDIS_URL") or running().get("redis_url") or "")


def limits_redis() -> str:
    """The Redis through which proxies share limits: their own (``BULKHEAD_PROXY_REDIS_URL``), else the one that is named; may be empty."""
    return os.environ.get("BULKHEAD_PROXY_REDIS_URL") or redis_named()


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


def mail() -> dict[str, Any]:
    """Django's mail settings from ``BULKHEAD_SMTP_URL`` (``smtp://user:password@host:587``, ``smtps://`` for TLS from the start)
    and ``BULKHEAD_MAIL_FROM``. Without the first no mail is ever sent, and ``EMAIL_HOST`` is empty."""
    url = (read.secret("BULKHEAD_SMTP_URL") or b"").decode() if _named("BULKHEAD_SMTP_URL") else ""
    if not url:
        return {"EMAIL_HOST": ""}
    parts = urlsplit(url)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise SettingError("BULKHEAD_SMTP_URL must look like smtp://user:password@host:587, or smtps:// for TLS from the start")
    return {
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if parts.scheme == "smtps" else 587),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_USE_TLS": parts.scheme == "smtp" and parts.username is not None,
        "EMAIL_TIMEOUT": 10,
        "DEFAULT_FROM_EMAIL": read.text("BULKHEAD_MAIL_FROM", f"bulkhead@{parts.hostname}"),
    }


def metrics_token() -> bytes:
    """What opens ``/metrics`` of the web process to other hosts (``BULKHEAD_METRICS_TOKEN`` or its ``_FILE``); empty: nothing does."""
    return read.secret("BULKHEAD_METRICS_TOKEN", "") if _named("BULKHEAD_METRICS_TOKEN") else b""


def machines_webhook() -> tuple[str, str] | None:
    """(address, signing secret) of whoever starts and stops machines for the fleet: ``BULKHEAD_MACHINES_WEBHOOK_URL`` and
    ``BULKHEAD_MACHINES_WEBHOOK_SECRET`` (or its ``_FILE``), ``whsec_`` and base64. None: nobody is asked."""
    url = read.text("BULKHEAD_MACHINES_WEBHOOK_URL", "")
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError("BULKHEAD_MACHINES_WEBHOOK_URL must be an http:// or https:// address")
    if not _named("BULKHEAD_MACHINES_WEBHOOK_SECRET"):
        raise SettingError("BULKHEAD_MACHINES_WEBHOOK_SECRET is missing: what asks for machines is always signed")
    signing = read.secret("BULKHEAD_MACHINES_WEBHOOK_SECRET").decode()
    try:
        secret_key(signing)
    except ValueError as error:
        raise SettingError(f"BULKHEAD_MACHINES_WEBHOOK_SECRET: {error}") from None
    return url, signing


def gpu_hour_prices() -> dict[str, int]:
    """Nano-dollars of an hour of a GPU by a part of its name, ``*`` for the others: ``BULKHEAD_GPU_HOUR_PRICES``, such as
    ``H100=3.90, L4=0.80, *=2.50``. Empty: what own GPUs cost is not known."""
    found: dict[str, int] = {}
    for part in read.text("BULKHEAD_GPU_HOUR_PRICES", "").split(","):
        if not part.strip():
            continue
        name, _, price = part.partition("=")
        try:
            nano = int(Decimal(price.strip()) * 1_000_000_000)
        except (ArithmeticError, ValueError):
            nano = -1
        if not name.strip() or not 0 <= nano < 10**15:
            raise SettingError(f"BULKHEAD_GPU_HOUR_PRICES: {part.strip()!r} is not a GPU's name, =, and dollars an hour, such as H100=3.90")
        found[name.strip()] = nano
    return found


def _named(name: str) -> bool:
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))
