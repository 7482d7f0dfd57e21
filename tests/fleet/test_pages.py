"""The fleet's pages: nothing, a little; who may what; the wrong method; how many queries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.budgets.performance_services import performance_budget_set
from apps.contracts.fleet import HeartbeatAnswer
from apps.contracts.identifiers import uuid7
from apps.fleet.models import Deployment, JoinToken, Replica
from apps.fleet.reconciling import fleet_reconcile
from apps.fleet.services import decision_record
from apps.publishing.models import ProxyProcess
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.fleet.conftest import GB, FakeAgent, worker_again

COUNTS = json.loads(Path(__file__).with_name("query_counts.json").read_text())
Signed = Callable[..., Client]
Agents = Callable[..., FakeAgent]
Deploy = Callable[..., Deployment]


@pytest.fixture
def standing(agent: Agents, deploy: Deploy) -> tuple[FakeAgent, Deployment, Replica]:
    """A worker with two GPUs that serves one replica, and another one that is too small."""
    one, small = agent("w1", gpus=2, labels={"zone": "a"}), agent("tiny", gpus=1, memory=6 * GB)
    one.beat(), small.beat()
    deployment = deploy(gpus=1, memory=14 * GB, most=2)
    fleet_reconcile()
    one.obey()
    return one, deployment, Replica.objects.get()


def body(client: Client, name: str, *args: Any, **headers: Any) -> str:
    response = client.get(reverse(name, args=args), **headers)
    assert response.status_code == 200, response.content[:500]
    return response.content.decode()


def test_with_nothing_there_the_pages_say_what_to_do(signed_in: Signed) -> None:
    admin = signed_in()
    assert "No worker yet" in body(admin, "fleet:workers") and reverse("fleet:join") in body(admin, "fleet:workers")
    assert "No deployment yet" in body(admin, "fleet:deployments")
    viewer = signed_in("viewer")
    assert "Join a worker" not in body(viewer, "fleet:workers")


def test_a_worker_and_a_deployment_say_what_is_and_why(signed_in: Signed, standing: tuple[FakeAgent, Deployment, Replica]) -> None:
    one, deployment, replica = standing
    client = signed_in("viewer")
    listed = body(client, "fleet:workers")
    assert "w1" in listed and "2 x L4" in listed and "24.0 of 48.0 GB promised" in listed
    page = body(client, "fleet:worker", one.id)
    assert "24.0 promised" in page and "zone=a" in page and "Joined the fleet" in page and "Cordon" not in page
    shown = body(client, "fleet:deployment", deployment.pk)
    assert "deployment:chat" in shown and "Replica 0 placed on w1" in shown and "/placement/" in shown
    assert "6.0 GB on its best GPU, needs 14.0" in body(client, "fleet:deployment_placement", deployment.pk)
    assert "1 / 1" in body(client, "fleet:deployments")
    assert "has not sent a line yet" in body(client, "fleet:replica_log", replica.pk)
    for name, args in (
        ("fleet:worker", one.id),
        ("fleet:deployment", deployment.pk),
        ("fleet:replica_log", replica.pk),
        ("fleet:deployment_placement", deployment.pk),
    ):
        live = body(client, name, args, HTTP_HX_REQUEST="true")
        assert "<html" not in live and "outerMorph" in live
    for name in ("fleet:workers", "fleet:deployments"):
        assert "<html" not in body(client, name, HTTP_HX_REQUEST="true")
        assert (
            "w1" in client.get(reverse(name) + "?format=csv").getvalue().decode()
            or "chat" in client.get(reverse(name) + "?format=csv").getvalue().decode()
        )


def test_joining_takes_two_steps_and_shows_the_token_once(signed_in: Signed) -> None:
    admin = signed_in()
    assert "Make a join token" in body(admin, "fleet:join")
    shown = admin.post(reverse("fleet:join")).content.decode()
    found = re.search(r"BULKHEAD_AGENT_TOKEN=(bhj_[\w-]+)", shown)
    assert found is not None and "BULKHEAD_CONTROL_URL=http://testserver" in shown
    token = JoinToken.objects.get()
    assert found[1] not in body(admin, "fleet:join") and token.hint in body(admin, "fleet:join")
    assert admin.post(reverse("fleet:token_revoke", args=[token.pk])).status_code == 302
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert signed_in("viewer").post(reverse("fleet:join")).status_code == 403


def test_the_on_call_cordons_with_a_reason_and_returns_without(signed_in: Signed, standing: Any) -> None:
    one = standing[0]
    url = reverse("fleet:worker_mode", args=[one.id])
    oncall = signed_in("on-call")
    oncall.post(url, {"mode": "cordoned"})
    assert worker_again(one.worker).mode == "active"  # no reason
    oncall.post(url, {"mode": "cordoned", "reason": "it is hot"})
    assert worker_again(one.worker).mode == "cordoned"
    assert AuditEvent.objects.get(action="worker.drain").reason == "it is hot"
    assert "it is hot" in body(oncall, "fleet:worker", one.id)
    oncall.post(url, {"mode": "active"})
    assert worker_again(one.worker).mode == "active"
    assert oncall.get(url).status_code == 405
    assert signed_in("viewer").post(url, {"mode": "cordoned", "reason": "x"}).status_code == 403


def test_removing_takes_the_name(signed_in: Signed, standing: Any) -> None:
    one = standing[0]
    url = reverse("fleet:worker_remove", args=[one.id])
    admin = signed_in()
    admin.post(url, {"reason": "sold", "confirmation": "w"})
    assert worker_again(one.worker).revoked_at is None
    admin.post(url, {"reason": "sold", "confirmation": "w1"})
    assert worker_again(one.worker).revoked_at is not None
    assert signed_in("on-call").post(url, {"reason": "x", "confirmation": "w1"}).status_code == 403


def test_scaling_and_restarting_from_the_page(signed_in: Signed, standing: Any) -> None:
    _, deployment, replica = standing
    oncall = signed_in("on-call")
    oncall.post(reverse("fleet:deployment_scale", args=[deployment.pk]), {"wanted": "2", "reason": "lunch"})
    deployment.refresh_from_db()
    assert deployment.wanted == 2
    oncall.post(reverse("fleet:deployment_scale", args=[deployment.pk]), {"wanted": "many", "reason": "lunch"})
    oncall.post(reverse("fleet:deployment_restart", args=[deployment.pk]), {"reason": "new driver"})
    deployment.refresh_from_db()
    assert (deployment.wanted, deployment.revision) == (2, 2)
    oncall.post(reverse("fleet:replica_log", args=[replica.pk]))
    replica.refresh_from_db()
    assert replica.lines_wanted is not None
    answer = standing[0].beat()
    assert isinstance(answer, HeartbeatAnswer) and answer.logs_of == [str(replica.pk)]
    oncall.post(reverse("fleet:replica_replace", args=[replica.pk]), {"reason": "slow"})
    replica.refresh_from_db()
    assert replica.want == "drain"


FORM = {
    "name": "code-7b", "model": "code", "engine": "simulated", "source": "none", "gpus": "0", "context": "4096", "concurrency": "4",
    "least": "1", "most": "2", "pool": "default", "priority": "0", "strategy": "auto", "surge": "1", "drain_seconds": "30",
    "scaling_mode": "off", "enabled": "on", "exclusive": "on", "tasks": ["chat"],
}  # fmt: skip


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    return found[1] if found else ""


def send(client: Client, url: str, values: dict[str, str]) -> Any:
    """Review, then publish, as a person would."""
    page = client.get(url).content.decode()
    sent = {**values, **{name: hidden(page, name) for name in ("revision", "submission")}}
    reviewed = client.post(url, sent).content.decode()
    sent |= {name: hidden(reviewed, name) for name in ("revision", "submission", "reviewed")}
    return client.post(url, {**sent, "publish": "1", "reason": "why not"}), reviewed


def test_a_deployment_is_made_and_changed_by_its_form(signed_in: Signed) -> None:
    admin = signed_in()
    done, reviewed = send(admin, reverse("fleet:deployment_create"), FORM)
    assert done.status_code == 302, reviewed[-3000:]
    row = Deployment.objects.get()
    assert (row.name, row.context, row.artifact.get("source", "none")) == ("code-7b", 4096, "none")
    url = reverse("fleet:deployment_edit", args=[row.pk])
    done, reviewed = send(admin, url, {**FORM, "arguments": "ttft-ms=20\nfrozen", "labels": "zone=a"})
    assert done.status_code == 302 and "ttft-ms" in reviewed
    row.refresh_from_db()
    assert (row.arguments, row.labels, row.revision) == ({"ttft-ms": "20", "frozen": None}, {"zone": "a"}, 2)
    wrong, page = send(admin, url, {**FORM, "engine": "vllm"})
    assert wrong.status_code == 400 and "needs a model" in page
    assert signed_in("viewer").get(url).status_code == 403


def test_every_page_asks_no_more_queries_than_committed(signed_in: Signed, standing: Any, demo: Organisation, actor: Actor) -> None:
    """A rise is either a mistake, or it is committed: write the number into query_counts.json. Twelve is the ceiling for all."""
    worker, deployment, replica = standing
    route = route_ensure(actor=actor, organisation=demo, name="talk", targets=[TargetSpec(deployment.provider.name, "sim-chat")])
    for scope, of in (("route", route.pk), ("model", "sim-chat")):
        performance_budget_set(
            actor=actor, organisation=demo, name=f"fast-{scope}", scope=scope, scope_id=of, metric="error_rate", bound="1%",
            owner_email="ada@example.test",
        )  # fmt: skip
    decision_record(deployment=deployment, before=1, after=2, reason="busy", facts={})
    ProxyProcess.objects.create(boot_id=uuid7(), name="one", host="h", pid=1, registered_at=timezone.now(), last_seen_at=timezone.now())
    client = signed_in()
    for name, of in (
        ("workers", None), ("gpus", None), ("worker", worker.id), ("deployments", None), ("replicas", None), ("deployment", deployment.pk),
        ("deployment_placement", deployment.pk), ("deployment_edit", deployment.pk), ("replica_log", replica.pk),
    ):  # fmt: skip
        url = reverse(f"fleet:{name}", args=[] if of is None else [of])
        assert client.get(url).status_code == 200, url
        with CaptureQueriesContext(connection) as queries:
            page = client.get(url).content.decode()
        assert len(queries) <= COUNTS[name] <= 12, (f"{name}: {len(queries)}", "\n".join(query["sql"][:300] for query in queries))
        if name == "deployment":
            assert (
                f'href="{reverse("routes:detail", args=[route.pk])}">talk</a>' in page and "fast-route" not in page and "fast-model" in page
            )


def test_the_lists_take_few_queries_however_long(signed_in: Signed, agent: Agents, deploy: Deploy) -> None:
    client = signed_in()
    counts = []
    for turn in range(2):
        for number in range(3):
            agent(f"w{turn}{number}", gpus=2).beat()
            deploy(f"chat-{turn}{number}", gpus=1, memory=GB)
        fleet_reconcile()
        here = []
        deployment = Deployment.objects.first()
        assert deployment is not None
        worker = agent(f"x{turn}").id
        for url in (
            reverse("fleet:workers"), reverse("fleet:deployments"), reverse("fleet:worker", args=[worker]),
            reverse("fleet:deployment", args=[deployment.pk]), reverse("fleet:deployment_placement", args=[deployment.pk]),
        ):  # fmt: skip
            with CaptureQueriesContext(connection) as queries:
                assert client.get(url).status_code == 200
            here.append(len(queries))
        counts.append(here)
    assert counts[0] == counts[1]
    assert max(counts[1]) <= 12
