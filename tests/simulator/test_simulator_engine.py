"""The simulated engine: it loads, waits in line, tells vLLM's metrics, drains, crashes and freezes as its document says."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from apps.simulator.engine import EngineDocument, EngineSimulator, document_read

ROOT = Path(__file__).resolve().parents[2]
CHAT = {"model": "simulated", "messages": [{"role": "user", "content": "hello there"}]}


async def started(document: EngineDocument, bearer: str = "") -> tuple[EngineSimulator, httpx.AsyncClient]:
    engine = EngineSimulator("replica-1", document, bearer=bearer)
    await engine.start()
    headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
    return engine, httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.port}", timeout=30, trust_env=False, headers=headers)


async def measured(client: httpx.AsyncClient) -> dict[str, float]:
    lines = (await client.get("/metrics")).text.splitlines()
    return {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#") and "_bucket" not in line}


async def until(client: httpx.AsyncClient, **wanted: float) -> dict[str, float]:
    for _ in range(3000):
        found = await measured(client)
        if all(found[f"vllm:{name}"] == value for name, value in wanted.items()):
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"never {wanted}: {found}")


async def test_it_generates_and_counts() -> None:
    engine, client = await started(EngineDocument(output_tokens=8))
    async with client:
        answer = (await client.post("/v1/chat/completions", json=CHAT)).json()
        assert answer["usage"]["completion_tokens"] == 8 and answer["bulkhead_simulated"] is True
        found = await measured(client)
        assert found["vllm:generation_tokens_total"] == 8 and found["vllm:prompt_tokens_total"] == answer["usage"]["prompt_tokens"]
        assert found["vllm:request_success_total"] == 1 and found["vllm:time_to_first_token_seconds_count"] == 1
        assert found["vllm:num_requests_running"] == 0
        assert (await client.get("/version")).json()["version"] == "0.11.0"
        assert (await client.post("/v1/chat/completions", json={**CHAT, "model": "another"})).status_code == 404
    await engine.stop()


async def test_what_does_not_fit_waits_in_line_and_a_full_line_refuses() -> None:
    engine, client = await started(EngineDocument(max_running=1, max_waiting=1, ttft_ms=1e6))
    async with client:
        tasks = [asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))]
        await until(client, num_requests_running=1)
        tasks.append(asyncio.create_task(client.post("/v1/chat/completions", json=CHAT)))
        await until(client, num_requests_running=1, num_requests_waiting=1)
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 503
        tasks[0].cancel()  # the first client leaves: the next one takes its place
        await until(client, num_requests_running=1, num_requests_waiting=0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(client, num_requests_running=0)
    await engine.stop()


async def test_the_kv_cache_fills() -> None:
    engine, client = await started(EngineDocument(kv_tokens=8, ttft_ms=1e6))
    async with client:
        tasks = [asyncio.create_task(client.post("/v1/chat/completions", json=CHAT)) for _ in range(4)]
        found = await until(client, num_requests_running=2, num_requests_waiting=2)
        assert 0.5 < found["vllm:kv_cache_usage_perc"] <= 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await engine.stop()


async def test_frozen_it_stays_green_and_says_nothing() -> None:
    engine, client = await started(EngineDocument(freeze_after_tokens=4, output_tokens=4))
    async with client:
        await client.post("/v1/chat/completions", json=CHAT)
        task = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        found = await until(client, num_requests_running=1)
        assert found["vllm:generation_tokens_total"] == 4
        assert (await client.get("/health")).status_code == 200
        task.cancel()
    await engine.stop()


async def test_loading_broken_and_guarded() -> None:
    engine, client = await started(EngineDocument(load_seconds=1e6))
    async with client:
        assert (await client.get("/health")).status_code == 503
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 503
    await engine.stop()
    engine, client = await started(EngineDocument(broken=True), bearer="s3cret-s3cret")
    async with client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 500
    await engine.stop()
    engine, client = await started(EngineDocument(), bearer="s3cret-s3cret")
    async with client:
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        assert (await client.post("/v1/chat/completions", json=CHAT, headers={"authorization": "Bearer x"})).status_code == 401
        for method, path in (("GET", "/sim/control"), ("PUT", "/sim/control"), ("GET", "/sim/bill"), ("POST", "/sim/reset")):
            refused = await client.request(method, path, json={}, headers={"authorization": "Bearer x"})
            assert refused.status_code == 401 and "s3cret" not in refused.text
            assert (await client.request(method, path, json={})).status_code == 200
        del client.headers["authorization"]
        assert (await client.get("/sim/control")).status_code == 401
        assert (await client.get("/health")).status_code == 200
    await engine.stop()


@pytest.mark.kill
def test_as_a_process_it_drains_on_sigterm_and_crashes_when_told() -> None:
    command = [sys.executable, "-m", "apps.simulator", "--name", "replica-1", "--engine"]
    slow = {"ttft_ms": 300, "drain_seconds": 60}
    for document, code in ((slow, 0), ({"crash_after_tokens": 4}, 70)):
        with subprocess.Popen([*command, json.dumps(document)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                if code:
                    with pytest.raises(httpx.HTTPError):
                        client.post("/v1/chat/completions", json=CHAT)
                else:
                    with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
                        process.send_signal(signal.SIGTERM)
                        assert answer.read().endswith(b"[DONE]\n\n")
            assert process.wait(60) == code


@pytest.mark.parametrize("text", ["{", "[]", '{"max_running": 0}', '{"ttft_ms": -1}', '{"speed": 3}'])
def test_a_document_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--engine: ."):
        document_read(text)
