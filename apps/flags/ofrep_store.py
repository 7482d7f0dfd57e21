"""What the protocol's pages ask the database: whose key it is, the flags as published, and how often each was evaluated."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from threading import Lock
from typing import cast
from uuid import UUID

from django.db import connection
from django.utils import timezone as clock

from apps.contracts.networks import Networks
from apps.contracts.snapshot import FlagFragment
from apps.contracts.tokens import MAX_LENGTH
from apps.flags.ofrep import Answer, FlagSet, flags_compile
from apps.keys.models import KeyDigest, VirtualKey
from apps.keys.services import key_digest
from apps.publishing.selectors import head_mark, section_at

_lock = Lock()
_mark: tuple[int, UUID | None] = (-1, None)
_known: dict[str, FlagSet] = {}
"""Organisation's id -> its flags at ``_mark``; forgotten when another version is published."""


class KeyRefused(Exception):
    """Why a key opens nothing. status: 401 where it is not known, 403 where it may not."""

    def __init__(self, status: int, details: str) -> None:
        super().__init__(details)
        self.status = status
        self.details = details


def key_opened(token: str, *, address: str, now: datetime | None = None) -> VirtualKey:
    """The living key that a token opens, as a proxy would see it: one query. Raises KeyRefused."""
    now = now or clock.now()
    if not token:
        raise KeyRefused(401, "send a virtual key: 'Authorization: Bearer bk-...' or 'X-API-Key: bk-...'")
    if len(token) > MAX_LENGTH or not token.isascii():
        raise KeyRefused(401, "this is no virtual key of this installation")
    digests = {"hmac": key_digest(token), "sha256": hashlib.sha256(token.encode()).hexdigest()}
    rows = KeyDigest.objects.select_related("key__organisation").filter(digest__in=digests.values())
    row = next((row for row in rows if digests.get(row.kind) == row.digest), None)
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        raise KeyRefused(401, "the virtual key is not known here: check that it was copied whole, or whether it was replaced")
    key = row.key
    if key.state == "revoked":
        raise KeyRefused(401, "the virtual key was revoked: use another one")
    if key.expires_at is not None and key.expires_at <= now:
        raise KeyRefused(401, "the virtual key has expired: use another one")
    if not key.enabled:
        raise KeyRefused(403, "the virtual key is disabled: ask its owner to enable it")
    if key.addresses and not Networks(key.addresses).holds(address):
        raise KeyRefused(403, "the virtual key may not be used from this address")
    return key


def flags_published(organisation_id: str, *, now: datetime | None = None) -> FlagSet:
    """An organisation's flags as the newest version has them: one query, a second where something was published since or one ended."""
    global _mark
    now_ms = int((now or clock.now()).timestamp() * 1000)
    mark = head_mark()
    with _lock:
        if mark != _mark:
            _known.clear()
            _mark = mark
        known = _known.get(organisation_id)
    if known is not None and (known.until_ms is None or now_ms < known.until_ms):
        return known
    found = (cast(FlagFragment, fragment) for fragment in section_at("flags", mark[0]).values())
    made = flags_compile((flag for flag in found if flag.organisation == organisation_id), version=mark[0], now_ms=now_ms)
    with _lock:
        if mark == _mark:
            _known[organisation_id] = made
    return made


def exposures_add(organisation_id: str, answers: Iterable[Answer], *, now: datetime | None = None) -> None:
    """Count what was told: by flag, variant and minute, in the order of names, so that two who count never wait for each other."""
    counted = Counter((answer.key, answer.variant) for answer in answers)
    if not counted:
        return
    minute = (now or clock.now()).replace(second=0, microsecond=0)
    rows = sorted(counted)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO flags_flagexposure (flag_id, value, minute, count)"
            " SELECT flag.id, told.value, %s, told.count"
            " FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS told (name, value, count)"
            " JOIN flags_flag flag ON flag.organisation_id = %s AND flag.name = told.name ORDER BY flag.id, told.value"
            " ON CONFLICT (flag_id, value, minute) DO UPDATE SET count = flags_flagexposure.count + excluded.count",
            [minute, [name for name, _ in rows], [value[:80] for _, value in rows], [counted[row] for row in rows], organisation_id],
        )
