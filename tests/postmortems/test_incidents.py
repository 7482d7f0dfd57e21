"""What people, alerts and upkeep do to incidents."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import Membership, Organisation, User
from apps.accounts.rules import PermissionRefused
from apps.alerts.events import event_add
from apps.alerts.models import Alert
from apps.alerts.services import alert_acknowledge
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.audit.registry import event_record
from apps.contracts.usage import Attempt
from apps.flags.services import flag_set
from apps.postmortems.impact_services import impact_refresh
from apps.postmortems.incident_people import incident_acknowledge, incident_role_set
from apps.postmortems.incident_rules import times_of
from apps.postmortems.incident_selectors import incident_get, severities_of, severity_spans
from apps.postmortems.incident_services import (
    incident_declare,
    incident_merge,
    incident_move,
    incident_times_set,
    incident_update,
    incident_window_set,
    severity_set,
)
from apps.postmortems.incident_upkeep import incidents_follow
from apps.postmortems.models import Incident, TimelineEntry
from apps.postmortems.suspicion_selectors import suspects_of
from apps.postmortems.timeline import entries_of, timeline_fill
from apps.postmortems.timeline_services import attachment_add, entry_hide, incident_say, note_add, suspect_pin
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.services import provider_ensure
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure, route_update
from tests.alerts.telling import COMMAND, fired, minutes, over, rule_of
from tests.budgets.performance_usage import request, settle
from tests.people import member

pytestmark = pytest.mark.django_db


def declared(organisation: Organisation, **more: object) -> Incident:
    return incident_declare(actor=COMMAND, organisation=organisation, title="Chat fails", **more)  # type: ignore[arg-type]


def actor(user: User) -> Actor:
    return Actor.of_user(user)


def test_one_field_declares_and_numbers_count_in_each_organisation(organisation: Organisation) -> None:
    mel = member(organisation, "member")
    first = incident_declare(actor=actor(mel), organisation=organisation, title="  chat\x00 answers\nwith errors ", person=mel)
    assert (first.reference, first.title, first.state, first.severity) == ("INC-1", "chat� answers with errors", "triage", "sev3")
    assert first.acknowledged_at is not None and declared(organisation).number == 2
    assert declared(Organisation.objects.create(name="Other", slug="other")).number == 1
    assert (
        incident_get(organisation, "inc-1") == first == incident_get(organisation, str(first.pk))
        and incident_get(organisation, "x") is None
    )
    assert Event.objects.filter(kind="incident.declared", subject_id=str(first.pk)).count() == 1
    for title, said in (("  ", "say in a few words"), ("x" * 201, "at most 200 characters")):
        with pytest.raises(ServiceError, match=said):
            incident_declare(actor=actor(mel), organisation=organisation, title=title)
    with pytest.raises(PermissionRefused):
        incident_declare(actor=actor(member(organisation, "viewer")), organisation=organisation, title="x")
    with pytest.raises(ServiceError, match="is before began"):
        declared(organisation, started_at=timezone.now() - minutes(5), detected_at=timezone.now() - minutes(9))


def test_who_may_what_and_a_role_lets_its_holder_work(organisation: Organisation) -> None:
    row, mel, ona = declared(organisation), member(organisation, "member"), member(organisation, "on-call")
    with pytest.raises(PermissionRefused):
        incident_move(actor=actor(mel), incident=row, to="active")
    incident_role_set(actor=actor(ona), incident=row, role="commander", person=mel)
    assert incident_move(actor=actor(mel), incident=row, to="active").state == "active"
    gone = User.objects.create(email="gone@example.test", name="Gone")
    Membership.objects.create(user=gone, organisation=organisation, role="admin").delete()
    for person, said in ((gone, "Gone is no longer a member"), (member(organisation, "viewer"), "may only look")):
        with pytest.raises(ServiceError, match=said):
            incident_role_set(actor=actor(ona), incident=row, role="scribe", person=person)
    assert AuditEvent.objects.filter(action="incident.role", subject_id=str(row.pk)).count() == 1


def test_from_declared_to_closed_with_everything_that_closing_asks_for(organisation: Organisation) -> None:
    row = declared(organisation, severity="sev1")
    incident_move(actor=COMMAND, incident=row, to="mitigated", text="The fallback carries.", public=True)
    incident_update(actor=COMMAND, incident=row, severity="2", reason="fewer are hit")
    with pytest.raises(ServiceError, match="Before INC-1 is closed: resolve it first"):
        incident_move(actor=COMMAND, incident=row, to="closed")
    with pytest.raises(ServiceError, match="cannot become taken up again: it can become active, resolved, cancelled, merged"):
        incident_move(actor=COMMAND, incident=row, to="triage")
    incident_move(actor=COMMAND, incident=row, to="resolved")
    with pytest.raises(ServiceError, match=r"Before INC-1 is closed: write a summary.*; say who was commander; say from when"):
        incident_move(actor=COMMAND, incident=row, to="closed", text="done")
    incident_update(actor=COMMAND, incident=row, severity="sev4", summary="A pool was full.", reason="nobody was hit")
    assert incident_move(actor=COMMAND, incident=row, to="closed").closed_at is not None
    assert [span[0] for span in severity_spans(Incident.objects.get(pk=row.pk))][:2] == ["sev1", "sev2"]
    titles = list(row.entries.values_list("title", flat=True))
    assert {"Mitigated", "Resolved", "Closed", "Severity: SEV1 → SEV2"} <= set(titles)
    assert row.updates.get().public is True


def test_times_are_put_right_and_refused_out_of_order(organisation: Organisation) -> None:
    row = declared(organisation)
    earlier = replace(times_of(row), started_at=row.started_at - minutes(20))
    assert incident_times_set(actor=COMMAND, incident=row, times=earlier, reason="the log says so").started_at == earlier.started_at
    with pytest.raises(ServiceError, match=r"Detected .* is before began") as refusal:
        incident_times_set(actor=COMMAND, incident=row, times=replace(earlier, started_at=row.detected_at + minutes(1)))
    assert refusal.value.field == "detected_at"
    with pytest.raises(ServiceError, match="not resolved yet"):
        incident_times_set(actor=COMMAND, incident=row, times=replace(earlier, resolved_at=row.detected_at))
    with pytest.raises(ServiceError, match="ends after it begins"):
        incident_window_set(actor=COMMAND, incident=row, since=row.detected_at, until=row.detected_at - minutes(1))


def test_merging_takes_along_what_was_known_and_never_loops(organisation: Organisation) -> None:
    rule = rule_of(organisation)
    one, two = declared(organisation, routes=["chat"], started_at=timezone.now() - minutes(30)), declared(organisation, routes=["search"])
    one.alerts.add(fired(rule, at=timezone.now() - minutes(9)))
    note_add(actor=COMMAND, incident=one, text="saw it first here")
    with pytest.raises(ServiceError, match="cannot be merged into itself"):
        incident_merge(actor=COMMAND, incident=one, into=one)
    merged = incident_merge(actor=COMMAND, incident=one, into=two, reason="the same")
    merged.refresh_from_db()
    assert merged.routes == ["search", "chat"] and merged.started_at == one.started_at and merged.alerts.count() == 1
    assert merged.entries.filter(kind="note", text="saw it first here").count() == 1
    assert incident_merge(actor=COMMAND, incident=one, into=two) == two, "a second time changes nothing"
    with pytest.raises(ServiceError, match="was merged into this one"):
        incident_merge(actor=COMMAND, incident=two, into=one)
    again = incident_move(actor=COMMAND, incident=one, to="triage")
    assert (again.state, again.merged_into) == ("triage", None)
    other = declared(Organisation.objects.create(name="Other", slug="other"))
    with pytest.raises(ServiceError, match="one organisation"):
        incident_merge(actor=COMMAND, incident=two, into=other)


def test_a_megabyte_of_log_is_kept_whole_beside_its_beginning(organisation: Organisation) -> None:
    row, log = declared(organisation), "2026-03-04 12:00:00 upstream said 503 ü\n" * 26_000
    entry = note_add(actor=COMMAND, incident=row, text=log)
    assert entry.kind == "attachment" and len(entry.text) < 2_000 and entry.text.endswith("…")
    assert bytes(entry.attachment.body).decode() == log
    with pytest.raises(ServiceError, match="At most 5 MB"):
        note_add(actor=COMMAND, incident=row, text=log * 6)
    with pytest.raises(ServiceError, match="Only text"):
        attachment_add(actor=COMMAND, incident=row, name="tool.exe", body=b"MZ\x90\xff\xfe")
    with pytest.raises(ServiceError, match="lies in the future"):
        note_add(actor=COMMAND, incident=row, text="x", at=timezone.now() + minutes(60))
    assert incident_say(actor=COMMAND, incident=row, text="We look.").state == "triage"


def test_severities_mean_what_the_organisation_writes(organisation: Organisation) -> None:
    assert severities_of(organisation)["sev2"].postmortem and not severities_of(organisation)["sev3"].postmortem
    mia, ona = member(organisation, "manager"), member(organisation, "on-call")
    facts = {"organisation": organisation, "level": "SEV3", "title": "Some", "meaning": "Some users wait.", "postmortem": True}
    severity_set(actor=actor(mia), **facts)
    severity_set(actor=actor(mia), **facts)
    assert severities_of(organisation)["sev3"].meaning == "Some users wait." and severities_of(organisation)["sev3"].postmortem
    assert AuditEvent.objects.filter(action="incident_severity.change", actor_id=str(mia.pk)).count() == 1
    with pytest.raises(PermissionRefused):
        severity_set(actor=actor(ona), **facts)
    with pytest.raises(ServiceError, match="is no severity"):
        severity_set(actor=actor(mia), **{**facts, "level": "sev9"})


def test_an_alert_opens_one_and_the_next_joins_it(organisation: Organisation) -> None:
    rule, at = rule_of(organisation, opens_incident="sev2"), timezone.now() - minutes(9)
    first = fired(rule, at=at)
    row = Incident.objects.get()
    assert (row.title, row.severity, row.source, row.routes, row.acknowledged_at) == ("Chat fails: chat", "sev2", "alert", ["chat"], None)
    assert row.detected_at == at and list(row.alerts.all()) == [first]
    fired(rule_of(organisation, "slow", title="Chat is slow", opens_incident="sev3"), at=at + minutes(1))
    assert row.alerts.count() == 2 and Incident.objects.count() == 1
    event_add(first, "worsened", at=at + minutes(2), muted=False)  # handed over again: nothing twice
    fired(rule_of(organisation, "quiet"), at=at)
    fired(rule, "search", at=at + minutes(3))
    assert sorted(Incident.objects.values_list("routes", flat=True)) == [["chat"], ["search"]], "a rule without the option opens none"
    muted = rule_of(organisation, "muted", opens_incident="sev1")
    facts = {"by": "route", "subject": "mail", "fingerprint": "muted", "state": "firing", "severity": "warning"}
    silent = Alert.objects.create(organisation=organisation, rule=muted, started_at=at, fired_at=at, judged_at=at, **facts)
    event_add(silent, "fired", at=at, muted=True)
    assert Incident.objects.count() == 2, "what nobody is told of opens none"


def test_taking_an_alert_takes_its_incident_and_the_other_way_round(organisation: Organisation) -> None:
    at, ona = timezone.now() - minutes(9), member(organisation, "on-call")
    alert = fired(rule_of(organisation, opens_incident="sev2"), at=at)
    alert_acknowledge(actor=actor(ona), alert=alert)
    row = Incident.objects.get()
    assert row.acknowledged_at is not None and row.entries.get(title="Acknowledged").by == ona.email
    other = fired(rule_of(organisation, "other", opens_incident="sev2"), "search", at=at)
    second = Incident.objects.exclude(pk=row.pk).get()
    incident_acknowledge(actor=actor(ona), incident=second)
    other.refresh_from_db()
    assert other.state == "acknowledged" and other.acked_by == ona.email
    over(other, at=timezone.now())
    assert second.entries.filter(title="Every alert of it is over").count() == 1
    timeline_fill(second)  # some seconds later: what happened stands before what was made of it all the same
    titles = [entry.title for entry in entries_of(second)]
    for cause, outcome in (("Alert fired", "Declared by an alert"), ("Alert resolved", "Every alert of it is over")):
        assert titles.index(f"{cause}: Chat fails: search") < titles.index(outcome), titles
    assert second.entries.get(title="Alert fired: Chat fails: search").by == "", "an alert fires by itself"


def east(organisation: Organisation) -> None:
    """A route ``chat`` to a provider ``east``."""
    endpoint = EndpointSpec("a", "https://api.example.com/v1", region="eu")
    provider = provider_ensure(actor=COMMAND, organisation=organisation, name="east", kind="openai", endpoints=[endpoint])
    prices_set(actor=COMMAND, provider=provider, model="m", prices=[PriceSpec(input=1, output=1)])
    route_ensure(actor=COMMAND, organisation=organisation, name="chat", targets=[TargetSpec("east", "m")])
    publish(actor=COMMAND, reason="set up")


def test_a_timeline_fills_itself_once_and_takes_in_what_is_learnt_late(organisation: Organisation) -> None:
    east(organisation)
    row = declared(organisation, routes=["chat"])
    route_update(actor=COMMAND, route=Route.objects.get(name="chat"), max_attempts=2)
    publish(actor=COMMAND, reason="try twice")
    elsewhere = Organisation.objects.create(name="Other", slug="other")
    event_record(
        kind="flag.flip", subject_kind="flag", subject_id="x", subject_name="theirs", data={"organisation": str(elsewhere.pk), "on": True}
    )
    alert_acknowledge(actor=COMMAND, alert=fired(rule_of(organisation), at=timezone.now() - minutes(1)), note="on it")
    check = {"organisation": str(organisation.pk), "to": "up", "status": 200, "detail": "HTTP 200"}
    event_record(kind="provider.check", subject_kind="provider", subject_id="x", subject_name="east", data=check)
    later = timezone.now() + minutes(1)
    assert timeline_fill(row, now=later) == row.entries.exclude(source="").count() >= 4  # two publishes, the alert fired and taken
    titles = list(row.entries.exclude(source="").values_list("title", flat=True))
    assert any("Alert fired: Chat fails: chat" in one for one in titles) and any("Alert acknowledged" in one for one in titles)
    assert not any("theirs" in one for one in titles), "what concerns others is theirs"
    again = row.entries.get(title="Provider check: east")
    assert (again.text, again.tone) == ("up HTTP 200", "good"), "what is up again is no warning"
    assert timeline_fill(row, now=later) == 0, "filled again, nothing is twice"
    hidden = entry_hide(actor=COMMAND, entry=row.entries.exclude(source="").first(), hidden=True)
    late = event_record(
        kind="target.opened", subject_kind="provider", subject_id="p", subject_name="east", at=row.started_at - minutes(3),
        data={"organisation": str(organisation.pk), "target": "east/a/m"},
    )  # fmt: skip
    assert timeline_fill(row, now=later) == 1
    entry = TimelineEntry.objects.get(incident=row, source=f"fact:{late.pk}")
    assert entry.at == row.started_at - minutes(3) and entry.recorded_at > entry.at
    assert TimelineEntry.objects.get(pk=hidden.pk).hidden, "what was left out stays out"


def test_the_change_that_did_it_is_suspected_first_and_can_be_pinned(organisation: Organisation) -> None:
    east(organisation)
    route_ensure(actor=COMMAND, organisation=organisation, name="search", targets=[TargetSpec("east", "m")])
    publish(actor=COMMAND, reason="search, too")
    flag_set(
        actor=COMMAND,
        organisation=organisation,
        name="stop",
        kind="kill",
        subject_kind="route",
        subject_id=Route.objects.get(name="search").pk,
    )
    route_update(actor=COMMAND, route=Route.objects.get(name="chat"), max_attempts=1)
    version = publish(actor=COMMAND, reason="no second try")
    row = declared(organisation, routes=["chat"])
    found = suspects_of(row, now=timezone.now())
    assert version is not None and f"v{version.number}" in found[0].change.title and "chat" in found[0].change.routes
    assert found[0].change.text.endswith("no second try") and found[0].change.undo
    pinned = suspect_pin(actor=COMMAND, incident=row, key=found[0].change.key, at=found[0].change.at)
    assert pinned.pinned and timeline_fill(row) >= 1 and row.entries.filter(source=found[0].change.key).count() == 1
    with pytest.raises(ServiceError, match="not known any more"):
        suspect_pin(actor=COMMAND, incident=row, key="fact:0190", at=timezone.now())


def traffic(organisation: Organisation, begin: datetime) -> None:
    """Two hours of ten requests a minute; six of ten fail in the ten minutes from ``begin``, two of which were one user's."""
    failing = Attempt(provider="p", endpoint="default", model="m", outcome="error", cost_nano=5)
    rows = []
    for n in range(-110, 25):
        for each in range(10):
            at, bad = begin + timedelta(minutes=n, seconds=each * 5), 0 <= n < 10 and each < 6
            rescued = 0 <= n < 10 and each == 9
            record = request(
                organisation, at, outcome="error" if bad else "ok", tokens=2, gap_us=0, cost_nano=1_000, before=failing if rescued else None
            )
            record.user = f"u{each // 2}"
            rows.append(record)
    settle(rows)


