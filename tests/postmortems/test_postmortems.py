"""Postmortems: begun where they are needed, filled from the store for good, written by several, signed off by others, published."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.accounts.models import Organisation
from apps.alerts.channel_models import Delivery
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.postmortems import postmortem_evidence, postmortem_services
from apps.postmortems.incident_followers import closing_left
from apps.postmortems.models import Postmortem, PostmortemEvidence, PostmortemText
from apps.postmortems.postmortem_choices import MOST_TEXT, Section
from apps.postmortems.postmortem_evidence import evidence_ask, evidence_recover, evidence_take, evidence_wanted
from apps.postmortems.postmortem_markdown import written
from apps.postmortems.postmortem_queries import QUERIES, Query
from apps.postmortems.postmortem_rules import mark_of
from apps.postmortems.postmortem_selectors import evidence_of
from apps.postmortems.postmortem_template_services import factor_set, template_set
from apps.postmortems.postmortem_upkeep import postmortems_run
from apps.postmortems.postmortem_views import document_of
from tests.people import member
from tests.postmortems.learning import BEGAN, COMMAND, incident, ready, save

pytestmark = pytest.mark.django_db


def test_it_begins_where_it_is_needed_and_reminds_until_it_is_published(organisation: Organisation, settings: Any) -> None:
    settings.EMAIL_HOST = "mail.example.test"
    mia, mel = member(organisation, "manager"), member(organisation, "member")
    bad, minor = incident(organisation, person=mel), incident(organisation, "Slow", severity="sev3")
    day = timedelta(days=1)
    assert postmortems_run(now=BEGAN + day) == 0
    (row,) = Postmortem.objects.all()
    assert (row.incident, row.required, row.owner, row.taking) == (bad, True, mel, 0)
    assert row.due_at is not None and f"{row.due_at:%a %Y-%m-%d}" == "Mon 2026-11-23"
    assert closing_left(bad) == ["publish its postmortem: SEV1 needs one"] and closing_left(minor) == []
    told = [(postmortems_run(now=BEGAN + at * day), postmortems_run(now=BEGAN + at * day)) for at in range(12)]
    assert told == [(0, 0)] * 3 + [(1, 0)] + [(0, 0)] * 4 + [(1, 0), (2, 0), (2, 0), (2, 0)], (
        "once each; the manager from the second day on"
    )
    up = Delivery.objects.filter(what="escalation")
    assert {row.person for row in up} == {mia} and "overdue" in up[0].message["title"]
    mel.is_active = False
    mel.save()
    assert postmortems_run(now=BEGAN + 14 * day) == 1, "an owner who left: whoever leads hears of it"
    Postmortem.objects.update(state="published", published_at=BEGAN + 15 * day)
    assert postmortems_run(now=BEGAN + 16 * day) == 0 and closing_left(bad) == []


def test_evidence_is_frozen_and_stands_beside_what_was_taken_before(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    row = postmortem_services.postmortem_create(actor=COMMAND, incident=incident(organisation))
    evidence_ask(actor=COMMAND, postmortem=row)
    assert evidence_wanted() == [row.pk] and evidence_take(row.pk) == 1 and evidence_take(row.pk) == 0, (
        "once, however often it is handed out"
    )
    row.refresh_from_db()
    held = evidence_of(row)
    assert held.keys() == QUERIES.keys() and (row.take, row.taking) == (1, None)
    assert held["times"].result["mitigate_s"] == 2_400 and held["severities"].result["seconds"] == {"sev1": 3_300}
    assert held["impact"].parameters["since"] == "2026-11-16T09:00:00Z" and held["impact"].result["requests"] == 0
    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
        PostmortemEvidence.objects.filter(pk=held["times"].pk).update(result={})
    incident_title, row.incident.title = row.incident.title, "Another title"
    row.incident.impact_from = BEGAN - timedelta(minutes=6)  # what people felt began before anybody said so
    row.incident.save()
    evidence_ask(actor=COMMAND, postmortem=row)
    asked = QUERIES["alerts"]

    def broken(*_: object) -> dict[str, Any]:
        raise RuntimeError("statement timeout")

    monkeypatch.setitem(QUERIES, "alerts", Query("Alerts", broken))  # type: ignore[arg-type]
    assert evidence_take(row.pk) == 0
    row.refresh_from_db()
    assert row.take == 1 and row.taking is None and "statement timeout" in row.taking_error, "what was shown stays"
    monkeypatch.setitem(QUERIES, "alerts", asked)
    evidence_ask(actor=COMMAND, postmortem=row)
    assert evidence_take(row.pk) == 3
    row.refresh_from_db()
    assert row.take == 3 and evidence_of(row, 1) == held
    times = evidence_of(row)["times"].result
    assert (times["started_at"], times["detect_s"], times["mitigate_s"]) == ("2026-11-16T08:54:00Z", 600, 2_760)
    Postmortem.objects.update(taking=40, changed_at=BEGAN)
    assert evidence_recover() == 1 and Postmortem.objects.get().taking is None, "what a killed worker left behind"
    assert incident_title


def test_two_people_write_and_nothing_is_lost(organisation: Organisation) -> None:
    ada, mel = (Actor.of_user(member(organisation, role)) for role in ("admin", "member"))
    row = postmortem_services.postmortem_create(actor=ada, incident=incident(organisation))
    empty = {"summary": mark_of(""), "lessons": mark_of("")}
    assert save(row, ada, {"summary": "A\r\n", "lessons": ""}, marks=empty, page="a").changed == ("summary",)
    assert save(row, mel, {"summary": "", "lessons": "M"}, marks=empty, page="m").changed == ("lessons",)
    assert save(row, ada, {"summary": "AA", "lessons": ""}, marks=empty, page="a").changed == ("summary",), "goes on before it heard"
    clash = save(row, mel, {"summary": "mine", "lessons": "M"}, marks=empty, page="m")
    assert clash.conflicts == {"summary": "mine"} and clash.aside is not None and clash.aside.texts == {"summary": "mine"}
    row.refresh_from_db()
    assert row.texts == {"summary": "AA", "lessons": "M"} and row.revision == 3
    assert save(row, mel, {"summary": "ours"}, marks=empty, mine=["summary"]).changed == ("summary",)
    assert any(text.texts.get("summary") == "AA" for text in PostmortemText.objects.filter(aside=False)), "theirs stays in the history"
    assert save(row, mel, {"summary": "ours", "nonsense": "x"}).changed == (), "the same again, and what is no section, change nothing"
    before = AuditEvent.objects.filter(action="postmortem.write").count()
    with pytest.raises(ServiceError, match=r"200,000 fit.*attachment.*still in the form"):
        save(row, mel, {"summary": "x" * (MOST_TEXT + 1)})
    assert AuditEvent.objects.filter(action="postmortem.write").count() == before == 4, "once for each sitting"


def test_others_sign_it_off_and_what_is_published_stays(organisation: Organisation) -> None:
    mel, mia, ona = (member(organisation, role) for role in ("member", "manager", "on-call"))
    row = postmortem_services.postmortem_create(actor=COMMAND, incident=incident(organisation), owner=mel)
    with pytest.raises(ServiceError, match=r"“Summary”.*what set it off.*contributing factor.*evidence"):
        postmortem_services.postmortem_submit(actor=Actor.of_user(mel), postmortem=row)
    row.delete()
    row = ready(organisation, mel, title="Embeddings fail")
    with pytest.raises(ServiceError, match="One more person who did not write it"):
        postmortem_services.postmortem_publish(actor=Actor.of_user(mel), postmortem=row)
    with pytest.raises(ServiceError, match="You own it"):
        postmortem_services.postmortem_sign(actor=Actor.of_user(mel), postmortem=row)
    with pytest.raises(ServiceError, match="changed after you opened it"):
        postmortem_services.postmortem_sign(actor=Actor.of_user(mia), postmortem=row, revision=row.revision - 1)
    sign = postmortem_services.postmortem_sign(actor=Actor.of_user(mia), postmortem=row, note="true", revision=row.revision)
    assert postmortem_services.postmortem_sign(actor=Actor.of_user(mia), postmortem=row) == sign
    save(row, Actor.of_user(ona), {"lessons": "One more."})
    row.refresh_from_db()
    assert row.state == "draft", "a change takes the review back"
    postmortem_services.postmortem_submit(actor=Actor.of_user(mel), postmortem=row)
    with pytest.raises(ServiceError, match="You wrote part of it"):
        postmortem_services.postmortem_sign(actor=Actor.of_user(ona), postmortem=row)
    with pytest.raises(ServiceError, match="One more person"):
        postmortem_services.postmortem_publish(actor=Actor.of_user(mel), postmortem=row)
    postmortem_services.postmortem_sign(actor=Actor.of_user(mia), postmortem=row)
    postmortem_services.postmortem_publish(actor=Actor.of_user(mel), postmortem=row)
    row.refresh_from_db()
    late = save(row, Actor.of_user(ona), {"lessons": "Too late."})
    assert late.conflicts == {"lessons": "Too late."} and Postmortem.objects.get(pk=row.pk).texts["lessons"] == "One more."
    with pytest.raises(ServiceError, match="open it again first"):
        evidence_ask(actor=COMMAND, postmortem=row)
    text = written(document_of(row))
    assert "## Impact" in text and "One more." in text and "Contributing factors | Single region" in text
    with pytest.raises(ServiceError, match="Say why"):
        postmortem_services.postmortem_reopen(actor=Actor.of_user(mel), postmortem=row, reason=" ")
    assert postmortem_services.postmortem_reopen(actor=Actor.of_user(mel), postmortem=row, reason="a mistake").state == "draft"


def test_a_template_has_versions_and_a_vocabulary_is_managed(organisation: Organisation) -> None:
    mel = member(organisation, "member")
    row = ready(organisation, mel)
    sections = [Section("why", "Why", required=True)]
    made = template_set(actor=COMMAND, organisation=organisation, sections=sections, due_days=3, sign_offs=0)
    assert (
        made.version == 1
        and template_set(actor=COMMAND, organisation=organisation, sections=sections, due_days=3, sign_offs=0).version == 1
    )
    assert len(Postmortem.objects.get(pk=row.pk).parts) == 9, "what was begun keeps its sections"
    new = postmortem_services.postmortem_create(actor=COMMAND, incident=incident(organisation, "Next"))
    assert [part.key for part in new.parts] == ["why"] and new.due_at is not None and f"{new.due_at:%m-%d}" == "11-19"
    for wrong, said in (([], "between 1 and 30"), ([Section("Why?", "x")], "short name"), ([*sections, *sections], "kept by that name")):
        with pytest.raises(ServiceError, match=said):
            template_set(actor=COMMAND, organisation=organisation, sections=wrong)
    with pytest.raises(ServiceError, match="name both, or neither"):
        template_set(actor=COMMAND, organisation=organisation, sections=sections, draft_route="chat")
    factor_set(actor=COMMAND, organisation=organisation, slug="single-region", title="Single region", retired=True)
    facts: dict[str, Any] = {"owner": mel, "trigger": "provider", "detected": "user", "due_at": row.due_at}
    row = postmortem_services.facts_set(actor=COMMAND, postmortem=row, factors=["single-region"], **facts)
    assert row.detected == "user", "what has a retired tag keeps it"
    with pytest.raises(ServiceError, match="not in the vocabulary"):
        postmortem_services.facts_set(actor=COMMAND, postmortem=new, factors=["single-region"], **facts)
    stranger = member(Organisation.objects.create(name="Other", slug="other"))
    with pytest.raises(ServiceError, match="left, or does not belong"):
        postmortem_services.facts_set(actor=COMMAND, postmortem=row, factors=[], **{**facts, "owner": stranger})


def test_who_has_the_editor_open_is_told(organisation: Organisation) -> None:
    ada, mel = member(organisation), member(organisation, "member")
    row = postmortem_services.postmortem_create(actor=COMMAND, incident=incident(organisation))

    def hold(user: Any, seconds: int = 0, **more: Any) -> Any:
        at = BEGAN + timedelta(seconds=seconds)
        return postmortem_services.editor_hold(actor=Actor.of_user(user), postmortem=row, user=user, now=at, **more)

    assert hold(ada) is None and hold(mel, 60) == ada and hold(ada, 61) is None
    assert hold(mel, 62, take=True) is None and hold(ada, 63) == mel, "who was taken over from hears of it"
    assert hold(ada, 300) is None, "nobody holds it for good"
    assert timedelta(0) < postmortem_evidence.LEFT
