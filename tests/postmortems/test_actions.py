"""Action items: what is refused, what checks make of them, whom they nudge, what a tracker hears; runbooks, step by step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.alerts.channel_models import Delivery
from apps.alerts.channel_services import channel_create
from apps.alerts.channels.webhook import event
from apps.alerts.models import Alert
from apps.alerts.services import rule_create, slo_create
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.flags.models import FlagFlip
from apps.flags.services import flag_set
from apps.ownership.care_services import runbook_set
from apps.postmortems.action_checks import CHECKS
from apps.postmortems.action_services import ActionSpec, action_create, action_decline, action_done, action_reopen, action_update
from apps.postmortems.checklist_services import checklist_end, checklist_start, checklist_step
from apps.postmortems.models import ActionItem
from apps.postmortems.postmortem_choices import SECTIONS
from apps.postmortems.postmortem_template_services import template_set
from apps.postmortems.postmortem_upkeep import actions_run
from tests.people import member
from tests.postmortems.learning import BEGAN, COMMAND, incident

pytestmark = pytest.mark.django_db
TODAY = BEGAN.date()


@pytest.fixture
def mel(organisation: Organisation) -> Any:
    return member(organisation, "member")


def spec(mel: Any, **more: Any) -> ActionSpec:
    return ActionSpec(**{"title": "Drill", "outcome": "A drill passes.", "owner": mel, "due_on": TODAY + timedelta(days=30), **more})


def test_what_nobody_could_see_to_is_refused(organisation: Organisation, mel: Any) -> None:
    stranger = member(Organisation.objects.create(name="Other", slug="other"))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"outcome": " "}, "verify"),
        ({"owner": stranger}, "left, or does not belong"),
        ({"due_on": TODAY - timedelta(days=1)}, "in the past"),
        ({"priority": "p9"}, "no priority"),
        ({"check_kind": "slo"}, "name both"),
        ({"check_kind": "slo", "check_of": "x"}, "There is no slo"),
        ({"check_kind": "moon", "check_of": "x"}, "no kind of check"),
        ({"tracker_url": "javascript:alert(1)"}, "https://"),
    ]
    for wrong, said in refused:
        with pytest.raises(ServiceError, match=said):
            action_create(actor=COMMAND, organisation=organisation, spec=spec(mel, **wrong), now=BEGAN)
    first, second = (action_create(actor=COMMAND, organisation=organisation, spec=spec(mel), now=BEGAN) for _ in range(2))
    assert (first.reference, second.reference) == ("ACT-1", "ACT-2")
    with pytest.raises(ServiceError, match="Say why it will not"):
        action_decline(actor=COMMAND, action=first, reason="")
    action_decline(actor=COMMAND, action=first, reason="superseded")
    with pytest.raises(ServiceError, match="Say why it is open"):
        action_reopen(actor=COMMAND, action=first)
    assert action_reopen(actor=COMMAND, action=first, reason="not superseded").reopened == 1
    assert action_update(actor=COMMAND, action=second, spec=spec(mel, title="Better")).title == "Better"


def test_a_check_closes_it_and_opens_it_again(organisation: Organisation, mel: Any) -> None:
    now = clock.now()
    flag = flag_set(
        actor=COMMAND, organisation=organisation, name="failover", kind="release", subject_kind="organisation", subject_id=organisation.pk
    )
    rule = rule_create(actor=COMMAND, organisation=organisation, name="errors-own", title="E", series="error_rate", warn="1%")
    slo_create(actor=COMMAND, organisation=organisation, name="up", title="U", indicator="availability", objective="99")
    bound = {"flag": "failover", "alert-rule": "errors-own", "slo": "up"}
    due = {"due_on": now.date() + timedelta(days=30)}
    rows = {
        kind: action_create(actor=COMMAND, organisation=organisation, spec=spec(mel, check_kind=kind, check_of=of, **due), now=now)
        for kind, of in bound.items()
    }
    actions_run(now=now)

    def states() -> dict[str, tuple[str, str]]:
        return {kind: ActionItem.objects.values_list("state", "verdict").get(pk=row.pk) for kind, row in rows.items()}

    assert states() == {"flag": ("open", "fails"), "alert-rule": ("open", "unknown"), "slo": ("open", "unknown")}
    with pytest.raises(ServiceError, match="never turned on"):
        action_done(actor=COMMAND, action=rows["flag"], now=now)
    FlagFlip.objects.create(
        organisation=organisation, flag=flag, flag_name="failover", subject_kind="organisation", subject_id="x", turn_on=True,
        simulated=False, reason="drill", by="ona", at=now, predicted={},
    )  # fmt: skip
    type(rule).objects.filter(pk=rule.pk).update(created_at=now - timedelta(days=30))
    later = now + timedelta(hours=1)
    actions_run(now=later)
    assert states()["flag"] == ("done", "passes") and states()["alert-rule"] == ("done", "passes")
    Alert.objects.create(
        organisation=organisation,
        rule=rule,
        fingerprint="x",
        state="firing",
        severity="warning",
        started_at=later,
        fired_at=later,
        judged_at=later,
    )
    after = later + timedelta(days=31)
    actions_run(now=after)
    assert states()["flag"] == ("open", "fails") and states()["alert-rule"] == ("open", "fails")
    row = ActionItem.objects.get(pk=rows["flag"].pk)
    assert row.reopened == 1 and "fails again" in row.reason
    assert all(check.judge(organisation, "gone", now=now).verdict == "unknown" for check in CHECKS.values())


def test_owners_are_nudged_once_and_a_tracker_hears(organisation: Organisation, mel: Any, settings: Any) -> None:
    settings.EMAIL_HOST = "mail.example.test"
    hook, _ = channel_create(
        actor=COMMAND, organisation=organisation, name="tracker", kind="webhook", address="https://tracker.example.test/"
    )
    template_set(actor=COMMAND, organisation=organisation, sections=SECTIONS, tracker=hook)
    row = action_create(actor=COMMAND, organisation=organisation, spec=spec(mel, tracker_url="https://t.example.test/7"), now=BEGAN)
    told = [(actions_run(now=BEGAN + timedelta(days=day)), actions_run(now=BEGAN + timedelta(days=day))) for day in (1, 16, 20, 30, 36, 37)]
    assert told == [(0, 0), (1, 0), (0, 0), (1, 0), (0, 0), (1, 0)]
    action_done(actor=Actor.of_user(mel), action=row, note="seen", now=BEGAN + timedelta(days=38))
    assert actions_run(now=BEGAN + timedelta(days=60)) == 0
    sent = [delivery.message for delivery in Delivery.objects.filter(channel=hook).order_by("created_at")]
    assert [message["what"] for message in sent] == ["action.created", "action.done"] and sent[0]["links"] == [
        ["Tracker", "https://t.example.test/7"]
    ]
    from msgspec import convert

    from apps.alerts.channels.base import Message

    assert event(convert(sent[0], Message), "x")["type"] == "io.bulkhead.action.created.v1"


def test_a_runbook_is_gone_through_and_every_step_is_told(organisation: Organisation, mel: Any) -> None:
    book = runbook_set(actor=COMMAND, organisation=organisation, name="down", title="Down", text="- [ ] Look\n- [ ] Flip\n- [ ] Tell")
    row, actor = incident(organisation, state="active"), Actor.of_user(mel)
    run = checklist_start(actor=actor, incident=row, runbook=book)
    assert checklist_start(actor=actor, incident=row, runbook=book) == run
    checklist_step(actor=actor, run=run, position=1, state="done")
    checklist_step(actor=actor, run=run, position=1, state="done")
    with pytest.raises(ServiceError, match="Say why it is skipped"):
        checklist_step(actor=actor, run=run, position=2, state="skipped")
    with pytest.raises(ServiceError, match="no step 9"):
        checklist_step(actor=actor, run=run, position=9, state="done")
    checklist_step(actor=actor, run=run, position=2, state="skipped", note="no flag")
    runbook_set(actor=COMMAND, organisation=organisation, name="down", title="Down", text="- [ ] Other")
    checklist_step(actor=actor, run=run, position=3, state="done")
    run.refresh_from_db()
    assert run.ended_at is not None and [step.text for step in run.steps.all()] == ["Look", "Flip", "Tell"], "frozen as it was begun"
    told = [entry.title for entry in row.entries.filter(kind="checklist").order_by("recorded_at")]
    assert told == ["Runbook begun: Down", "Step 1 done: Look", "Step 2 skipped: Flip", "Step 3 done: Tell", "Runbook ended: Down"]
    with pytest.raises(ServiceError, match="has ended"):
        checklist_step(actor=actor, run=run, position=1, state="")
    assert checklist_end(actor=actor, run=run).ended_at == run.ended_at
    words = runbook_set(actor=COMMAND, organisation=organisation, name="words", title="Words", text="Only words.")
    with pytest.raises(ServiceError, match="has no steps"):
        checklist_start(actor=actor, incident=row, runbook=words)
