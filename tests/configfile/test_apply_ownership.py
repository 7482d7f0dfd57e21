"""Ownership in the document: applied, exported, applied again; refused where it contradicts itself."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Organisation
from apps.flags.models import Flag
from apps.ownership.models import Cell, Layer, Rotation, Runbook, Sla, Team
from apps.ownership.owned import owner_of
from tests.people import member

pytestmark = pytest.mark.django_db

DOCUMENT = """
teams:
  - name: payments
    contacts:
      - {kind: phone, value: "+49 30 1234567", label: at night}
      - {kind: chat, value: "#payments"}
    sla: {availability: 99.9, window_days: 28}
    services:
      - name: checkout
        sla: {availability: "99.95", first_token: 800ms, first_token_warn: 1s, first_token_page: 2s}
layers:
  - {name: proxy, title: Proxy}
  - {name: data, position: 1}
regions:
  - name: eu-west
    title: Frankfurt
    owners:
      - {layer: proxy, team: payments}
rotations:
  - name: payments
    team: payments
    members: [ada@example.test, bo@example.test]
    zone: Europe/Berlin
    weekday: wed
    time: 10:30
    starts_on: 2026-03-06
    days: mon-fri
    from_time: "09:00"
    to_time: "17:00"
runbooks:
  - name: away
    title: A provider is away
    owner: payments
    text: |
      # Look

      - [ ] is it one region?
providers:
  - name: upstream
    owner: payments
    endpoints: [{base_url: "https://api.example.com/v1", region: eu-west}]
flags:
  - {name: all-off, kind: kill, feature: chat, owner: payments, runbook: away}
budgets:
  - {name: wall, scope: organisation, window: day, limit: 10, owned_by: payments}
"""


@pytest.fixture
def people(organisation: Organisation) -> None:
    for name in ("ada", "bo"):
        member(organisation, "on-call", email=f"{name}@example.test")


def run(path: Path, text: str, command: str = "apply") -> str:
    path.write_text(text, encoding="utf-8")
    out = StringIO()
    call_command(command, "-f", str(path), "--no-wait", stdout=out)
    return out.getvalue()


def exported() -> str:
    out = StringIO()
    call_command("export", stdout=out)
    return out.getvalue()


def test_all_of_it_is_applied_and_exported_as_it_was(organisation: Organisation, people: None, tmp_path: Path) -> None:
    path = tmp_path / "bulkhead.yaml"
    diff = run(path, DOCUMENT)
    for line in ("+ layer proxy", "+ region eu-west", "+ rotation payments", "+ runbook away", "+ team payments"):
        assert line in diff
    team = Team.objects.get()
    assert [(contact.kind, contact.value) for contact in team.contacts.all()] == [("phone", "+49 30 1234567"), ("chat", "#payments")]
    assert set(Sla.objects.values_list("service__slug", "availability", "ttft_page_ms")) == {
        (None, 99_900, None),
        ("checkout", 99_950, 2000),
    }
    assert Cell.objects.get().team == team
    rotation = Rotation.objects.get()
    assert (rotation.starts_on.isoformat(), rotation.minute, rotation.days, rotation.to_minute) == ("2026-03-04", 630, 31, 1020)
    assert owner_of(kind="provider", object_id=organisation.providers.get().pk) == team.pk  # type: ignore[attr-defined]
    assert owner_of(kind="budget", object_id=organisation.budgets.get().pk) == team.pk  # type: ignore[attr-defined]
    assert Flag.objects.get().runbook == str(Runbook.objects.get().pk)
    assert run(path, DOCUMENT) == "nothing changes\n"
    written = exported()
    assert "  text: |-\n    # Look\n" in written and "runbook: away" in written
    assert run(path, written) == "nothing changes\n"


def test_what_is_left_out_is_taken_back_and_what_is_absent_goes(organisation: Organisation, people: None, tmp_path: Path) -> None:
    path = tmp_path / "bulkhead.yaml"
    run(path, DOCUMENT)
    run(path, "teams: [{name: payments}]\nregions: [{name: eu-west}]\n")
    assert not Sla.objects.filter(service=None).exists() and not Cell.objects.exists() and not Team.objects.get().contacts.exists()
    names = {"layers": "data", "rotations": "payments", "runbooks": "away"}
    gone = ", ".join(f"{kind}: [{{name: {name}, absent: true}}]" for kind, name in names.items())
    run(path, f"{{{gone}, regions: [{{name: eu-west, absent: true}}]}}")
    assert Layer.objects.count() == 1 and not Rotation.objects.exists() and not Runbook.objects.exists()
    assert run(path, f"{{{gone}}}") == "nothing changes\n", "gone stays gone"


def test_every_mistake_is_named_with_its_field(organisation: Organisation, tmp_path: Path) -> None:
    wrong = """
teams:
  - name: payments
    sla: {availability: 100}
  - name: search
    contacts: [{kind: email, value: nobody}]
layers: [{name: proxy}]
regions:
  - name: eu
    owners: [{layer: proxy, team: a-team}]
  - name: us
    owners: [{layer: proxy, team: nobody-here}, {layer: proxy, team: nobody-here}]
rotations:
  - {name: a, members: [who@example.test]}
  - {name: b, zone: Mars/Phobos}
  - {name: c, time: "25:00"}
runbooks:
  - {name: r, owner: nobody-here}
"""
    with pytest.raises(CommandError) as refused:
        run(tmp_path / "bulkhead.yaml", wrong)
    said = str(refused.value)
    for part in (
        "teams[0].sla.availability: Promise more than 0", "teams[1].contacts[0].value: 'nobody' is not an email",
        "regions[0].owners[0].team: there is no team 'a-team'", "regions[1].owners: one team owns a layer",
        "rotations[0].members: Nobody here has the email who@example.test", "rotations[1].zone", "rotations[2].time: '25:00'",
        "runbooks[0].owner: there is no team",
    ):  # fmt: skip
        assert part in said, said
    assert not Team.objects.exists()
