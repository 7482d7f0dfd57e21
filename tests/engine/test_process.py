"""An engine as a process, over the backend without a model: how it starts and ends, and which models are refused before anything loads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from apps.engine.built_in.models import checked, pooling_of
from apps.engine.errors import UnfitModel
from controlplane.launcher.redis import free_port
from tests.engine.engines import ROOT

pytestmark = pytest.mark.kill
SCRIPT = """
import asyncio, sys, threading
from apps.engine.backend_fake import FakeBackend
from apps.engine.http.app import EngineApp
from apps.engine.http.server import Listen, serve

async def main(port, drain, how):
    backend = FakeBackend(unfit="it is unfit: take another" if how == "unfit" else "")
    if how == "slow":
        backend.may_load.clear()
    if how == "held":
        backend.hold.clear()
        asyncio.get_running_loop().call_later(1.0, backend.hold.set)
    if how == "dies":
        asyncio.get_running_loop().call_later(0.3, lambda: setattr(backend, "dead", "the thread died"))
    return await serve(EngineApp(backend, "echo"), Listen("127.0.0.1", port, drain))

sys.stdout.flush()
code = asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
sys.stderr.flush()
import os
os._exit(code)
"""


class Engine:
    def __init__(self, how: str, *, drain: float = 60.0, port: int = 0) -> None:
        self.port = port or free_port()
        argv = [sys.executable, "-c", SCRIPT, str(self.port), str(drain), how]
        self.process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=60)

    def until(self, status: int) -> None:
        for _ in range(3_000):
            try:
                if self.client.get("/health").status_code == status:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, self.ended()
            time.sleep(0.02)
        raise AssertionError(f"/health is never {status}")

    def ended(self) -> tuple[int, str]:
        said = self.process.communicate(timeout=60)[0]
        self.client.close()
        return self.process.returncode, said


def test_it_finishes_what_runs_and_ends() -> None:
    engine = Engine("held")
    engine.until(200)
    body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "stream": True}
    with engine.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        engine.process.send_signal(signal.SIGTERM)
        rest = list(lines)
    assert "data: [DONE]" in rest
    code, said = engine.ended()
    assert code == 0 and "serves echo" in said


def test_while_it_loads_it_says_so_and_ends_when_it_is_told() -> None:
    engine = Engine("slow")
    engine.until(503)
    engine.process.send_signal(signal.SIGTERM)
    assert engine.ended()[0] == 0


def test_what_cannot_serve_ends_with_a_reason() -> None:
    assert (ended := Engine("unfit").ended())[0] == 3 and "it is unfit: take another" in ended[1] and "Traceback" not in ended[1]
    assert (ended := Engine("dies").ended())[0] == 70 and "the thread died" in ended[1]
    holder = Engine("plain")
    holder.until(200)
    assert (ended := Engine("plain", port=holder.port).ended())[0] == 3 and f"cannot listen on 127.0.0.1:{holder.port}" in ended[1]
    holder.process.send_signal(signal.SIGTERM)
    assert holder.ended()[0] == 0


def test_the_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-m", "apps.engine", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    assert run()[0] == 3 and "built-in" in run("what")[1]
    assert run("built-in", "--name", "m", "--port", "1")[0] == 2
    assert run("built-in", "--model", str(tmp_path / "none"), "--name", "m", "--port", "1") == (
        3, f"engine: {tmp_path / 'none'} does not exist. Name the directory that has the model's config.json and weights.\n",
    )  # fmt: skip


def test_models_are_looked_at_before_anything_loads(tmp_path: Path) -> None:
    model = tmp_path / "m"
    model.mkdir()

    def refused(words: str) -> None:
        with pytest.raises(UnfitModel) as unfit:
            checked(str(model))
        assert words in str(unfit.value)

    refused("no config.json")
    for content, words in ((b"{", "not JSON"), (b"[" * 100_000, "not JSON"), (b"[]", "not a JSON object"), (b"\xff", "not JSON")):
        (model / "config.json").write_bytes(content)
        refused(words)
    (model / "config.json").write_text("{}")
    refused("holds no weights")
    (model / "pytorch_model.bin").write_bytes(b"x")
    refused("pickled weights (pytorch_model.bin)")
    (model / "model.safetensors").write_bytes(b"x")
    assert checked(str(model)) == model
    (model / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["t.T", None]}}))
    refused("auto_map")
    assert checked("organisation/model") is None
    with pytest.raises(UnfitModel, match="does not exist"):
        checked("no model")


def test_pooling_follows_the_models_files(tmp_path: Path) -> None:
    assert (pooling_of(tmp_path, causal=True), pooling_of(tmp_path, causal=False), pooling_of(None, causal=True)) == (
        "last",
        "mean",
        "last",
    )
    (tmp_path / "1_Pooling").mkdir()
    file = tmp_path / "1_Pooling" / "config.json"
    file.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    assert pooling_of(tmp_path, causal=False) == "cls"
    file.write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(UnfitModel, match="does not do"):
        pooling_of(tmp_path, causal=False)
