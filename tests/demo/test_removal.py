"""Removing the demo: every trace of it goes, nothing else does, it asks for the name, and it can be taken up again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent, Event
from apps.budgets.models import Budget, BudgetWindow, Lease
from apps.contracts.identifiers import uuid7
from apps.keys.models import VirtualKey
from apps.ownership.models import Cell, Holding, Layer, Region, Rotation, Runbook, Sla, Team
from apps.providers.models import Provider
from apps.publishing.models import FragmentRow, Version
from apps.publishing.rollback import rollback
from apps.routes.models import Route
from apps.usage.models import UsageRequest
from controlplane.demo import removal, tasks
from controlplane.demo.seed import Seeded
from controlplane.demo.services import demo_removal_start
from controlplane.demo.state import demo_state
from tests.dashboard.generate import usage_generate

ACTOR = Actor.system("test")
NAME = "Demo (simulated)"
USAGE = ("usage_request", "usage_summary", "usage_rollup_10s", "usage_rollup_1m", "usage_rollup_1h")


def rows_of(organisation: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"SELECT count(*) FROM {table} WHERE organisation = %s" for table in USAGE), [organisation] * 5)
        return sum(count for (count,) in cursor.fetchall())


def used(demo: Seeded) -> Organisation:
    """The demo with usage and a leased budget, beside a real organisation with usage of its own."""
    organisation = Organisation.objects.get(slug="demo")
    usage_generate(organisation=organisation, count=60)
    usage_generate(organisation=Organisation.objects.get(slug="main"), count=40, simulated=False)
    budget = Budget.objects.get(name="demo-day")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM proxy_api.lease_grant(%s, %s)", [uuid7(), json.dumps([{"budget": str(budget.pk), "need": 5, "want": 9}])]
        )
    assert Lease.objects.exists()
    return organisation


def test_every_trace_goes_and_nothing_else(demo: Seeded, data_dir: Path) -> None:
    organisation, main = used(demo), Organisation.objects.get(slug="main")
    before, versions, audited = rows_of(str(main.pk)), Version.objects.count(), AuditEvent.objects.count()
    demo_removal_start(actor=ACTOR, typed=NAME, by="admin")
    counts = removal.demo_remove(actor=ACTOR, waits=False)
    assert counts["usage_request"] == 60
    assert rows_of(str(organisation.pk)) == 0 and rows_of(str(main.pk)) == before > 0
    for model in (Provider, Route, VirtualKey, Budget, BudgetWindow, Lease, Team, Layer, Region, Cell, Rotation, Sla, Runbook, Holding):
        assert not model.objects.exists(), model
    assert list(Organisation.objects.values_list("slug", flat=True)) == ["main"]
    assert not Event.objects.filter(data__organisation=str(organisation.pk)).exists()
    assert AuditEvent.objects.count() > audited and Version.objects.count() > versions
    assert AuditEvent.objects.filter(action="organisation.delete").count() == 1
    latest: dict[tuple[str, str], bool] = {}
    for section, object_id, body in FragmentRow.objects.order_by("version").values_list("section", "object_id", "body"):
        latest[section, object_id] = body is not None
    assert not any(latest.values())  # proxies know nothing of it any more
    assert demo_state(data_dir).gone and not (data_dir / "secrets" / "demo_key").exists()


def test_a_second_run_and_the_sweep_find_only_what_came_late(demo: Seeded, data_dir: Path) -> None:
    organisation = used(demo)
    demo_removal_start(actor=ACTOR, typed=NAME, by="admin")
    removal.demo_remove(actor=ACTOR, waits=False)
    usage_generate(organisation=organisation, count=7)  # a stream that ended after the removal
    assert removal.demo_sweep(organisation=str(organisation.pk)) == 7
    assert removal.demo_remove(actor=ACTOR, waits=False) == {"usage_request": 0}
    assert UsageRequest.objects.filter(organisation=str(organisation.pk)).count() == 0


def test_a_sweep_never_touches_an_organisation_that_stands(demo: Seeded) -> None:
    main = Organisation.objects.get(slug="main")
    usage_generate(organisation=main, count=5, simulated=False)
    assert removal.demo_sweep(organisation=str(main.pk)) == 0
    assert removal.demo_sweep(organisation="") == 0
    assert rows_of(str(main.pk)) > 0


def test_a_rollback_to_a_version_that_had_it_brings_nothing_of_it_back(demo: Seeded, data_dir: Path) -> None:
    with_demo = Version.objects.order_by("-number").values_list("number", flat=True)[0]
    demo_removal_start(actor=ACTOR, typed=NAME, by="admin")
    removal.demo_remove(actor=ACTOR, waits=False)
    rollback(actor=ACTOR, to_version=with_demo, reason="go back")
    assert not Route.objects.exists() and not Provider.objects.exists()


def test_a_failure_is_said_and_can_be_taken_up_again(demo: Seeded, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used(demo)
    demo_removal_start(actor=ACTOR, typed=NAME, by="admin")

    def fails(**_: object) -> dict[str, int]:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(removal, "usage_forget", fails)
        with pytest.raises(OSError, match="full"):
            removal.demo_remove(actor=ACTOR, waits=False)
    state = demo_state(data_dir)
    assert state.removal is not None and state.removal.state == "failed" and "the disk is full" in state.removal.error
    demo_removal_start(actor=ACTOR, typed=NAME, by="admin")
    assert removal.demo_remove(actor=ACTOR, waits=False)["usage_request"] == 60
    assert demo_state(data_dir).gone


def test_the_page_asks_for_the_name_and_an_admin(admin: Client, viewer: Client, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr(tasks.demo_remove, "delay", lambda *arguments: sent.append(arguments))
    assert NAME in admin.get("/demo/remove/").content.decode()
    assert admin.post("/demo/remove/", {"typed": "demo"}).status_code == 422
    assert viewer.post("/demo/remove/", {"typed": NAME}).status_code == 422
    assert "admin of organisation main" in viewer.get("/demo/remove/").content.decode()
    assert not demo_state(data_dir).removed and not sent
    assert admin.post("/demo/remove/", {"typed": NAME})["Location"] == "/demo/remove/"
    assert len(sent) == 1 and demo_state(data_dir).removed
    again = admin.post("/demo/remove/", {"typed": NAME})
    assert again.status_code == 422 and "being removed already" in again.content.decode() and len(sent) == 1
    assert "Removing the demo" in admin.get("/demo/remove/progress/").content.decode()
    admin.post("/demo/break/")
    assert demo_state(data_dir).broken_at == 0


def test_without_a_task_queue_it_says_so_and_keeps_everything(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from kombu.exceptions import OperationalError

    def away(*_: object) -> None:
        raise OperationalError("no broker")

    monkeypatch.setattr(tasks.demo_remove, "delay", away)
    answer = admin.post("/demo/remove/", {"typed": NAME})
    assert answer.status_code == 503 and "task queue does not answer" in answer.content.decode()
    assert Organisation.objects.filter(slug="demo").exists()
