"""Whether a flip takes a second person, asked by every write that could be one.

``flag_flip``, ``flag_set`` and ``flag_delete`` call ``flip_guard`` themselves, so that no page, call or rollback has a way around it.
``changes.py`` and ``change_applying.py`` alone may open it, for one flag and one standing, after the request's row says that two persons
agreed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Q
from django.utils import timezone as clock

from apps.audit.errors import ServiceError
from apps.flags import change_rules as rules
from apps.flags.change_choices import ENVIRONMENTS
from apps.flags.concerned import target_teams, teams_concerned
from apps.flags.models import Flag, TwoPersonRule
from apps.keys.models import VirtualKey

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.audit.actors import Actor

_agreed: ContextVar[tuple[UUID, rules.Standing] | None] = ContextVar("agreed flip", default=None)
_agreed_owner: ContextVar[tuple[UUID, UUID | None] | None] = ContextVar("agreed owner", default=None)


class TwoPersonsNeeded(ServiceError):
    """A flip by one person where two are needed; the message says how to ask."""


def standing_of(flag: Flag) -> rules.Standing:
    """How a flag stands, as the rules see it; a flag that is off has neither an end nor a share."""
    return rules.Standing(True, flag.until, flag.share, flag.simulated_only) if flag.on else rules.OFF


def rules_in_force(organisation: Organisation, *, now: datetime | None = None) -> list[TwoPersonRule]:
    """An organisation's rules that hold now, also those that were removed less than a day ago."""
    holds = Q(ends_at=None) | Q(ends_at__gt=now or clock.now())
    return list(TwoPersonRule.objects.filter(holds, organisation=organisation).select_related("team"))


def rule_for(flag: Flag, before: rules.Standing, after: rules.Standing, *, planned: bool = False) -> TwoPersonRule | None:
    """The rule by which this flip takes two persons; None: one is enough.

    planned: for a moment to come: how the flag stands until then is not known, so turning on counts as turning on.
    """
    turned = ("on" if after.on else "off") if planned else rules.direction(before, after)
    alone = _planned_alone(before, after) if planned else rules.simulated_alone(before, after)
    if not turned or alone:
        return None
    found = rules_in_force(flag.organisation)
    if not found:
        return None
    asked = _asked(flag, found)._replace(direction=turned)
    return next((row for row in found if rules.takes_two(asked, [rule_of(row)])), None)


def _asked(flag: Flag, found: list[TwoPersonRule]) -> rules.Asked:
    """A flag as these rules see it; whom it concerns is looked up where one of them names a team."""
    teams = teams_concerned(flag) if any(row.team_id for row in found) else frozenset[str]()
    return rules.Asked(flag.kind, flag.subject_kind, teams, _environments(flag, found), "on", simulated_only=False)


def _planned_alone(before: rules.Standing, after: rules.Standing) -> bool:
    """Whether a flip to come will touch simulated traffic only: as it says itself, or as what it is to turn off stands now."""
    return after.simulated_only if after.on else before.on and before.simulated_only


def rule_of(row: TwoPersonRule) -> rules.Rule:
    """A row as the pure rules read it."""
    return rules.Rule(row.kind, row.subject_kind, str(row.team_id or ""), row.environment, row.turning)


def _environments(flag: Flag, found: list[TwoPersonRule]) -> frozenset[str]:
    """Those that a flag acts on: of a key its own; everything else may meet requests of every environment."""
    if flag.subject_kind == "key" and any(row.environment for row in found):
        named = VirtualKey.objects.filter(pk=flag.subject_id).values_list("environment", flat=True).first()
        if named:
            return frozenset({named})
    return frozenset(ENVIRONMENTS)


@contextmanager
def agreed(flag: Flag, after: rules.Standing) -> Iterator[None]:
    """For the two files that may: inside, the guard lets this flag go to this standing."""
    token = _agreed.set((flag.pk, after))
    try:
        yield
    finally:
        _agreed.reset(token)


def flip_guard(*, actor: Actor, flag: Flag, before: rules.Standing, after: rules.Standing) -> None:
    """Raises TwoPersonsNeeded where this flip takes a second person and nobody agreed. Bulkhead's own parts turn off what ran out."""
    if actor.kind == "system" or _agreed.get() == (flag.pk, after):
        return
    now = clock.now()
    rule = rule_for(flag, before.at(now), after.at(now))
    if rule is not None:
        raise TwoPersonsNeeded(
            f"{flag.name}: {_words(rule)} takes two persons. Ask for the flip under Flags, and somebody else approves it; in an emergency"
            " break glass there.",
            "on",
        )


def edit_guard(*, actor: Actor, flag: Flag, before: rules.Standing, after: rules.Standing, was: Flag | None = None) -> None:
    """The same for an edit by a person. was: the flag before, where what it does changes too: while it is on that is turning off what
    it did and turning on what it does.

    A document or a command on the host is not asked: whoever has the host has it all, and documents are reviewed where they are kept.
    """
    if actor.kind != "user":
        return
    flip_guard(actor=actor, flag=flag, before=before, after=after)
    now = clock.now()
    if was is None or not before.at(now).on or not after.at(now).on:
        return
    rule = rule_for(was, before.at(now), rules.OFF) or rule_for(flag, rules.OFF, after)
    if rule is not None:
        raise TwoPersonsNeeded(
            f"{flag.name} is on, and {_words(rule)} takes two persons: turn it off, edit it, then ask to turn it on", "on"
        )


def owner_rule(flag: Flag, team: UUID | None) -> TwoPersonRule | None:
    """The rule that would ask less of the flag if that team (None: nobody) owned it; None: no rule would."""
    found = rules_in_force(flag.organisation) if flag.owner_id != team else []
    if not any(row.team_id for row in found):  # only a rule that names a team can be left
        return None
    of_target = frozenset(target_teams(flag))
    now = rules.Asked(flag.kind, flag.subject_kind, of_target, _environments(flag, found), "on", simulated_only=False)
    owned, given = ({str(pk)} if pk is not None else set() for pk in (flag.owner_id, team))
    held = rules.weakened(now._replace(teams=of_target | owned), now._replace(teams=of_target | given), [rule_of(row) for row in found])
    return next((row for row in found if rule_of(row) == held), None)


@contextmanager
def agreed_owner(flag: Flag, team: UUID | None) -> Iterator[None]:
    """For the two files that may: inside, the guard lets this flag go to this team."""
    token = _agreed_owner.set((flag.pk, team))
    try:
        yield
    finally:
        _agreed_owner.reset(token)


def owner_guard(*, actor: Actor, flag: Flag, team: UUID | None) -> None:
    """Raises TwoPersonsNeeded where a person alone would take a flag out of a rule by giving it away. As for an edit, a document or a
    command on the host is not asked."""
    if actor.kind != "user" or _agreed_owner.get() == (flag.pk, team):
        return
    rule = owner_rule(flag, team)
    if rule is not None:
        raise TwoPersonsNeeded(
            f"{flag.name}: {_words(rule)} takes two persons, and so does giving such a flag away. Ask for it with Change the owner on the"
            " flag's page, and somebody else approves it.",
            "owner",
        )


def _words(rule: TwoPersonRule) -> str:
    return rules.rule_words(rule_of(rule), team=rule.team.name if rule.team else "")
