"""The built-in engine's command line: what an order may say and what not, what is promised of memory, where its packages are missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from apps.agent.artifacts import Unfit
from apps.agent.engines import ENGINES, own
from apps.agent.engines.metrics import Reading
from apps.agent.engines.protocol import EngineSettings, Launch, Place
from apps.agent.settings import settings_read
from apps.contracts.env import Reader
from apps.contracts.fleet import Artifact
from tests.agent.worker import spec

GIB = 2**30
PLACE = Place("127.0.0.1", 30_000, "/models/m", {"GPU-a": 80 * GIB, "GPU-b": 80 * GIB}, 45.0)
MODEL = Artifact(source="path", location="/models/m")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> EngineSettings:
    """A worker whose interpreter has all that is needed."""
    monkeypatch.setattr(own, "packages_of", lambda settings, *names: own.Packages(dict.fromkeys(names, "1.0"), ""))
    return EngineSettings(python="/engine/python")


def launched(settings: EngineSettings, place: Place = PLACE, **changes: Any) -> Launch:
    return ENGINES["built_in"].launch(spec(engine="built_in", artifact=MODEL, **changes), place, settings)


def after(launch: Launch, flag: str) -> str:
    return launch.argv[launch.argv.index(flag) + 1]


def test_its_command_line(settings: EngineSettings) -> None:
    plain = launched(settings)
    assert plain.argv[:4] == ("/engine/python", "-m", "apps.engine", "built-in") and after(plain, "--model") == "/models/m"
    assert (
        after(plain, "--device") == "cpu" and after(plain, "--drain-seconds") == "45" and plain.finishes and plain.vocabulary == "built-in"
    )
    assert not {"--memory", "--max-waiting"} & set(plain.argv) and plain.model == "chat"
    rich = launched(
        settings, gpus=["GPU-a"], gpu_memory=20 * GIB, bearer="b" * 32, max_waiting=7, arguments={"context": "4096", "dtype": "bfloat16"}
    )
    assert after(rich, "--device") == "cuda" and after(rich, "--memory") == str(20 * GIB) and after(rich, "--max-waiting") == "7"
    assert rich.argv[-2:] == ("--context=4096", "--dtype=bfloat16")
    assert rich.environment["BULKHEAD_ENGINE_BEARER"] == "b" * 32 and "b" * 32 not in rich.argv
    assert after(launched(settings, host_memory=4 * GIB), "--memory") == str(4 * GIB)


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [({"arguments": {"trust-remote-code": None}}, "argument_refused", "takes no argument"),
     ({"arguments": {"context": "many"}}, "argument_refused", "not a number"), ({"arguments": {"threads": None}}, "argument_refused", ""),
     ({"arguments": {"context": "0"}}, "argument_refused", "from 1"), ({"arguments": {"max-running": "1e3"}}, "argument_refused", "whole"),
     ({"arguments": {"dtype": "int4"}}, "argument_refused", "float32"), ({"arguments": {"--port": "1"}}, "argument_refused", ""),
     ({"gpus": ["GPU-a", "GPU-b"]}, "argument_refused", "one GPU"), ({"tasks": ["rerank"]}, "argument_refused", "does no rerank"),
     ({"artifact": Artifact(source="path", location="/m", format="gguf")}, "artifact_malformed", "safetensors"),
     ({"artifact": Artifact(source="path", location="/m", quantisation="awq")}, "argument_refused", "vLLM")],
)  # fmt: skip
def test_what_it_refuses(settings: EngineSettings, changes: dict[str, Any], reason: str, words: str) -> None:
    with pytest.raises(Unfit) as refused:
        ENGINES["built_in"].launch(spec(engine="built_in", **{"artifact": MODEL, **changes}), PLACE, settings)
    assert refused.value.reason == reason and words in refused.value.message
    with pytest.raises(Unfit, match="needs a model"):
        launched(settings, PLACE._replace(model_path=""))


def test_it_is_offered_where_its_packages_are(tmp_path: Path) -> None:
    bare = tmp_path / "bin" / "python"
    bare.parent.mkdir()
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # -S: an interpreter without any packages
    bare.chmod(0o755)
    settings = EngineSettings(python=str(bare))
    (offer,) = ENGINES["built_in"].offers(settings)
    assert "torch" in offer.problem and "deploy/engine.py" in offer.problem and offer.version is None
    with pytest.raises(Unfit) as refused:
        launched(settings)
    assert refused.value.reason == "engine_missing"
    (offer,) = ENGINES["built_in"].offers(EngineSettings(python=str(tmp_path / "none")))
    assert "cannot be run" in offer.problem and "BULKHEAD_AGENT_ENGINE_PYTHON" in offer.problem


def test_its_interpreter_is_the_operators_word() -> None:
    base = {"BULKHEAD_CONTROL_URL": "https://control.example.com", "BULKHEAD_AGENT_ADDRESS": "10.0.0.7"}
    assert settings_read(Reader(base)).engines.python == ""
    assert own.python_of(settings_read(Reader({**base, "BULKHEAD_AGENT_ENGINE_PYTHON": "/opt/python"})).engines) == "/opt/python"


def test_its_metrics_are_read_whatever_its_version() -> None:
    text = 'vllm:num_requests_running{model_name="m"} 2\nvllm:kv_cache_usage_perc{model_name="m"} 0.5\n'
    seen = Reading("built-in").read(text, "bulkhead 0.1.0, transformers 5.23.0", at_ms=0)
    assert seen is not None and (seen.running, seen.kv_used, seen.source, seen.waiting) == (2, 0.5, "built-in", None)
