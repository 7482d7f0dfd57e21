"""Walking the audit chain: every stored value is hashed again, every link is followed."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from apps.audit.models import AuditEvent
from apps.audit.rules import GENESIS_HASH, link_hash


@dataclass(frozen=True, slots=True)
class ChainReport:
    """links: how many were walked. head, head_hash: the newest link. broken: what is wrong first, empty when nothing is."""

    links: int
    head: int
    head_hash: str
    broken: str = ""


@transaction.atomic
def chain_verify(*, anchor: tuple[int, str] | None = None, after: tuple[int, str] | None = None) -> ChainReport:
    """Walk the chain from its first link, in constant memory, and stop at the first break.

    after: the ``(seq, hash)`` of a link that was verified before; only what follows it is walked.

    anchor: a ``(seq, hash)`` noted elsewhere earlier. A chain alone cannot show that its newest links were cut off or that it
    was written anew from the start; an anchor can.
    """
    seq, previous = after or (0, GENESIS_HASH)
    if after is not None and not AuditEvent.objects.filter(seq=seq, hash=previous).exists():
        return ChainReport(links=0, head=seq, head_hash=previous, broken=f"link {seq}, verified before, is missing or another one")
    anchored = anchor is None
    for event in AuditEvent.objects.filter(seq__gt=seq).order_by("seq").iterator(chunk_size=2000):
        broken = _break(event, expected_seq=seq + 1, previous=previous)
        if broken:
            return ChainReport(links=seq, head=seq, head_hash=previous, broken=broken)
        seq, previous = event.seq or 0, event.hash or ""
        if anchor is not None and anchor[0] == seq:
            if anchor[1] != previous:
                return ChainReport(
                    links=seq, head=seq, head_hash=previous, broken=f"link {seq}: its hash is not the one noted in the anchor"
                )
            anchored = True
    # Unsealed rows are only ever seen by the transaction that writes them; a committed one has bypassed the trigger.
    stray = AuditEvent.objects.filter(seq__isnull=True).order_by("at", "id").first()
    if stray is not None:
        return ChainReport(links=seq, head=seq, head_hash=previous, broken=f"event {stray.id} ({stray.action}) has no place in the chain")
    if not anchored and anchor is not None:
        return ChainReport(links=seq, head=seq, head_hash=previous, broken=f"link {anchor[0]}, noted in the anchor, is missing")
    return ChainReport(links=seq, head=seq, head_hash=previous)


def _break(event: AuditEvent, *, expected_seq: int, previous: str) -> str:
    seq = event.seq or 0
    if seq != expected_seq:
        return f"link {expected_seq} is missing (the next one is {seq})"
    if event.prev_hash != previous:
        return f"link {seq}: it does not follow from link {seq - 1}"
    if event.compute_content_hash() != event.content_hash:
        return f"link {seq} ({event.action} by {event.actor_name}): its content was changed"
    if link_hash(seq=seq, content=event.content_hash, prev_hash=previous) != event.hash:
        return f"link {seq}: its hash does not fit its content"
    return ""
