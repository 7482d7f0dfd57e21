"""The fleet for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import Client

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.budgets.performance_services import performance_budget_set
from apps.fleet.models import Deployment
from tests.fleet.conftest import GB, FakeAgent, worker_again

JSON = "application/json"


def test_a_deployment_is_made_read_scaled_and_removed(signed_in: Callable[..., Client], demo: Organisation) -> None:
    admin, base = signed_in(), f"/api/v1/organisations/{demo.slug}/deployments/"
    sent = {"name": "chat", "model": "m", "engine": "vllm", "gpus": 1, "memory": 14 * GB, "most": 3}
    refused = admin.post(base, sent, content_type=JSON)
    assert refused.status_code == 400 and refused.json()["error"]["field"] == "artifact"
    made = admin.post(base, {**sent, "artifact": {"source": "hub", "location": "a/b"}}, content_type=JSON)
    assert made.status_code == 201, made.content
    assert made.json()["provider"] == "deployment:chat" and made.json()["artifact"]["location"] == "a/b"
    again = admin.get(base + "chat/")
    assert again.json() == made.json()
    assert admin.post(base, {**sent, "engine": "simulated"}, content_type=JSON).status_code == 400  # the name is taken
    put = {name: value for name, value in again.json().items() if name not in ("id", "revision", "provider", "performance")}
    changed = admin.put(base + "chat/", {**put, "arguments": {"max-model-len": "8192"}}, content_type=JSON, HTTP_IF_MATCH=again["ETag"])
    assert changed.status_code == 200 and changed.json()["revision"] == 2, changed.content
    oncall = signed_in("on-call")
    assert oncall.post(base + "chat/scale/", {"wanted": 2}, content_type=JSON).json()["wanted"] == 2
    assert oncall.post(base + "chat/scale/", {"wanted": 9}, content_type=JSON).status_code == 400
    assert signed_in("viewer").post(base + "chat/scale/", {"wanted": 1}, content_type=JSON).status_code == 403
    gone = admin.delete(base + "chat/", HTTP_IF_MATCH=admin.get(base + "chat/")["ETag"])
    assert gone.status_code == 204, gone.content
    assert not Deployment.objects.exists()


def test_a_deployment_names_a_performance_budget_and_says_whether_it_is_kept(
    signed_in: Callable[..., Client], demo: Organisation, actor: Actor
) -> None:
    facts = {"scope": "model", "scope_id": "m", "metric": "ttft_p95", "bound": "1s", "window": "hour", "owner_email": "a@example.test"}
    performance_budget_set(actor=actor, organisation=demo, name="fast", **facts)
    admin, base = signed_in(), f"/api/v1/organisations/{demo.slug}/deployments/"
    sent = {"name": "chat", "model": "m", "engine": "simulated"}
    refused = admin.post(base, {**sent, "performance_budget": "slow"}, content_type=JSON)
    assert refused.status_code == 400 and refused.json()["error"]["field"] == "performance_budget"
    made = admin.post(base, {**sent, "performance_budget": "fast"}, content_type=JSON)
    assert made.status_code == 201, made.content
    assert made.json()["performance_budget"] == "fast"
    assert [(one["name"], one["verdict"]) for one in made.json()["performance"]] == [("fast", "unknown")]


def test_workers_are_shown_and_drained(signed_in: Callable[..., Client], demo: Organisation, agent: Callable[..., FakeAgent]) -> None:
    one = agent("w1", gpus=2)
    one.beat()
    oncall, base = signed_in("on-call"), f"/api/v1/organisations/{demo.slug}/workers/"
    listed: dict[str, Any] = oncall.get(base).json()
    (shown,) = listed["items"]
    assert shown["name"] == "w1" and [gpu["memory_promised"] for gpu in shown["gpus"]] == [0, 0]
    assert oncall.get(base + "w1/").json()["state"] == "ready"
    done = oncall.post(base + "w1/mode/", {"mode": "cordoned", "reason": "hot"}, content_type=JSON)
    assert done.status_code == 200 and done.json()["mode"] == "cordoned"
    assert worker_again(one.worker).mode_reason == "hot"
