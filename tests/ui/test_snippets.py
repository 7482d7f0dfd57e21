"""First calls to copy: each language quotes a name its own way, and none holds a secret."""

from __future__ import annotations

import ast
import json
import shlex

import pytest

from apps.ui.snippets import snippets

NAMES = ("demo-chat", "it's", 'say "hi"', "$(rm -rf /)", "back\\slash", "new\nline", "`id`", "日本語", "</script>")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_reaches_the_call_unchanged(name: str) -> None:
    curl, python, node = snippets(proxy_url="http://127.0.0.1:8080/", model=name)
    words = shlex.split(curl.text.replace("\\\n", " "))
    assert words[1] == "http://127.0.0.1:8080/v1/chat/completions" and json.loads(words[-1])["model"] == name
    call = next(node for node in ast.walk(ast.parse(python.text)) if isinstance(node, ast.keyword) and node.arg == "model")
    assert isinstance(call.value, ast.Constant) and call.value.value == name
    line = next(line for line in node.text.splitlines() if line.strip().startswith("model: "))
    assert json.loads(line.strip().removeprefix("model: ").removesuffix(",")) == name
    assert all("BULKHEAD_KEY" in call.text for call in (curl, python, node))
