"""Models with random weights, made on the spot, exported and served by real processes: the same answers as torch's, whatever comes at once.

Runs in the engines' environment (``python deploy/engine.py``) under ``make accept``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from apps.agent.artifacts import checked
from apps.agent.engines.metrics import Reading
from apps.contracts.fleet import Artifact
from apps.engine.onnx.source import ENCODERS
from controlplane.launcher.engine import interpreter
from tests.launcher.conftest import ROOT, wait_for
from tests.proxy.standalone import free_port
from tests.scale import FULL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kill,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(not FULL, reason="PyTorch and onnxruntime run under make accept"),
    pytest.mark.skipif(interpreter() is None, reason="python deploy/engine.py was not run, or could not fetch packages: NOT TESTED"),
]
TEXTS = ["the river is long", "money in the bank", "a", "with water from the little river and the long bridge " * 6]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """A module in the engines' environment."""
    return subprocess.run(
        [str(interpreter()), "-m", *words], input=given, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=900
    )


def made(out: Path, *words: str) -> Path:
    done = run("tests.engine.random_model", str(out), *words)
    assert done.returncode == 0, done.stderr
    return out


def exported(model: Path, out: Path, *words: str) -> dict[str, Any]:
    done = run("apps.engine.onnx.export", str(model), str(out), "--json", "--rounds", "1", "--batch", "4", *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def torch_says(model: Path, task: str, asked: list[Any]) -> list[list[float]]:
    done = run("tests.engine.torch_answers", str(model), task, given=json.dumps(asked))
    assert done.returncode == 0, done.stderr
    found: list[list[float]] = json.loads(done.stdout)
    return found


class Engine:
    """``python -m apps.engine onnx`` as agents start it."""

    def __init__(self, model: Path, *words: str, log: Path) -> None:
        self.port = free_port()
        argv = [str(interpreter()), "-m", "apps.engine", "onnx", "--model", str(model), "--name", "m", "--port", str(self.port), *words]
        with log.open("w") as file:
            self.process = subprocess.Popen(argv, env=ENVIRONMENT, cwd=ROOT, stdout=file, stderr=file)
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=300, trust_env=False)
        self.log = log

    def ready(self) -> Engine:
        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return self.client.get("/health").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(answers, what="the engine serves", seconds=300)
        return self

    def post(self, path: str, **body: Any) -> Any:
        answer = self.client.post(path, json={"model": "m", **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def end(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(120)
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    started: list[Engine] = []

    def start(model: Path, *words: str) -> Engine:
        started.append(Engine(model, *words, log=tmp_path / f"engine-{len(started)}.log"))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture(scope="module")
def embedder(place: Path) -> tuple[Path, Path]:
    """(as safetensors, as ONNX)"""
    model = made(place / "e", "--matryoshka", "16,32")
    report = exported(model, place / "e-onnx")
    assert report["difference"] < 1e-4 and report["agreement"]["cosine_least"] > 0.99
    assert report["models"]["onnx_int8"]["bytes"] < report["models"]["onnx_fp32"]["bytes"] * 0.7
    assert all(figure["p50_ms"] > 0 and figure["texts_per_s"] > 0 for figure in report["models"].values())
    return model, place / "e-onnx"


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_every_family_that_is_named_is_exported(place: Path, family: str) -> None:
    report = exported(made(place / family, "--family", family), place / f"{family}-onnx", "--no-int8")
    assert report["difference"] < 1e-4 and "onnx_int8" not in report["models"]
    checked(Artifact(source="path", location=str(place / f"{family}-onnx"), format="onnx"), [place])


def test_vectors_are_torchs_however_they_are_asked_for(embedder: tuple[Path, Path], engine: Callable[..., Engine]) -> None:
    at = engine(embedder[1], "--task", "embeddings").ready()
    expected = torch_says(embedder[0], "embeddings", TEXTS)
    said = at.post("/v1/embeddings", input=TEXTS)
    for row, vector in zip(said["data"], expected, strict=True):
        assert row["embedding"] == pytest.approx(vector, abs=1e-4)
    for text, vector in zip(TEXTS, expected, strict=True):  # alone: another padding
        packed = at.post("/v1/embeddings", input=text, encoding_format="base64")["data"][0]["embedding"]
        assert struct.unpack(f"<{len(vector)}f", base64.b64decode(packed)) == pytest.approx(vector, abs=1e-4)
    client = openai.OpenAI(base_url=f"{at.url}/v1", api_key="none", timeout=300)
    short = client.embeddings.create(model="m", input=TEXTS[0], dimensions=16).data[0].embedding
    length = sum(number**2 for number in expected[0][:16]) ** 0.5
    assert short == pytest.approx([number / length for number in expected[0][:16]], abs=1e-4)
    with pytest.raises(openai.BadRequestError, match="can have 16, 32, 64 numbers"):
        client.embeddings.create(model="m", input="a", dimensions=17)
    ids = at.post("/v1/embeddings", input=[[2, 45, 46, 3], [2, 3]])
    assert ids["usage"]["prompt_tokens"] == 6 and len(ids["data"]) == 2
    assert at.client.post("/v1/embeddings", json={"model": "m", "input": [[2, 10_000_000]]}).json()["error"]["param"] == "input"
    long = {"model": "m", "input": "the river " * 200}
    refused = at.client.post("/v1/embeddings", json=long)
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "context_length_exceeded"
    assert at.post("/v1/embeddings", input=long["input"], truncate_prompt_tokens=-1)["usage"]["prompt_tokens"] == 128
    assert at.client.get("/v1/models").json()["data"][0]["max_model_len"] == 128
    assert at.client.get("/version").json()["version"].startswith("onnxruntime-")
    seen = Reading("built-in").read(at.client.get("/metrics").text, at.client.get("/version").json()["version"], at_ms=0)
    assert seen is not None and (seen.running, seen.waiting, seen.kv_used, seen.output_tokens) == (0, 0, None, 0)
    assert (seen.prompt_tokens or 0) > 100 and (seen.finished or 0) >= 8


async def test_many_at_once_get_what_each_would_get_alone(embedder: tuple[Path, Path], engine: Callable[..., Engine]) -> None:
    at = await asyncio.to_thread(lambda: engine(embedder[1], "--max-num-seqs", "8", "--max-num-batched-tokens", "256").ready())
    texts = [" ".join(["the", "long", "river", "bank"][: 1 + number % 4]) + " water" * (number % 23) for number in range(200)]
    async with httpx.AsyncClient(base_url=at.url, timeout=300, trust_env=False) as client:

        async def asked(some: list[str]) -> list[list[float]]:
            answer = await client.post("/v1/embeddings", json={"model": "m", "input": some})
            assert answer.status_code == 200, answer.text
            return [row["embedding"] for row in answer.json()["data"]]

        alone = [(await asked([text]))[0] for text in texts[:20]]
        together = await asyncio.gather(asked(texts), *(asked([text]) for text in texts[:20]), asked(texts[100:]))
    assert len(together[0]) == 200 and len(together[-1]) == 100
    for number, vector in enumerate(alone):
        assert together[0][number] == pytest.approx(vector, abs=1e-5) and together[1 + number][0] == pytest.approx(vector, abs=1e-5)
    assert together[-1][5] == pytest.approx(together[0][105], abs=1e-5)


async def test_the_line_is_bounded_and_who_hangs_up_is_forgotten(embedder: tuple[Path, Path], engine: Callable[..., Engine]) -> None:
    at = await asyncio.to_thread(lambda: engine(embedder[1], "--max-waiting", "2", "--max-num-seqs", "1").ready())
    body = {"model": "m", "input": ["the long river water bank " * 20] * 2_000}
    async with httpx.AsyncClient(base_url=at.url, timeout=300, trust_env=False, limits=httpx.Limits(max_connections=200)) as client:
        large = [asyncio.create_task(client.post("/v1/embeddings", json=body)) for _ in range(80)]

        async def figure(name: str) -> float:
            text = (await client.get("/metrics")).text
            return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

        async with asyncio.timeout(300):
            while not any(task.done() for task in large):
                await asyncio.sleep(0.02)
        full = next(task for task in large if task.done()).result()
        assert full.status_code == 503 and full.headers["retry-after"] and full.json()["error"]["code"] == "queue_full"
        for task in large:
            task.cancel()
        await asyncio.gather(*large, return_exceptions=True)
        async with asyncio.timeout(300):
            while await figure("vllm:num_requests_running") + await figure("vllm:num_requests_waiting"):
                await asyncio.sleep(0.02)
        small = await client.post("/v1/embeddings", json={"model": "m", "input": "a"})
        assert small.status_code == 200


async def test_sigterm_lets_what_runs_finish(embedder: tuple[Path, Path], engine: Callable[..., Engine]) -> None:
    at = await asyncio.to_thread(lambda: engine(embedder[1], "--drain-seconds", "120", "--max-num-seqs", "4").ready())
    async with httpx.AsyncClient(base_url=at.url, timeout=300, trust_env=False) as client:
        large = asyncio.create_task(client.post("/v1/embeddings", json={"model": "m", "input": ["the river " * 50] * 400}))
        async with asyncio.timeout(120):
            while (
                "vllm:num_requests_running" not in (text := (await client.get("/metrics")).text) or 'running{model_name="m"} 1' not in text
            ):
                await asyncio.sleep(0.005)
        while 'vllm:prompt_tokens_total{model_name="m"} 0' in (await client.get("/metrics")).text:  # it moves before the answer is there
            assert not large.done()
            await asyncio.sleep(0.005)
        at.process.send_signal(signal.SIGTERM)
        answer = await large
        assert answer.status_code == 200 and len(answer.json()["data"]) == 400
    assert await asyncio.to_thread(at.process.wait, 120) == 0


def test_reranked_as_torch_would(place: Path, engine: Callable[..., Engine]) -> None:
    model = made(place / "r", "--task", "rerank")
    report = exported(model, place / "r-onnx")
    assert report["task"] == "rerank" and report["agreement"]["rank"] > 0.9
    at = engine(place / "r-onnx", "--task", "rerank").ready()
    query, documents = "the long river", ["money in the bank", "water", "the river is long", "a bridge with " * 300]
    expected = torch_says(model, "rerank", [[query, document] for document in documents[:3]])
    said = at.post("/v1/rerank", query=query, documents=documents)
    scores = {row["index"]: row["relevance_score"] for row in said["results"]}
    assert [scores[number] for number in range(3)] == pytest.approx([one[0] for one in expected], abs=1e-4)
    ordered = [row["relevance_score"] for row in said["results"]]
    assert ordered == sorted(ordered, reverse=True) and said["results"][0]["document"]["text"] in documents
    top = at.post("/v2/rerank", query=query, documents=documents, top_n=1, return_documents=False, max_tokens_per_doc=2)
    assert len(top["results"]) == 1 and "document" not in top["results"][0]
    assert (
        at.client.post("/v1/rerank", json={"model": "m", "query": "river " * 100, "documents": ["a"]}).json()["error"]["param"] == "query"
    )
    assert at.client.post("/v1/embeddings", json={"model": "m", "input": "a"}).status_code == 404


def test_classified_as_torch_would(place: Path, engine: Callable[..., Engine]) -> None:
    model = made(place / "c", "--task", "classify", "--family", "roberta", "--labels", "4")
    report = exported(model, place / "c-onnx")
    assert report["task"] == "classify" and 0 <= report["agreement"]["same_label"] <= 1
    for words in ((), ("--quantization", "int8")):
        at = engine(place / "c-onnx", *words).ready()
        said = at.post("/classify", input=TEXTS)
        expected = torch_says(model, "classify", TEXTS)
        for row, shares in zip(said["data"], expected, strict=True):
            assert row["probs"] == pytest.approx(shares, abs=0.2 if words else 1e-4) and row["num_classes"] == 4
            assert row["label"] == f"LABEL_{max(range(4), key=row['probs'].__getitem__)}"


def test_what_does_not_agree_or_cannot_be_loaded_is_refused(
    place: Path, embedder: tuple[Path, Path], engine: Callable[..., Engine]
) -> None:
    done = run("apps.engine.onnx.export", str(embedder[0]), str(place / "strict"), "--tolerance", "1e-12", "--no-int8")
    assert done.returncode == 1 and "differs from torch" in done.stderr and not (place / "strict").exists()
    headless = run("apps.engine.onnx.export", str(made(place / "h")), str(place / "h-onnx"), "--task", "classify")
    assert headless.returncode == 1 and "no head" in headless.stderr
    config = json.loads((place / "h" / "config.json").read_text())
    (place / "h" / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))
    untrained = run("apps.engine.onnx.export", str(place / "h"), str(place / "h-onnx"), "--task", "classify")
    assert untrained.returncode == 1 and "random numbers" in untrained.stderr and not list(place.glob(".h-onnx*"))
    broken = place / "broken"
    broken.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (broken / name).write_bytes((embedder[1] / name).read_bytes())
    (broken / "model.onnx").write_bytes((embedder[1] / "model.onnx").read_bytes()[:5_000])
    for model, words in ((broken, "cannot load"), (embedder[0], "none of model.onnx")):
        at = engine(model)
        assert at.process.wait(300) == 3 and words in at.log.read_text(), at.log.read_text()
