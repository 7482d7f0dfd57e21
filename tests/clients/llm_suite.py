"""``llm``: models of its own list at the proxy, streamed and not, in a conversation, with a schema and with tools; and its command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

URL, KEY = os.environ["PROXY_URL"], os.environ["PROXY_KEY"]
KINDS = ("openai", "anthropic", "gemini")
ENTRY = """
- model_id: ours-{kind}
  model_name: by-{kind}
  api_base: {url}/v1
  api_key_name: ours
  supports_schema: true
  supports_tools: true
"""
HOME = Path(tempfile.mkdtemp())
(HOME / "extra-openai-models.yaml").write_text("".join(ENTRY.format(kind=kind, url=URL) for kind in KINDS))
(HOME / "keys.json").write_text(json.dumps({"ours": KEY}))
os.environ["LLM_USER_PATH"] = str(HOME)

import llm  # noqa: E402 (it reads its folder's name when it is imported)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streams", [True, False])
def test_a_conversation(kind: str, streams: bool) -> None:
    conversation = llm.get_model(f"ours-{kind}").conversation()
    first = conversation.prompt("Hello", stream=streams)
    pieces = list(first)
    assert "".join(pieces) == first.text() and (len(pieces) > 1) is streams
    second = conversation.prompt("Go on", stream=streams)
    assert second.text() and second.usage().input > first.usage().input > 0 and second.usage().output > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema(kind: str) -> None:
    schema = llm.schema_dsl("name, age int")
    found = json.loads(llm.get_model(f"ours-{kind}").prompt("A dog", schema=schema).text())
    assert isinstance(found["name"], str) and isinstance(found["age"], int)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streams", [True, False])
def test_tools(kind: str, streams: bool) -> None:
    asked: list[tuple[int, int]] = []

    def multiply(x: int, y: int) -> int:
        """Multiplies."""
        asked.append((x, y))
        return x * y

    chain = llm.get_model(f"ours-{kind}").chain("What is multiply(6, 7)?", tools=[multiply], stream=streams)
    assert chain.text() and asked == [(6, 7)]


def test_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llm", "-m", "ours-openai", "Hello"], env=os.environ, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
