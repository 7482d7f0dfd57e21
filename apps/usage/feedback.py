"""Feedback as it is stored: one row for each request and key, matched with the request it is about.

A row waits until its request is settled, in whichever journal that lies. A request of another organisation, or of another team's key,
makes it ``foreign``: it is shown nowhere and goes with what never found its request.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection, transaction
from django.utils import timezone as clock

from apps.contracts.feedback import FeedbackRecord
from apps.contracts.identifiers import uuid7_unix_ms
from apps.usage.feedback_rules import FIELDS, collected

WAIT_DAYS = 2
"""How long a row without its request is kept."""
MATCHED_ROWS = 1_000
DELETE_ROWS = 20_000
_json = msgspec.json.Encoder().encode

_TYPES = {"score": "double precision", "reason": "text", "outcome": "text", "tags": "text", "client_ms": "bigint"}
_COLUMNS = ", ".join(f"{name}, {name}_us" for name in FIELDS)
_GIVEN = ", ".join(f"{name}{'::jsonb' if name == 'tags' else ''}, {name}_us" for name in FIELDS)
_LATER = ", ".join(
    f"{name} = CASE WHEN excluded.{name}_us > kept.{name}_us THEN excluded.{name} ELSE kept.{name} END, "
    f"{name}_us = greatest(kept.{name}_us, excluded.{name}_us)"
    for name in FIELDS
)
_STORE = (
    f"INSERT INTO usage_feedback AS kept (request_id, key_id, organisation, team, said_us, {_COLUMNS}) "
    f"SELECT request_id, key_id, organisation, team, said_us, {_GIVEN} FROM unnest("
    + ", ".join(
        ["%s::uuid[]", "%s::text[]", "%s::text[]", "%s::text[]", "%s::bigint[]", *(f"%s::{_TYPES[n]}[], %s::bigint[]" for n in FIELDS)]
    )
    + f") AS given (request_id, key_id, organisation, team, said_us, {_COLUMNS}) ORDER BY request_id, key_id "
    f"ON CONFLICT (request_id, key_id) DO UPDATE SET said_us = greatest(kept.said_us, excluded.said_us), {_LATER}"
)
_MATCH = """
UPDATE usage_feedback AS said SET
    state = CASE WHEN theirs THEN 'kept' ELSE 'foreign' END,
    started_at = CASE WHEN theirs THEN found.started_at END,
    simulated = CASE WHEN theirs THEN found.simulated END,
    route = CASE WHEN theirs THEN found.route END,
    variant = CASE WHEN theirs THEN found.variant END,
    total_us = CASE WHEN theirs THEN found.total_us END
FROM (
    SELECT waiting.request_id, waiting.key_id, request.started_at, request.simulated, request.route, request.total_us,
        coalesce((
            SELECT substr(flag, 9) FROM jsonb_array_elements_text(request.flags) AS flag WHERE flag LIKE 'variant:%%' LIMIT 1
        ), '') AS variant,
        request.organisation = waiting.organisation
            AND (request.key_id = waiting.key_id OR (waiting.team <> '' AND request.team = waiting.team)) AS theirs
    FROM usage_feedback AS waiting JOIN usage_request AS request ON request.id = waiting.request_id
    WHERE waiting.request_id = ANY (%(ids)s) AND waiting.state = 'waiting'
        AND request.started_at >= %(from)s AND request.started_at < %(to)s
    ORDER BY waiting.request_id, waiting.key_id FOR UPDATE OF waiting
) AS found
WHERE said.request_id = found.request_id AND said.key_id = found.key_id
"""


def feedback_store(*, cursor: Any, records: Sequence[FeedbackRecord]) -> None:
    """Add what was said to what is stored, in the cursor's open transaction, and find its requests where they are settled.

    Storing a record twice changes nothing. Raises Django's DataError where Postgres has no form for a value.
    """
    rows = collected(records)
    if not rows:
        return
    columns: list[list[Any]] = [
        [UUID(bytes=row.request) for row in rows],
        [row.key_id for row in rows],
        [row.organisation for row in rows],
        [row.team for row in rows],
        [row.said_us for row in rows],
    ]
    for at, name in enumerate(FIELDS):
        values = [row.words[at].value for row in rows]
        columns.append([None if value is None else _json(value).decode() for value in values] if name == "tags" else values)
        columns.append([row.words[at].at_us for row in rows])
    cursor.execute(_STORE, columns)
    _match(cursor, {UUID(bytes=row.request) for row in rows})


def _match(cursor: Any, ids: Collection[UUID]) -> int:
    """A request's partition follows from its id's own time; a host whose clock was off is found within a day."""
    times = [uuid7_unix_ms(id) / 1000 for id in ids]
    if not times:
        return 0
    day = timedelta(days=1)
    bounds = {"from": datetime.fromtimestamp(min(times), UTC) - day, "to": datetime.fromtimestamp(max(times), UTC) + day}
    cursor.execute(_MATCH, {"ids": list(ids), **bounds})
    return int(cursor.rowcount)


def feedback_match(*, retention_days: int, now: datetime | None = None) -> int:
    """Find the requests of what waits; returns how many were found. What waited ``WAIT_DAYS`` in vain, what is foreign for as long, and
    what is older than its request is kept, is deleted."""
    now = now or clock.now()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT request_id FROM usage_feedback WHERE state = 'waiting' ORDER BY received_at DESC LIMIT %s FOR UPDATE SKIP LOCKED",
            [MATCHED_ROWS],
        )
        found = _match(cursor, {row[0] for row in cursor.fetchall()})
    _forget("state <> 'kept' AND received_at < %s", now - timedelta(days=WAIT_DAYS))
    _forget("state = 'kept' AND started_at < %s", now - timedelta(days=retention_days))
    return found


def _forget(condition: str, before: datetime) -> None:
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM usage_feedback WHERE ctid = ANY (ARRAY("
                f"SELECT ctid FROM usage_feedback WHERE {condition} LIMIT %s FOR UPDATE SKIP LOCKED))",
                [before, DELETE_ROWS],
            )
            if cursor.rowcount < DELETE_ROWS:
                return
