"""``make up-engine``'s parts, whole: the tiny model made, the built-in engine started by this machine's agent, the stock SDK streaming
through the proxy, and nothing left afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from controlplane.launcher import engine
from tests.launcher.conftest import Bulkhead
from tests.scale import FULL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kill,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(not FULL, reason="the built-in engine runs under make accept"),
    pytest.mark.skipif(
        engine.interpreter() is None, reason="python deploy/engine.py was not run, or could not fetch the engine's packages: NOT TESTED"
    ),
]


def engines(data_dir: Path) -> list[str]:
    """Command lines of engines that were started below this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if "apps.engine" in line and str(data_dir) in line:
                found.append(line)
    return found


def test_the_stock_sdk_streams_from_the_built_in_engine(make_bulkhead: Callable[[], Bulkhead]) -> None:
    bulkhead = make_bulkhead()
    up = bulkhead.manage(
        "up", "--detach", "--engine", "--quiet-demo", "--web-port", str(bulkhead.web_port), "--proxy-port", str(bulkhead.proxy_port),
        timeout=1_200,
    )  # fmt: skip
    assert up.returncode == 0 and "tiny-llama is served" in up.stdout and "weights are random" in up.stdout, up.stdout + up.stderr
    facts = bulkhead.facts
    assert len(engines(bulkhead.data_dir)) >= 1
    client = openai.OpenAI(base_url=f"{facts['proxy_url']}/v1", api_key=facts["key"], timeout=120, max_retries=5)
    stream = client.chat.completions.create(
        model="tiny-llama", messages=[{"role": "user", "content": "Hello"}], stream=True, max_tokens=32,
        stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
    )  # fmt: skip
    chunks = list(stream)
    text = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(text) > 10, "it came in pieces"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 32
    whole = client.chat.completions.create(model="tiny-llama", messages=[{"role": "user", "content": "Hello"}], max_tokens=4, temperature=0)
    assert whole.choices[0].finish_reason in ("length", "stop") and whole.usage is not None and whole.usage.prompt_tokens > 0
    assert bulkhead.down().returncode == 0
    assert engines(bulkhead.data_dir) == [] and bulkhead.processes() == []
