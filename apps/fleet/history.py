"""What happened to workers, replicas and deployments, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from django.urls import reverse

from apps.audit.models import Event
from apps.fleet import choices
from apps.ui.status import Tone
from apps.ui.timeline import Entry

WORKER: dict[str, tuple[str, Tone]] = {
    "joined": ("Joined the fleet", "info"),
    "ready": ("In service", "good"),
    "active": ("Returned to service", "good"),
    "cordoned": ("Cordoned", "warn"),
    "draining": ("Draining", "warn"),
    "maintenance": ("In maintenance", "neutral"),
    "preempted": ("Machine is being taken away", "warn"),
    "silent": ("Went silent", "bad"),
    "lost": ("Lost: its replicas are replaced", "bad"),
    "skewed": ("Its clock is off", "warn"),
    "revoked": ("Removed from the fleet", "neutral"),
    "order_anew": ("Held an order that was unknown here: it got a new one", "warn"),
}
REPLICA: dict[str, tuple[str, Tone]] = {
    "placed": ("placed", "info"),
    "ready": ("ready", "good"),
    "failed": ("failed", "bad"),
    "drains": ("drains", "warn"),
    "ended": ("ended", "neutral"),
}
DEPLOYMENT: dict[str, tuple[str, Tone]] = {
    "created": ("Created", "info"),
    "changed": ("Changed", "info"),
    "scaled": ("Scaled", "info"),
    "restarted": ("Restarted", "info"),
    "unplaced": ("A replica fits nowhere", "bad"),
    "substitute": ("A substitute was ordered", "warn"),
    "deleted": ("Deleted", "neutral"),
}


def entries_of(events: Iterable[Event], *, named: bool = False) -> list[Entry]:
    """Lines of a timeline, in the order given. named: each says, and leads to, whom it is about: for a page of several."""
    return [_named(event, _entry(event)) if named else _entry(event) for event in events]


def _named(event: Event, entry: Entry) -> Entry:
    title = f"{entry.title[:1].lower()}{entry.title[1:]}"
    page = {"worker": "fleet:worker", "deployment": "fleet:deployment"}[event.subject_kind]
    url = "" if event.data.get("what") == "deleted" else reverse(page, args=[event.subject_id])
    return replace(entry, title=f"{event.subject_name or 'one without a name'}: {title}", url=url)


def _entry(event: Event) -> Entry:
    data, what = event.data, str(event.data.get("what", ""))
    why = str(data.get("why") or data.get("reason") or "")
    if event.kind == choices.REPLICA_EVENT:
        return _of_replica(event, data, what)
    if event.kind == choices.DEPLOYMENT_EVENT:
        title, tone = DEPLOYMENT.get(what, (what, "neutral"))
        if what == "scaled":
            title = f"Scaled from {data.get('from', '?')} to {data.get('to', '?')}"
        return Entry(event.at, title, why, str(data.get("by", "")), tone)
    title, tone = WORKER.get(what, (what, "neutral"))
    return Entry(event.at, title, why, str(data.get("by", "")), tone)


def _of_replica(event: Event, data: Mapping[str, Any], what: str) -> Entry:
    """A failure leads to the replica's log, the rest to its worker."""
    title, tone = REPLICA.get(what, (what, "neutral"))
    place = f" on {data['worker']}" if data.get("worker") else ""
    url = reverse("fleet:worker", args=[data["worker_id"]]) if data.get("worker_id") else ""
    if what == "failed" and data.get("replica"):
        url = reverse("fleet:replica_log", args=[data["replica"]])
    text = str(data.get("why") or choices.REASONS.get(str(data.get("reason", "")), ""))
    return Entry(event.at, f"Replica {data.get('ordinal', '')} {title}{place}", text, "", tone, "", url)
