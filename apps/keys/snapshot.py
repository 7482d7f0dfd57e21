"""Rows -> the section ``keys``. Never rolled back: a revoked key stays revoked."""

from __future__ import annotations

from typing import Any, cast

from apps.contracts.snapshot import Environment, Fragment, KeyFragment
from apps.keys.models import VirtualKey
from apps.publishing.registry import Section


def _build(ids: set[str] | None) -> dict[str, Fragment]:
    rows = VirtualKey.objects.all() if ids is None else VirtualKey.objects.filter(pk__in=ids)
    rows = rows.select_related("team", "service", "service__team").prefetch_related("digest_rows")
    fragments: dict[str, Fragment] = {}
    for row in rows:
        team = row.service.team if row.service else row.team
        fragments[str(row.pk)] = KeyFragment(
            id=str(row.pk),
            name=row.name,
            public_id=row.public_id,
            organisation=str(row.organisation_id),
            digests=sorted(digest.digest for digest in row.digest_rows.all() if digest.kind == "hmac"),
            state="active" if row.state == "active" else "revoked",
            expires_at_ms=None if row.expires_at is None else int(row.expires_at.timestamp() * 1000),
            environment=cast(Environment, row.environment),
            feature=row.feature,
            tags=list(row.tags),
            routes=list(row.routes),
            team=team.slug if team else "",
            service=row.service.slug if row.service else "",
            enabled=row.enabled,
            priority=cast(Any, row.priority),
            explain=row.explain,
            digests_until_ms={
                digest.digest: int(digest.expires_at.timestamp() * 1000)
                for digest in sorted(row.digest_rows.all(), key=lambda digest: digest.digest)
                if digest.expires_at is not None
            },
            hashes=sorted(digest.digest for digest in row.digest_rows.all() if digest.kind == "sha256"),
            addresses=list(row.addresses),
        )
    return fragments


keys = Section(build=_build, restore=None)
