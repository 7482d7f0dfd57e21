"""The built-in engine as it is run: a real model (of random weights), a real process, the stock SDK, and everything that goes wrong."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from apps.agent.artifacts import digest_of
from apps.contracts.fleet import Artifact
from tests.agent.worker import settings_at, spec, worker
from tests.engine.engines import MODEL, NEEDED, PYTHON, ROOT, Process, running, tiny_model

pytestmark = NEEDED
BEARER = "b" * 32
USER = [{"role": "user", "content": "hello world"}]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[Process]:
    with running(model, "--max-running", "4", "--kv-tokens", "8192", "--max-waiting", "1") as process:
        yield process


def asked(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": USER, "ignore_eos": True, **changes}


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])


def test_the_stock_sdk(engine: Process) -> None:
    sdk = openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0)
    stream = sdk.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True, max_tokens=24, stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    chunks = list(stream)
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 24
    assert chunks[-2].choices[0].finish_reason == "length" and len(chunks) > 12
    first, second = (
        sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}], max_tokens=16, temperature=0)
        for _ in range(2)
    )
    assert first.choices[0].message.content == second.choices[0].message.content != ""
    text = sdk.completions.create(model=MODEL, prompt=["the quick", "brown fox"], max_tokens=5)
    assert [choice.index for choice in text.choices] == [0, 1] and text.usage is not None and text.usage.prompt_tokens > 2
    vectors = [one.embedding for one in sdk.embeddings.create(model=MODEL, input=["hello world", "hello world", "water"]).data]
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-5) and vectors[0] != pytest.approx(vectors[2], abs=1e-2)
    assert sum(value * value for value in vectors[0]) == pytest.approx(1, abs=1e-4)
    assert [one.id for one in sdk.models.list()] == [MODEL] and "transformers" in engine.client.get("/version").text


def test_seeds_and_chance(engine: Process) -> None:
    def said(**changes: Any) -> str:
        answer = engine.client.post(CHAT, json=asked(max_tokens=24, **changes))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["message"]["content"])

    assert said(seed=7) == said(seed=7) != said(seed=8)
    assert said() != said()
    assert said(top_k=1) == said(temperature=0) == said(top_p=0.0)
    several = engine.client.post(CHAT, json=asked(max_tokens=24, seed=7, n=3)).json()["choices"]
    assert several[0]["message"]["content"] == said(seed=7) and len({one["message"]["content"] for one in several}) == 3


def test_stops_lengths_and_contexts(engine: Process) -> None:
    whole = engine.client.post(CHAT, json=asked(max_tokens=40, temperature=0)).json()["choices"][0]["message"]["content"]
    stop = whole[10:14]
    cut = engine.client.post(CHAT, json=asked(max_tokens=40, temperature=0, stop=[stop])).json()
    assert cut["choices"][0]["finish_reason"] == "stop" and cut["choices"][0]["message"]["content"] == whole[: whole.index(stop)]
    long = engine.client.post(CHAT, json=asked(messages=[{"role": "user", "content": "water " * 9_000}]))
    assert long.status_code == 400 and long.json()["error"]["code"] == "context_length_exceeded"
    near = engine.client.post(CHAT, json=asked(messages=[{"role": "user", "content": "a" * 4_050}], max_tokens=1_000, temperature=0)).json()
    assert near["usage"]["total_tokens"] == 4_096 and near["choices"][0]["finish_reason"] == "length"  # by the context, not by max_tokens
    engine.until("vllm:kv_cache_usage_perc", 0)


def test_requests_join_and_leave_between_steps(engine: Process) -> None:
    """The second request begins after the first and ends before it: they are computed together."""
    with engine.client.stream("POST", CHAT, json=asked(stream=True, max_tokens=3_000)) as slow:
        lines = slow.iter_lines()
        next(events(lines))
        assert engine.figure("vllm:num_requests_running") == 1
        quick = engine.client.post(CHAT, json=asked(max_tokens=8))
        assert quick.status_code == 200 and quick.json()["usage"]["completion_tokens"] == 8
        assert engine.figure("vllm:num_requests_running") == 1, "the slow one still runs"
        assert engine.figure("vllm:kv_cache_usage_perc") > 0
    engine.until("vllm:num_requests_running", 0)


def test_hanging_up_frees_the_cache(engine: Process) -> None:
    before = engine.figure("bulkhead_engine:requests_cancelled_total")
    for _ in range(3):
        with engine.client.stream("POST", CHAT, json=asked(stream=True, max_tokens=3_000)) as answer:
            next(events(answer.iter_lines()))
    engine.until("bulkhead_engine:requests_cancelled_total", before + 3)
    engine.until("vllm:kv_cache_usage_perc", 0)
    engine.until("vllm:num_requests_running", 0)
    tokens = engine.figure("vllm:generation_tokens_total")
    assert engine.client.post(CHAT, json=asked(max_tokens=8)).status_code == 200
    assert engine.figure("vllm:generation_tokens_total") == tokens + 8, "nothing else is generated any more"


def test_the_line_is_bounded(engine: Process) -> None:
    clients = [httpx.Client(base_url=engine.url, trust_env=False, timeout=120) for _ in range(5)]
    held = []
    try:
        for client in clients[:4]:
            answer = client.send(client.build_request("POST", CHAT, json=asked(stream=True, max_tokens=3_000)), stream=True)
            held.append((answer, answer.iter_lines()))  # lines that are forgotten close their answer
            next(events(held[-1][1]))
        with pytest.raises(httpx.ReadTimeout):  # the fifth waits in line, and hangs up
            clients[4].post(CHAT, json=asked(stream=True, max_tokens=1), timeout=0.5)
        clients[4].close()
        engine.until("vllm:num_requests_waiting", 0)
        assert engine.figure("vllm:num_requests_running") == 4
    finally:
        for answer, _ in held:
            answer.close()
        for client in clients:
            client.close()
    engine.until("vllm:num_requests_running", 0)


def test_a_full_line_refuses(model: Path) -> None:
    with running(model, "--max-running", "1", "--max-waiting", "0") as engine:
        with engine.client.stream("POST", CHAT, json=asked(stream=True, max_tokens=3_000)) as held:
            lines = held.iter_lines()
            next(events(lines))
            full = engine.client.post(CHAT, json=asked(max_tokens=1))
            assert full.status_code == 503 and full.headers["retry-after"] == "1" and full.json()["error"]["code"] == "queue_full"
        engine.until("vllm:num_requests_running", 0)


@pytest.mark.kill
def test_sigterm_finishes_what_runs(model: Path) -> None:
    with running(model, "--drain-seconds", "120", bearer=BEARER) as engine:
        token = {"authorization": f"Bearer {BEARER}"}
        assert engine.client.post(CHAT, json=asked()).status_code == 401
        with engine.client.stream("POST", CHAT, json=asked(stream=True, max_tokens=400), headers=token) as answer:
            lines = answer.iter_lines()
            next(events(lines))
            engine.process.send_signal(signal.SIGTERM)
            while engine.client.get("/health").status_code == 200:
                pass
            refused = engine.client.post(CHAT, json=asked(), headers=token)
            assert refused.status_code == 503 and refused.json()["error"]["code"] == "shutting_down"
            rest = list(lines)
        assert "data: [DONE]" in rest, "what ran when it was told to end is whole"
        assert engine.process.wait(60) == 0 and BEARER not in engine.said()


@pytest.mark.kill
def test_a_drain_has_an_end(model: Path) -> None:
    with running(model, "--drain-seconds", "1") as engine:
        with engine.client.stream("POST", CHAT, json=asked(stream=True, max_tokens=4_000)) as answer:
            lines = answer.iter_lines()
            next(events(lines))
            engine.process.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert "data: [DONE]" not in rest and any("shut down before" in line for line in rest)
        assert engine.process.wait(60) == 0


def broken(model: Path, directory: Path, **files: bytes | None) -> Path:
    """A copy with files replaced, or taken away."""
    shutil.copytree(model, directory)
    for name, content in files.items():
        path = directory / name.replace("__", ".")
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    return directory


def test_models_that_cannot_be_served(model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    weights = (model / "model.safetensors").read_bytes()
    cases = {
        "missing": (tmp_path / "none", "does not exist"),
        "file": (model / "config.json", "is a file"),
        "pickle": (broken(model, tmp_path / "a", model__safetensors=None, pytorch_model__bin=b"x"), "pickled weights"),
        "code": (broken(model, tmp_path / "b", config__json=json.dumps({**config, "auto_map": {"AutoModel": "m.M"}}).encode()), "auto_map"),
        "garbage": (broken(model, tmp_path / "c", config__json=b"{"), "is not JSON"),
        "list": (broken(model, tmp_path / "d", config__json=b"[]"), "not a JSON object"),
        "family": (broken(model, tmp_path / "e", config__json=json.dumps({**config, "model_type": "none"}).encode()), "cannot be loaded"),
        "cut": (broken(model, tmp_path / "f", model__safetensors=weights[: len(weights) // 2]), "cannot be loaded"),
        "noise": (broken(model, tmp_path / "g", model__safetensors=b"\0" * 1000), "cannot be loaded"),
        "shape": (broken(model, tmp_path / "h", config__json=json.dumps({**config, "hidden_size": 64}).encode()), "cannot be loaded"),
        "tokenizer": (broken(model, tmp_path / "i", tokenizer__json=b"{}"), "cannot be loaded"),
        "memory": (model, "KV cache fit"),
    }
    started = {name: Process(path, *(["--memory", "1"] if name == "memory" else [])) for name, (path, _) in cases.items()}
    try:
        for name, process in started.items():
            said = process.said()
            assert process.process.returncode == 3, (name, said)
            assert cases[name][1] in said and "Traceback" not in said, (name, said)
    finally:
        for process in started.values():
            process.end()


async def test_an_agent_runs_it(model: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    shutil.copytree(model, models / "tiny")
    engines = settings_at(tmp_path).engines._replace(python=str(PYTHON))
    async with worker(tmp_path, engines=engines) as at:
        artifact = Artifact(source="path", location=str(models / "tiny"), digest=digest_of(models / "tiny"), format="safetensors")
        one = spec(
            engine="built_in", artifact=artifact, model="tiny", arguments={"threads": "1"}, bearer=BEARER, host_memory=2 * 2**30,
            tasks=["chat", "embeddings"],
        )  # fmt: skip
        await at.order(one)
        found = await at.reported(one.replica, "ready")
        assert found.engine_version is not None and "transformers" in found.engine_version and found.phases.loading is not None
        async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
            answer = await client.post(
                f"{found.url}{CHAT}", json={**asked(max_tokens=4), "model": "tiny"}, headers={"authorization": f"Bearer {BEARER}"}
            )
        assert answer.status_code == 200, answer.text

        def told() -> bool:
            report = at.control.report(one.replica)
            return report is not None and report.metrics is not None and (report.metrics.output_tokens or 0) >= 4

        await at.until(told, "its metrics are read")
        report = at.control.report(one.replica)
        assert (
            report is not None and report.metrics is not None and report.metrics.source == "built-in" and report.metrics.kv_used is not None
        )
        bad = spec(engine="built_in", artifact=Artifact(source="path", location=str(models / "none")), model="tiny")
        await at.order(bad)  # the other is no longer listed: it drains and stops
        await at.reported(bad.replica, "failed", reason="artifact_missing")


def test_what_is_drawn_is_drawn_from_the_distribution() -> None:
    done = subprocess.run([str(PYTHON), str(ROOT / "tests" / "engine" / "sampler_suite.py")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
