"""Importing an export: once, whole, audited; the pages and the command that show where it differs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.usage.models import ProviderExport, ProviderExportLine
from apps.usage.reconciliation_reading import MOST_BYTES
from apps.usage.reconciliation_selectors import comparison
from apps.usage.reconciliation_services import provider_export_import, provider_export_remove
from tests.people import client_of, member
from tests.usage.hours import hour_add, summaries_add

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")
HEAD = "start_time,end_time,start_time_iso,end_time_iso,num_model_requests,model,input_tokens,output_tokens\n"
FIRST, DAY = 1_759_622_400, 86_400  # 5 October 2025, UTC
USAGE = HEAD + (
    f"{FIRST},{FIRST + DAY},,,10,gpt-4o-2024-08-06,1000,500\n"
    f"{FIRST},{FIRST + DAY},,,1,o3,70,30\n"
    f"{FIRST + DAY},{FIRST + 2 * DAY},,,10,gpt-4o-2024-08-06,2000,500\n"
)
MOST_QUERIES = 12


@pytest.fixture
def acme() -> Organisation:
    return Organisation.objects.create(name="Acme", slug="acme-reconciliation")


def take(organisation: Organisation, content: bytes = USAGE.encode(), **changes: Any) -> ProviderExport:
    facts: dict[str, Any] = {"provider": "openai", "simulated": False, "file_name": "usage.csv", "content": content}
    return provider_export_import(actor=ACTOR, organisation=organisation, **{**facts, **changes})


def recorded(acme: Organisation) -> None:
    hour_add(acme, "2025-10-05", hour=0, tokens_input=600, tokens_output=200, cost_nano=10**9, attempts=6)
    hour_add(acme, "2025-10-05", hour=23, tokens_input=400, tokens_output=300, cost_nano=10**9, attempts=4, team="search")
    hour_add(acme, "2025-10-06", tokens_input=1000, tokens_output=500, cost_nano=10**9)
    hour_add(acme, "2025-10-06", model="text-embedding-3-small", tokens_input=5, cost_nano=1)
    for elsewhere in ({"provider": "azure"}, {"simulated": True}):
        hour_add(acme, "2025-10-05", tokens_input=9_999, **elsewhere)
    for day in ("2025-10-04", "2025-10-07"):
        hour_add(acme, day, tokens_input=9_999)


def test_differences_by_day_and_model_and_what_is_missing_on_either_side(acme: Organisation) -> None:
    recorded(acme)
    found = comparison(take(acme))
    lines = [(str(each.day), each.model, each.state, each.tokens_ours, each.tokens_theirs, each.tokens_difference) for each in found.lines]
    assert lines == [
        ("2025-10-05", "gpt-4o-2024-08-06", "equal", 1500, 1500, 0),
        ("2025-10-05", "o3", "theirs", None, 100, 100),
        ("2025-10-06", "gpt-4o-2024-08-06", "differs", 1500, 2500, 1000),
        ("2025-10-06", "text-embedding-3-small", "ours", 5, None, -5),
    ]
    assert found.whole is not None
    assert (found.whole.tokens_ours, found.whole.tokens_theirs, found.whole.tokens_difference) == (3005, 4100, 1095)
    assert found.whole.cost_difference is None  # the export counts no money


def test_a_cost_export_without_models_is_compared_by_day(acme: Organisation) -> None:
    recorded(acme)
    costs = "start_time,end_time,amount_value,amount_currency,line_item\n"
    costs += f"{FIRST},{FIRST + DAY},2.01,usd,\n{FIRST + DAY},{FIRST + 2 * DAY},1.50,usd,\n"
    found = comparison(take(acme, costs.encode()))
    assert [(line.model, line.state, line.cost_ours, line.cost_difference) for line in found.lines] == [
        ("", "equal", 2 * 10**9, 10**7),
        ("", "differs", 10**9 + 1, 5 * 10**8 - 1),
    ]


def test_the_same_file_is_known_again_and_can_be_taken_once_more_when_removed(acme: Organisation) -> None:
    export = take(acme)
    for changes in ({}, {"provider": "azure"}, {"file_name": "other.csv"}):
        with pytest.raises(ServiceError, match=r"imported already, on .* for provider openai"):
            take(acme, **changes)
    other = Organisation.objects.create(name="Other", slug="other-reconciliation")
    assert take(other).pk != export.pk
    events = AuditEvent.objects.filter(subject_id=str(export.pk)).order_by("at")
    assert [(event.action, event.after["rows"], event.after["provider"]) for event in events] == [("reconciliation.import", 3, "openai")]
    provider_export_remove(actor=ACTOR, export=export, reason="the wrong month")
    assert AuditEvent.objects.filter(action="reconciliation.remove", reason="the wrong month", subject_name__contains="openai").exists()
    assert not ProviderExportLine.objects.filter(export__organisation=acme).exists()
    assert take(acme).rows == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"content": (USAGE + f"{FIRST},,,,x,gpt-4o,1,1\n").encode()}, "line 5: num_model_requests is 'x'"),
        ({"provider": "../x"}, "is no provider's name"),
        ({"provider": ""}, "is no provider's name"),
        ({"content": b"x" * (MOST_BYTES + 1)}, "larger than 10 MB"),
    ],
)
def test_a_refused_file_leaves_nothing(acme: Organisation, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ServiceError) as refused:
        take(acme, **changes)
    assert says in refused.value.message
    assert not ProviderExport.objects.filter(organisation=acme).exists()


def test_a_viewer_may_look_and_not_import(acme: Organisation) -> None:
    export = take(acme)
    vic = member(acme, "viewer")
    with pytest.raises(PermissionRefused):
        provider_export_remove(actor=Actor.of_user(vic), export=export)
    client = client_of(vic)
    assert client.get(f"/costs/reconciliation/{export.pk}/").status_code == 200
    file = SimpleUploadedFile("usage.csv", b"x")
    assert client.post("/costs/reconciliation/import/", {"provider": "openai", "file": file}).status_code == 403
    assert client.post(f"/costs/reconciliation/{export.pk}/remove/", {"reason": "no"}).status_code == 403


def test_pages(acme: Organisation) -> None:
    recorded(acme)
    summaries_add()
    client = client_of(member(acme))
    assert "Nothing was compared yet" in client.get("/costs/reconciliation/").content.decode()
    file = SimpleUploadedFile("../<b>usage.csv", (USAGE + f"{FIRST + DAY},{FIRST + 2 * DAY},,,1,<i>m</i>,1,1\n").encode())
    wrong = client.post("/costs/reconciliation/import/", {"provider": "openai", "file": SimpleUploadedFile("a", b"a,b\n1,2\n")})
    assert wrong.status_code == 400 and "of no export that is known" in wrong.content.decode()
    assert client.post("/costs/reconciliation/import/", {"provider": "openai"}).status_code == 400
    done = client.post("/costs/reconciliation/import/", {"provider": "openai", "file": file})
    assert done.status_code == 302
    with CaptureQueriesContext(connection) as queries:
        shown = client.get(done["Location"]).content.decode()
    assert len(queries) <= MOST_QUERIES
    assert "Missing here" in shown and "Missing there" in shown and "&lt;i&gt;m&lt;/i&gt;" in shown and "<i>m" not in shown
    assert "_b_usage.csv" in shown
    only = client.get(done["Location"] + "?state=differs").content.decode()
    assert "text-embedding-3-small" not in only and "2025-10-06" in only
    csv = b"".join(client.get(done["Location"] + "?format=csv").streaming_content).decode()
    assert "2025-10-06,text-embedding-3-small,Missing there,5,,-5\r\n" in csv
    with CaptureQueriesContext(connection) as queries:
        assert "OpenAI usage CSV" in client.get("/costs/reconciliation/").content.decode()
    assert len(queries) <= MOST_QUERIES
    export = ProviderExport.objects.get(organisation=acme)
    client.post(f"/costs/reconciliation/{export.pk}/remove/", {"reason": "again"})
    assert not ProviderExport.objects.filter(organisation=acme).exists()


def test_a_file_that_is_too_large_is_refused_by_the_form(acme: Organisation) -> None:
    client = client_of(member(acme))
    file = SimpleUploadedFile("usage.csv", b"x" * (MOST_BYTES + 1))
    answer = client.post("/costs/reconciliation/import/", {"provider": "openai", "file": file})
    assert answer.status_code == 400 and "larger than 10 MB" in answer.content.decode()


def test_the_command_says_what_differs_by_its_exit_code(acme: Organisation, tmp_path: Path) -> None:
    recorded(acme)
    path = tmp_path / "usage.csv"
    path.write_text(USAGE)
    out = io.StringIO()
    with pytest.raises(CommandError, match="3 of 4 days and models differ") as refused:
        call_command("reconcile", str(path), provider="openai", organisation=acme.slug, stdout=out)
    assert refused.value.returncode == 2
    assert "2025-10-06 gpt-4o-2024-08-06: Differs; tokens 1500 here, 2500 there, +1000" in out.getvalue()
    assert AuditEvent.objects.filter(action="reconciliation.import", actor_kind="command", after__organisation=acme.slug).exists()
    with pytest.raises(CommandError, match="imported already"):
        call_command("reconcile", str(path), provider="openai", organisation=acme.slug)
    with pytest.raises(CommandError, match="No such file"):
        call_command("reconcile", str(tmp_path / "none"), provider="openai", organisation=acme.slug)
    (tmp_path / "agrees.json").write_text(json.dumps({"data": [{
        "starting_at": "2025-10-06T00:00:00Z", "ending_at": "2025-10-07T00:00:00Z",
        "results": [{"amount": "100", "currency": "USD", "model": "gpt-4o"}, {"amount": "0", "currency": "USD", "model": None}],
    }]}))  # fmt: skip
    hour_add(acme, "2025-10-06", provider="p2", cost_nano=10**9)
    call_command("reconcile", str(tmp_path / "agrees.json"), provider="p2", organisation=acme.slug, stdout=out)
    assert "$1 here, $1 there, $0" in out.getvalue()