def test_the_window_follows_the_data_until_a_person_sets_it_and_the_impact_is_exact(organisation: Organisation) -> None:
    begin = timezone.now().replace(second=0, microsecond=0) - minutes(40)
    traffic(organisation, begin)
    row = declared(organisation, routes=["chat"], started_at=begin + minutes(4), detected_at=begin + minutes(5))
    assert incidents_follow() == 1
    row.refresh_from_db()
    assert (row.impact_from, row.impact_until, row.impact_progress) == (begin, begin + minutes(10), None)
    found = impact_refresh(row.pk)
    assert found is not None
    assert (found.requests, found.failed, found.rescued, found.degraded, found.refused) == (100, 60, 10, 0, 0)
    assert (found.users, found.users_touched, found.lost_nano, found.complete) == (3, 4, 60_000, True)
    assert found.tokens == 60 * 901 and found.cost_nano == 100 * 1_000 + 10 * 5
    assert (found.routes[0].route, found.routes[0].failed) == ("chat", 60)
    incident_window_set(actor=COMMAND, incident=row, since=begin + minutes(2), until=begin + minutes(4))
    again = impact_refresh(row.pk)
    row.refresh_from_db()
    assert again is not None and again.failed == 12 and row.impact_from == begin + minutes(2), "what a person set stays"
    other = declared(organisation, routes=["nothing"])
    assert impact_refresh(other.pk) is None and Incident.objects.get(pk=other.pk).impact == {}
