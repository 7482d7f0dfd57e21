"""What people write about incidents, judged: texts, names of what is hit, severities, people. Every refusal says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from django.utils import timezone as clock

from apps.accounts.models import Membership, Organisation, User
from apps.accounts.rules import PERMISSIONS
from apps.accounts.selectors import permission_require, permitted
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.rules import clean_text
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_models import Incident
from apps.postmortems.incident_rules import Disordered

TITLE, NAMES, SAID, NOTED, WRITTEN = 200, 50, 10_000, 20_000, 50_000
"""Longest title; most names of one kind; longest update, note and summary, in characters."""
NO_TITLE = "say in a few words what is wrong, such as: chat answers with errors"


def allowed(actor: Actor, incident: Incident) -> None:
    """Who may work on an incident: whoever's role says so, and whoever holds one of its roles and may write notes. Raises
    PermissionRefused."""
    held = {str(pk) for pk in (incident.commander_id, incident.scribe_id, incident.liaison_id) if pk is not None}
    if actor.kind == "user" and actor.id in held and permitted(actor=actor, action="incident.note", organisation=incident.organisation):
        return
    permission_require(actor=actor, action="incident.change", organisation=incident.organisation)


def may_work(incident: Incident, *, user: User, may_change: bool, may_note: bool) -> bool:
    """Whether a page shows somebody what ``allowed`` would let them do; no query."""
    return may_change or (may_note and user.pk in (incident.commander_id, incident.scribe_id, incident.liaison_id))


def check_title(written: str) -> str:
    """The one thing that declaring needs."""
    title = " ".join(clean_text(written, 10_000).split())
    if not title:
        raise ServiceError(NO_TITLE, "title")
    if len(title) > TITLE:
        raise ServiceError(f"at most {TITLE} characters, please ({len(title):,} now): the rest belongs into a note", "title")
    return title


def check_said(written: str, *, longest: int = SAID, field: str = "text", needed: bool = True) -> str:
    """A text as it is kept: nothing of it is changed but NULs and its outer blanks."""
    text = written.replace("\x00", "�").replace("\r\n", "\n").strip()
    if needed and not text:
        raise ServiceError("write what there is to say", field)
    if len(text) > longest:
        raise ServiceError(f"at most {longest:,} characters, please ({len(text):,} now): attach the rest as a file", field)
    return text


def check_severity(level: str) -> str:
    """A level as it is kept, of ``SEV1`` or ``sev1``."""
    found = level.strip().casefold()
    found = f"sev{found}" if found in ("1", "2", "3", "4") else found
    if found not in choices.SEVERITIES:
        raise ServiceError(f"{level[:30]!r} is no severity: one of {', '.join(choices.SEVERITIES)}", "severity")
    return found


def check_names(written: Iterable[str], field: str) -> list[str]:
    """Names of routes, providers, regions or services, each once, in their order."""
    names = list(dict.fromkeys(name for one in written if (name := " ".join(clean_text(str(one), 200).split()))))
    if len(names) > NAMES:
        raise ServiceError(f"name at most {NAMES} of them: leave the field empty where everything is hit", field)
    return names


def check_person(organisation: Organisation, person: User | None, field: str) -> User | None:
    """Somebody who can hold a role: here, active, and allowed to write. Raises ServiceError for who left."""
    if person is None:
        return None
    row = Membership.objects.filter(organisation=organisation, user=person).first()
    who = person.name or person.email
    if row is None or not person.is_active:
        raise ServiceError(f"{who} is no longer a member of {organisation.name}: choose somebody who is", field)
    if row.role not in {role.value for role in PERMISSIONS["incident.note"].organisation}:
        raise ServiceError(f"{who} may only look ({row.role}): choose somebody else, or ask an admin to change their role", field)
    return person


def check_moment(at: datetime | None, field: str) -> datetime | None:
    """A moment with its zone, without what is finer than a microsecond's worth."""
    if at is None:
        return None
    if clock.is_naive(at):
        raise ServiceError("say in which zone that is: write it in UTC, ending in Z", field)
    return at


@contextmanager
def ordered() -> Iterator[None]:
    """Turns a rule's refusal into a service's."""
    try:
        yield
    except Disordered as error:
        raise ServiceError(f"{error.message[:1].upper()}{error.message[1:]}.", error.field) from error
