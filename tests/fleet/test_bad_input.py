"""Whatever is wrong with an engine, a model or a worker is one clear state: its reason, a sentence and the last lines are in the rows and
on their pages."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from apps.accounts.models import Organisation
from apps.agent import agent as agents
from apps.agent.agent import Agent, Refused
from apps.agent.engines.protocol import Recipe
from apps.agent.gpus import NoGpus
from apps.agent.link import Credential, Link
from apps.audit.actors import Actor
from apps.contracts.fleet_facts import Failure, ReplicaReport
from apps.fleet import choices
from apps.fleet.agents.server import AgentApi
from apps.fleet.models import Deployment, Replica, Worker
from apps.fleet.reconciling import fleet_reconcile
from tests.agent.test_bad_engines import GARBAGE, SERVER, model, safetensors
from tests.agent.worker import FAST, python, settings_at
from tests.fleet.conftest import now_ms
from tests.fleet.stage import stage, token_made
from tests.fleet.test_agents_api import Quiet, inside

ANSWER = '{"choices": [{"message": {"content": "a"}}]}'
ENGINES: dict[str, tuple[str, str, str, str]] = {
    # name -> script, reason, words of the sentence, words of its last lines
    "garbage": (GARBAGE, "not_an_engine", "does not speak HTTP", "listening"),
    "exits": ("print('bye')", "exited", "exit code 0", "bye"),
    "fails": ("print('no such flag: --fast'); raise SystemExit(2)", "crashed", "did not understand its command line", "--fast"),
    "never": ("import time; print('loading weights', flush=True); time.sleep(600)", "never_ready", "does not listen", "loading weights"),
    "errors": (
        f"print('green', flush=True)\nGET, POST = (200, b''), (500, b'{{\"error\": {{\"message\": \"CUDA error\"}}}}')\n{SERVER}",
        "serves_errors",
        "answered 500: CUDA error",
        "green",
    ),
    "locked": (f"GET, POST = (200, b''), (401, b'who are you')\n{SERVER}", "token_refused", "answered 401", ""),
    "open": (f"GET, POST = (200, b''), (200, b'{ANSWER}')\n{SERVER}", "serves_anyone", "without the token", ""),
}  # fmt: skip
MODELS: dict[str, tuple[str, str]] = {
    # name -> reason, words
    "absent": ("artifact_missing", "does not exist on this worker"),
    "cut": ("artifact_malformed", "cut off"),
    "pickled": ("artifact_unsafe", "pytorch_model.bin"),
    "coded": ("remote_code", "auto_map"),
    "outside": ("artifact_outside", "BULKHEAD_AGENT_MODELS"),
}
HEALTH = {"ready_seconds": 30.0, "failures": 2, "timeout_seconds": 10.0}


def models_made(root: Path) -> dict[str, str]:
    cut, pickled, coded = model(root, "cut"), model(root, "pickled"), model(root, "coded", auto_map={"AutoModel": "x.Y"})
    safetensors(cut / "model.safetensors", cut=4)
    safetensors(coded / "model.safetensors")
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    return {"absent": str(root / "models/absent"), "cut": str(cut), "pickled": str(pickled), "coded": str(coded), "outside": "/etc"}


@pytest.mark.kill
def test_engines_and_models_that_cannot_serve_each_say_why_on_their_pages(
    demo: Organisation, actor: Actor, deploy: Callable[..., Deployment], signed_in: Callable[..., Client], tmp_path: Path
) -> None:
    token, places = token_made(demo, actor), models_made(tmp_path)
    recipes = {name: python(script) for name, (script, *_) in ENGINES.items()}
    recipes |= {name: recipes[name]._replace(bearer_variable="ENGINE_KEY") for name in ("locked", "open")}
    recipes["loads"] = Recipe((*python("0").argv, "{model_path}"))
    for name, (_, reason, *_) in ENGINES.items():
        health = {**HEALTH, "ready_seconds": 1.5} if reason == "never_ready" else HEALTH
        deploy(name, engine="command", recipe=name, health=health)
    for name, place in places.items():
        deploy(name, engine="command", recipe="loads", artifact={"source": "path", "location": place})
    expected = {name: (reason, words) for name, (_, reason, words, _) in ENGINES.items()} | MODELS

    async def play() -> None:
        async with stage(tmp_path, token, recipes=recipes) as s:

            def all_told() -> bool:
                rows = Replica.objects.filter(ending="").select_related("deployment")
                return {row.deployment.name for row in rows if row.failure} >= set(expected)

            await s.until(lambda: Replica.objects.count() == len(expected))
            await s.until(all_told, each=lambda: None)

    async_to_sync(play)()
    client = signed_in()
    for name, (reason, words) in expected.items():
        row = Replica.objects.filter(deployment__name=name).exclude(failure={}).latest("placed_at")
        assert (row.failure["reason"], words in row.failure["message"]) == (reason, True), (name, row.failure)
        assert reason in choices.REASONS
        lines = ENGINES[name][3] if name in ENGINES else ""
        assert any(lines in line for line in row.failure["lines"]) or not lines, (name, row.failure)
        assert all(line.isprintable() for line in row.failure["lines"])
        shown = unescape(client.get(f"/replicas/{row.pk}/log/").content.decode())
        assert words in shown, (name, "the replica's page says why")
        assert not lines or lines in shown, (name, "and shows its last lines")
        story = unescape(client.get(f"/deployments/{row.deployment_id}/").content.decode())
        assert words.split(":")[0] in story, (name, "the deployment's page tells it")


@pytest.mark.kill
def test_a_token_that_is_wrong_and_a_name_that_is_taken_end_the_agent_with_what_to_do(
    demo: Organisation, actor: Actor, tmp_path: Path
) -> None:
    tokens = [token_made(demo, actor) for _ in range(2)]

    async def join(place: str, token: str) -> str:
        settings = settings_at(tmp_path / place)
        settings.state.parent.mkdir(parents=True)
        api = httpx.ASGITransport(app=AgentApi(None, run=inside, bell=Quiet()))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=api) as client:
            link = Link("http://control", Credential(settings.state), client)
            agent = Agent(dataclasses.replace(settings, token=token, name="worker-1"), link, NoGpus(), client, FAST)
            try:
                agent_runs = asyncio.create_task(agent.run())
                while not agent_runs.done() and not link.credential.joined:
                    await asyncio.sleep(0.01)
                agent.stop()
                await agent_runs
            except Refused as refused:
                return str(refused)
        return ""

    async def play() -> list[str]:
        return [
            await join("one", "bhj_" + "w" * 40),
            await join("two", tokens[0]),
            await join("three", tokens[1]),
            await join("four", tokens[0]),
        ]

    unknown, fine, taken, used = async_to_sync(play)()
    assert "token_unknown" in unknown and fine == ""
    assert "name_taken" in taken and "worker-1" in taken
    assert "token_used" in used
    assert [row.name for row in Worker.objects.all()] == ["worker-1"], "nobody came in twice"


@pytest.mark.kill
def test_a_clock_that_is_off_is_said_and_nothing_else_suffers(
    demo: Organisation,
    actor: Actor,
    deploy: Callable[..., Deployment],
    signed_in: Callable[..., Client],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = token_made(demo, actor)
    deploy()
    monkeypatch.setattr(agents, "_now_ms", lambda: time.time_ns() // 1_000_000 + 600_000)

    async def play() -> None:
        async with stage(tmp_path, token) as s:
            await s.until(lambda: Replica.objects.filter(state="ready").first())
            await s.until(lambda: Worker.objects.filter(state="skewed").first(), each=fleet_reconcile)

    async_to_sync(play)()
    [worker] = Worker.objects.all()
    assert 590_000 < worker.skew_ms < 610_000
    assert "Clock is off" in signed_in().get(f"/workers/{worker.pk}/").content.decode()


def test_a_download_says_how_far_it_is(agent: Callable[..., Any], deploy: Callable[..., Deployment], signed_in: Any) -> None:
    one = agent("w1")
    one.beat()
    deployment = deploy()
    fleet_reconcile()
    one.obey("downloading")
    one.reports = [msgspec.structs.replace(report, downloaded=3_500_000_000, download_bytes=14_000_000_000) for report in one.reports]
    one.beat()
    assert "3.5 of 14.0 GB are there (25%)" in signed_in().get(f"/deployments/{deployment.pk}/").content.decode()


def test_a_failure_between_two_heartbeats_is_kept(agent: Callable[..., Any], deploy: Callable[..., Deployment], signed_in: Any) -> None:
    one = agent("w1")
    one.beat()
    deployment = deploy()
    fleet_reconcile()
    one.obey("starting")
    [report] = one.reports
    failure = Failure(reason="exited", message="It ended by itself.", at_ms=now_ms(), starts=1, exit_code=0, lines=["bye"])
    one.reports = [
        ReplicaReport(replica=report.replica, deployment="chat", state="starting", since_ms=now_ms(), starts=2, last_failure=failure)
    ]
    one.beat()
    [row] = Replica.objects.all()
    assert (row.state, row.failure["reason"], row.lines) == ("starting", "exited", ["bye"])
    client = signed_in()
    assert "tried again after: It ended by itself." in client.get(f"/deployments/{deployment.pk}/").content.decode()
    one.reports = [msgspec.structs.replace(one.reports[0], state="stopping", message="2 generations in a row failed.")]
    one.beat()
    page = client.get(f"/replicas/{row.pk}/log/").content.decode()
    assert "2 generations in a row failed." in page and "Tried again after: It ended by itself." in page, "what happens hides no reason"
    one.obey()
    assert "tried again after" not in client.get(f"/deployments/{deployment.pk}/").content.decode()
