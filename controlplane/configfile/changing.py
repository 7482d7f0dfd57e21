"""Who changes flags and when, in the document: rules that ask for two persons, and flips to come; entries <-> services and rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

from django.db.models import QuerySet
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.flags.change_choices import OPEN_STATES
from apps.flags.changes import change_withdraw, flip_submit
from apps.flags.models import ChangeRequest, TwoPersonRule
from apps.flags.two_person_rules import two_person_rule_add, two_person_rule_remove
from controlplane.configfile.document import ScheduleEntry, TwoPersonRuleEntry
from controlplane.configfile.ownership import team_named

_RULE = {"subject_kind": "subject"}
_SCHEDULE = {"name": "flag", "on": "turn", "share": "share", "acknowledged": "acknowledge"}
"""The services' names of fields that the document calls otherwise."""


def rule_apply(organisation: Organisation, entry: TwoPersonRuleEntry, *, actor: Actor, reason: str) -> None:
    """The rule holds from now on. One that the document had before in other words is another rule, and holds on."""
    team = team_named(organisation, entry.team, "team")
    with _fields(_RULE):
        two_person_rule_add(
            actor=actor,
            organisation=organisation,
            kind=entry.kind,
            subject_kind=entry.subject,
            environment=entry.environment,
            team=team,
            turning=entry.turning,
            reason=entry.reason,
        )


def rule_remove(organisation: Organisation, entry: TwoPersonRuleEntry, *, actor: Actor, reason: str) -> None:
    """The rule ends a day from now; what is gone already stays gone."""
    for row in _rules(organisation):
        if _rule(row).name == entry.name:
            two_person_rule_remove(actor=actor, rule=row, reason=reason)


def rules_of(organisation: Organisation) -> list[TwoPersonRuleEntry]:
    """Rules that nobody removed; one that ends within a day is not written."""
    return [_rule(row) for row in _rules(organisation)]


def rule_ids(organisation: Organisation) -> dict[str, str]:
    """An entry's name -> its rule's id."""
    return {_rule(row).name: str(row.pk) for row in _rules(organisation)}


def schedule_apply(organisation: Organisation, entry: ScheduleEntry, *, actor: Actor, reason: str) -> None:
    """The flip is to come, as the entry says; one that is past is history, and nothing is done twice."""
    if entry.at <= timezone.now():
        return
    late = None if entry.late is None else timedelta(milliseconds=entry.late)
    for row in _open(organisation).filter(flag_name=entry.flag, turn_on=entry.turn == "on", at=entry.at):
        if _schedule(row) == entry:
            return
        change_withdraw(actor=actor, change=row, reason=reason)
    with _fields(_SCHEDULE):
        flip_submit(
            actor=actor,
            organisation=organisation,
            name=entry.flag,
            on=entry.turn == "on",
            reason=entry.reason,
            until=entry.until,
            at=entry.at,
            share=entry.share,
            simulated_only=entry.simulated_only,
            acknowledge=entry.acknowledge,
            zone=entry.zone,
            late=late,
        )


def schedule_remove(organisation: Organisation, entry: ScheduleEntry, *, actor: Actor, reason: str) -> None:
    """Taken back; what is past stays as it was."""
    for row in _open(organisation).filter(flag_name=entry.flag, turn_on=entry.turn == "on", at=entry.at):
        change_withdraw(actor=actor, change=row, reason=reason)


def schedules_of(organisation: Organisation) -> list[ScheduleEntry]:
    """Flips to come, also those that wait for a second person; the next first."""
    return [_schedule(row) for row in _open(organisation).order_by("at", "flag_name", "turn_on")]


def schedule_ids(organisation: Organisation) -> dict[str, str]:
    """An entry's name -> its request's id."""
    return {_schedule(row).name: str(row.pk) for row in _open(organisation)}


def _rules(organisation: Organisation) -> QuerySet[TwoPersonRule]:
    rows = TwoPersonRule.objects.filter(organisation=organisation, ends_at=None).select_related("organisation", "team")
    return rows.order_by("kind", "subject_kind", "environment", "team__slug", "turning")


def _rule(row: TwoPersonRule) -> TwoPersonRuleEntry:
    return TwoPersonRuleEntry(
        kind=row.kind, subject=row.subject_kind, environment=row.environment, team=row.team.slug if row.team else "",
        turning=cast(Any, row.turning), reason=row.reason,
    )  # fmt: skip


def _open(organisation: Organisation) -> QuerySet[ChangeRequest]:
    """Requests for a time to come."""
    rows = ChangeRequest.objects.filter(organisation=organisation, state__in=OPEN_STATES, gives=False, at__isnull=False)
    return rows.select_related("organisation", "flag", "team")


def _schedule(row: ChangeRequest) -> ScheduleEntry:
    assert row.at is not None
    return ScheduleEntry(
        flag=row.flag_name,
        turn="on" if row.turn_on else "off",
        at=row.at,
        zone=row.zone,
        until=row.until,
        late=None if row.late_minutes is None else row.late_minutes * 60_000,
        share=row.share,
        simulated_only=row.simulated_only,
        acknowledge=row.acknowledged,
        reason=row.reason,
    )


@contextmanager
def _fields(names: dict[str, str]) -> Iterator[None]:
    """A service's field names become the document's."""
    try:
        yield
    except ServiceError as error:
        raise ServiceError(error.message, names.get(error.field or "", error.field)) from None
