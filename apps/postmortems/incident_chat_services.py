"""The slash command of an organisation: how it is set up, who may call, and what a call does.

Whoever can write in the workspace may declare, take, note, update and move incidents: the signing secret says that the workspace sends it,
and the audit names the person as the workspace does. Closing asks for the same as anywhere else. The secret is kept by reference and read
at each call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.rules import clean_text
from apps.audit.services import audit_record
from apps.postmortems import incident_chat, incident_choices
from apps.postmortems.incident_chat import USAGE, Asked, Unsigned, asked, signature_check
from apps.postmortems.incident_models import ChatCall, Incident, IncidentChat
from apps.postmortems.incident_people import incident_acknowledge
from apps.postmortems.incident_selectors import incident_get, open_incidents
from apps.postmortems.incident_services import incident_declare, incident_move, incident_update
from apps.postmortems.timeline_services import incident_say, note_add

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

log = logging.getLogger("bulkhead.incidents")
MOST_LISTED = 10
_read_secret: list[Callable[[str], str]] = []


@dataclass(frozen=True, slots=True)
class Answer:
    """What the workspace shows. everybody: to the whole channel, else to the caller alone."""

    text: str
    everybody: bool = False

    def document(self) -> dict[str, str]:
        """As the workspace takes it. What people wrote can call nobody and link nowhere there."""
        text = self.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return {"response_type": "in_channel" if self.everybody else "ephemeral", "text": text}


def register_secret_reader(reader: Callable[[str], str]) -> None:
    """Name who reads ``env:`` and ``file:`` references; it raises ValueError with a sentence for what may not be read."""
    _read_secret[:] = [reader]


@transaction.atomic
def chat_set(
    *, actor: Actor, organisation: Organisation, secret: str, workspace: str = "", enabled: bool = True, reason: str = ""
) -> IncidentChat:
    """Set an organisation's slash command up. secret: ``env:NAME`` or ``file:path``, never the secret itself. Raises ServiceError."""
    permission_require(actor=actor, action="incident_chat.change", organisation=organisation)
    reference = clean_text(secret, 300).strip()
    if not reference.startswith(("env:", "file:")) or reference.endswith(":"):
        raise ServiceError(
            "Name where the signing secret is, such as env:SLACK_SIGNING_SECRET or file:slack-secret: it is not kept here.", "secret"
        )
    try:
        secret_read(reference)
    except ValueError as error:
        raise ServiceError(f"{str(error)[:1].upper()}{str(error)[1:]}.", "secret") from error
    row = IncidentChat.objects.select_for_update().filter(organisation=organisation).first()
    before = {"reference": row.secret, "workspace": row.workspace, "enabled": row.enabled} if row else {}
    row = row or IncidentChat(organisation=organisation)
    row.secret, row.workspace, row.enabled = reference, clean_text(workspace, 60).strip(), enabled
    row.save()
    after = {"reference": row.secret, "workspace": row.workspace, "enabled": row.enabled}
    if before != after:
        audit_record(
            actor=actor, action="incident_chat.change", subject_kind="incident_chat", subject_id=organisation.pk,
            subject_name=organisation.slug, before=before, after=after, reason=reason,
        )  # fmt: skip
    return row


def secret_read(reference: str) -> str:
    """What a reference stands for. Raises ValueError."""
    if not _read_secret:
        raise ValueError("nothing here can read references")
    return _read_secret[0](reference)


def call_check(
    *, organisation: str, timestamp: str, signature: str, body: bytes, workspace: str, now: datetime | None = None
) -> IncidentChat:
    """The slash command that a request was signed for; each signed request is taken once. Raises Unsigned, for whatever reason, alike."""
    moment = now or clock.now()
    chat = IncidentChat.objects.select_related("organisation").filter(organisation__slug=organisation, enabled=True).first()
    if chat is None:
        raise Unsigned("this organisation has no slash command")
    try:
        secret = secret_read(chat.secret)
    except ValueError as error:
        log.error("the slash command of %s cannot be answered: %s", organisation, error)
        raise Unsigned("the secret cannot be read") from error
    signature_check(secret=secret, timestamp=timestamp, signature=signature, body=body, now=moment.timestamp())
    if chat.workspace and workspace != chat.workspace:
        raise Unsigned("another workspace sends it")
    key = f"{chat.organisation_id}:{signature[-40:]}"  # enough of it that none is ever given twice
    if not ChatCall.objects.get_or_create(signature=key, defaults={"at": moment})[1]:
        raise Unsigned("this request was taken before")
    return chat


def call_answer(*, chat: IncidentChat, fields: Mapping[str, str], now: datetime | None = None) -> Answer:
    """Do what a call asks for; a refusal is an answer to the caller alone, with everything they wrote."""
    written = fields.get("text", "")[:20_000]
    wish = asked(written)
    if wish.wrong:
        return Answer(f"{wish.wrong[:1].upper()}{wish.wrong[1:]}\n\n{USAGE}")
    if wish.verb == incident_chat.HELP:
        return Answer(USAGE)
    try:
        return _done(chat, wish, _actor(fields), now=now)
    except ServiceError as error:
        return Answer(f"{error.message}\nYou wrote: {written}")


def _done(chat: IncidentChat, wish: Asked, actor: Actor, *, now: datetime | None) -> Answer:
    organisation = chat.organisation
    if wish.verb == incident_chat.LIST:
        rows = list(open_incidents(organisation)[:MOST_LISTED])
        return Answer("\n".join(_line(row) for row in rows) or "No incident is open.")
    if wish.verb == incident_chat.DECLARE:
        severity = {"severity": wish.severity} if wish.severity else {}
        row = incident_declare(actor=actor, organisation=organisation, title=wish.text, source=incident_choices.CHAT, now=now, **severity)
        return Answer(f"Declared by {actor.name}: {_line(row)}", everybody=True)
    found = incident_get(organisation, wish.reference)
    if found is None:
        raise ServiceError(f"There is no INC-{wish.reference}: /incident list shows the open ones.")
    acts: dict[str, Callable[[], Any]] = {
        incident_chat.UPDATE: lambda: incident_say(actor=actor, incident=found, text=wish.text, now=now),
        incident_chat.NOTE: lambda: note_add(actor=actor, incident=found, text=wish.text, now=now),
        incident_chat.TAKE: lambda: incident_acknowledge(actor=actor, incident=found, now=now),
        incident_chat.MOVE: lambda: incident_move(actor=actor, incident=found, to=wish.state, text=wish.text, now=now),
        incident_chat.SEVERITY: lambda: incident_update(actor=actor, incident=found, severity=wish.severity, reason=wish.text, now=now),
    }
    acts[wish.verb]()
    found.refresh_from_db()
    told = {incident_chat.NOTE: "Noted", incident_chat.TAKE: f"{actor.name} looks after it"}.get(wish.verb, "")
    text = f"{told}: {_line(found)}" if told else f"{_line(found)}{f'{chr(10)}{wish.text}' if wish.text else ''}"
    return Answer(text, everybody=wish.verb != incident_chat.NOTE)


def _line(row: Incident) -> str:
    return f"{row.reference} {row.severity.upper()} {incident_choices.STATES[row.state].label.lower()}: {row.title}"


def _actor(fields: Mapping[str, str]) -> Actor:
    """The person as the workspace names them; no person of ours, so the audit says where the name comes from."""
    name, person = clean_text(fields.get("user_name", ""), 80), clean_text(fields.get("user_id", ""), 40)
    return Actor(kind="system", id=f"chat:{person}", name=f"{name or person or 'somebody'} (chat)", via="slash command")
