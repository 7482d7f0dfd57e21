"""Flips that wait: two persons, schedules run once, break-glass told and reviewed, and no way around them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, transaction
from django.utils import timezone as clock

from apps.accounts.models import Membership, Organisation
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.flags import change_applying, change_notices, change_upkeep
from apps.flags import change_choices as choices
from apps.flags.change_models import ChangeRequest, FlagNotice, TwoPersonRule
from apps.flags.change_rows import fingerprint, told_of
from apps.flags.change_rules import LOOSENING
from apps.flags.changes import change_approve, change_reject, change_review, change_withdraw, flip_submit
from apps.flags.four_eyes import TwoPersonsNeeded
from apps.flags.models import Flag
from apps.flags.services import flag_delete, flag_flip, flag_set
from apps.flags.two_person_rules import two_person_rule_add, two_person_rule_remove
from apps.ownership.models import Team
from apps.publishing.errors import PublishError
from apps.publishing.models import Version
from apps.publishing.rollback import rollback
from apps.publishing.services import publish
from tests.people import member

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


class People:
    """Who does things in one organisation."""

    def __init__(self, organisation: Organisation) -> None:
        self.organisation = organisation
        self.users = {role: member(organisation, role) for role in ("admin", "manager", "on-call", "member", "viewer")}

    def __getitem__(self, role: str) -> Actor:
        return Actor.of_user(self.users[role])


@pytest.fixture
def people(organisation: Organisation) -> People:
    return People(organisation)


@pytest.fixture
def flag(organisation: Organisation, actor: Actor) -> Flag:
    """Something that is published by itself: a release of the organisation, off, owned by a team."""
    team = Team.objects.create(organisation=organisation, name="Search", slug="search", contact_email="search@example.test")
    row = flag_set(
        actor=actor, organisation=organisation, name="new-answers", kind="release", subject_kind="organisation",
        subject_id=organisation.pk, owner=team, purpose="answers from the new index",
    )  # fmt: skip
    publish(actor=actor, reason="first")
    return row


@pytest.fixture
def rule(flag: Flag, actor: Actor) -> TwoPersonRule:
    return two_person_rule_add(actor=actor, organisation=flag.organisation, kind="release", reason="it is seen by everybody")


def submit(flag: Flag, by: Actor, *, on: bool = True, reason: str = "it is ready", **more: Any) -> Flag | ChangeRequest:
    return flip_submit(actor=by, organisation=flag.organisation, name=flag.name, on=on, reason=reason, **more)


def asked(flag: Flag, by: Actor, **more: Any) -> ChangeRequest:
    row = submit(flag, by, **more)
    assert isinstance(row, ChangeRequest)
    return row


def flips(flag: Flag) -> int:
    return Event.objects.filter(kind="flag.flip", subject_id=str(flag.pk)).count()


def is_on(flag: Flag) -> bool:
    flag.refresh_from_db()
    return flag.on


def test_without_a_rule_one_person_is_enough(flag: Flag, people: People) -> None:
    assert isinstance(submit(flag, people["on-call"]), Flag)
    assert is_on(flag) and not ChangeRequest.objects.exists()


def test_a_second_person_flips_and_the_first_cannot(flag: Flag, people: People, rule: TwoPersonRule) -> None:
    row = asked(flag, people["manager"])
    assert row.state == choices.WAITING and not is_on(flag) and row.rule == "turning on any release"
    assert asked(flag, people["manager"]).pk == row.pk, "asked for again, the same request comes back"
    assert AuditEvent.objects.filter(action="change.request", subject_id=str(row.pk)).count() == 1
    with pytest.raises(ServiceError, match="you asked for it yourself"):
        change_approve(actor=people["manager"], change=row)
    with pytest.raises(ServiceError, match="a person has to approve it"):
        change_approve(actor=Actor.command("flag"), change=row)
    for role in ("on-call", "member", "viewer"):
        with pytest.raises(PermissionRefused):
            change_approve(actor=people[role], change=row)
    assert not is_on(flag) and flips(flag) == 0
    done = change_approve(actor=people["admin"], change=row, reason="looks right")
    assert done.state == choices.APPLIED and is_on(flag) and flips(flag) == 1
    with pytest.raises(ServiceError, match="nothing to approve: done"):
        change_approve(actor=people["admin"], change=row)
    assert flips(flag) == 1
    approval = AuditEvent.objects.get(action="change.approve", subject_id=str(row.pk))
    assert approval.actor_id == people["admin"].id and approval.after["asked_by"] == people["manager"].name
    notices = set(FlagNotice.objects.filter(organisation=flag.organisation).values_list("kind", flat=True))
    assert notices == {choices.REQUEST, choices.OUTCOME}


def test_there_is_no_way_around(flag: Flag, people: People, rule: TwoPersonRule, actor: Actor) -> None:
    """Neither a direct flip, nor the flag's form, nor a rollback, nor an edit of a flag that is on, nor the shell's flip."""
    facts: dict[str, Any] = {
        "organisation": flag.organisation, "name": flag.name, "kind": "release", "subject_kind": "organisation",
        "subject_id": flag.organisation_id, "owner": flag.owner,
    }  # fmt: skip
    for by in (people["admin"], Actor.command("flag")):
        with pytest.raises(TwoPersonsNeeded, match="somebody else approves it"):
            flag_flip(actor=by, organisation=flag.organisation, name=flag.name, on=True, reason="now")
    with pytest.raises(TwoPersonsNeeded):
        flag_set(actor=people["admin"], on=True, **facts)
    with pytest.raises(TwoPersonsNeeded):
        flag_set(actor=people["admin"], **{**facts, "name": "another"}, on=True)
    assert asked(flag, Actor.command("flag")).state == choices.WAITING
    change_approve(actor=people["admin"], change=asked(flag, people["manager"]))
    publish(actor=actor, reason="two persons")
    on_at = Version.objects.latest("number").number
    with pytest.raises(TwoPersonsNeeded, match="turn it off, edit it"):
        flag_set(actor=people["admin"], on=True, default="on", **facts)
    flag_flip(actor=people["on-call"], organisation=flag.organisation, name=flag.name, on=False, reason="turning off takes one")
    publish(actor=actor, reason="off")
    with pytest.raises(PublishError, match="takes two persons"):
        rollback(actor=people["admin"], to_version=on_at, reason="back to how it was")
    assert not is_on(flag) and flips(flag) == 2


def test_the_database_itself_refuses_one_person(flag: Flag, people: People, rule: TwoPersonRule) -> None:
    row = asked(flag, people["manager"])
    facts = {"state": choices.APPLIED, "applied_at": clock.now(), "decided_kind": "user"}
    for approver in ("", people["manager"].id):
        with pytest.raises(IntegrityError, match="flag_change_two_persons"), transaction.atomic():
            ChangeRequest.objects.filter(pk=row.pk).update(**facts, decided_id=approver)
    with pytest.raises(IntegrityError, match="flag_change_glass_is_reviewed"), transaction.atomic():
        ChangeRequest.objects.filter(pk=row.pk).update(glass=True)
    assert ChangeRequest.objects.filter(pk=row.pk).update(**facts, decided_id=people["admin"].id)


def test_reject_withdraw_and_expire_leave_the_flag_alone(flag: Flag, people: People, rule: TwoPersonRule) -> None:
    row = asked(flag, people["manager"])
    with pytest.raises(ServiceError, match="your own request: withdraw it"):
        change_reject(actor=people["manager"], change=row, reason="no")
    with pytest.raises(ServiceError, match="say why"):
        change_reject(actor=people["admin"], change=row, reason=" ")
    assert change_reject(actor=people["admin"], change=row, reason="not on a Friday").state == choices.REJECTED
    row = asked(flag, people["on-call"])
    with pytest.raises(ServiceError, match="only who asked for it"):
        change_withdraw(actor=people["member"], change=row, reason="mine?")
    assert change_withdraw(actor=people["on-call"], change=row, reason="not needed").state == choices.WITHDRAWN
    row = asked(flag, people["member"])
    later = row.expires_at + HOUR
    assert row.pk not in change_upkeep.changes_due(now=row.expires_at - HOUR)
    assert row.pk in change_upkeep.changes_due(now=later) and change_upkeep.change_run(row.pk, now=later)
    row.refresh_from_db()
    assert row.state == choices.EXPIRED and not change_upkeep.change_run(row.pk, now=later)
    assert not is_on(flag) and flips(flag) == 0


def test_a_member_asks_and_a_manager_of_the_owning_team_approves(flag: Flag, people: People) -> None:
    """Without any rule: who may not flip may ask. The approver's right follows from ownership."""
    with pytest.raises(PermissionRefused):
        submit(flag, people["viewer"])
    row = asked(flag, people["member"])
    assert row.state == choices.WAITING and row.two
    with pytest.raises(PermissionRefused):
        change_approve(actor=people["on-call"], change=row)
    from apps.accounts.models import TeamMembership

    lead = member(flag.organisation, "viewer", email="lead@example.test")
    membership = Membership.objects.get(user=lead, organisation=flag.organisation)
    other = Team.objects.create(organisation=flag.organisation, name="Shop", slug="shop")
    TeamMembership.objects.create(membership=membership, team_id=other.pk, team_slug="shop", role="manager")
    with pytest.raises(PermissionRefused):
        change_approve(actor=Actor.of_user(lead), change=row)
    TeamMembership.objects.create(membership=membership, team_id=flag.owner_id, team_slug="search", role="manager")
    assert change_approve(actor=Actor.of_user(lead), change=row).state == choices.APPLIED
    assert is_on(flag)


