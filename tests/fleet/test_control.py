"""The control side as a whole, with agents that obey: placed, served, drained, lost, replaced; nothing twice, nothing promised twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.contracts.fleet import HeartbeatAnswer
from apps.contracts.fleet_facts import ReplicaReport
from apps.fleet.joining import AgentRefused, join_token_revoke, worker_join, worker_mode_set, worker_preempted, worker_revoke
from apps.fleet.models import Claim, Deployment, FleetClock, Gpu, JoinToken, Replica, ReplicaFact, Worker
from apps.fleet.orders import desired_of
from apps.fleet.reconciling import fleet_forget, fleet_reconcile
from apps.fleet.services import deployment_delete, deployment_scale, deployment_update, replica_replace
from apps.providers.models import Provider
from tests.fleet.conftest import GB, FakeAgent, now_ms, worker_again

Agents = Callable[..., FakeAgent]
Deploy = Callable[..., Deployment]


def live() -> list[Replica]:
    return list(Replica.objects.filter(ended_at=None).order_by("ordinal"))


def endpoints(known: int = 0, after: int = 0) -> tuple[int, int, bool, dict[str, dict[str, Any]]]:
    """What a proxy would learn."""
    import json

    with connection.cursor() as cursor:
        cursor.execute("SELECT epoch, sequence, whole, endpoint::text FROM proxy_api.proxy_replicas(%s, %s)", [known, after])
        rows = cursor.fetchall()
    found = [json.loads(row[3]) for row in rows if row[3]]
    return rows[0][0], rows[0][1], rows[0][2], {one["replica"]: one for one in found}


def settle(*agents: FakeAgent, rounds: int = 6) -> None:
    """Reconcile and obey until nothing moves any more."""
    for _ in range(rounds):
        fleet_reconcile()
        for one in agents:
            one.obey()


def silent(worker: Worker, seconds: int) -> None:
    Worker.objects.filter(pk=worker.pk).update(last_seen_at=timezone.now() - timedelta(seconds=seconds))


def promises_hold() -> None:
    for gpu in Gpu.objects.all():
        assert gpu.claimed == sum(claim.bytes for claim in Claim.objects.filter(gpu=gpu))
        assert 0 <= gpu.claimed <= gpu.capacity
    assert not Claim.objects.exclude(replica__ended_at=None).exists()
    for worker in Worker.objects.all():
        assert worker.memory_claimed == sum(row.host_memory for row in worker.replicas.filter(ended_at=None))


def test_a_deployment_is_placed_serves_and_proxies_learn_of_it(agent: Agents, deploy: Deploy) -> None:
    one = agent("w1", gpus=2)
    one.beat()
    deploy(gpus=1, memory=14 * GB, least=2, most=2)
    assert fleet_reconcile().placed == 2
    desired = desired_of(one.id)
    assert len(desired.replicas) == 2 and {len(spec.gpus) for spec in desired.replicas} == {1}
    assert len({uuid for spec in desired.replicas for uuid in spec.gpus}) == 2  # whole GPUs: one each
    epoch, sequence, whole, found = endpoints()
    assert whole and not found
    one.obey("loading")
    assert not endpoints()[3]
    one.obey("ready")
    epoch, sequence, whole, found = endpoints()
    assert {row["deployment"] for row in found.values()} == {"chat"} and {row.get("state", "ready") for row in found.values()} == {"ready"}
    assert endpoints(epoch, sequence)[2:] == (False, {})
    assert fleet_reconcile().placed == 0
    promises_hold()
    assert {row.ready_at is not None for row in live()} == {True}
    provider = Provider.objects.get(name="deployment:chat")
    assert provider.simulated and provider.endpoints.get().base_url == "http://replicas.invalid/v1"


def test_what_fits_nowhere_says_why_until_it_fits(agent: Agents, deploy: Deploy) -> None:
    deploy(gpus=1, memory=30 * GB)
    fleet_reconcile()
    assert Deployment.objects.get().unplaced["text"] == "No worker has joined: join one on the Workers page."
    agent("small", gpus=1).beat()
    fleet_reconcile()
    row = Deployment.objects.get()
    assert row.unplaced["text"] == "No worker can take it: 24.0 GB on its best GPU, needs 30.0 (1)."
    told = Event.objects.filter(kind="fleet.deployment", data__what="unplaced").count()
    fleet_reconcile()
    assert Event.objects.filter(kind="fleet.deployment", data__what="unplaced").count() == told  # the same again is no news
    agent("large", gpus=1, memory=80 * GB).beat()
    fleet_reconcile()
    assert Deployment.objects.get().unplaced == {} and live()[0].worker.name == "large"


def test_a_place_is_never_given_twice(agent: Agents, deploy: Deploy) -> None:
    agent("w1").beat()
    deployment = deploy()
    fleet_reconcile()
    row = live()[0]
    with pytest.raises(IntegrityError), transaction.atomic():
        Replica.objects.create(deployment=deployment, worker=row.worker, ordinal=row.ordinal, revision=1, spec={})
    with pytest.raises(IntegrityError), transaction.atomic():
        Gpu.objects.create(worker=row.worker, uuid="GPU-x", name="L4", capacity=10, claimed=11)


def test_a_lost_workers_replicas_are_replaced_and_forgotten(agent: Agents, deploy: Deploy) -> None:
    one, two = agent("w1", gpus=1), agent("w2", gpus=1)
    one.beat(), two.beat()
    deploy(gpus=1, memory=GB)
    settle(one, two)
    first = live()[0]
    lost, other = (one, two) if first.worker_id == one.id else (two, one)
    FleetClock.objects.update(listening_since=timezone.now() - timedelta(hours=1))
    silent(lost.worker, 40)
    fleet_reconcile()
    assert live() == [first]  # silent only: it may serve on
    assert worker_again(lost.worker).state == "silent"
    silent(lost.worker, 200)
    other.beat()
    fleet_reconcile()
    assert worker_again(lost.worker).state == "lost"
    fleet_reconcile()
    assert [row.worker_id for row in live()] == [other.id]
    other.obey()
    found = endpoints()[3]
    assert list(found) == [str(live()[0].pk)]
    promises_hold()
    # it comes back: its order holds nothing, so what it still runs is drained there
    answer = lost.beat()
    assert isinstance(answer, HeartbeatAnswer) and (answer.epoch, answer.sequence) > (lost.epoch, lost.applied)
    assert desired_of(lost.id).replicas == []
    fleet_reconcile()
    assert worker_again(lost.worker).state == "ready" and len(live()) == 1


def test_when_nobody_is_heard_nobody_is_lost(agent: Agents, deploy: Deploy) -> None:
    one, two = agent("w1"), agent("w2")
    one.beat(), two.beat()
    deploy(least=2, most=2)
    settle(one, two)
    before = live()
    silent(one.worker, 4000), silent(two.worker, 4000)
    FleetClock.objects.update(heard_at=timezone.now() - timedelta(seconds=4000), listening_since=timezone.now() - timedelta(hours=9))
    fleet_reconcile()
    assert live() == before
    one.beat()  # we listen again: the other has as long as ever to be heard
    fleet_reconcile()
    assert live() == before
    assert worker_again(two.worker).state == "silent"


def test_a_draining_worker_is_left_once_another_replica_is_ready(agent: Agents, deploy: Deploy, actor: Actor) -> None:
    one, two = agent("w1"), agent("w2")
    one.beat(), two.beat()
    deploy()
    settle(one, two)
    old = live()[0]
    home, other = (one, two) if old.worker_id == one.id else (two, one)
    worker_mode_set(actor=actor, worker=home.worker, mode="draining", reason="new disk")
    fleet_reconcile()
    assert desired_of(home.id).mode == "cordoned"  # its agent would drain at once
    assert sorted(row.want for row in live()) == ["serve", "serve"]
    other.obey()
    fleet_reconcile()
    old.refresh_from_db()
    assert old.want == "drain" and old.drain_by is not None and "draining" in old.leaves
    assert endpoints()[3][str(old.pk)]["state"] == "draining"
    settle(home, other)
    assert [row.worker_id for row in live()] == [other.id]
    assert str(old.pk) not in endpoints()[3]
    worker_mode_set(actor=actor, worker=home.worker, mode="maintenance", reason="new disk")
    assert desired_of(home.id).mode == "maintenance"
    with pytest.raises(ServiceError, match="Return it to service"):
        worker_mode_set(actor=actor, worker=home.worker, mode="draining")
    promises_hold()


def test_the_only_worker_drains_too(agent: Agents, deploy: Deploy, actor: Actor) -> None:
    one = agent("w1")
    one.beat()
    deploy()
    settle(one)
    worker_mode_set(actor=actor, worker=one.worker, mode="draining", reason="power")
    settle(one)
    assert live() == []
    assert "draining" in Deployment.objects.get().unplaced["text"]
    worker_mode_set(actor=actor, worker=one.worker, mode="active")
    settle(one)
    assert [row.state for row in live()] == ["ready"]


def test_a_preempted_machine_is_left_in_time(agent: Agents, deploy: Deploy) -> None:
    from apps.contracts.fleet import PreemptionNotice

    one, two = agent("w1", spot=True), agent("w2")
    one.beat()
    deploy(spot_allowed=True)
    settle(one)
    two.beat()
    worker_preempted(one.worker, PreemptionNotice(at_ms=now_ms() + 600_000, source="cloud"))
    fleet_reconcile()
    assert sorted(row.want for row in live()) == ["serve", "serve"]
    worker_preempted(one.worker, PreemptionNotice(at_ms=now_ms() + 50_000, source="cloud"))
    fleet_reconcile()
    assert {row.worker_id: row.want for row in live()} == {one.id: "drain", two.id: "serve"}


def test_a_new_revision_rolls_out_beside_the_old_one(agent: Agents, deploy: Deploy, actor: Actor) -> None:
    one = agent("w1", gpus=3)
    one.beat()
    deployment = deploy(gpus=1, memory=GB, least=2, most=2)
    settle(one)
    deployment_update(actor=actor, deployment=deployment, arguments={"ttft": "10"})
    for _ in range(8):
        fleet_reconcile()
        assert sum(row.state == "ready" and row.want == "serve" for row in live()) >= 2
        one.obey()
    assert [(row.revision, row.state) for row in live()] == [(2, "ready")] * 2
    assert {spec.revision for spec in desired_of(one.id).replicas} == {2}
    promises_hold()


def test_arguments_of_programs_get_their_dashes(agent: Agents, deploy: Deploy) -> None:
    one = agent("w1")
    one.beat()
    artifact = {"source": "path", "location": "/models/m"}
    deploy("served", engine="vllm", artifact=artifact, arguments={"max-model-len": "4096", "enforce-eager": None})
    deploy("recipe", engine="command", recipe="mine", arguments={"ctx-size": "1"})
    deploy("simulated", arguments={"ttft_ms": "5"})
    fleet_reconcile()
    assert {spec.deployment: spec.arguments for spec in desired_of(one.id).replicas} == {
        "served": {"--max-model-len": "4096", "--enforce-eager": None},
        "recipe": {"--ctx-size": "1"},
        "simulated": {"ttft_ms": "5"},
    }


def test_without_a_spare_gpu_it_rolls_out_in_place(agent: Agents, deploy: Deploy, actor: Actor) -> None:
    one = agent("w1", gpus=2)
    one.beat()
    deployment = deploy(gpus=1, memory=GB, least=2, most=2)
    settle(one)
    deployment_update(actor=actor, deployment=deployment, model="sim-other")
    settle(one, rounds=16)
    assert [(row.revision, row.state) for row in live()] == [(2, "ready")] * 2
    promises_hold()


def test_a_change_that_starts_nothing_restarts_nothing(agent: Agents, deploy: Deploy, actor: Actor) -> None:
    one = agent("w1")
    one.beat()
    deployment = deploy()
    settle(one)
    before = live()
    number = worker_again(one.worker).desired_sequence
    deployment_update(actor=actor, deployment=deployment, drain_seconds=7)
    assert desired_of(one.id).replicas[0].drain_seconds == 7 and worker_again(one.worker).desired_sequence > number
    settle(one)
    assert live() == before and Deployment.objects.get().revision == 1


def test_scaling_keeps_to_the_bounds_and_to_what_was_seen(agent: Agents, deploy: Deploy, actor: Actor) -> None:
    one = agent("w1")
    one.beat()
    deployment = deploy(least=0, most=3, wanted=1)
    settle(one)
    deployment_scale(actor=actor, deployment=deployment, wanted=3)
    settle(one)
    assert len(live()) == 3
    with pytest.raises(ServiceError, match="runs 0 to 3"):
        deployment_scale(actor=actor, deployment=deployment, wanted=4)
    with pytest.raises(ServiceError, match="look again"):
        deployment_scale(actor=actor, deployment=deployment, wanted=2, expected=1)
    with pytest.raises(ServiceError, match="not scaled automatically any more"):  # it was switched off while the autoscaler looked
        deployment_scale(actor=actor, deployment=deployment, wanted=0, expected=3, facts={"waiting": 0})
    deployment_update(actor=actor, deployment=deployment, scaling_mode="on")
    deployment_scale(actor=actor, deployment=deployment, wanted=0, expected=3, facts={"waiting": 0})
    settle(one)
    assert live() == [] and endpoints()[3] == {}
    promises_hold()


def test_what_cannot_be_started_on_one_worker_is_tried_on_another(agent: Agents, deploy: Deploy) -> None:
    one, two = agent("w1"), agent("w2")
    one.beat(), two.beat()
    deploy()
    fleet_reconcile()
    row = live()[0]
    bad = one if row.worker_id == one.id else two
    spec = desired_of(bad.id).replicas[0]
    bad.epoch, bad.applied = desired_of(bad.id).version
    bad.reports = [
        ReplicaReport(
            replica=spec.replica, deployment="chat", state="failed", since_ms=now_ms(), reason="engine_missing",
            message="vllm is not installed", lines=["ImportError: vllm"],
        )
    ]  # fmt: skip
    bad.beat()
    row.refresh_from_db()
    assert (row.state, row.reason, row.lines) == ("failed", "engine_missing", ["ImportError: vllm"])
    Replica.objects.filter(pk=row.pk).update(since=timezone.now() - timedelta(minutes=1))
    fleet_reconcile()
    fleet_reconcile()
    row.refresh_from_db()
    assert row.ending == "gave_up"
    assert [one.worker_id for one in live()] != [bad.id]
    assert "could not start this revision" in str(live()[0].placement["judged"])


def test_a_process_that_vanished_is_replaced(agent: Agents, deploy: Deploy) -> None:
    one = agent("w1")
    one.beat()
    deploy()
    settle(one)
    old = live()[0]
    one.reports = []
    one.beat()
    old.refresh_from_db()
    assert old.ending == "missing"
    settle(one)
    assert [row.state for row in live()] == ["ready"] and live()[0].pk != old.pk


def test_replays_old_boots_and_revoked_workers_are_told(agent: Agents, actor: Actor) -> None:
    one = agent("w1")
    assert isinstance(one.beat(), HeartbeatAnswer)
    again = one.beat(sequence=1)
    assert isinstance(again, AgentRefused) and again.code == "heartbeat_replayed"
    old, one.boot = one.boot, "ffffffff-ffff-7fff-bfff-ffffffffffff"
    assert isinstance(one.beat(), HeartbeatAnswer)
    stale = one.beat(boot=old)
    assert isinstance(stale, AgentRefused) and stale.code == "boot_replaced"
    one.secret = "another".ljust(40, "x")
    wrong = one.beat()
    assert isinstance(wrong, AgentRefused) and wrong.code == "credential_unknown"
    one.secret = "secret-of-w1".ljust(40, "x")
    worker_revoke(actor=actor, worker=one.worker, reason="sold")
    gone = one.beat()
    assert isinstance(gone, AgentRefused) and gone.code == "credential_revoked"


def test_a_clock_that_is_off_is_shown_and_serves_on(agent: Agents, deploy: Deploy) -> None:
    one = agent("w1")
    answer = one.beat(sent_at_ms=now_ms() + 120_000)
    assert isinstance(answer, HeartbeatAnswer) and 119_000 < answer.skew_ms < 130_000
    deploy()
    fleet_reconcile()
    assert worker_again(one.worker).state == "skewed" and len(live()) == 1


def test_join_tokens_are_for_one_worker_once_and_in_time(agent: Agents, demo: Any, actor: Actor) -> None:
    one = agent("w1")
    assert worker_join(one.joining()).pk == one.id  # its answer was lost: the same again
    with pytest.raises(AgentRefused, match="was used") as used:
        worker_join(one.joining(secret_digest="0" * 64))
    assert used.value.code == "token_used"
    with pytest.raises(AgentRefused) as unknown:
        worker_join(one.joining(token="bhj_nothing"))
    assert unknown.value.code == "token_unknown"
    with pytest.raises(AgentRefused) as taken:
        agent("w1")
    assert taken.value.code == "name_taken"
    token = JoinToken.objects.get(used_at=None)
    join_token_revoke(actor=actor, token=token)
    one.token = ""
    assert JoinToken.objects.get(pk=token.pk).revoked_at is not None
    stored = " ".join(str(value) for row in JoinToken.objects.values() for value in row.values())
    assert "bhj_" not in stored and "secret-of" not in stored + str(AuditEvent.objects.values_list("after"))
    with pytest.raises(AgentRefused) as old:
        worker_join(one.joining(protocol=99))
    assert old.value.code == "version_unsupported"


def test_a_restored_database_begins_a_new_epoch(agent: Agents, deploy: Deploy) -> None:
    one = agent("w1")
    one.beat()
    deploy()
    settle(one)
    one.epoch, one.applied = 1, 10_000  # it holds an order that nobody here remembers
    answer = one.beat()
    assert isinstance(answer, HeartbeatAnswer) and answer.epoch > 1
    assert len(live()) == 1
    settle(one)
    assert [row.state for row in live()] == ["ready"]


def test_many_heartbeats_at_once_and_one_of_them_mad(agent: Agents) -> None:
    from django.db import connection as database

    from apps.contracts.fleet import secret_digest
    from apps.fleet.heartbeats import Beat, heartbeats_take

    agents = [agent(f"w{n}") for n in range(12)]
    beats = [Beat(one.id, secret_digest(one.secret), one.heartbeat(), timezone.now()) for one in agents]
    assert all(isinstance(answer, HeartbeatAnswer) for answer in heartbeats_take(beats))
    beats = [
        Beat(one.id, secret_digest(one.secret), one.heartbeat(agent_version="a\x00b" if one is agents[3] else "x"), timezone.now())
        for one in agents
    ]
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(
        database,
    ) as queries:
        answers = heartbeats_take([*beats, beats[0]])
    assert all(isinstance(answer, HeartbeatAnswer) for answer in answers)
    assert len(queries) < 6  # one write for all of them
    assert worker_again(agents[3].worker).agent_version == "a\ufffdb"


def test_deleting_and_replacing(agent: Agents, deploy: Deploy, actor: Actor) -> None:
    one = agent("w1")
    one.beat()
    deployment = deploy()
    settle(one)
    first = live()[0]
    replica_replace(actor=actor, replica=first, reason="it is slow")
    settle(one)
    assert live()[0].pk != first.pk
    deployment_delete(actor=actor, deployment=deployment, reason="over")
    assert not Deployment.objects.exists() and not Provider.objects.filter(name="deployment:chat").exists()
    assert desired_of(one.id).replicas == [] and endpoints()[3] == {}
    promises_hold()


def test_tombstones_go_and_late_proxies_get_the_whole(agent: Agents, deploy: Deploy) -> None:
    one = agent("w1")
    one.beat()
    deploy(least=0, most=1, wanted=1)
    settle(one)
    epoch, before, _, _ = endpoints()
    Deployment.objects.update(wanted=0)
    settle(one)
    _, now, whole, found = endpoints(epoch, before)
    assert not whole and [row["state"] for row in found.values()] == ["gone"]
    ReplicaFact.objects.update(at=timezone.now() - timedelta(hours=2))
    fleet_forget()
    assert not ReplicaFact.objects.exists()
    assert endpoints(epoch, before)[2:] == (True, {})
    assert endpoints(epoch, now)[2] is False
    assert endpoints(epoch - 1, now)[2] is True


def test_load_reaches_proxies_that_ask_and_wakes_nobody(agent: Agents, deploy: Deploy) -> None:
    from apps.contracts.fleet_facts import EngineMetrics

    one = agent("w1")
    one.beat()
    deploy()
    settle(one)
    epoch, before, _, _ = endpoints()
    (report,) = one.reports
    for turn, (waiting, moved) in enumerate(((3, True), (3, False), (5, True))):
        metrics = EngineMetrics(at_ms=now_ms() + turn, waiting=waiting, kv_used=0.4242)
        one.beat(replicas=[msgspec.structs.replace(report, metrics=metrics)])
        _, after, whole, found = endpoints(epoch, before)
        assert not whole and (after > before) is moved
        if moved:
            ((fact),) = found.values()
            assert (fact["waiting"], fact["kv_used"], fact["deployment"]) == (waiting, 0.42, "chat")
        before = after
