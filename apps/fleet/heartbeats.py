"""Heartbeats, many at a time: one statement writes what all of them say and tells replays from news; only what changed goes further.

A worker's facts (memory in use, load, queues) are two JSON columns of its own row, written as they come. Rows of replicas and GPUs are
touched only when a fingerprint of what they hold differs from the last one taken.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from apps.contracts.fleet import Heartbeat, HeartbeatAnswer
from apps.fleet.facts import clock_lock, load_take
from apps.fleet.joining import ROTATE_AFTER, AgentRefused
from apps.fleet.lifecycle import LISTENING, Pulse
from apps.fleet.models import FleetClock, Replica, Worker
from apps.fleet.reporting import heartbeat_take
from controlplane.away import database_away

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
PULSE_EVERY = LISTENING / 6

_encode = msgspec.json.Encoder(order="sorted").encode

_WRITE = """
WITH b AS (
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS b(id uuid, digest text, boot uuid, beat bigint, skew bigint, agent text, epoch bigint,
                                                   applied bigint, host jsonb, gpus jsonb, reports jsonb)
), locked AS (
    SELECT w.id, w.fingerprint, w.digest, w.next_digest FROM fleet_worker AS w
     WHERE w.id IN (SELECT b.id FROM b) ORDER BY w.id FOR NO KEY UPDATE
)
UPDATE fleet_worker AS w
   SET boot = b.boot, beat = b.beat, skew_ms = b.skew, agent_version = left(b.agent, 200), host = b.host, gpu_facts = b.gpus,
       reports = b.reports, last_seen_at = %s, applied_epoch = b.epoch, applied_sequence = b.applied,
       rotate = w.rotate AND w.digest = b.digest,
       digest_at = CASE WHEN w.digest = b.digest THEN w.digest_at ELSE %s END,
       next_digest = CASE WHEN w.digest = b.digest THEN w.next_digest ELSE '' END, digest = b.digest
  FROM b JOIN locked ON locked.id = b.id
 WHERE w.id = b.id AND w.revoked_at IS NULL AND (locked.digest = b.digest OR (locked.next_digest <> '' AND locked.next_digest = b.digest))
   AND (w.boot IS NULL OR b.boot > w.boot OR (b.boot = w.boot AND b.beat > w.beat))
RETURNING w.id, w.desired_epoch, w.desired_sequence, w.rotate, w.digest_at, locked.fingerprint
"""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat with the credential that it came with. digest: of its secret."""

    worker: UUID
    digest: str
    heartbeat: Heartbeat
    received: datetime


def heartbeats_take(beats: Sequence[Beat]) -> list[HeartbeatAnswer | AgentRefused]:
    """The answers, in order. At most one beat of a worker is taken at a time: of several the newest, which answers for all."""
    newest: dict[UUID, Beat] = {}
    for beat in beats:
        known = newest.get(beat.worker)
        if known is None or _place(beat) > _place(known):
            newest[beat.worker] = beat
    try:
        found = _write(list(newest.values()))
    except DatabaseError as error:
        if len(newest) == 1 or database_away(error):
            raise
        log.warning("a batch of %d heartbeats failed: each is tried alone", len(newest), exc_info=True)
        found = {}
        for beat in newest.values():
            found |= _alone(beat)
    return [found.get(beat.worker) or AgentRefused("malformed", "This heartbeat could not be stored.") for beat in beats]


def fingerprint_of(beat: Heartbeat) -> str:
    """32 hex digits of what rows hold of a heartbeat: what changes seldom."""
    kept = (
        beat.epoch,
        beat.applied,
        [(gpu.uuid, gpu.index, gpu.name, gpu.memory_total) for gpu in beat.gpus],
        [
            (one.replica, one.state, one.since_ms, one.reason, one.message, one.url, one.model, one.starts, one.retry_at_ms)
            for one in beat.replicas
        ],
        (beat.host.address, beat.host.region, beat.host.pool, beat.host.spot, sorted(beat.host.labels.items()), beat.host.memory_total),
        [(offer.engine, offer.problem) for offer in beat.host.engines],
    )
    return hashlib.sha256(_encode(kept)).hexdigest()[:32]


def _place(beat: Beat) -> tuple[str, int]:
    return beat.heartbeat.boot, beat.heartbeat.sequence


def _alone(beat: Beat) -> dict[UUID, HeartbeatAnswer | AgentRefused]:
    try:
        return _write([beat])
    except DatabaseError as error:
        if database_away(error):
            raise
        log.warning("a heartbeat of worker %s could not be stored", beat.worker, exc_info=True)
        return {}