def test_what_changed_since_is_shown_before_it_is_approved(flag: Flag, people: People, rule: TwoPersonRule, actor: Actor) -> None:
    row = asked(flag, people["manager"])
    flag_set(
        actor=actor, organisation=flag.organisation, name=flag.name, kind="release", subject_kind="organisation",
        subject_id=flag.organisation_id, default="on", owner=flag.owner,
    )  # fmt: skip
    stale = fingerprint(row.seen)
    for seen in ("", stale):
        with pytest.raises(ServiceError, match=r"changed since this was asked for \(default\)"):
            change_approve(actor=people["admin"], change=row, seen=seen)
    flag.refresh_from_db()
    assert change_approve(actor=people["admin"], change=row, seen=fingerprint(told_of(flag))).state == choices.APPLIED


def test_who_lost_the_right_to_ask_is_not_obeyed(flag: Flag, people: People, rule: TwoPersonRule) -> None:
    row = asked(flag, people["on-call"])
    Membership.objects.filter(user=people.users["on-call"]).update(role="viewer")
    with pytest.raises(ServiceError, match="may not do so any more"):
        change_approve(actor=people["admin"], change=row)


def test_a_deleted_flag_can_only_be_rejected(flag: Flag, people: People, rule: TwoPersonRule, actor: Actor) -> None:
    row = asked(flag, people["manager"])
    flag_delete(actor=actor, flag=flag)
    row.refresh_from_db()
    with pytest.raises(ServiceError, match="is deleted"):
        change_approve(actor=people["admin"], change=row)
    assert change_reject(actor=people["admin"], change=row, reason="it is gone").state == choices.REJECTED


