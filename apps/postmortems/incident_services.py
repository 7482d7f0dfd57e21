"""Declaring incidents and moving them: state, severity, scope, times, window, merging. All audited; followers are told in the transaction.

Texts, notes and files are ``timeline_services``; roles and acknowledging ``incident_people``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import audit_record, change_record
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_checks import (
    WRITTEN,
    allowed,
    check_moment,
    check_names,
    check_said,
    check_severity,
    check_title,
    ordered,
)
from apps.postmortems.incident_followers import closing_left, follow
from apps.postmortems.incident_models import Incident, IncidentSeverity, IncidentUpdate, TimelineEntry
from apps.postmortems.incident_rules import (
    MOVES,
    VERBS,
    ClosingFacts,
    Times,
    closing_gaps,
    merge_check,
    moved,
    state_check,
    times_check,
    times_of,
    window_check,
)
from apps.postmortems.incident_selectors import severities_of
from apps.postmortems.timeline import entry_add

if TYPE_CHECKING:
    from apps.accounts.models import Organisation, User
    from apps.alerts.models import Alert
    from apps.audit.actors import Actor

KEPT: Any = object()
"""An argument of an update that is not to be changed."""
SCOPES = ("routes", "providers", "regions", "services")
_TONES = {
    choices.TRIAGE: "warn", choices.ACTIVE: "bad", choices.MITIGATED: "warn", choices.RESOLVED: "good", choices.CLOSED: "good",
    choices.CANCELLED: "neutral", choices.MERGED: "neutral",
}  # fmt: skip


@transaction.atomic
def incident_declare(
    *,
    actor: Actor,
    organisation: Organisation,
    title: str,
    severity: str = choices.SEV3,
    source: str = choices.PERSON,
    person: User | None = None,
    routes: Iterable[str] = (),
    providers: Iterable[str] = (),
    regions: Iterable[str] = (),
    services: Iterable[str] = (),
    summary: str = "",
    started_at: datetime | None = None,
    detected_at: datetime | None = None,
    alerts: Iterable[Alert] = (),
    simulated: bool | None = None,
    now: datetime | None = None,
) -> Incident:
    """Open an incident; its title is all it needs. Raises ServiceError.

    person: who declares, where it is a person, who has then seen it. started_at: when it began, detected_at: when it was seen; now, unless
    told. simulated: whose traffic its impact is measured of; the organisation's own kind unless told.
    """
    permission_require(actor=actor, action="incident.declare", organisation=organisation)
    if source not in choices.SOURCES:
        raise ServiceError(f"{source!r} is no source of incidents: one of {', '.join(choices.SOURCES)}", "source")
    at = now or clock.now()
    detected = check_moment(detected_at, "detected_at") or at
    started = check_moment(started_at, "started_at") or detected
    times = Times(started, detected, acknowledged_at=max(at, detected) if person is not None else None)
    with ordered():
        times_check(times, now=at)
    row = Incident(
        organisation=organisation,
        number=_number(organisation),
        title=check_title(title),
        severity=check_severity(severity),
        state=choices.TRIAGE,
        source=source,
        simulated=organisation.simulated if simulated is None else simulated,
        declared_at=at,
        declared_by=actor.name[:500],
        declarer=person,
        summary=check_said(summary, longest=WRITTEN, field="summary", needed=False),
        **{name: check_names(names, name) for name, names in zip(SCOPES, (routes, providers, regions, services), strict=True)},
        **{item.name: getattr(times, item.name) for item in fields(Times)},
    )
    row.save(force_insert=True)
    row.alerts.set(alerts)
    change_record(actor, "incident.declare", row, {}, {"title": row.title, **_facts(row)}, "")
    entry_add(
        incident=row, kind=choices.STATE, title=f"Declared by {choices.SOURCES[source]}", text=row.title, at=at, tone="bad", by=actor.name
    )
    _tell(row, choices.DECLARED_EVENT, at)
    follow(row, "declared")
    return row


@transaction.atomic
def incident_update(
    *,
    actor: Actor,
    incident: Incident,
    title: str = KEPT,
    severity: str = KEPT,
    routes: Iterable[str] = KEPT,
    providers: Iterable[str] = KEPT,
    regions: Iterable[str] = KEPT,
    services: Iterable[str] = KEPT,
    summary: str = KEPT,
    public_summary: str = KEPT,
    reason: str = "",
    now: datetime | None = None,
) -> Incident:
    """Change what an incident says of itself. What is not given stays; the same again changes nothing. Raises ServiceError."""
    row = locked(actor, incident)
    before = {"title": row.title, "summary": row.summary, "public_summary": row.public_summary, **_facts(row)}
    if title is not KEPT:
        row.title = check_title(title)
    if severity is not KEPT:
        row.severity = check_severity(severity)
    for name, names in zip(SCOPES, (routes, providers, regions, services), strict=True):
        if names is not KEPT:
            setattr(row, name, check_names(names, name))
    if summary is not KEPT:
        row.summary = check_said(summary, longest=WRITTEN, field="summary", needed=False)
    if public_summary is not KEPT:
        row.public_summary = check_said(public_summary, field="public_summary", needed=False)
    after = {"title": row.title, "summary": row.summary, "public_summary": row.public_summary, **_facts(row)}
    changed = [name for name in after if before[name] != after[name]]
    if not changed:
        return row
    row.save()
    at = now or clock.now()
    if "severity" in changed:
        words = f"{str(before['severity']).upper()} → {row.severity.upper()}"
        change_record(actor, "incident.severity", row, {"severity": before["severity"]}, {"severity": row.severity}, reason)
        entry_add(incident=row, kind=choices.STATE, title=f"Severity: {words}", text=reason, at=at, tone="warn", by=actor.name)
    rest = [name for name in changed if name != "severity"]
    if rest:
        change_record(actor, "incident.update", row, {n: before[n] for n in rest}, {n: after[n] for n in rest}, reason)
    scope = [name for name in SCOPES if name in changed]
    if scope:
        words = "; ".join(f"{name}: {', '.join(getattr(row, name)) or 'all'}" for name in scope)
        entry_add(incident=row, kind=choices.STATE, title="What is hit was changed", text=words, at=at, by=actor.name)
    if "severity" in changed:
        follow(row, "severity")
    if rest:
        follow(row, "scope")
    return row


@transaction.atomic
def incident_move(
    *,
    actor: Actor,
    incident: Incident,
    to: str,
    at: datetime | None = None,
    text: str = "",
    public: bool = False,
    now: datetime | None = None,
) -> Incident:
    """Move an incident to another state. The state it has changes nothing. Raises ServiceError.

    at: when that was so, now unless told. text: a status update that goes with it; public: also for the status page. Closing is refused
    with everything that is still to be done; to merge, use ``incident_merge``.
    """
    row = locked(actor, incident)
    moment = now or clock.now()
    said = check_said(text, needed=False)
    if to not in choices.STATES or to == choices.MERGED:
        known = ", ".join(state for state in choices.STATES if state != choices.MERGED)
        raise ServiceError(f"{to[:30]!r} is no state to move to: one of {known}", "state")
    if to == row.state:
        return row
    if to == choices.CLOSED:
        _closable(row)
    before = row.state
    when = check_moment(at, "at") or moment
    with ordered():
        _set_times(row, moved(times_of(row), before, to, at=when, now=moment))
    row.state = to
    if before == choices.MERGED:
        row.merged_into = None
    row.save()
    change_record(actor, "incident.move", row, {"state": before}, {"state": to, "at": when.isoformat()}, said[:2000])
    _state_entry(row, actor, when, said)
    if said:
        IncidentUpdate.objects.create(incident=row, at=moment, state=to, text=said, public=public, by=actor.name[:500])
    if to == choices.RESOLVED:
        _tell(row, choices.OVER_EVENT, when)
    follow(row, "state")
    return row


@transaction.atomic
def incident_times_set(*, actor: Actor, incident: Incident, times: Times, reason: str = "", now: datetime | None = None) -> Incident:
    """Put its times right: all of them, as they should be. Raises ServiceError where their order, or the state, forbids it."""
    row = locked(actor, incident)
    for item in fields(Times):
        check_moment(getattr(times, item.name), item.name)
    with ordered():
        times_check(times, now=now or clock.now())
        state_check(row.state, times)
    before = {name: at.isoformat() for name, at in times_of(row).known().items()}
    after = {name: at.isoformat() for name, at in times.known().items()}
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if not changed:
        return row
    _set_times(row, times)
    row.save()
    change_record(actor, "incident.times", row, {n: before.get(n, "") for n in changed}, {n: after.get(n, "") for n in changed}, reason)
    follow(row, "times")
    return row


@transaction.atomic
def incident_window_set(
    *,
    actor: Actor,
    incident: Incident,
    since: datetime | None,
    until: datetime | None = None,
    reason: str = "",
    now: datetime | None = None,
) -> Incident:
    """Say from when to when people felt it; from then on the window does not follow the data. until: None: it goes on.

    Without ``since`` it follows the data again. Raises ServiceError.
    """
    row = locked(actor, incident)
    with ordered():
        window_check(check_moment(since, "impact_from"), check_moment(until, "impact_until"), now=now or clock.now())
    before = _window(row)
    row.impact_from, row.impact_until = since, until
    row.impact_set_by = actor.name[:500] if since is not None else ""
    if _window(row) == before:
        return row
    row.impact_at = None  # measured again
    row.save()
    change_record(actor, "incident.window", row, before, _window(row), reason)
    follow(row, "times")
    return row


@transaction.atomic
def incident_merge(*, actor: Actor, incident: Incident, into: Incident, reason: str = "", now: datetime | None = None) -> Incident:
    """Make an incident part of another one, which takes over its alerts, what it names as hit, its beginning and its notes.

    Raises ServiceError: not into itself, not into what was merged into it, not into one that is closed. A second time changes nothing.
    """
    if into.organisation_id != incident.organisation_id:
        raise ServiceError("both incidents must be of one organisation", "into")
    with connection.cursor() as cursor:  # merges of one organisation take turns: two at once could make a loop
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"incident merge {incident.organisation_id}"])
    row, target = locked(actor, incident), locked(actor, into)
    if row.merged_into_id == target.pk:
        return target
    with ordered():
        parents = dict(Incident.objects.filter(organisation=row.organisation).exclude(merged_into=None).values_list("pk", "merged_into"))
        merge_check(row.pk, target.pk, parents)
    if target.state in choices.FINAL:
        raise ServiceError(f"{target.reference} is {VERBS[target.state]}: take it up again before something is merged into it", "into")
    if choices.MERGED not in MOVES[row.state]:
        raise ServiceError(f"{row.reference} is {VERBS[row.state]}: take it up again before it is merged", "incident")
    at, before = now or clock.now(), row.state
    row.state, row.merged_into = choices.MERGED, target
    row.save()
    _take_over(row, target)
    change_record(actor, "incident.merge", row, {"state": before}, {"state": choices.MERGED, "into": target.reference}, reason)
    words = f"Merged into {target.reference}"
    entry_add(incident=row, kind=choices.STATE, title=words, text=reason, at=at, by=actor.name)
    entry_add(incident=target, kind=choices.STATE, title=f"{row.reference} was merged into this", text=row.title, at=at, by=actor.name)
    follow(row, "merged")
    follow(target, "scope")
    return target


@transaction.atomic
def severity_set(
    *, actor: Actor, organisation: Organisation, level: str, title: str, meaning: str, postmortem: bool, reason: str = ""
) -> IncidentSeverity:
    """Say what a severity means here, and whether it takes a postmortem. The same again changes nothing. Raises ServiceError."""
    permission_require(actor=actor, action="incident_severity.change", organisation=organisation)
    level = check_severity(level)
    said = " ".join(check_said(title, longest=60, field="title").split())
    means = check_said(meaning, longest=1000, field="meaning")
    known = severities_of(organisation)[level]
    row = IncidentSeverity.objects.select_for_update().filter(organisation=organisation, level=level).first()
    before = {"title": known.title, "meaning": known.meaning, "postmortem": known.postmortem}
    after = {"title": said, "meaning": means, "postmortem": postmortem}
    if row is None:
        row = IncidentSeverity(organisation=organisation, level=level)
    row.title, row.meaning, row.postmortem = said, means, postmortem
    row.save()
    changed = [name for name in after if before[name] != after[name]]
    if changed:
        audit_record(
            actor=actor,
            action="incident_severity.change",
            subject_kind="incident_severity",
            subject_id=row.pk,
            subject_name=level.upper(),
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
            reason=reason,
        )
    return row


def locked(actor: Actor, incident: Incident) -> Incident:
    """The incident's row, locked, where the actor may work on it."""
    rows = Incident.objects.select_for_update(of=("self",), no_key=True).select_related("organisation")
    row = rows.get(pk=incident.pk)
    allowed(actor, row)
    return row


