"""Captures: who may start them, what proxies learn, which samples are kept and how, who reads them, when they are forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.captures import MAKING, SUFFIX, Sample, sample_seal
from apps.contracts.identifiers import uuid7, uuid7_bytes
from apps.contracts.snapshot import CaptureFragment
from apps.proxy.capture_table import CaptureTable
from apps.publishing.services import publish
from apps.settlement.captures import CaptureSpool
from apps.usage import capture_services as services
from apps.usage.capture_models import CaptureRule, CaptureSample
from apps.usage.capture_rules import patterns_read
from apps.usage.capture_selectors import capture_patterns, captures_kept, captures_running, sample_looks
from apps.usage.capture_snapshot import captures
from apps.usage.removal import usage_forget
from tests.people import member

ROUTE, KEY = str(uuid7()), str(uuid7())


def route_rule(actor: Actor, organisation: Organisation, percent: float = 5, days: int = 7) -> CaptureRule:
    return services.capture_route_set(
        actor=actor, organisation=organisation, route_id=ROUTE, route_name="chat", percent=percent, days=days, reason="looking"
    )


def key_rule(actor: Actor, organisation: Organisation, requests: int = 2, minutes: int = 60) -> CaptureRule:
    return services.capture_key_start(
        actor=actor, organisation=organisation, key_id=KEY, key_name="app", requests=requests, minutes=minutes, reason="looking"
    )


def sample(rule: CaptureRule, at: datetime | None = None, text: str = "[email] asks") -> Sample:
    started = int((at or datetime.now(UTC)).timestamp() * 1e6)
    return Sample(
        id=uuid7_bytes(started // 1000), started_us=started, organisation=str(rule.organisation_id), route="chat", key_id=KEY,
        rule=str(rule.pk), status=200, stream=False, request=text, answer="words", found={"email": 1},
    )  # fmt: skip


def actions(rule: CaptureRule) -> list[str]:
    events = AuditEvent.objects.filter(subject_kind="capture", subject_id=str(rule.pk)).order_by("at", "id")
    return list(events.values_list("action", flat=True))


def test_a_route_s_share_is_published_changed_and_ended(actor: Actor, organisation: Organisation) -> None:
    services.capture_patterns_set(actor=actor, organisation=organisation, patterns=[("case", "case-*")])
    rule = route_rule(actor, organisation)
    assert publish(actor=actor, reason="capture") is not None, "what it compiles with takes it"
    fragment = captures.build({str(rule.pk)})[str(rule.pk)]
    assert fragment == CaptureFragment(
        id=str(rule.pk),
        organisation=str(organisation.pk),
        name="route chat",
        route=ROUTE,
        sampled=500,
        patterns=(("case", "case-*"),),
    )
    assert CaptureTable({"x": fragment}).routes[ROUTE].share == 0.05
    assert route_rule(actor, organisation).pk == route_rule(actor, organisation, 10, 3).pk == rule.pk
    services.capture_end(actor=actor, rule=rule)
    services.capture_end(actor=actor, rule=rule)
    assert captures.build(None) == {} and captures_running(organisation) == []
    assert actions(rule) == ["capture.create", "capture.update", "capture.end"]
    assert route_rule(actor, organisation).pk != rule.pk, "what has ended stays; another begins"


def test_a_key_is_captured_anew_and_ends_by_itself(actor: Actor, organisation: Organisation) -> None:
    first, second = key_rule(actor, organisation), key_rule(actor, organisation, requests=1)
    assert actions(first) == ["capture.create", "capture.end"]
    fragment = captures.build(None)[str(second.pk)]
    assert isinstance(fragment, CaptureFragment) and fragment.left == 1 and fragment.until_ms == int(second.until.timestamp() * 1000)
    publish(actor=actor, reason="capture")
    assert services.captures_finish() == 0
    assert services.sample_store(sample=sample(second)) and not services.sample_store(sample=sample(second)), "as many as were asked for"
    assert services.captures_finish() == 1 and captures.build(None) == {}
    third = key_rule(actor, organisation)
    assert services.captures_finish(now=third.until + timedelta(seconds=1)) == 1
    assert "its time is over" in AuditEvent.objects.get(subject_id=str(third.pk), action="capture.end").reason


def test_a_sample_is_kept_once_encrypted_and_reading_it_is_told(actor: Actor, organisation: Organisation) -> None:
    rule = route_rule(actor, organisation)
    taken = sample(rule)
    assert services.sample_store(sample=taken) and not services.sample_store(sample=taken)
    row = CaptureSample.objects.get(pk=UUID(bytes=taken.id))
    assert "asks" not in row.body and row.found == {"email": 1} and row.size == len("[email] asks") + len("words")
    assert row.expires_at - row.at == timedelta(days=7) and captures_kept(organisation).samples == 1
    assert sample_looks(row.pk) == []
    reader = Actor.of_user(member(organisation, "on-call"))
    assert services.sample_read(actor=reader, sample=row) == ("[email] asks", "words")
    [look] = sample_looks(row.pk)
    assert look.actor_name == reader.name and "asks" not in str(look.after)
    for role in ("member", "viewer"):
        with pytest.raises(PermissionRefused):
            services.sample_read(actor=Actor.of_user(member(organisation, role)), sample=row)
    assert len(sample_looks(row.pk)) == 1


def test_fewer_days_hold_for_what_is_kept_and_old_samples_go(actor: Actor, organisation: Organisation) -> None:
    rule = route_rule(actor, organisation, days=7)
    now = datetime.now(UTC)
    for age in (0, 2):
        services.sample_store(sample=sample(rule, now - timedelta(days=age)))
    assert services.samples_expire(now=now) == 0
    route_rule(actor, organisation, days=1)
    assert services.samples_expire(now=now) == 1 and captures_kept(organisation).samples == 1


def test_what_nobody_asked_for_is_not_kept(actor: Actor, organisation: Organisation) -> None:
    rule = route_rule(actor, organisation)
    of_another = sample(rule)
    of_another.organisation = str(uuid7())
    of_nothing = sample(rule)
    of_nothing.rule = "no id"
    services.capture_end(actor=actor, rule=rule)
    late = sample(rule, datetime.now(UTC) + timedelta(minutes=1))
    assert not any(services.sample_store(sample=each) for each in (of_another, of_nothing, late))
    assert services.sample_store(sample=sample(rule, datetime.now(UTC) - timedelta(minutes=1))), "taken while it held"


def test_who_may_not_changes_nothing_and_nonsense_is_refused(actor: Actor, organisation: Organisation) -> None:
    for role in ("on-call", "member", "auditor", "viewer"):
        with pytest.raises(PermissionRefused):
            route_rule(Actor.of_user(member(organisation, role)), organisation)
    for percent, days in ((0, 7), (101, 7), (5, 0), (5, 31)):
        with pytest.raises(ServiceError):
            route_rule(actor, organisation, percent, days)
    for requests, minutes in ((0, 5), (101, 5), (5, 0), (5, 61)):
        with pytest.raises(ServiceError):
            key_rule(actor, organisation, requests, minutes)
    with pytest.raises(ServiceError, match="say why"):
        services.capture_key_start(actor=actor, organisation=organisation, key_id=KEY, key_name="app", reason=" ")
    assert not CaptureRule.objects.filter(organisation=organisation).exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("employee EMP-#", "line 1"), ("\nEmployee = EMP-####", "line 2"), ("email = x@####", "looked for already"), ("a = *", "line 1")],
)
def test_patterns_that_make_no_sense_are_refused_with_their_line(text: str, message: str) -> None:
    with pytest.raises(ServiceError, match=message):
        patterns_read(text)


def test_the_spool_is_emptied_whatever_lies_in_it(actor: Actor, organisation: Organisation, tmp_path: Path) -> None:
    rule, key = route_rule(actor, organisation), Fernet(Fernet.generate_key())
    spool = CaptureSpool(tmp_path / "captures", key)
    assert spool.ship() == 0, "there is none yet"
    folder = tmp_path / "captures"
    folder.mkdir()
    good, foreign = sample(rule), sample(rule)
    (folder / f"{good.id.hex()}{SUFFIX}").write_bytes(sample_seal(good, key))
    (folder / f"{foreign.id.hex()}{SUFFIX}").write_bytes(sample_seal(foreign, Fernet(Fernet.generate_key())))
    (folder / f"x{MAKING}").write_bytes(b"half")
    assert spool.ship() == 1 and (spool.stored, spool.refused) == (1, 1)
    assert [path.name for path in folder.iterdir()] == [f"x{MAKING}"], "what is still being written stays"


def test_an_organisation_that_is_given_up_leaves_no_sample(actor: Actor, organisation: Organisation) -> None:
    rule = route_rule(actor, organisation)
    services.sample_store(sample=sample(rule))
    services.capture_patterns_set(actor=actor, organisation=organisation, patterns=[("case", "case-*")])
    publish(actor=actor, reason="capture")
    usage_forget(organisation=str(organisation.pk))
    assert captures_kept(organisation).samples == 0 and capture_patterns(organisation) == []
    version = publish(actor=actor, reason="gone")
    assert version is not None and "captures" in version.counts, "and proxies are told"
