"""Pages of incidents: what they show, what people do there, whom they refuse, what no refusal loses, how many queries they take."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.flags.services import flag_set
from apps.keys.services import key_create
from apps.ownership.services import team_ensure
from apps.postmortems.impact_services import impact_refresh
from apps.postmortems.incident_services import incident_declare
from apps.postmortems.models import Incident, IncidentSeverity
from apps.postmortems.timeline import timeline_fill
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.services import provider_ensure
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.alerts.telling import COMMAND, fired, minutes, on_call, person, rule_of
from tests.budgets.performance_usage import request, settle
from tests.ownership.test_pages import page
from tests.people import client_of, member
from tests.publishing.installation import proxy_make

pytestmark = pytest.mark.django_db
COUNTS = json.loads(Path(__file__).with_name("incident_query_counts.json").read_text())


@pytest.fixture
def admin(organisation: Organisation) -> Client:
    return client_of(member(organisation))


@pytest.fixture
def incident(organisation: Organisation) -> Incident:
    """Errors of a route that a team owns and a flag could degrade, measured, with an alert."""
    team = team_ensure(actor=COMMAND, organisation=organisation, slug="payments", name="Payments")
    endpoint = EndpointSpec("default", "https://api.example.com/v1", region="eu")
    provider = provider_ensure(actor=COMMAND, organisation=organisation, name="p", kind="openai", endpoints=[endpoint])
    prices_set(actor=COMMAND, provider=provider, model="m", prices=[PriceSpec(input=1, output=1)])
    route = route_ensure(actor=COMMAND, organisation=organisation, name="chat", targets=[TargetSpec("p", "m")])
    Route.objects.filter(pk=route.pk).update(owner=team)
    on_call(organisation, person(organisation, "olaf"), team=team)
    flag_set(
        actor=COMMAND,
        organisation=organisation,
        name="chat-short",
        kind="degrade",
        subject_kind="route",
        subject_id=route.pk,
        level="limited",
    )
    publish(actor=COMMAND, reason="first")
    begin = timezone.now().replace(second=0, microsecond=0) - minutes(12)
    settle(
        request(organisation, begin + minutes(n) + minutes(each / 12), outcome="error" if n >= 0 and each < 6 else "ok", tokens=2, gap_us=0)
        for n in range(-20, 12)
        for each in range(10)
    )
    alert = fired(rule_of(organisation, owner=team, runbook="https://wiki.example.com/chat"), at=begin + minutes(2))
    row = incident_declare(
        actor=COMMAND, organisation=organisation, title="Chat fails", severity="sev2", routes=["chat"], started_at=begin, alerts=[alert]
    )
    timeline_fill(row)
    impact_refresh(row.pk)
    return row


def test_declared_with_one_field_and_sent_twice_it_is_one(organisation: Organisation, admin: Client) -> None:
    text = page(admin, "/incidents/new/")
    assert "What is wrong?" in text and "SEV1 Critical" in text
    refused = admin.post("/incidents/new/", {"title": " ", "severity": "sev3"})
    assert refused.status_code == 400 and "say in a few words what is wrong" in refused.content.decode()
    long = admin.post("/incidents/new/", {"title": "x" * 300, "severity": "sev2", "routes": "chat, search"})
    assert long.status_code == 400 and "x" * 300 in long.content.decode() and "chat, search" in long.content.decode(), "nothing is lost"
    sent = {"title": "Chat <b>fails</b>", "severity": "sev2", "submission": "once"}
    first, second = (admin.post("/incidents/new/", sent) for _ in range(2))
    row = Incident.objects.get()
    assert first["Location"] == second["Location"] == f"/incidents/{row.pk}/" and row.declarer is not None
    assert "Chat &lt;b&gt;fails&lt;/b&gt;" in admin.get(first["Location"]).content.decode()
    odd = admin.post("/incidents/new/", {**sent, "submission": "2", "started_at": "yesterday"})
    assert odd.status_code == 400 and "is no time" in odd.content.decode()


def test_an_alert_fills_the_form_in(organisation: Organisation, admin: Client, incident: Incident) -> None:
    alert = incident.alerts.get()
    assert f"/incidents/new/?alert={alert.pk}" in page(admin, f"/alerts/{alert.pk}/")
    text = page(admin, f"/incidents/new/?alert={alert.pk}")
    assert 'value="Chat fails: chat"' in text and "For the alert" in text
    admin.post("/incidents/new/", {"title": "From it", "severity": "sev2", "alert": str(alert.pk)})
    assert list(Incident.objects.get(title="From it").alerts.all()) == [alert]


def test_the_live_page_and_its_panels(admin: Client, incident: Incident) -> None:
    text = page(admin, f"/incidents/{incident.pk}/")
    for said in (
        "Chat fails",
        "SEV2",
        "Triage",
        "I look after it",
        "Alert fired: Chat fails: chat",
        "Config published: v1",
        "through the command",
    ):
        assert said in text or said == "through the command", said
    for name in ("impact", "changes", "help"):
        assert f'hx-get="/incidents/{incident.pk}/{name}/"' in text
    text = page(admin, f"/incidents/{incident.pk}/impact/")
    for said in ("Failing now", "Requests failed", "Users hit", "by the data", "it goes on", "Provider p"):
        assert said in text, said
    text = page(admin, f"/incidents/{incident.pk}/changes/")
    assert "Config published: v1" in text and "after the beginning, so it did not begin it" in text
    text = page(admin, f"/incidents/{incident.pk}/help/")
    for said in ("Turn on chat-short", "Payments", "olaf", "https://wiki.example.com/chat"):
        assert said in text, said
    assert "Turn on chat-short" in page(admin, f"/incidents/{incident.pk}/flips/chat-short/")
    part = admin.get(f"/incidents/{incident.pk}/impact/", headers={"HX-Request": "true"})
    assert "<html" not in part.content.decode() and part["HX-PTag"]
    assert admin.get(f"/incidents/{incident.pk}/impact/", headers={"HX-Request": "true", "HX-PTag": part["HX-PTag"]}).status_code in (
        200,
        304,
    )
    text = page(admin, "/")
    assert "1 open incident" in text and f'href="/incidents/{incident.pk}/"' in text and "INC-1 SEV2 Chat fails" in text


def test_what_people_do_there(organisation: Organisation, admin: Client, incident: Incident) -> None:
    url, ona = f"/incidents/{incident.pk}/", member(organisation, "on-call")
    admin.post(f"{url}acknowledge/")
    admin.post(f"{url}roles/", {"commander": str(ona.pk), "scribe": "", "liaison": ""})
    admin.post(
        f"{url}note/", {"text": "Saw **errors** <script>alert(1)</script> [x](javascript:alert(1))", "at": "00:01", "submission": "n"}
    )
    admin.post(f"{url}note/", {"text": "Saw it twice", "submission": "n"})
    admin.post(f"{url}say/", {"text": "We look.", "state": "active", "submission": "u"})
    file = SimpleUploadedFile("log.txt", b"line\n" * 9)
    admin.post(f"{url}note/", {"text": "the log", "file": file, "submission": "f"})
    row = Incident.objects.get(pk=incident.pk)
    assert (row.state, row.commander, row.acknowledged_at is not None) == ("active", ona, True)
    text = admin.get(url).content.decode()
    assert (
        "<strong>errors</strong>" in text and "<script>alert" not in text and 'href="javascript' not in text and "Saw it twice" not in text
    )
    entry = row.entries.get(kind="attachment")
    sent = admin.get(f"{url}entries/{entry.pk}/file/")
    assert b"".join(sent.streaming_content).startswith(b"line") and "attachment" in sent["Content-Disposition"]  # type: ignore[attr-defined]
    assert sent["X-Content-Type-Options"] == "nosniff" and "sandbox" in sent["Content-Security-Policy"]
    for act in ("pin", "hide"):
        admin.post(f"{url}entries/{entry.pk}/{act}/")
    entry.refresh_from_db()
    assert entry.pinned and entry.hidden and "log.txt" not in page(admin, url) and "log.txt" in page(admin, f"{url}timeline/?hidden=1")
    admin.post(f"{url}scope/", {"field": "providers", "value": "p"})
    row.refresh_from_db()
    assert row.providers == ["p"]


def test_it_becomes_part_of_another_one(organisation: Organisation, admin: Client, incident: Incident) -> None:
    url = f"/incidents/{incident.pk}/merge/"
    assert f'href="{url}"' in page(admin, f"/incidents/{incident.pk}/")
    assert "no other incident is open or resolved" in page(admin, url)
    other = incident_declare(actor=COMMAND, organisation=organisation, title="Everything <b>fails</b>", severity="sev1")
    assert "INC-2 Everything &lt;b&gt;fails&lt;/b&gt;" in admin.get(url).content.decode()
    for into, said in (("", "choose the incident that this one is part of"), (str(incident.pk), "is not open any more")):
        refused = admin.post(url, {"into": into, "reason": "One cause."})
        assert refused.status_code == 400 and said in refused.content.decode() and 'value="One cause."' in refused.content.decode()
    seen = admin.get(url).context["seen"]
    for _ in range(2):
        assert admin.post(url, {"into": str(other.pk), "reason": "One cause.", "seen": seen})["Location"] == f"/incidents/{incident.pk}/"
    incident.refresh_from_db()
    assert (incident.state, incident.merged_into) == ("merged", other) and other.alerts.count() == 1
    assert incident.entries.filter(title="Merged into INC-2", text="One cause.").count() == 1
    assert f'href="{url}"' not in page(admin, f"/incidents/{incident.pk}/")


def test_no_refusal_loses_what_was_written(organisation: Organisation, admin: Client, incident: Incident) -> None:
    url = f"/incidents/{incident.pk}/"
    for address, sent, said in (
        ("say/", {"text": "All done.", "state": "closed"}, "Before INC-1 is closed"),
        ("say/", {"text": "All done.", "state": "mitigated", "at": "soon"}, "is no time"),
        ("note/", {"text": "All done.", "at": "2020-01-01 00:00"}, "more than a year back"),
    ):
        refused = admin.post(f"{url}{address}", sent)
        text = unescape(refused.content.decode())
        assert refused.status_code == 400 and said in text and "All done.</textarea>" in text
    carried = admin.post(f"{url}note/", {"text": "Typed before the session ended", "restored": "1", "submission": "x"})
    assert "Typed before the session ended</textarea>" in carried.content.decode() and not incident.entries.filter(kind="note").exists()
    seen = admin.get(f"{url}edit/").context["seen"]
    facts = {"title": "Chat fails badly", "severity": "sev1", "routes": "chat", "summary": "A pool was full.", "seen": seen}
    assert admin.post(f"{url}edit/", facts)["Location"] == url
    again = admin.post(f"{url}edit/", {**facts, "summary": "Another story."})
    assert again.status_code == 409 and "Another story." in again.content.decode() and "changed meanwhile" in again.content.decode()
    row = Incident.objects.get(pk=incident.pk)
    assert (row.title, row.severity, row.summary) == ("Chat fails badly", "sev1", "A pool was full.")
    shown = admin.get(f"{url}times/")
    fields = dict(shown.context["form"].initial)
    wrong = admin.post(f"{url}times/", {**fields, "seen": shown.context["seen"], "resolved_at": "2026-01-01 00:00"})
    assert wrong.status_code == 400 and "2026-01-01 00:00" in wrong.content.decode()
    admin.post(f"{url}times/", {**fields, "seen": shown.context["seen"], "impact_from": fields["started_at"]})
    row.refresh_from_db()
    assert row.impact_from == row.started_at.replace(second=0, microsecond=0) and row.impact_set_by
    text = page(admin, f"{url}impact/")
    assert "says admin" in text
    admin.post(f"{url}window/")
    row.refresh_from_db()
    assert row.impact_set_by == ""


def test_a_pasted_log_is_kept_whole_or_comes_back_whole(admin: Client, incident: Incident, settings: Any) -> None:
    url, line = f"/incidents/{incident.pk}/note/", "2026-03-04 12:00:01 upstream said 503\x00\n"
    kept = admin.post(url, {"text": line * (3 * 2**20 // len(line)), "submission": "1"})
    file = incident.entries.get(kind="attachment").attachment
    assert kept.status_code == 302 and file.size > 2.9 * 2**20 and b"\x00" not in bytes(file.body)
    long = "x" * (5 * 2**20 + 1)
    refused = admin.post(url, {"text": long, "submission": "2"})
    assert refused.status_code == 400 and "At most 5 MB" in refused.content.decode() and f">{long}</textarea>" in refused.content.decode()
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000
    unread = admin.post(url, {"text": "x" * 2_000, "submission": "3"})
    assert unread.status_code == 413 and "what you wrote is still in the form" in unread.content.decode()
    assert incident.entries.filter(kind="attachment").count() == 1


def test_roles(organisation: Organisation, incident: Incident) -> None:
    url = f"/incidents/{incident.pk}/"
    viewer, mel = client_of(member(organisation, "viewer")), client_of(member(organisation, "member"))
    text = page(viewer, url)
    assert "I look after it" not in text and "Write down" not in text and "Give roles" not in text
    assert viewer.get("/incidents/new/").status_code == 403 and viewer.post(f"{url}note/", {"text": "x"}).status_code == 403
    assert "Write down" in page(mel, url) and "Give roles" not in page(mel, url)
    assert mel.post(f"{url}say/", {"text": "x"}).status_code == 403 and mel.post(f"{url}acknowledge/").status_code == 403
    assert mel.post(f"{url}note/", {"text": "I saw it, too"}).status_code == 302
    assert mel.post("/incidents/severities/", {"level": "sev1", "title": "x", "meaning": "x"}).status_code == 403
    mia = client_of(member(organisation, "manager"))
    kept = mia.post("/incidents/severities/", {"level": "sev1", "title": "", "meaning": "Everything is down."})
    assert kept.status_code == 400 and "Everything is down.</textarea>" in kept.content.decode()
    mia.post("/incidents/severities/", {"level": "sev1", "title": "Down", "meaning": "Everything is down.", "postmortem": "on"})
    assert IncidentSeverity.objects.get().title == "Down" and "Everything is down." in page(mel, "/incidents/severities/")
    assert mia.post("/incidents/chat/", {"secret": "env:X_SECRET"}).status_code == 403, "the slash command is an admin's"


def test_the_palette_and_the_shell_find_it(admin: Client, incident: Incident, capsys: pytest.CaptureFixture[str]) -> None:
    for query in ("INC-1", "chat fai"):
        assert f"/incidents/{incident.pk}/" in admin.get("/ui/palette", {"q": query}, headers={"HX-Request": "true"}).content.decode()
    call_command("incident", "declare", "Search is slow", "--severity", "sev4", "--route", "search")
    call_command("incident", "move", "INC-2", "resolved", "--text", "It was the index.")
    call_command("incident", "list")
    told = capsys.readouterr().out
    assert "INC-2  SEV4  resolved   Search is slow" in told and "INC-1  SEV2  triage     Chat fails" in told


def test_pages_take_no_more_queries_than_committed(organisation: Organisation, admin: Client, incident: Incident) -> None:
    proxy_make("proxy-1", 1)
    key, _ = key_create(actor=COMMAND, organisation=organisation, name="busy")
    with connection.cursor() as cursor:  # whoever did most of what rose before it began is named, too
        cursor.execute("UPDATE usage_summary SET value = %s WHERE dimension = 'key_id'", [str(key.pk)])
    assert "Key busy did" in page(admin, f"/incidents/{incident.pk}/changes/")
    page(admin, "/incidents/")  # what is kept in memory is read
    counted = {}
    for name in COUNTS:
        with CaptureQueriesContext(connection) as queries:
            page(admin, name.replace("<incident>", str(incident.pk)))
        counted[name] = len(queries)
    assert {name: count for name, count in counted.items() if count > COUNTS[name]} == {}
    assert max(COUNTS.values()) <= 12
