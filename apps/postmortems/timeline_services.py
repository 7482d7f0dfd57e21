"""What people write into an incident: updates, notes, files; what they pin, and what they leave out. All audited."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_attachments import MOST_BYTES, MOST_OF_ONE, AttachmentRefused, Checked, attachment_check
from apps.postmortems.incident_checks import NOTED, allowed, check_moment, check_said
from apps.postmortems.incident_followers import follow
from apps.postmortems.incident_models import Incident, IncidentAttachment, IncidentUpdate, TimelineEntry
from apps.postmortems.incident_rules import AHEAD, OLDEST
from apps.postmortems.incident_services import locked
from apps.postmortems.timeline import entry_add
from apps.postmortems.timeline_sources import facts_of, places_of

if TYPE_CHECKING:
    from apps.audit.actors import Actor

SHOWN = 1_500
"""Of a text that is kept as a file, so much is shown in the timeline."""
PASTED = "pasted.txt"


@transaction.atomic
def incident_say(*, actor: Actor, incident: Incident, text: str, public: bool = False, now: datetime | None = None) -> IncidentUpdate:
    """A status update: how it stands, for everybody who follows; public: for the status page, too. Raises ServiceError."""
    row = locked(actor, incident)
    said, at = check_said(text), now or clock.now()
    update = IncidentUpdate.objects.create(incident=row, at=at, state=row.state, text=said, public=public, by=actor.name[:500])
    title = "Public update" if public else "Update"
    entry_add(incident=row, kind=choices.UPDATE, title=title, text=said, at=at, tone="info", by=actor.name)
    change_record(actor, "incident.say", row, {}, {"text": said[:2000], "public": public})
    follow(row, "update")
    return update


@transaction.atomic
def note_add(*, actor: Actor, incident: Incident, text: str, at: datetime | None = None, now: datetime | None = None) -> TimelineEntry:
    """Write into the timeline what somebody did or saw; at: when that was, now unless told.

    What is too long for a note, such as a pasted log, is kept whole as a file beside its beginning. Raises ServiceError for what is too
    large even for that.
    """
    row = _for_notes(actor, incident)
    moment = now or clock.now()
    when = _when(at, moment)
    if len(text) > NOTED:
        return _attached(actor, row, _checked(PASTED, text.replace("\x00", "�").encode("utf-8", "replace")), text, when)
    said = check_said(text, longest=NOTED)
    entry = entry_add(incident=row, kind=choices.NOTE, title="Note", text=said, at=when, by=actor.name)
    change_record(actor, "incident.note", row, {}, {"text": said[:2000]})
    return entry


@transaction.atomic
def attachment_add(
    *, actor: Actor, incident: Incident, name: str, body: bytes, text: str = "", at: datetime | None = None, now: datetime | None = None
) -> TimelineEntry:
    """Keep a file beside a note: text or a picture, by its bytes. Raises ServiceError for anything else, or too much."""
    row = _for_notes(actor, incident)
    said = check_said(text, longest=NOTED, needed=False)
    return _attached(actor, row, _checked(name, body), said, _when(at, now or clock.now()))


@transaction.atomic
def entry_pin(*, actor: Actor, entry: TimelineEntry, pinned: bool) -> TimelineEntry:
    """Pin an entry to the top, or let it go. The same again changes nothing."""
    row = _entry(actor, entry)
    if row.pinned == pinned:
        return row
    row.pinned = pinned
    row.save(update_fields=["pinned"])
    change_record(actor, "incident.pin", row.incident, {}, {"entry": row.title, "pinned": pinned})
    return row


@transaction.atomic
def entry_hide(*, actor: Actor, entry: TimelineEntry, hidden: bool, reason: str = "") -> TimelineEntry:
    """Leave an entry out of the story, or take it back in; it is never deleted. The same again changes nothing."""
    row = _entry(actor, entry)
    if row.hidden == hidden:
        return row
    row.hidden = hidden
    row.save(update_fields=["hidden"])
    change_record(actor, "incident.hide", row.incident, {"hidden": not hidden}, {"entry": row.title, "hidden": hidden}, reason)
    return row


@transaction.atomic
def suspect_pin(*, actor: Actor, incident: Incident, key: str, at: datetime, now: datetime | None = None) -> TimelineEntry:
    """Put a suspected change into the timeline, pinned. key, at: of its ``suspicion.Change``. Raises ServiceError where it is none."""
    row = locked(actor, incident)
    entry = TimelineEntry.objects.filter(incident=row, source=key).first()
    if entry is None:
        around = timedelta(seconds=1)
        facts = facts_of(row.organisation, at - around, at + around, places_of(row.organisation))
        fact = next((one for one in facts if one.change.key == key), None)
        if fact is None:
            raise ServiceError("that change is not known any more: reload the page", "key")
        change = fact.change
        entry = entry_add(
            incident=row, kind=choices.FACT, title=change.title, text=change.text, at=change.at, tone=fact.tone, by=change.who,
            url=change.url, source=key,
        )  # fmt: skip
    return entry_pin(actor=actor, entry=entry, pinned=True)


def _for_notes(actor: Actor, incident: Incident) -> Incident:
    row = Incident.objects.select_for_update(of=("self",), no_key=True).select_related("organisation").get(pk=incident.pk)
    permission_require(actor=actor, action="incident.note", organisation=row.organisation)
    return row


def _entry(actor: Actor, entry: TimelineEntry) -> TimelineEntry:
    row = TimelineEntry.objects.select_for_update(of=("self",)).select_related("incident__organisation").get(pk=entry.pk)
    allowed(actor, row.incident)
    return row


def _when(at: datetime | None, now: datetime) -> datetime:
    when = check_moment(at, "at") or now
    if when > now + AHEAD:
        raise ServiceError("that time lies in the future: write when it was, in UTC", "at")
    if when < now - OLDEST:
        raise ServiceError("that time lies more than a year back: look at its year", "at")
    return when


def _checked(name: str, body: bytes) -> Checked:
    try:
        return attachment_check(name, body)
    except AttachmentRefused as error:
        raise ServiceError(f"{str(error)[:1].upper()}{str(error)[1:]}.", "file") from error


def _attached(actor: Actor, row: Incident, file: Checked, text: str, at: datetime) -> TimelineEntry:
    if IncidentAttachment.objects.filter(entry__incident=row).count() >= MOST_OF_ONE:
        most = f"{MOST_OF_ONE} files of {MOST_BYTES // 2**20} MB"
        raise ServiceError(f"{row.reference} holds {most} already: put further ones elsewhere and write where", "file")
    shown = text.strip() if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()}\n…"
    title = f"File: {file.name}"
    entry = entry_add(incident=row, kind=choices.ATTACHMENT, title=title, text=shown.replace("\x00", "�"), at=at, by=actor.name)
    IncidentAttachment.objects.create(
        entry=entry, name=file.name, kind=file.kind, size=len(file.body), sha256=hashlib.sha256(file.body).hexdigest(), body=file.body
    )
    change_record(actor, "incident.attach", row, {}, {"file": file.name, "bytes": len(file.body)})
    return entry
