"""The engine onnx's command line: what an order may say and what not, and where its packages are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from apps.agent.artifacts import Unfit
from apps.agent.engines import ENGINES, own
from apps.agent.engines.protocol import EngineSettings, Launch, Place
from apps.contracts.fleet import Artifact
from tests.agent.worker import spec

PLACE = Place("127.0.0.1", 30_000, "/models/e5", {"GPU-a": None}, 45.0)
MODEL = Artifact(source="path", location="/models/e5", format="onnx")
HERE = {"onnxruntime": "1.32.0"}


def having(monkeypatch: pytest.MonkeyPatch, runtimes: dict[str, str]) -> EngineSettings:
    """A worker whose interpreter has these runtimes, and everything else."""

    def packages_of(settings: EngineSettings, *names: str) -> own.Packages:
        missing = [name for name in names if name.startswith("onnxruntime") and name not in runtimes]
        found = {name: runtimes.get(name, "1.0") for name in names if name not in missing}
        return own.Packages(found, f"{missing[0]} is not installed here." if missing else "")

    monkeypatch.setattr(own, "packages_of", packages_of)
    return EngineSettings(python="/engine/python")


def launched(settings: EngineSettings, **changes: Any) -> Launch:
    return ENGINES["onnx"].launch(spec(engine="onnx", **{"artifact": MODEL, "tasks": ["embeddings"], **changes}), PLACE, settings)


def after(launch: Launch, flag: str) -> str:
    return launch.argv[launch.argv.index(flag) + 1]


def test_its_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = having(monkeypatch, HERE)
    plain = launched(settings)
    assert plain.argv[:4] == ("/engine/python", "-m", "apps.engine", "onnx") and after(plain, "--model") == "/models/e5"
    assert after(plain, "--task") == "embeddings" and after(plain, "--device") == "cpu" and after(plain, "--drain-seconds") == "45"
    assert plain.finishes and plain.vocabulary == "built-in" and not {"--quantization", "--max-waiting"} & set(plain.argv)
    rich = launched(
        settings, artifact=msgspec.structs.replace(MODEL, quantisation="int8"), tasks=["rerank"], bearer="b" * 32, max_waiting=9,
        arguments={"max-num-seqs": "8", "no-normalize": None, "pooling": "cls", "file": "onnx/model_q4.onnx"},
    )  # fmt: skip
    assert after(rich, "--quantization") == "int8" and after(rich, "--max-waiting") == "9" and after(rich, "--task") == "rerank"
    assert rich.argv[-4:] == ("--file=onnx/model_q4.onnx", "--max-num-seqs=8", "--no-normalize", "--pooling=cls")
    assert rich.environment["BULKHEAD_ENGINE_BEARER"] == "b" * 32 and "b" * 32 not in rich.argv


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"artifact": Artifact(source="path", location="/models/e5")}, "artifact_malformed"),
        ({"artifact": msgspec.structs.replace(MODEL, quantisation="awq")}, "argument_refused"),
        ({"tasks": ["chat"]}, "argument_refused"),
        ({"tasks": ["embeddings", "rerank"]}, "argument_refused"),
        ({"gpus": ["GPU-a"]}, "engine_missing"),
        ({"gpus": ["GPU-a", "GPU-b"]}, "argument_refused"),
        ({"arguments": {"file": "../secret.onnx"}}, "argument_refused"),
        ({"arguments": {"file": "/etc/x.onnx"}}, "argument_refused"),
        ({"arguments": {"file": "a/.b/c.onnx"}}, "argument_refused"),
        ({"arguments": {"file": "model.onnx\n--device"}}, "argument_refused"),
        ({"arguments": {"max-num-seqs": "0"}}, "argument_refused"),
        ({"arguments": {"threads": "1.5"}}, "argument_refused"),
        ({"arguments": {"pooling": "weighted"}}, "argument_refused"),
        ({"arguments": {"normalize": "yes"}}, "argument_refused"),
        ({"arguments": {"device": "cuda"}}, "argument_refused"),
    ],
)
def test_what_an_order_may_not_say(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unfit) as refused:
        launched(having(monkeypatch, HERE), **changes)
    assert refused.value.reason == reason and refused.value.message


def test_it_is_offered_where_a_runtime_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (offer,) = ENGINES["onnx"].offers(having(monkeypatch, HERE))
    assert (offer.version, offer.problem, offer.bearer) == ("onnxruntime 1.32.0", "", True)
    on_gpus = having(monkeypatch, {"onnxruntime-gpu": "1.32.0"})
    assert after(launched(on_gpus, gpus=["GPU-a"]), "--device") == "cuda"
    nowhere = having(monkeypatch, {})
    assert "onnxruntime is not installed" in ENGINES["onnx"].offers(nowhere)[0].problem
    with pytest.raises(Unfit) as refused:
        launched(nowhere)
    assert refused.value.reason == "engine_missing"