def _closable(row: Incident) -> None:
    facts = ClosingFacts(
        state=row.state,
        thorough=severities_of(row.organisation)[row.severity].postmortem,
        summary=row.summary,
        commander=row.commander_id is not None,
        impact_from=row.impact_from,
        impact_until=row.impact_until,
    )
    gaps = [*closing_gaps(facts), *closing_left(row)]
    if gaps:
        raise ServiceError(f"Before {row.reference} is closed: {'; '.join(gaps)}.", "state")


def _state_entry(row: Incident, actor: Actor, at: datetime, text: str) -> None:
    title = f"{choices.STATES[row.state].label}"
    entry_add(incident=row, kind=choices.STATE, title=title, text=text, at=at, tone=_TONES[row.state], by=actor.name)


def _take_over(row: Incident, target: Incident) -> None:
    target.alerts.add(*row.alerts.all())
    for name in SCOPES:
        mine, theirs = getattr(target, name), getattr(row, name)
        if name == "routes" and not (mine and theirs):
            setattr(target, name, [])  # one of the two names none: everything
        else:
            setattr(target, name, list(dict.fromkeys([*mine, *theirs])))
    target.started_at = min(target.started_at, row.started_at)
    target.detected_at = min(target.detected_at, row.detected_at)
    target.impact_at = None
    target.save()
    for entry in TimelineEntry.objects.filter(incident=row, kind__in=(choices.NOTE, choices.UPDATE), hidden=False).order_by("at", "id"):
        entry_add(
            incident=target, kind=entry.kind, title=entry.title, text=entry.text, at=entry.at, tone=entry.tone, by=entry.by,
            source=f"merged:{entry.pk}",
        )  # fmt: skip


def _number(organisation: Organisation) -> int:
    """The next number, never given twice: whoever asks waits for who asked before."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"incident number {organisation.pk}"])
    return (Incident.objects.filter(organisation=organisation).aggregate(last=Max("number"))["last"] or 0) + 1


def _facts(row: Incident) -> dict[str, Any]:
    return {"severity": row.severity, **{name: list(getattr(row, name)) for name in SCOPES}}


def _window(row: Incident) -> dict[str, str]:
    return {
        "impact_from": row.impact_from.isoformat() if row.impact_from else "",
        "impact_until": row.impact_until.isoformat() if row.impact_until else "",
        "impact_set_by": row.impact_set_by,
    }


def _set_times(row: Incident, times: Times) -> None:
    for item in fields(Times):
        setattr(row, item.name, getattr(times, item.name))


def _tell(row: Incident, kind: str, at: datetime) -> None:
    data: Mapping[str, Any] = {"organisation": str(row.organisation_id), "severity": row.severity, "number": row.number}
    event_record(kind=kind, subject_kind="incident", subject_id=row.pk, subject_name=f"{row.reference} {row.title}", at=at, data=data)
