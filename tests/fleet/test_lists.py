"""Lists across the fleet: GPUs, replicas, events; why here and why not, grouped; what became of a join token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.contracts.fleet_facts import EngineMetrics
from apps.fleet.join_views import command_of
from apps.fleet.joining import join_token_create, join_token_revoke
from apps.fleet.lists import verdicts_of
from apps.fleet.models import Deployment, JoinToken, Replica, Worker
from apps.fleet.placement import Candidate, Device, Need, place
from apps.fleet.reconciling import fleet_reconcile
from tests.fleet.conftest import GB, FakeAgent
from tests.fleet.test_pages import body

Signed = Callable[..., Client]
Agents = Callable[..., FakeAgent]
Deploy = Callable[..., Deployment]


@pytest.fixture
def served(agent: Agents, deploy: Deploy) -> tuple[FakeAgent, Deployment]:
    """A worker with two GPUs, of which one is faulty, that serves one replica under load."""
    one = agent("w1", gpus=2)
    one.gpus[1] = msgspec.structs.replace(one.gpus[1], xids=[79])
    one.beat()
    deployment = deploy(gpus=1, memory=14 * GB, most=2)
    fleet_reconcile()
    one.gpus[0] = msgspec.structs.replace(one.gpus[0], memory_used=12 * GB, utilisation=0.5, power=200.0, power_limit=350.0, simulated=True)
    one.obey()
    metrics = EngineMetrics(at_ms=0, running=3, waiting=1, kv_used=0.25)
    one.reports = [msgspec.structs.replace(report, metrics=metrics) for report in one.reports]
    one.beat()
    return one, deployment


def test_gpus_say_their_bars_in_words_and_who_holds_them(signed_in: Signed, served: tuple[FakeAgent, Deployment]) -> None:
    client = signed_in("viewer")
    page = body(client, "fleet:gpus")
    assert "12.0 of 24.0 GB used, 24.0 promised" in page and "50 % of the time busy" in page and "200 of 350 W" in page
    assert "XID error 79" in page and "Simulated" in page and reverse("fleet:replica_log", args=[Replica.objects.get().pk]) in page
    only = client.get(reverse("fleet:gpus") + "?state=trouble").content.decode()
    assert "XID error 79" in only and "24.0 promised" not in only
    sheet = client.get(reverse("fleet:gpus") + "?format=csv").getvalue().decode()
    assert "w1 00" in sheet and "chat" in sheet


def test_replicas_are_listed_of_all_of_one_deployment_and_of_one_worker(
    signed_in: Signed, served: tuple[FakeAgent, Deployment], agent: Agents
) -> None:
    one, deployment = served
    other, client = agent("w2"), signed_in("viewer")
    url = reverse("fleet:replicas")
    for query, there in (
        ("", True), (f"?deployment={deployment.pk}", True), (f"?worker={one.id}", True), (f"?worker={other.id}", False),
        ("?state=ready", True), ("?state=failed", False), ("?q=W1", True), ("?q=nobody", False), ("?deployment=nonsense", True),
    ):  # fmt: skip
        page = client.get(url + query).content.decode()
        assert (reverse("fleet:replica_log", args=[Replica.objects.get().pk]) in page) is there, query
    assert "Clear" in client.get(f"{url}?worker={other.id}").content.decode()


@pytest.mark.parametrize(
    ("name", "label", "state", "button"),
    [
        ("fleet:workers", "Name, pool, region or GPU", "ready", "Join a worker"),
        ("fleet:gpus", "Worker, model or deployment", "trouble", "Join a worker"),
        ("fleet:deployments", "Name or model", "disabled", "Create a deployment"),
        ("fleet:replicas", "Deployment or worker", "failed", "Create a deployment"),
    ],
)
def test_each_list_is_filtered_alike_and_says_what_to_do_where_it_is_empty(
    signed_in: Signed, served: tuple[FakeAgent, Deployment], demo: Organisation, name: str, label: str, state: str, button: str
) -> None:
    _, deployment = served
    client, url = signed_in("admin"), reverse(name)
    page = client.get(f"{url}?q=nobody&state={state}&deployment={deployment.pk}&sort=-state").content.decode()
    assert f'<label for="filter-q">{label}</label>' in page and 'value="nobody"' in page
    assert f'<option value="{state}" selected>' in page and '<input type="hidden" name="sort" value="-state">' in page
    assert (f'name="deployment" value="{deployment.pk}"' in page) is (name == "fleet:replicas")
    Deployment.objects.all().delete()
    Worker.objects.all().delete()
    assert button in client.get(url).content.decode()
    assert button not in signed_in("viewer").get(url).content.decode()


def test_a_replicas_page_says_why_it_is_where_it_is(signed_in: Signed, served: tuple[FakeAgent, Deployment]) -> None:
    page = body(signed_in("on-call"), "fleet:replica_log", Replica.objects.get().pk)
    assert "1 of 1 workers can take it" in page and "apart from its siblings" in page and ">here<" in page
    assert "Replace this replica?" in page and "25 % used" in page


def test_events_name_whom_they_are_about(signed_in: Signed, served: tuple[FakeAgent, Deployment]) -> None:
    page = body(signed_in("viewer"), "fleet:events")
    assert "w1: joined the fleet" in page and "chat: replica 0 placed on w1" in page and "chat: created" in page


def test_refusals_are_grouped_by_kind_and_keep_each_reason() -> None:
    need = Need(gpus=1, memory=14 * GB, exclusive=False, pool="main")
    small = [
        Candidate(id=f"s{at}", name=f"small-{at}", pool="main", devices=(Device(uuid="g", total=24 * GB, promised=(12 + at) * GB),))
        for at in range(3)
    ]
    closed = [Candidate(id=f"c{at}", name=f"closed-{at}", pool="main", closed="is cordoned") for at in range(2)]
    fits = Candidate(id="f", name="fits", pool="main", devices=(Device(uuid="g", total=24 * GB),))
    found = place(need, [*small, fits, *closed, Candidate(id="o", name="other", pool="batch")])
    for judged in (found.judged, [msgspec.to_builtins(one) for one in found.judged]):
        verdicts = verdicts_of(judged)
        assert [one.name for one in verdicts.fit] == ["fits"] and verdicts.count == 7
        assert [(group.kind, len(group.workers)) for group in verdicts.refused] == [
            ("No GPU for it", 3), ("Takes nothing now", 2), ("In another pool", 1),
        ]  # fmt: skip
        assert verdicts.refused[0].alike == "" and "11.0 GB free" in verdicts.refused[0].workers[1].reasons[0]
        assert "is cordoned" in verdicts.refused[1].alike
    assert verdicts_of([{"name": "old", "reasons": ["is in the pool b"], "worker": "x"}]).refused[0].kind == "is in the pool b"


def test_a_token_tells_what_became_of_it(signed_in: Signed, demo: Organisation, actor: Actor, agent: Agents) -> None:
    admin, now = signed_in(), timezone.now()
    shown = admin.post(reverse("fleet:join")).content.decode()
    token = JoinToken.objects.get()
    url = reverse("fleet:arrived", args=[token.pk])
    assert f'hx-get="{url}"' in shown and "Nobody has come yet" in shown
    assert "hx-get" in admin.get(url, headers={"hx-request": "true"}).content.decode()
    assert admin.get(url).status_code == 302 and signed_in("viewer").get(url).status_code == 403
    worker = agent("newcomer", gpus=1)
    JoinToken.objects.filter(pk=token.pk).update(used_at=now, worker=worker.worker)
    came = admin.get(url, headers={"hx-request": "true"}).content.decode()
    assert "newcomer" in came and "has joined" in came and "hx-get" in came  # it has not reported yet
    worker.beat()
    assert "hx-get" not in admin.get(url, headers={"hx-request": "true"}).content.decode()
    late, _ = join_token_create(actor=actor, organisation=demo)
    JoinToken.objects.filter(pk=late.pk).update(expires_at=now - timedelta(minutes=1))
    back, _ = join_token_create(actor=actor, organisation=demo)
    join_token_revoke(actor=actor, token=back)
    for one, said in ((late, "Nobody joined within its time"), (back, "It joins nobody any more")):
        page = admin.get(reverse("fleet:arrived", args=[one.pk]), headers={"hx-request": "true"}).content.decode()
        assert said in page and "hx-get" not in page
    listed = body(admin, "fleet:join")
    assert all(word in listed for word in ("Ended", "Revoked", "Used", "newcomer"))


def test_the_command_works_where_it_is_pasted() -> None:
    assert "INSECURE" not in command_of("https://bulkhead.example.com", "bhj_x")
    assert "INSECURE" not in command_of("http://127.0.0.1:8000", "bhj_x")
    assert "BULKHEAD_AGENT_INSECURE=1" in command_of("http://10.0.0.5:8000", "bhj_x")  # the agent refuses plain http elsewhere without it
    assert "rm -rf" not in command_of("http://x;rm -rf /", "bhj_x")


def test_lists_take_as_many_queries_however_long(signed_in: Signed, agent: Agents, deploy: Deploy) -> None:
    client, counts = signed_in(), []
    for turn in range(2):
        for number in range(3):
            agent(f"w{turn}{number}", gpus=2).beat()
            deploy(f"chat-{turn}{number}", gpus=1, memory=GB)
        fleet_reconcile()
        replica: Any = Replica.objects.first()
        here = []
        for name, args in (("gpus", ()), ("events", ()), ("replicas", ()), ("join", ()), ("replica_log", (replica.pk,))):
            with CaptureQueriesContext(connection) as queries:
                assert client.get(reverse(f"fleet:{name}", args=args)).status_code == 200
            here.append(len(queries))
        counts.append(here)
    assert counts[0] == counts[1]
    assert max(counts[1]) <= 14
