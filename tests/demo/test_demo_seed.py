"""The demo: made whole, made again without change, moved with its simulators, its key never lost for good."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from apps.accounts.models import Membership, Organisation
from apps.accounts.services import user_create_first_admin
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.models import Budget
from apps.budgets.services import budget_set
from apps.contracts.fleet import PROTOCOL, JoinRequest, secret_digest
from apps.contracts.fleet_facts import HostFacts
from apps.fleet.joining import worker_join
from apps.fleet.models import Worker
from apps.keys.models import VirtualKey
from apps.keys.services import key_digest, key_revoke
from apps.ownership.care_services import runbook_delete, runbook_set
from apps.ownership.map_selectors import ownership_map
from apps.ownership.map_services import layer_delete
from apps.ownership.models import Layer, Runbook, Sla
from apps.ownership.owned import owner_of
from apps.ownership.rotation_selectors import on_call_now
from apps.providers.models import Provider
from apps.publishing.models import Version
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_delete, route_update
from controlplane.demo.seed import Seeded, demo_seed, seed

pytestmark = pytest.mark.django_db
ACTOR = Actor.system("test")
ADDRESSES: Any = [{"name": "sim-east", "url": "http://127.0.0.1:9001"}, {"name": "sim-west", "url": "http://127.0.0.1:9002/"}]


def run(tmp_path: Path, addresses: Any = ADDRESSES) -> Seeded:
    return seed(actor=ACTOR, simulators=addresses, data_dir=tmp_path)


def key_opened_by(token: str) -> VirtualKey:
    return VirtualKey.objects.get(digest_rows__digest=key_digest(token), state="active")


def test_everything_stands_and_is_published(tmp_path: Path) -> None:
    user_create_first_admin(actor=ACTOR, email="admin@example.com", password="a-long-password")
    found = run(tmp_path)
    organisation = Organisation.objects.get(slug="demo")
    assert organisation.simulated
    assert (found["model"], found["embedding_model"]) == ("demo-chat", "demo-embed")
    providers = Provider.objects.filter(organisation=organisation).order_by("name")
    assert [(row.name, row.simulated, row.endpoints.get().base_url) for row in providers] == [
        ("deployment:demo-local", True, "http://replicas.invalid/v1"),
        ("sim-east", True, "http://127.0.0.1:9001/v1"),
        ("sim-west", True, "http://127.0.0.1:9002/v1"),
    ]
    for name, model in (("demo-chat", "sim-chat"), ("demo-embed", "sim-embed")):
        targets = Route.objects.get(organisation=organisation, name=name).target_rows.order_by("position")
        assert [(target.provider.name, target.model) for target in targets] == [("sim-east", model), ("sim-west", model)]
    waits = Route.objects.get(organisation=organisation, name="demo-local").resilience
    assert waits["queue_ms"] == 60_000, "its only replica starts with Bulkhead: the first request waits for it"
    key = key_opened_by(found["key"])
    assert key.service is not None and key.service.team.organisation == organisation
    budgets = {row.name: (row.scope, row.window, row.limit_nano) for row in Budget.objects.filter(organisation=organisation)}
    assert budgets == {"demo-day": ("organisation", "day", 100 * 10**9), "demo-key-month": ("key", "month", 1000 * 10**9)}
    assert Version.objects.count() == 1
    assert Membership.objects.filter(organisation=organisation, user__email="admin@example.com", role="admin").exists()


def test_who_owns_what_stands_too_and_stays_as_people_make_it(tmp_path: Path) -> None:
    user_create_first_admin(actor=ACTOR, email="admin@example.com", password="a-long-password")
    run(tmp_path)
    organisation = Organisation.objects.get(slug="demo")
    found = ownership_map(organisation)
    assert (found.total, found.unowned) == (6, 1) and {row.name for row in found.rows} == {"east", "west"}
    [on] = on_call_now(organisation=organisation)
    assert on.user is not None and on.user.email == "admin@example.com"
    route = Route.objects.get(name="demo-chat")
    assert Runbook.objects.get(organisation=organisation, pk=route.runbook).owner == route.owner
    assert Sla.objects.get().team == route.owner and owner_of(kind="provider", object_id=Provider.objects.get(name="sim-east").pk)
    layer_delete(actor=ACTOR, layer=Layer.objects.get(name="proxy"))
    runbook_delete(actor=ACTOR, runbook=Runbook.objects.get())
    runbook_set(actor=ACTOR, organisation=organisation, name="ours", title="Ours")
    run(tmp_path)
    assert Layer.objects.count() == 2 and Runbook.objects.get().name == "ours"


def test_the_token_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    found = run(tmp_path)
    file = tmp_path / "secrets" / "demo_key"
    assert file.read_text().strip() == found["key"]
    assert file.stat().st_mode & 0o777 == 0o600
    token = tmp_path / "secrets" / "agent_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert sorted(file.parent.iterdir()) == [token, file]


def test_a_worker_whose_directory_was_deleted_joins_anew(tmp_path: Path) -> None:
    run(tmp_path)
    token, credential = tmp_path / "secrets" / "agent_token", tmp_path / "agent" / "credential.json"
    used = token.read_text()
    host = HostFacts(hostname=socket.gethostname(), address="127.0.0.1")
    asked = JoinRequest(
        protocol=PROTOCOL, token=used, secret_digest=secret_digest("s" * 32), name="local", agent_version="t", sent_at_ms=1, host=host
    )
    worker = worker_join(asked)
    credential.parent.mkdir()
    credential.touch()
    run(tmp_path)
    assert not token.exists(), "it has its credential"
    credential.unlink()
    run(tmp_path)
    assert token.read_text() != used
    worker.refresh_from_db()
    assert worker.revoked_at is not None
    Worker.objects.filter(pk=worker.pk).update(revoked_at=None, host={"hostname": "another"})
    token.unlink()
    run(tmp_path)
    assert not token.exists(), "another machine's worker is that machine's affair"


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    first = run(tmp_path)
    events = AuditEvent.objects.count()
    assert run(tmp_path) == first
    assert (AuditEvent.objects.count(), Version.objects.count()) == (events, 1)


def test_providers_move_with_their_simulators(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, [{"name": "sim-east", "url": "http://127.0.0.1:9003"}, ADDRESSES[1]])
    assert Provider.objects.get(name="sim-east").endpoints.get().base_url == "http://127.0.0.1:9003/v1"
    assert Version.objects.count() == 2


def test_what_people_changed_stays(tmp_path: Path) -> None:
    run(tmp_path)
    organisation = Organisation.objects.get(slug="demo")
    route = Route.objects.get(name="demo-chat")
    route_update(actor=ACTOR, route=route, targets=[TargetSpec("sim-west", "sim-chat")])
    budget_set(
        actor=ACTOR, organisation=organisation, name="demo-day", scope="organisation", scope_id=organisation.pk, window="day", limit_nano=5
    )
    run(tmp_path)
    assert Route.objects.get(name="demo-chat").target_rows.count() == 1
    assert Budget.objects.get(name="demo-day", deleted_at=None).limit_nano == 5


def test_what_is_missing_is_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    route_delete(actor=ACTOR, route=Route.objects.get(name="demo-embed"))
    run(tmp_path)
    assert Route.objects.filter(name="demo-embed").exists()


def test_a_lost_file_gives_the_key_a_new_token(tmp_path: Path) -> None:
    first = run(tmp_path)
    (tmp_path / "secrets" / "demo_key").unlink()
    second = run(tmp_path)
    assert second["key"] != first["key"]
    key = key_opened_by(second["key"])
    assert key.digest_rows.count() == 1 and VirtualKey.objects.count() == 1


def test_a_fresh_database_takes_the_kept_token(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "demo_key").write_text("bk-abcdefghij-a-token-of-an-earlier-installation\n")
    found = run(tmp_path)
    assert found["key"] == "bk-abcdefghij-a-token-of-an-earlier-installation"
    assert key_opened_by(found["key"]).name == "demo"


def test_a_revoked_key_is_replaced_not_revived(tmp_path: Path) -> None:
    first = run(tmp_path)
    key_revoke(actor=ACTOR, key=key_opened_by(first["key"]))
    second = run(tmp_path)
    assert second["key"] != first["key"]
    key = key_opened_by(second["key"])
    assert run(tmp_path) == second
    assert Budget.objects.get(name="demo-key-month", deleted_at=None).key_id == key.pk


def test_addresses_come_from_the_launchers_environment(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path
    environ = {"BULKHEAD_SIM_EAST_URL": "http://127.0.0.1:9001", "BULKHEAD_SIM_WEST_URL": "http://127.0.0.1:9002"}
    assert demo_seed(actor=ACTOR, environ=environ)["model"] == "demo-chat"
    with pytest.raises(ServiceError, match="BULKHEAD_SIM_WEST_URL is not set"):
        demo_seed(actor=ACTOR, environ={"BULKHEAD_SIM_EAST_URL": "http://127.0.0.1:9001"})


def test_nothing_is_left_behind_where_there_are_no_simulators(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="at least one"):
        run(tmp_path, [])
    assert not Organisation.objects.filter(slug="demo").exists()
