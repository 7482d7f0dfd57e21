"""Command lines: what an order may say and what it may not, how memory is promised, who takes which token."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apps.agent.artifacts import Unfit
from apps.agent.engines import ENGINES
from apps.agent.engines.command import RECIPES, recipes_read
from apps.agent.engines.protocol import EngineSettings, Launch, Place, Recipe
from apps.agent.settings import settings_read
from apps.contracts.env import Reader, SettingError
from apps.contracts.fleet import Artifact
from tests.agent.worker import spec

GIB = 2**30
SETTINGS = EngineSettings(vllm=sys.executable, recipes={**RECIPES, "mine": Recipe((sys.executable, "{port}", "{arguments}"))})
PLACE = Place("127.0.0.1", 30_000, "/models/m", {"GPU-a": 80 * GIB, "GPU-b": 80 * GIB}, 45.0)


def launched(engine: str, **changes: Any) -> Launch:
    return ENGINES[engine].launch(spec(engine=engine, **changes), PLACE, SETTINGS)


def after(launch: Launch, flag: str) -> str:
    return launch.argv[launch.argv.index(flag) + 1]


def test_vllm() -> None:
    path = Artifact(source="path", location="/models/m")
    plain = launched("vllm", artifact=path)
    assert plain.argv[1:3] == ("serve", "/models/m") and after(plain, "--load-format") == "safetensors"
    assert plain.model == "chat" and after(plain, "--served-model-name") == "chat"
    assert not {"--trust-remote-code", "--shutdown-timeout", "--gpu-memory-utilization"} & set(plain.argv) and not plain.finishes
    rich = launched(
        "vllm", artifact=msgspec.structs.replace(path, allow_remote_code=True), gpus=["GPU-a", "GPU-b"], gpu_memory=20 * GIB,
        engine_version="0.18.0", bearer="b" * 32, arguments={"--max-model-len": "4096", "--enforce-eager": None},
    )  # fmt: skip
    assert "--trust-remote-code" in rich.argv and after(rich, "--tensor-parallel-size") == "2"
    assert after(rich, "--gpu-memory-utilization") == "0.250" and after(rich, "--shutdown-timeout") == "45" and rich.finishes
    assert rich.argv[-2:] == ("--enforce-eager", "--max-model-len=4096")
    assert rich.environment["VLLM_API_KEY"] == "b" * 32 and "b" * 32 not in rich.argv
    hub = launched("vllm", artifact=Artifact(source="hub", location="a/b", revision="main"))
    assert "--revision" not in hub.argv, "the agent fetched the files of that revision"


@pytest.mark.parametrize(
    "arguments",
    [{"--middleware": "os.system"}, {"--host": "0.0.0.0"}, {"--trust-remote-code": None}, {"--tool-call-parser": "/tmp/evil.py"},
     {"--max-model-len": "4096\n--host"}, {"--gpu-memory-utilization": "0.9"}, {"--gpu-memory-utilization": "much"}, {"serve": None}],
)  # fmt: skip
def test_vllm_refuses(arguments: dict[str, str | None]) -> None:
    with pytest.raises(Unfit) as refused:
        launched("vllm", artifact=Artifact(source="path", location="/models/m"), arguments=arguments, gpus=["GPU-a"], gpu_memory=20 * GIB)
    assert refused.value.reason == "argument_refused" and refused.value.message


def test_command_fills_in_words_and_never_a_shell() -> None:
    evil = "m; rm -rf / {port} $(id)"
    settings = SETTINGS._replace(recipes={"r": RECIPES["llama-server"]._replace(argv=(sys.executable, *RECIPES["llama-server"].argv[1:]))})
    how = ENGINES["command"].launch(
        spec(engine="command", recipe="r", model=evil, bearer="b" * 32, arguments={"--ctx-size": "-1 --host x"}), PLACE, settings
    )
    assert after(how, "--alias") == evil and how.argv[-1] == "--ctx-size=-1 --host x" and after(how, "--port") == "30000"
    assert how.environment["LLAMA_API_KEY"] == "b" * 32 and how.vocabulary == "llama-server"


def test_sglang_takes_its_token_where_no_list_of_processes_shows_it(tmp_path: Path) -> None:
    """With a stand-in for SGLang that says what it was started with: SGLang itself is not installed here."""
    place = tmp_path / "sglang"
    place.mkdir()
    (place / "__init__.py").touch()
    said = (
        "import os, sys; print(sys.argv[1:]); print(open('/proc/self/cmdline').read().split(chr(0))); print('SGLANG_BEARER' in os.environ)"
    )
    (place / "launch_server.py").write_text(said)
    settings = SETTINGS._replace(recipes={"sglang": RECIPES["sglang"]._replace(argv=(sys.executable, *RECIPES["sglang"].argv[1:]))})
    secret = "bhr_" + "s" * 43
    how = ENGINES["command"].launch(spec(engine="command", recipe="sglang", bearer=secret), PLACE, settings)
    run = subprocess.run(how.argv, env={**how.environment, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    argv, listed, left = run.stdout.splitlines()
    assert "'--api-key', '" + secret in argv and "'--model-path'" in argv
    assert secret not in listed and left == "False"


def test_recipes_of_the_operator(tmp_path: Path) -> None:
    file = tmp_path / "recipes.toml"
    file.write_text('[mine]\ncommand = ["srv", "--port", "{port}"]\nmetrics = "vllm"\narguments = ["--x"]\n')
    found = recipes_read(file)
    assert found["mine"].arguments == {"--x"} and found.keys() == {"mine", *RECIPES}
    for text, words in (
        ('[mine]\ncommand = ["srv"]\n', "{port}"),
        ('[mine]\ncommand = "srv {port}"\n', "list of words"),
        ('[mine]\ncommand = ["srv", "{port}", "{home}"]\n', "{home}"),
        ('[mine]\ncommand = ["srv", "{port}"]\nshell = true\n', "shell"),
        ('[mine]\ncommand = ["srv", "{port}"]\nmetrics = "mine"\n', "none of"),
        ("[Mine]\n", "lower case"),
        ("mine = 3\n", "table"),
        ("[mine\n", "recipes.toml"),
    ):
        file.write_text(text)
        with pytest.raises(SettingError) as refused:
            recipes_read(file)
        assert words in str(refused.value)
    with pytest.raises(SettingError, match="cannot be read"):
        recipes_read(tmp_path / "none.toml")


BASE = {"BULKHEAD_CONTROL_URL": "https://control.example.com", "BULKHEAD_AGENT_ADDRESS": "10.0.0.7"}


def test_settings() -> None:
    found = settings_read(Reader({**BASE, "BULKHEAD_AGENT_NAME": "GPU Box_1", "BULKHEAD_AGENT_LABELS": "gpu=h200, rack=r1"}))
    assert found.name == "gpu-box-1" and found.labels == {"gpu": "h200", "rack": "r1"} and found.token == "" and found.listen == "0.0.0.0"
    assert found.engines.models == (Path("/models"),) and "sglang" in found.engines.recipes


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("BULKHEAD_CONTROL_URL", "control", "no URL"), ("BULKHEAD_CONTROL_URL", "http://control.example.com", "clear text"),
     ("BULKHEAD_AGENT_GPUS", "all", "auto, none"), ("BULKHEAD_AGENT_LABELS", "gpu", "name=value"),
     ("BULKHEAD_AGENT_NAME", "---", "no letter"),
     ("BULKHEAD_AGENT_ENGINE_ENV", "BULKHEAD_AGENT_TOKEN", "cannot be passed"), ("BULKHEAD_AGENT_ORPHAN_SECONDS", "soon", "whole number")],
)  # fmt: skip
def test_settings_that_cannot_be_used(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingError) as refused:
        settings_read(Reader({**BASE, name: value}))
    assert words in str(refused.value)
