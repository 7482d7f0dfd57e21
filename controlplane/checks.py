"""What must be true before anything serves: system checks with an id and a hint that says what to do.

``manage.py check`` shows them; ``manage.py check --deploy`` adds those for production.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from controlplane import env

Apps = Sequence[AppConfig] | None


@register(Tags.security)
def secret_key(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    if not settings.SECRET_KEY:
        yield Error(
            "Django's secret key is missing: sessions and sign-in cannot work.",
            hint="Run `manage.py up` once (it makes DATA_DIR/secrets/django_secret), or set BULKHEAD_SECRET_KEY or its _FILE.",
            id="bulkhead.E001",
        )


@register(Tags.security)
def keys_at_rest(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    names = (
        ("BULKHEAD_MASTER_KEY", "master_key", "E002", "provider credentials cannot be sealed or opened"),
        ("BULKHEAD_SEAL_KEY", "seal_key", "E003", "proxies cannot be given credentials"),
        ("BULKHEAD_KEY_PEPPER", "key_pepper", "E004", "virtual keys cannot be made or checked"),
    )
    for variable, file_name, number, consequence in names:
        if env.secret(variable, file_name) is None:
            yield Error(
                f"{variable} is missing: {consequence}.",
                hint=f"Run `manage.py up` once (it makes DATA_DIR/secrets/{file_name}), or set {variable} or {variable}_FILE.",
                id=f"bulkhead.{number}",
            )


@register()
def fleet_settings(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    for read, hint in (
        (env.gpu_hour_prices, "Write it as H100=3.90, L4=0.80, *=2.50, or leave it out: then pages say hours only."),
        (env.machines_webhook, "Give an address and a signing secret, or leave both out: then nobody is asked for machines."),
    ):
        try:
            read()
        except env.SettingError as error:
            yield Error(str(error), hint=hint, id="bulkhead.E040")


@register(Tags.security)
def secret_files_are_private(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    directory = env.data_dir() / "secrets"
    files = sorted(directory.iterdir()) if directory.is_dir() and os.access(directory, os.R_OK | os.X_OK) else []
    named = [Path(value) for name, value in os.environ.items() if name.startswith("BULKHEAD_") and name.endswith("_FILE") and value]
    for path in [*files, *named]:
        if path.is_file() and path.stat().st_mode & 0o077:
            yield Error(
                f"{path} holds a secret, and its mode {path.stat().st_mode & 0o777:04o} lets others read it.",
                hint=f"chmod 600 {path}; if anybody else has an account on this machine, replace the secret too.",
                id="bulkhead.E005",
            )


@register(Tags.database)
def database_url(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    if not env.database_url():
        yield Warning(
            "DATABASE_URL is not set and no `manage.py up` runs on this data directory: commands that need the database will fail.",
            hint="Start Bulkhead (`make up`), name another data directory in BULKHEAD_DATA_DIR, or set DATABASE_URL.",
            id="bulkhead.W006",
        )


@register(Tags.security, deploy=True)
def production(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    if settings.DEBUG:
        yield Error(
            "DEBUG is on: error pages would show settings and source to anybody.",
            hint="Run with DJANGO_SETTINGS_MODULE=controlplane.settings.prod.",
            id="bulkhead.E007",
        )
    local = {"127.0.0.1", "localhost", "[::1]"}
    hosts = set(settings.ALLOWED_HOSTS)
    if "*" in hosts:
        yield Error(
            "ALLOWED_HOSTS accepts every host name.",
            hint="Set BULKHEAD_ALLOWED_HOSTS to the names that people type, comma separated.",
            id="bulkhead.E008",
        )
    elif hosts <= local:
        yield Error(
            "ALLOWED_HOSTS names this machine only: every request from elsewhere would be refused.",
            hint="Set BULKHEAD_ALLOWED_HOSTS to the names that people type, comma separated.",
            id="bulkhead.E009",
        )
