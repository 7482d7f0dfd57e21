"""System checks: somebody can be reached on every rotation, and messages carry links that lead somewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError

from controlplane import env


@register(Tags.database)
def people_reachable(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> Iterable[CheckMessage]:
    """``manage.py check --database default``: what the watch of the last minute found."""
    from apps.alerts.channel_models import Unreachable

    if not databases:
        return []
    try:
        rows = list(Unreachable.objects.select_related("rotation", "organisation"))
    except DatabaseError:  # nothing is migrated yet, or the database is away, which another check says
        return []
    return [
        Warning(
            f"Nobody can be reached on the rotation {row.rotation.name} of {row.organisation.name}: {row.why}",
            hint="Change who takes turns, or set a way to be reached: Alerts, Channels; or a mail server, BULKHEAD_SMTP_URL.",
            id="bulkhead.W015",
        )
        for row in rows
    ]


@register()
def public_url(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> Iterable[CheckMessage]:
    """``BULKHEAD_PUBLIC_URL`` is an address."""
    url = env.public_url()
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        return [
            Error(
                "BULKHEAD_PUBLIC_URL is no address: links in messages about alerts would lead nowhere.",
                hint="Write it as people type it, such as https://bulkhead.example.com, or leave it away.",
                id="bulkhead.E016",
            )
        ]
    return []
