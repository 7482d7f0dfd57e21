"""Keys by the thousand: all of a file or none, a report on every row, and the same file twice is once."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.models import Budget, Limit
from apps.keys import services, snapshot
from apps.keys.bulk import keys_import
from apps.keys.handovers import handover_fetch, handovers_expire
from apps.keys.import_reading import COLUMNS, read
from apps.keys.models import KeyDigest, KeyHandover, VirtualKey
from apps.ownership.services import service_ensure, team_ensure
from apps.publishing.models import Version
from tests.people import member

OLD = sha256(b"sk-an-older-token").hexdigest()


def rows(text: str) -> list:
    return read(text.encode())


def test_every_column_is_read_from_csv_and_json_alike() -> None:
    values = {
        "name": "checkout", "environment": "staging", "team": "payments", "service": "payments/checkout", "routes": "chat;embed",
        "feature": "search", "tags": "a|b", "priority": "high", "explain": "yes", "expires_at": "2027-01-31T00:00:00+01:00",
        "addresses": "192.0.2.0/24;2001:db8::1", "sha256": OLD.upper(), "requests_per_minute": "600", "tokens_per_minute": "1000",
        "tokens_per_day": "5000", "concurrent_requests": "4", "budget": "12.50", "budget_window": "week",
    }  # fmt: skip
    assert set(values) == set(COLUMNS)
    out = io.StringIO()
    csv.writer(out).writerows([values.keys(), values.values()])
    record = {**values, "routes": ["chat", "embed"], "tags": ["a", "b"], "explain": True, "requests_per_minute": 600}
    for (row,) in (rows("\ufeff" + out.getvalue()), rows(json.dumps([record])), rows(json.dumps({"keys": [record]}))):
        assert row.problems == [] and row.sha256 == OLD and (row.team, row.service) == ("payments", "payments/checkout")
        assert row.facts == {
            "environment": "staging", "routes": ["chat", "embed"], "feature": "search", "tags": ["a", "b"], "priority": "high",
            "explain": True, "expires_at": datetime(2027, 1, 30, 23, tzinfo=UTC), "addresses": ["192.0.2.0/24", "2001:db8::1/128"],
        }  # fmt: skip
        assert (row.budget_nano, row.budget_window) == (12_500_000_000, "week")
        assert row.limits == {
            "requests_per_minute": 600, "tokens_per_minute": 1000, "tokens_per_day": 5000, "concurrent_requests": 4
        }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no keys"),
        ("name\n", "no keys"),
        ("environment\nstaging\n", "no column 'name'"),
        ("name,colour\na,red\n", "no column 'colour'"),
        ("name,name\na,b\n", "twice"),
        ("name,secret\na,sk-live\n", "never read"),
        ('[{"name": "a", "token": "sk-live"}]', "never read"),
        ("name\na,b\n", "2 values for 1 columns"),
        ('name\n"a\n', "not CSV"),
        ("[1]", "list of objects"),
        ("{", "not JSON"),
    ],
)
def test_what_is_no_file_of_keys_is_refused_whole(text: str, says: str) -> None:
    with pytest.raises(ServiceError, match=says) as caught:
        rows(text)
    assert caught.value.field == "file" and "sk-live" not in caught.value.message


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("No,,,,", "name"), (",,,,", "name"), ("a,5 dollars,,,", "budget"), ("a,,0,,", "requests_per_minute"), ("a,,,office,", "addresses"),
        ("a,,,,abc", "sha256"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_a_problem_of_its_row(line: str, column: str) -> None:
    (row,) = rows(f"name,budget,requests_per_minute,addresses,sha256\n{line if line != ',,,,' else ',1,,,'}\n")
    assert [found for found, _ in row.problems] == [column]
    first, second = rows(f"name,sha256\na,{OLD}\na,{OLD}\n")
    assert not first.problems and [found for found, _ in second.problems] == ["name", "sha256"]


def test_one_problem_anywhere_and_nothing_is_made(organisation: Organisation, actor: Actor) -> None:
    services.key_create(actor=actor, organisation=organisation, name="taken")
    given = rows("name,team\ngood,\ntaken,\nlost,nobody\n")
    report = keys_import(actor=actor, organisation=organisation, rows=given)
    assert [(reported.row.line, reported.state) for reported in report.rows] == [(2, "new"), (3, "refused"), (4, "refused")]
    assert "revoke" in report.rows[1].words and "'nobody'" in report.rows[2].words and report.summary == "1 new, 2 refused"
    assert VirtualKey.objects.count() == 1 and not KeyHandover.objects.exists()


def test_an_import_makes_keys_with_owners_walls_and_their_own_secrets(organisation: Organisation, actor: Actor) -> None:
    team = team_ensure(actor=actor, organisation=organisation, slug="payments")
    service_ensure(actor=actor, team=team, slug="checkout")
    given = rows(
        "name,team,service,sha256,requests_per_minute,budget,budget_window,addresses\n"
        f"kept,payments,,{OLD},,,,\nfresh,,payments/checkout,,60,25,day,192.0.2.0/24\nother,,,,,,,\n"
    )
    dry = keys_import(actor=actor, organisation=organisation, rows=given, dry_run=True)
    assert dry.summary == "3 new" and dry.handover is None and not VirtualKey.objects.exists()
    report = keys_import(actor=actor, organisation=organisation, rows=given, reason="moving in")
    keys = {key.name: key for key in VirtualKey.objects.all()}
    assert set(keys) == {"kept", "fresh", "other"} and keys["kept"].team == team and keys["fresh"].service.slug == "checkout"
    limit, budget = Limit.objects.get(), Budget.objects.get()
    assert (limit.scope_id, limit.kind, limit.amount) == (str(keys["fresh"].pk), "requests_per_minute", 60)
    assert (budget.key, budget.limit_nano, budget.window, budget.kind) == (keys["fresh"], 25 * 10**9, "day", "hard")
    fragments = snapshot.keys.build(None)
    assert fragments[str(keys["kept"].pk)].hashes == [OLD] and fragments[str(keys["kept"].pk)].digests == []  # type: ignore[attr-defined]
    assert fragments[str(keys["fresh"].pk)].addresses == ["192.0.2.0/24"]  # type: ignore[attr-defined]
    events = AuditEvent.objects.filter(subject_id__in=[str(key.pk) for key in keys.values()], action="key.create")
    assert {event.subject_name for event in events} == set(keys) and all(event.reason == "moving in" for event in events)
    assert AuditEvent.objects.filter(action="limit.create", subject_id=str(limit.pk)).exists()
    assert report.handover is not None
    secrets = handover_fetch(actor=actor, handover=report.handover)
    assert {secret.name for secret in secrets} == {"fresh", "other"}
    for secret in secrets:
        assert KeyDigest.objects.get(digest=services.key_digest(secret.token)).key_id == keys[secret.name].pk
    again = keys_import(actor=actor, organisation=organisation, rows=rows(f"name,sha256\nkept,{OLD}\n"))
    assert again.summary == "1 there already" and VirtualKey.objects.count() == 3


def test_a_hash_that_opens_another_key_is_refused(organisation: Organisation, actor: Actor) -> None:
    keys_import(actor=actor, organisation=organisation, rows=rows(f"name,sha256\nkept,{OLD}\n"))
    other = Organisation.objects.create(name="Other", slug="other-import")
    for where, says in ((organisation, "opens the key 'kept'"), (other, "opens another key of this installation")):
        report = keys_import(actor=actor, organisation=where, rows=rows(f"name,sha256\nagain,{OLD}\n"))
        assert report.refused and says in report.rows[0].words
    assert "kept" not in report.rows[0].words


def test_secrets_are_given_out_once_to_one_person_and_not_for_ever(organisation: Organisation, actor: Actor) -> None:
    admin, other = (member(organisation, "admin", email=f"{name}@example.test") for name in ("ada", "eve"))
    mine = Actor.of_user(admin)
    report = keys_import(actor=mine, organisation=organisation, rows=rows("name\na\nb\n"))
    handover = report.handover
    assert handover is not None and "bk-" not in handover.sealed
    with pytest.raises(ServiceError, match="somebody else"):
        handover_fetch(actor=Actor.of_user(other), handover=handover)
    assert len(handover_fetch(actor=mine, handover=handover)) == 2
    with pytest.raises(ServiceError, match="fetched already"):
        handover_fetch(actor=mine, handover=handover)
    late = keys_import(actor=mine, organisation=organisation, rows=rows("name\nc\nd\n")).handover
    assert late is not None
    rotated = VirtualKey.objects.get(name="d")
    services.key_rotate(actor=actor, key=rotated)
    assert handovers_expire(now=late.expires_at) == 1 and handovers_expire(now=late.expires_at) == 0
    assert set(VirtualKey.objects.filter(state="active").values_list("name", flat=True)) == {"a", "b", "d"}
    with pytest.raises(ServiceError, match="not fetched in time"):
        handover_fetch(actor=mine, handover=late)


def test_only_who_may_imports(organisation: Organisation) -> None:
    with pytest.raises(PermissionRefused):
        keys_import(actor=Actor.of_user(member(organisation, "manager")), organisation=organisation, rows=rows("name\na\n"))


def test_the_command_writes_secrets_into_a_new_file_and_publishes(organisation: Organisation, tmp_path: Path) -> None:
    file, secrets = tmp_path / "keys.csv", tmp_path / "secrets.csv"
    file.write_text("name,requests_per_minute\na,5\nb,\n")
    out = io.StringIO()
    with pytest.raises(CommandError, match="--secrets"):
        call_command("import_keys", str(file), organisation=organisation.slug, stdout=out)
    assert not VirtualKey.objects.exists()
    call_command("import_keys", str(file), organisation=organisation.slug, secrets=secrets, stdout=out)
    assert secrets.stat().st_mode & 0o777 == 0o600
    found = {row["name"]: row["secret"] for row in csv.DictReader(io.StringIO(secrets.read_text()))}
    assert KeyDigest.objects.get(digest=services.key_digest(found["a"])).key.name == "a" and set(found) == {"a", "b"}
    assert Version.objects.exists() and "2 new" in out.getvalue()
    with pytest.raises(CommandError, match="exists"):
        call_command("import_keys", str(file), organisation=organisation.slug, secrets=secrets, stdout=out)
