"""Models of the engine onnx from a document to the stock SDK: deployed on a worker of this machine, embedded and reranked through the
proxy, asked after by their own task, and gone without a trace."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psycopg
import pytest

from controlplane.launcher import engine
from tests.launcher.conftest import ROOT, Bulkhead, clean_environment, wait_for
from tests.scale import FULL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kill,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(not FULL, reason="onnxruntime runs under make accept"),
    pytest.mark.skipif(
        engine.interpreter() is None, reason="python deploy/engine.py was not run, or could not fetch the engines' packages: NOT TESTED"
    ),
]
DOCUMENT = """
organisation: demo
deployments:
- {{name: e5, model: e5, engine: onnx, source: path, location: {models}/e5, tasks: [embeddings], drain: 5s}}
- {{name: ranker, model: ranker, engine: onnx, source: path, location: {models}/ranker, quantisation: int8, tasks: [rerank], drain: 5s}}
- {{name: outside, model: x, engine: onnx, source: path, location: {models}/outside, tasks: [embeddings]}}
routes:
- {{name: embed, unpriced: zero, targets: [{{provider: "deployment:e5", model: e5}}]}}
- {{name: rank, unpriced: zero, targets: [{{provider: "deployment:ranker", model: ranker}}]}}
"""


def made(models: Path, name: str, *words: str) -> None:
    """A model with random weights, as ONNX."""
    for argv in (
        [str(engine.interpreter()), "-m", "tests.engine.random_model", str(models / f"{name}-source"), *words],
        [sys.executable, "manage.py", "export-onnx", str(models / f"{name}-source"), str(models / name), "--rounds", "1", "--batch", "2"],
    ):
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr


def onnx_engines(models: Path) -> list[str]:
    """Command lines of engines that serve something below this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if "apps.engine onnx" in line and str(models) in line:
                    found.append(line)
    return found


@contextlib.contextmanager
def agent(bulkhead: Bulkhead, models: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One worker on this machine, by the token that the demo's start made."""
    own = {
        "BULKHEAD_CONTROL_URL": bulkhead.facts["web_url"],
        "BULKHEAD_AGENT_TOKEN_FILE": str(bulkhead.data_dir / "secrets" / "agent_token"),
        "BULKHEAD_AGENT_NAME": "onnx",
        "BULKHEAD_AGENT_DIR": str(bulkhead.data_dir / "agent"),
        "BULKHEAD_AGENT_MODELS": str(models),
        "BULKHEAD_AGENT_GPUS": "none",
    }
    with (bulkhead.data_dir / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "apps.agent"], cwd=ROOT, env={**clean_environment(), **own}, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(120)
            finally:
                process.kill()


def test_embedded_and_reranked_through_the_proxy(make_bulkhead: Callable[[], Bulkhead]) -> None:
    bulkhead = make_bulkhead()
    up = bulkhead.up()
    assert up.returncode == 0, up.stdout + up.stderr
    models, facts = engine.models(bulkhead.data_dir), bulkhead.facts
    models.mkdir(parents=True, exist_ok=True)
    made(models, "e5", "--matryoshka", "16,32")
    made(models, "ranker", "--task", "rerank")
    outside = models / "outside"
    outside.mkdir()
    (outside / "config.json").write_text("{}")
    data = (models / "e5" / "model.onnx").read_bytes()
    (outside / "model.onnx").write_bytes(data[: len(data) // 2])
    document = bulkhead.data_dir / "onnx.yaml"
    document.write_text(DOCUMENT.format(models=models))
    applied = bulkhead.manage("apply", "-f", str(document))
    assert applied.returncode == 0, applied.stdout + applied.stderr

    def states() -> dict[str, tuple[str, str, str]]:
        """Deployment -> (state, reason, message) of its replica."""
        with psycopg.connect(facts["database_url"], autocommit=True) as connection:
            rows = connection.execute(
                "SELECT d.name, r.state, r.reason, r.message FROM fleet_replica r JOIN fleet_deployment d ON d.id = r.deployment_id "
                "WHERE r.ended_at IS NULL"
            ).fetchall()
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    with agent(bulkhead, models) as worker:
        wait_for(lambda: [states().get(name, ("",))[0] for name in ("e5", "ranker")] == ["ready"] * 2, seconds=600, what="both are ready")
        refused: Any = wait_for(lambda: (found := states().get("outside")) and found[1] and found, what="the cut model is refused")
        assert refused[1] == "artifact_malformed" and "cut off" in refused[2]

        client = openai.OpenAI(base_url=f"{facts['proxy_url']}/v1", api_key=facts["key"], timeout=120, max_retries=10)
        many = client.embeddings.create(model="embed", input=["the river", "a bank", "money"])
        assert [len(row.embedding) for row in many.data] == [64] * 3 and many.usage.prompt_tokens == 11
        assert sum(number**2 for number in many.data[0].embedding) == pytest.approx(1.0, abs=1e-4)
        plain = client.embeddings.create(model="embed", input="the river", encoding_format="float")
        assert plain.data[0].embedding == pytest.approx(many.data[0].embedding, abs=1e-5)
        assert len(client.embeddings.create(model="embed", input="the river", dimensions=16).data[0].embedding) == 16
        ids = client.embeddings.create(model="embed", input=[[2, 45, 46, 3]])
        assert ids.usage.prompt_tokens == 4
        with pytest.raises(openai.BadRequestError, match="truncate_prompt_tokens"):
            client.embeddings.create(model="embed", input="river " * 500)

        with httpx.Client(base_url=facts["proxy_url"], headers={"authorization": f"Bearer {facts['key']}"}, timeout=120) as http:
            documents = ["money in the bank", "the river is long", "water"]
            for path in ("/v1/rerank", "/v2/rerank"):
                answer = http.post(path, json={"model": "rank", "query": "a long river", "documents": documents, "top_n": 2})
                assert answer.status_code == 200, answer.text
                results = answer.json()["results"]
                scores = [row["relevance_score"] for row in results]
                assert len(results) == 2 and scores == sorted(scores, reverse=True) and all(0 < score < 1 for score in scores)
            wrong = http.post("/v1/rerank", json={"model": "embed", "query": "a", "documents": ["b"]})
            assert wrong.status_code >= 400 and "does no rerank" in wrong.text, wrong.text

        assert [states()[name][0] for name in ("e5", "ranker")] == ["ready"] * 2
    assert worker.returncode == 0 and onnx_engines(models) == []
    assert bulkhead.down().returncode == 0
    assert bulkhead.processes() == []
