"""The secrets under ``DATA_DIR/secrets``: made once, mode 0600, never printed. Standard library only."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from controlplane.launcher.postgres import Passwords


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _password() -> str:
    return secrets.token_urlsafe(24)


MAKERS: dict[str, Callable[[], str]] = {
    "django_secret": lambda: secrets.token_urlsafe(50),
    "master_key": _fernet_key,
    "seal_key": _fernet_key,
    "key_pepper": lambda: secrets.token_urlsafe(32),
    "postgres_password": _password,
    "db_password": _password,
    "proxy_db_password": _password,
    "redis_password": _password,
    "proxy_redis_password": _password,
}


def read_or_make(data_dir: Path, name: str) -> str:
    """The secret ``name``; made when it does not exist yet. Two processes that make it at once agree on one value."""
    directory = data_dir / "secrets"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / name
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    part = directory / f".{name}.{os.getpid()}"
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(MAKERS[name]())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)  # unlike rename, never replaces what another process made meanwhile
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return path.read_text().strip()


def make_all(data_dir: Path) -> dict[str, str]:
    return {name: read_or_make(data_dir, name) for name in MAKERS}


def postgres_passwords(data_dir: Path) -> Passwords:
    return Passwords(
        superuser=read_or_make(data_dir, "postgres_password"),
        owner=read_or_make(data_dir, "db_password"),
        proxy=read_or_make(data_dir, "proxy_db_password"),
    )