class Killed(BaseException):
    """A process that ends here: nothing catches it."""


def killed(*args: Any, **kwargs: Any) -> None:
    raise Killed


@pytest.mark.parametrize("place", ["publish", "apply_scheduled"])
def test_a_scheduled_flip_runs_once_though_its_worker_is_killed(
    flag: Flag, people: People, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    at = clock.now() + HOUR
    row = asked(flag, people["on-call"], at=at, zone="Europe/Berlin")
    assert row.state == choices.SCHEDULED and change_upkeep.changes_due(now=at - HOUR / 2) == []
    assert not change_upkeep.change_run(row.pk, now=at - HOUR / 2)
    with monkeypatch.context() as broken:
        broken.setattr(change_upkeep, place, killed)
        with pytest.raises(Killed), transaction.atomic():
            change_upkeep.change_run(row.pk, now=at)
    assert not is_on(flag) and flips(flag) == 0 and row.pk in change_upkeep.changes_due(now=at)
    before = Version.objects.count()
    assert change_upkeep.change_run(row.pk, now=at)
    assert is_on(flag) and flips(flag) == 1 and Version.objects.count() == before + 1
    assert change_upkeep.changes_due(now=at) == [] and not change_upkeep.change_run(row.pk, now=at)
    row.refresh_from_db()
    assert (row.state, row.detail, row.applied_at) == (choices.APPLIED, "", at)


def test_two_workers_at_once_flip_once(flag: Flag, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of one is the moment at which the other begins, on the rows as the first has them."""
    at = clock.now() + HOUR
    row = asked(flag, people["on-call"], at=at)
    real = change_applying.flag_flip

    def meanwhile(**facts: Any) -> Flag:
        monkeypatch.setattr(change_applying, "flag_flip", real)
        assert not change_upkeep.change_run(row.pk, now=at), "it is no longer open"
        return real(**facts)

    monkeypatch.setattr(change_applying, "flag_flip", meanwhile)
    assert change_upkeep.change_run(row.pk, now=at)
    assert flips(flag) == 1


def test_late_with_a_note_or_dropped(flag: Flag, people: People) -> None:
    at = clock.now() + HOUR
    row = asked(flag, people["on-call"], at=at, late=HOUR)
    assert change_upkeep.change_run(row.pk, now=at + HOUR / 2)
    row.refresh_from_db()
    assert row.detail.startswith("ran 30 min late") and is_on(flag)
    assert Event.objects.get(kind=choices.LATE_EVENT).data["change"] == str(row.pk)
    row = asked(flag, people["on-call"], on=False, at=at, late=HOUR)
    assert change_upkeep.change_run(row.pk, now=at + 2 * HOUR)
    row.refresh_from_db()
    assert row.state == choices.MISSED and is_on(flag)
    assert Event.objects.get(kind=choices.MISSED_EVENT).data["change"] == str(row.pk)


def test_a_rule_that_came_later_holds_for_what_is_scheduled(flag: Flag, people: People, actor: Actor) -> None:
    at = clock.now() + HOUR
    row = asked(flag, people["on-call"], at=at)
    two_person_rule_add(actor=actor, organisation=flag.organisation)
    assert change_upkeep.change_run(row.pk, now=at)
    row.refresh_from_db()
    assert row.state == choices.FAILED and "a rule asks for a second person" in row.detail and not is_on(flag)


def test_a_scheduled_flip_of_a_flag_that_does_something_else_by_then_is_given_up(flag: Flag, people: People, actor: Actor) -> None:
    at = clock.now() + HOUR
    row = asked(flag, people["on-call"], at=at)
    flag_set(
        actor=actor, organisation=flag.organisation, name=flag.name, kind="release", subject_kind="organisation",
        subject_id=flag.organisation_id, default="on", owner=flag.owner,
    )  # fmt: skip
    assert change_upkeep.change_run(row.pk, now=at)
    row.refresh_from_db()
    assert row.state == choices.FAILED and "(default)" in row.detail and not is_on(flag)


def test_an_approved_request_waits_for_its_time(flag: Flag, people: People, rule: TwoPersonRule) -> None:
    at = clock.now() + HOUR
    row = change_approve(actor=people["admin"], change=asked(flag, people["manager"], at=at))
    assert row.state == choices.SCHEDULED and not is_on(flag)
    assert change_upkeep.change_run(row.pk, now=at) and is_on(flag) and flips(flag) == 1


def test_glass_is_broken_by_one_told_to_the_owners_and_reviewed_by_another(flag: Flag, people: People, rule: TwoPersonRule) -> None:
    with pytest.raises(PermissionRefused):
        submit(flag, people["viewer"], break_glass=True)
    assert asked(flag, people["member"], break_glass=True).state == choices.WAITING, "who may not flip breaks no glass"
    row = asked(flag, people["on-call"], break_glass=True, reason="everything is down")
    assert row.state == choices.APPLIED and row.glass and row.review == choices.OPEN and is_on(flag)
    fact = Event.objects.get(kind=choices.GLASS_EVENT)
    assert fact.data["by"] == people["on-call"].name and fact.data["reason"] == "everything is down"
    notice = FlagNotice.objects.get(kind=choices.GLASS, about=str(row.pk))
    assert notice.addresses == ["search@example.test"]
    for by in (people["on-call"], people["member"]):
        with pytest.raises((PermissionRefused, ServiceError)):
            change_review(actor=by, change=row, verdict="justified", note="fine")
    with pytest.raises(ServiceError, match="'justified' or 'unjustified'"):
        change_review(actor=people["manager"], change=row, verdict="", note="fine")
    with pytest.raises(ServiceError, match="write what you looked at"):
        change_review(actor=people["manager"], change=row, verdict="justified", note="")
    done = change_review(actor=people["manager"], change=row, verdict="justified", note="the outage was real")
    assert done.review == choices.CLOSED and done.reviewed_by == people["manager"].name
    with pytest.raises(ServiceError, match="no review open"):
        change_review(actor=people["admin"], change=row, verdict="justified", note="again")


def test_glass_needs_no_breaking_where_one_is_enough(flag: Flag, people: People) -> None:
    assert isinstance(submit(flag, people["on-call"], break_glass=True), Flag)
    assert not ChangeRequest.objects.exists()


def test_a_drill_needs_one_person_and_its_widening_two(flag: Flag, people: People, rule: TwoPersonRule) -> None:
    assert isinstance(submit(flag, people["on-call"], simulated_only=True), Flag)
    assert asked(flag, people["on-call"], share=5).state == choices.WAITING
    flag.refresh_from_db()
    assert flag.simulated_only


def test_a_rule_that_is_removed_holds_on_for_a_day(flag: Flag, people: People, rule: TwoPersonRule, actor: Actor) -> None:
    with pytest.raises(PermissionRefused):
        two_person_rule_remove(actor=people["manager"], rule=rule, reason="in the way")
    ended = two_person_rule_remove(actor=people["admin"], rule=rule, reason="in the way")
    assert ended.ends_at is not None and ended.ends_at - clock.now() > LOOSENING / 2
    assert FlagNotice.objects.filter(kind=choices.LOOSENED).count() == 1
    assert asked(flag, people["manager"]).state == choices.WAITING
    kept = two_person_rule_add(actor=people["admin"], organisation=flag.organisation, kind="release")
    assert kept.pk == rule.pk and kept.ends_at is None
    TwoPersonRule.objects.filter(pk=rule.pk).update(ends_at=clock.now() - HOUR)
    assert isinstance(submit(flag, people["on-call"]), Flag)


def test_turning_off_takes_two_where_the_rule_says_so(flag: Flag, people: People, actor: Actor) -> None:
    two_person_rule_add(actor=actor, organisation=flag.organisation, turning="off")
    at = clock.now() + HOUR
    assert asked(flag, people["on-call"], on=False, at=at).state == choices.WAITING, "it is off, and may be on by then"
    assert isinstance(submit(flag, people["on-call"]), Flag)
    assert asked(flag, people["on-call"], on=False).state == choices.WAITING
    with pytest.raises(TwoPersonsNeeded):
        flag_delete(actor=people["admin"], flag=Flag.objects.get(pk=flag.pk))
    assert is_on(flag)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "stop"}, "no kind of flag"),
        ({"kind": "fallback", "subject_kind": "provider"}, "never about a 'provider'"),
        ({"environment": "moon"}, "no environment"),
        ({"turning": "over"}, "no direction"),
    ],
)
def test_rules_that_make_no_sense(organisation: Organisation, actor: Actor, given: dict[str, str], says: str) -> None:
    with pytest.raises(ServiceError, match=says):
        two_person_rule_add(actor=actor, organisation=organisation, **given)


def test_flags_past_their_expiry_go_off_once_and_cannot_go_on(flag: Flag, people: People, actor: Actor) -> None:
    submit(flag, people["on-call"])
    Flag.objects.filter(pk=flag.pk).update(expires_at=clock.now() - HOUR)
    assert change_upkeep.flags_expired() == [flag.pk]
    assert change_upkeep.flag_expire(flag.pk) and not change_upkeep.flag_expire(flag.pk)
    assert not is_on(flag) and flips(flag) == 2 and Event.objects.filter(kind=choices.EXPIRED_EVENT).count() == 1
    notice = FlagNotice.objects.get(kind=choices.EXPIRY)
    assert "serves its default, off" in notice.text and notice.addresses == ["search@example.test"]
    with pytest.raises(ServiceError, match="give it a later expiry"):
        submit(flag, people["on-call"])


def test_the_owner_of_a_neglected_flag_is_told_once_each_time_it_falls_asleep(flag: Flag, people: People) -> None:
    now = clock.now()
    assert change_upkeep.neglect_tell(now=now) == 0
    later = now + timedelta(days=61)
    assert [change_upkeep.neglect_tell(now=later + HOUR * hour) for hour in range(3)] == [1, 0, 0]
    submit(flag, people["on-call"])
    assert change_upkeep.neglect_tell(now=now + HOUR) == 0
    assert change_upkeep.neglect_tell(now=later + HOUR) == 1
    assert Event.objects.filter(kind=choices.STALE_EVENT, subject_id=str(flag.pk)).count() == 2


def test_notices_are_sent_once_and_only_shown_without_a_mail_server(flag: Flag, people: People, settings: Any) -> None:
    settings.EMAIL_HOST = ""
    first = {"organisation": flag.organisation, "kind": choices.STALE, "addresses": ["a@example.test"], "lines": ["one", "two"]}
    assert change_notices.notice_add(about="1", subject="a\r\nBcc: b@example.test", **first)
    assert not change_notices.notice_add(about="1", subject="again", **first)
    [waiting] = change_notices.unsent()
    assert change_notices.notice_send(waiting) and not change_notices.notice_send(waiting) and not mail.outbox
    assert "no mail server" in FlagNotice.objects.get(pk=waiting).told
    settings.EMAIL_HOST = "localhost"
    assert change_notices.notice_add(about="2", subject="a\r\nBcc: b@example.test", **first)
    [waiting] = change_notices.unsent()
    assert change_notices.notice_send(waiting) and not change_notices.notice_send(waiting)
    [message] = mail.outbox
    assert message.to == ["a@example.test"] and "\n" not in message.subject and message.body == "one\ntwo"
