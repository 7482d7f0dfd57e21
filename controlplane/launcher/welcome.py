"""What ``up`` tells the person who started it: where to go, how to sign in, and a call that works as pasted."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

ENGINE_ROUTE = "tiny-llama"
TOUR = (
    "Then, on the dashboard: Break sim-east and watch sim-west answer; Connect a provider of your own; Remove demo when you are done.",
    "Real and simulated numbers never mix: the top bar says which you see.",
)


def welcome(facts: Mapping[str, Any], *, seconds: float, foreground: bool = True) -> str:
    """``facts``: ``up.json``'s."""
    login = facts.get("login") or {}
    how = "Ctrl-C stops it" if foreground else "`manage.py down` stops it"
    lines = [
        "",
        f"Bulkhead is up after {seconds:.1f} s. {how}; data stays in {facts['data_dir']}.",
        "",
        f"  Dashboard    {facts['web_url']}",
    ]
    if login:
        lines.append(f"  First login  {login['email']}  password {login['password']}")
    lines.append(f"  Proxy        {facts['proxy_url']}/v1")
    if own := facts.get("openai_key"):
        lines.append(f"  OpenAI key   {own['key']}  at most $5 a day, model {own['model']}")
    if facts.get("key"):
        lines += [f"  Virtual key  {facts['key']}", "", "Try it (the demo's providers are simulated):", "", curl_line(facts), ""]
        if facts.get("engine_model"):
            said = "And the built-in engine, streaming: nothing of it is simulated, but its weights are random, so it writes nonsense:"
            lines += [said, "", curl_line({**facts, "model": ENGINE_ROUTE}, stream=True), ""]
        lines += TOUR
    elif not own:
        lines += [
            "",
            "No keys yet: Connect a provider on the dashboard, or write a bulkhead.yaml (docs/config.md) and run",
            "`.venv/bin/python manage.py apply -f bulkhead.yaml`.",
        ]
    return "\n".join([*lines, ""])


def curl_line(facts: Mapping[str, Any], *, stream: bool = False) -> str:
    """A request that works as pasted into a shell."""
    wish = {"stream": True, "max_tokens": 40} if stream else {}
    body = json.dumps({"model": facts["model"], "messages": [{"role": "user", "content": "Hello"}], **wish})
    words = ["curl", "-sN" if stream else "-s", f"{facts['proxy_url']}/v1/chat/completions"]
    words += ["-H", f"Authorization: Bearer {facts['key']}", "-H", "Content-Type: application/json", "-d", body]
    return " ".join(shlex.quote(word) for word in words)