def _write(beats: list[Beat]) -> dict[UUID, HeartbeatAnswer | AgentRefused]:
    now = timezone.now()
    rows = _encode([_row(beat) for beat in beats]).replace(b"\\u0000", b"\\ufffd")  # text columns hold no NUL
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [rows.decode(), now, now])
        taken = {row[0]: row[1:] for row in cursor.fetchall()}
    answers: dict[UUID, HeartbeatAnswer | AgentRefused] = {}
    changed, loads = [], []
    for beat in beats:
        row = taken.get(beat.worker)
        if row is None:
            continue
        if row[4] != fingerprint_of(beat.heartbeat):
            changed.append(beat)
        else:
            loads += [report for report in beat.heartbeat.replicas if report.metrics is not None]
    for beat in changed:
        heartbeat_take(beat.worker, beat.heartbeat, now=now)
        Worker.objects.filter(pk=beat.worker).update(fingerprint=fingerprint_of(beat.heartbeat))
    if loads:
        load_take(loads, now=now)
    if taken:
        _pulse(now)
    if changed:  # an order may have begun anew while they were taken
        again = Worker.objects.filter(pk__in=[beat.worker for beat in changed])
        for pk, epoch, sequence in again.values_list("pk", "desired_epoch", "desired_sequence"):
            taken[pk] = (epoch, sequence, *taken[pk][2:])
    wanted = _logs_wanted(list(taken)) if taken else {}
    for beat in beats:
        row = taken.get(beat.worker)
        answers[beat.worker] = _answer(beat, row, wanted.get(beat.worker, []), now) if row else _refusal(beat)
    return answers


def _row(beat: Beat) -> dict[str, object]:
    heartbeat = beat.heartbeat
    plain = heartbeat.plain()
    return {
        "id": str(beat.worker),
        "digest": beat.digest,
        "boot": heartbeat.boot,
        "beat": heartbeat.sequence,
        "skew": max(-(2**53), min(2**53, heartbeat.sent_at_ms - int(beat.received.timestamp() * 1000))),
        "agent": heartbeat.agent_version,
        "epoch": heartbeat.epoch,
        "applied": heartbeat.applied,
        "host": plain["host"],
        "gpus": plain.get("gpus", []),
        "reports": plain.get("replicas", []),
    }


def _answer(beat: Beat, row: tuple[int, int, bool, datetime, str], logs_of: list[str], now: datetime) -> HeartbeatAnswer:
    epoch, sequence, rotate, digest_at, _ = row
    return HeartbeatAnswer(
        now_ms=int(now.timestamp() * 1000),
        epoch=epoch,
        sequence=sequence,
        skew_ms=beat.heartbeat.sent_at_ms - int(beat.received.timestamp() * 1000),
        heartbeat_seconds=HEARTBEAT_SECONDS,
        rotate=rotate or now - digest_at > ROTATE_AFTER,
        logs_of=logs_of,
    )


def _logs_wanted(workers: list[UUID]) -> dict[UUID, list[str]]:
    found: dict[UUID, list[str]] = {}
    rows = Replica.objects.filter(worker__in=workers, ended_at=None, lines_wanted__isnull=False)
    for worker, replica in rows.values_list("worker_id", "pk"):
        found.setdefault(worker, []).append(str(replica))
    return found


def _refusal(beat: Beat) -> AgentRefused:
    """Why a heartbeat was not taken."""
    worker = Worker.objects.filter(pk=beat.worker).first()
    if worker is None or beat.digest not in (worker.digest, worker.next_digest):
        return AgentRefused("credential_unknown", "This credential opens nothing: join again with a new token.")
    if worker.revoked_at is not None:
        return AgentRefused("credential_revoked", "This worker was removed from the fleet: join again with a new token.")
    if worker.boot is not None and str(worker.boot) > beat.heartbeat.boot:
        return AgentRefused("boot_replaced", "A newer start of this agent has reported: two of them share one state directory.")
    return AgentRefused("heartbeat_replayed", f"Heartbeat {beat.heartbeat.sequence} of this start was seen already.")


def _pulse(now: datetime) -> None:
    """Note that somebody was heard; not with every batch, because one row holds it for all."""
    row = FleetClock.objects.values_list("heard_at", "listening_since").first()
    if row is not None and row[0] is not None and now - row[0] < PULSE_EVERY:
        return
    with transaction.atomic():
        clock = clock_lock()
        pulse = Pulse(clock.heard_at, clock.listening_since).after(now)
        FleetClock.objects.filter(pk=clock.pk).update(heard_at=pulse.heard, listening_since=pulse.since)
