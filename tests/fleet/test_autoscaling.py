"""The autoscaler at work: what proxies and workers said becomes a recorded decision, an order, and a call for machines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec
import pytest
import redis
from django.utils import timezone

from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.fleet_facts import EngineMetrics, ReplicaReport
from apps.contracts.identifiers import uuid7
from apps.contracts.reports import DeploymentReport
from apps.contracts.webhooks import secret_key, signed
from apps.fleet.autoscaling import KEY_PREFIX, Kept, Past, RedisKept, facts_of, fleet_scale, past_read
from apps.fleet.machines import MachinesAway, machines_send
from apps.fleet.models import Deployment, ScaleDecision, Worker
from apps.fleet.reconciling import fleet_reconcile
from apps.fleet.scaling import PolicyError
from apps.fleet.scaling_document import policy_read
from apps.fleet.tasks import autoscaling_run
from apps.publishing.models import ProxyProcess
from controlplane import env
from controlplane.launcher.redis import Redis
from tests.fleet.conftest import GB, FakeAgent, now_ms

Agents = Callable[..., FakeAgent]
Deploy = Callable[..., Deployment]
SCALING = {"tokens_each": 1_000, "down_after": 60, "up_most": 8}


def proxy_says(deployment: Deployment, *, held: int = 0, running: int = 0, tokens: int = 0, asked: int = 0, boot: Any = None) -> Any:
    report = DeploymentReport(str(deployment.organisation_id), deployment.name, held, running, tokens, asked)
    boot = boot or uuid7()
    now = timezone.now()
    ProxyProcess.objects.update_or_create(
        boot_id=boot,
        defaults={
            "name": "proxy-1", "host": "h", "pid": 1, "public_url": "http://p", "admin_url": "http://a", "state": "ready", "version": 1,
            "detail": {"deployments": [report.plain()]}, "registered_at": now, "last_seen_at": now,
        },
    )  # fmt: skip
    return boot


def run(keeper: Kept, now: datetime | None = None) -> tuple[list[Any], list[dict[str, Any]]]:
    """One look, at a moment until which every worker was heard."""
    sent: list[dict[str, Any]] = []
    Worker.objects.update(last_seen_at=now or timezone.now())
    return fleet_scale(keeper, send=sent.append, now=now), sent


def serving(agent: FakeAgent, **metrics: Any) -> None:
    """All that it was ordered to serve is ready, and its engines say so much."""
    agent.beat()
    fleet_reconcile()
    agent.obey()
    agent.reports = [
        ReplicaReport(
            replica=report.replica,
            deployment=report.deployment,
            state="ready",
            since_ms=report.since_ms,
            url=report.url,
            model=report.model,
            metrics=EngineMetrics(at_ms=now_ms(), **metrics),
        )
        for report in agent.reports
    ]
    agent.beat()


def test_tokens_outstanding_at_proxies_scale_up_and_the_decision_is_kept(agent: Agents, deploy: Deploy) -> None:
    worker = agent()
    deployment = deploy(most=6, scaling=SCALING, scaling_mode="on")
    serving(worker)
    proxy_says(deployment, running=9, tokens=3_400)
    [decision], sent = run(Kept())
    deployment.refresh_from_db()
    assert deployment.wanted == decision.desired == 4 and sent == []
    kept = ScaleDecision.objects.get()
    assert (kept.before, kept.after, kept.applied) == (1, 4, True)
    assert kept.reason == "3,400 tokens in flight, 1,000 are well for a replica"
    assert [signal["name"] for signal in kept.facts["signals"]] == ["waiting", "tokens"]
    assert AuditEvent.objects.filter(action="deployment.scale").count() == 1


def test_a_dry_run_orders_nothing_and_says_it_once(agent: Agents, deploy: Deploy) -> None:
    worker = agent()
    deployment = deploy(most=6, scaling=SCALING, scaling_mode="dry_run")
    serving(worker)
    boot = proxy_says(deployment, tokens=3_400)
    keeper, now = Kept(), timezone.now()
    for seconds in (0, 2, 4):
        run(keeper, now + timedelta(seconds=seconds))
    deployment.refresh_from_db()
    assert deployment.wanted == 1
    kept = ScaleDecision.objects.get()
    assert not kept.applied and kept.facts["sentence"].startswith("would have: 1 -> 4: ")
    proxy_says(deployment, tokens=9_000, boot=boot)
    run(keeper, now + timedelta(seconds=30))
    assert ScaleDecision.objects.count() == 2, "another answer is another line"


def test_what_nobody_says_scales_nothing(agent: Agents, deploy: Deploy) -> None:
    serving(agent())
    deployment = deploy(most=6, scaling=SCALING, scaling_mode="on")
    [decision], _ = run(Kept())
    assert decision.need is None and decision.because == "no signal is known"
    deployment.refresh_from_db()
    assert deployment.wanted == 1


def test_engines_queues_and_caches_count_too(agent: Agents, deploy: Deploy) -> None:
    worker = agent()
    deploy(most=6, scaling={"waiting_each": 4}, scaling_mode="on")
    serving(worker, waiting=12, kv_used=0.95, running=4)
    [decision], _ = run(Kept())
    assert {signal.name: signal.need for signal in decision.signals} == {"waiting": 4, "kv": 2}
    assert decision.desired == 4


def test_down_when_it_was_quiet_long_enough_also_after_memory_was_lost(agent: Agents, deploy: Deploy) -> None:
    worker = agent()
    deployment = deploy(most=6, wanted=4, scaling=SCALING | {"down_most": 4}, scaling_mode="on")
    serving(worker)
    boot = proxy_says(deployment, tokens=500)
    keeper, now = Kept(), timezone.now()
    for seconds in (0, 30, 59):
        proxy_says(deployment, tokens=500, boot=boot)
        assert run(keeper, now + timedelta(seconds=seconds))[0][0].desired == 4
    assert run(Kept(), now + timedelta(seconds=61))[0][0].desired == 4, "without memory it waits anew"
    assert run(keeper, now + timedelta(seconds=61))[0][0].desired == 1


def test_a_silent_proxy_may_have_more_than_the_others_say(agent: Agents, deploy: Deploy) -> None:
    worker = agent()
    deployment = deploy(most=6, wanted=4, scaling=SCALING | {"down_after": 0, "down_most": 4}, scaling_mode="on")
    serving(worker)
    proxy_says(deployment, tokens=500)
    away = proxy_says(deployment, tokens=2_000)
    ProxyProcess.objects.filter(boot_id=away).update(last_seen_at=timezone.now() - timedelta(minutes=5))
    keeper = Kept()
    [decision], _ = run(keeper)
    assert decision.desired == 4 and decision.guarded and decision.because.endswith("but a proxy is silent")
    ProxyProcess.objects.filter(boot_id=away).update(gone_at=timezone.now())
    assert run(keeper, timezone.now() + timedelta(seconds=2))[0][0].desired == 1


def test_a_silent_worker_holds_a_step_down(agent: Agents, deploy: Deploy) -> None:
    worker = agent()
    deployment = deploy(most=6, wanted=4, scaling=SCALING | {"down_after": 0, "down_most": 4}, scaling_mode="on")
    serving(worker)
    proxy_says(deployment, tokens=500)
    [decision] = fleet_scale(Kept(), send=lambda event: None, now=timezone.now() + timedelta(minutes=2))
    assert decision.desired == 4 and decision.because.endswith("but a replica's worker is silent")


def test_from_zero_when_a_request_is_held(deploy: Deploy) -> None:
    deployment = deploy(least=0, wanted=0, most=3, scaling=SCALING, scaling_mode="on")
    proxy_says(deployment, held=2, asked=2)
    [decision], _ = run(Kept())
    assert decision.desired == 1 and "2 held" in decision.because


def test_machines_are_asked_for_and_offered_back(agent: Agents, deploy: Deploy) -> None:
    worker = agent("small", gpus=1)
    deployment = deploy(gpus=1, memory=20 * GB, most=4, scaling=SCALING | {"down_most": 4}, scaling_mode="on")
    serving(worker)
    boot = proxy_says(deployment, tokens=2_500)
    keeper, now = Kept(), timezone.now()
    assert run(keeper, now)[1] == [], "nobody has looked for a place yet"
    fleet_reconcile()
    [event] = run(keeper, now + timedelta(seconds=2))[1]
    assert event["type"] == "io.bulkhead.machines.wanted.v1"
    assert event["data"]["replicas"] == 2 and event["data"]["gpus_each"] == 1 and event["data"]["pool"] == "default"
    assert run(keeper, now + timedelta(seconds=4))[1] == [], "it was asked"
    agent("spare", gpus=1, pool="default")
    proxy_says(deployment, tokens=100, boot=boot)
    Deployment.objects.filter(pk=deployment.pk).update(unplaced={})
    run(keeper, now + timedelta(seconds=6))
    [event] = run(keeper, now + timedelta(seconds=90))[1]
    assert event["type"] == "io.bulkhead.machines.spare.v1" and "spare" in event["data"]["workers"]


@pytest.mark.parametrize("guard", ["power_guard", "memory_guard", "utilisation_guard"])
def test_gpus_that_work_hold_a_step_down(guard: str, agent: Agents, deploy: Deploy) -> None:
    worker = agent("hot", gpus=2)
    scaling = {"tokens_each": 1_000, "down_after": 0, guard: 0.5}
    deployment = deploy(gpus=1, memory=20 * GB, most=2, wanted=2, scaling=scaling, scaling_mode="on")
    serving(worker)
    loads = [{"memory_used": 0}, {"memory_used": 21 * GB, "power": 280.0, "power_limit": 300.0, "utilisation": 0.8}]
    worker.gpus = [msgspec.structs.replace(gpu, **load) for gpu, load in zip(worker.gpus, loads, strict=True)]
    worker.beat()
    proxy_says(deployment, tokens=10)
    [decision], _ = run(Kept(), timezone.now() + timedelta(seconds=2))
    assert decision.guarded and decision.desired == 2 and f"{guard} is 50%" in decision.because
    assert facts_of(decision)["guards"] == {"power": pytest.approx(0.933, abs=0.001), "memory": 0.875, "utilisation": 0.8}
    Deployment.objects.update(scaling={"tokens_each": 1_000, "down_after": 0})
    assert run(Kept(), timezone.now() + timedelta(seconds=4))[0][0].desired == 1, "cards alone hold nothing"


def test_one_deployments_trouble_is_not_the_others(deploy: Deploy) -> None:
    wrong = deploy("wrong", most=3, scaling=SCALING, scaling_mode="on")
    Deployment.objects.filter(pk=wrong.pk).update(scaling={"no such thing": 1})
    right = deploy("right", most=3, scaling=SCALING, scaling_mode="on")
    proxy_says(right, tokens=2_500)
    assert [decision.desired for decision in run(Kept())[0]] == [3]


def test_memory_that_cannot_be_read_is_none() -> None:
    keeper, name = Kept(), uuid7()
    keeper.save(name, Past(asked={"a": 1}))
    found = keeper.load(name)
    assert found is not None and found.asked == {"a": 1}
    assert past_read(b"{") is None and past_read(b'{"samples": 3}') is None


def test_memory_is_kept_in_redis_and_nothing_is_decided_without_it(
    redis_server: Redis, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = deploy(most=3, scaling=SCALING, scaling_mode="on")
    proxy_says(deployment, tokens=2_500)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    autoscaling_run()
    deployment.refresh_from_db()
    assert deployment.wanted == 3
    with redis.Redis.from_url(redis_server.url) as client:
        past = RedisKept(client).load(deployment.pk)
        assert past is not None and past.said is not None and past.said[0] == 3 and past.memory.steps[0][1] == 2
        assert client.ttl(f"{KEY_PREFIX}{deployment.pk}") > 0
    proxy_says(deployment, tokens=0)
    redis_server.kill()
    with caplog.at_level("WARNING", logger="bulkhead.fleet"):
        autoscaling_run()
    assert "nothing is scaled while Redis does not answer" in caplog.text


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"tokens": 1}, "'tokens' is unknown"),
        ({"tokens_each": "many"}, "tokens_each must be a number"),
        ({"up_most": 1.5}, "up_most must be a whole number"),
        ({"zone": 3}, "zone must be text"),
        ({"floors": {}}, "floors must be a list"),
        ({"floors": [{"days": ["mon"]}]}, "a floor has minimum"),
        ({"floors": [{"minimum": 1, "days": ["monday"]}]}, "a floor's days"),
        ({"floors": [{"minimum": 1, "from": "8"}]}, "is no time of the day"),
        ({"floors": [{"minimum": 1, "from": "08:00", "to": "08:00"}]}, "holds never"),
        ({"floors": [{"minimum": 9}]}, "scheduled floor"),
        ({"minimum": 3}, "'minimum' is unknown"),
    ],
)
def test_documents_that_stand_for_no_policy(document: dict[str, Any], says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        policy_read(document, least=1, most=4)


def test_a_deployment_with_a_document_that_is_none_is_not_kept(deploy: Deploy) -> None:
    with pytest.raises(ServiceError, match="'tokens' is unknown") as refused:
        deploy(scaling={"tokens": 1})
    assert refused.value.field == "scaling"


def test_a_document_is_read_whole() -> None:
    floors = [{"minimum": 2, "days": ["mon", "fri"], "from": "08:00", "to": "24:00"}]
    policy = policy_read({"tokens_each": 20_000, "zone": "Europe/Zurich", "floors": floors}, least=0, most=4, dry_run=True)
    assert (policy.minimum, policy.maximum, policy.tokens_each, policy.dry_run) == (0, 4, 20_000.0, True)
    assert policy.floors[0].days == {0, 4} and (policy.floors[0].from_minute, policy.floors[0].to_minute) == (480, 1440)


SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[tuple[dict[str, str], bytes]], list[int]]]:
    """(what came, statuses to answer with, the last one for ever)."""
    came: list[tuple[dict[str, str], bytes]] = []
    statuses = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(
                ({name.lower(): value for name, value in self.headers.items()}, self.rfile.read(int(self.headers["content-length"])))
            )
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("BULKHEAD_MACHINES_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/machines")
    monkeypatch.setenv("BULKHEAD_MACHINES_WEBHOOK_SECRET", SECRET)
    yield came, statuses
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_the_webhook_is_signed(receiver: tuple[list[tuple[dict[str, str], bytes]], list[int]]) -> None:
    came, _ = receiver
    event = {"id": "0198-a", "type": "io.bulkhead.machines.wanted.v1", "data": {"replicas": 2}}
    assert machines_send(event)
    [(headers, body)] = came
    assert json.loads(body) == event
    assert headers["content-type"].startswith("application/cloudevents+json")
    expected = signed(SECRET, "0198-a", int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == expected["webhook-signature"] and headers["webhook-id"] == "0198-a"


def test_who_does_not_answer_is_asked_again_and_who_refuses_is_not(receiver: tuple[list[tuple[dict[str, str], bytes]], list[int]]) -> None:
    _, statuses = receiver
    statuses[:] = [503, 404]
    with pytest.raises(MachinesAway, match="503"):
        machines_send({"id": "1"})
    assert machines_send({"id": "1"}) is False


def test_settings_of_the_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BULKHEAD_MACHINES_WEBHOOK_URL", raising=False)
    assert env.machines_webhook() is None and machines_send({"id": "1"}) is False
    monkeypatch.setenv("BULKHEAD_MACHINES_WEBHOOK_URL", "ftp://x")
    with pytest.raises(env.SettingError, match="http"):
        env.machines_webhook()
    monkeypatch.setenv("BULKHEAD_MACHINES_WEBHOOK_URL", "https://machines.example/ask")
    with pytest.raises(env.SettingError, match="is missing"):
        env.machines_webhook()
    monkeypatch.setenv("BULKHEAD_MACHINES_WEBHOOK_SECRET", "short")
    with pytest.raises(env.SettingError, match="whsec_"):
        env.machines_webhook()
    assert len(secret_key(SECRET)) >= 24
