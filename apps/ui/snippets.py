"""First calls to copy: curl, Python and Node with the stock SDKs, at this installation's proxy. Pure.

The key is read from ``BULKHEAD_KEY``, so that no snippet holds a secret. A name of a route may hold anything: each language
quotes it its own way.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snippet:
    """``name``: for ids. ``label``: what a person calls it."""

    name: str
    label: str
    text: str


def snippets(*, proxy_url: str, model: str) -> list[Snippet]:
    """One short chat completion in each language. ``proxy_url``: without ``/v1``."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]}, ensure_ascii=False)
    base = f"{proxy_url.rstrip('/')}/v1"
    curl = (
        f"curl {shlex.quote(base + '/chat/completions')} \\\n"
        '  -H "Authorization: Bearer $BULKHEAD_KEY" -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(body)}"
    )
    python = (
        "# pip install openai\n"
        "import os\n"
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url={_quoted(base)}, api_key=os.environ["BULKHEAD_KEY"])\n'
        "answer = client.chat.completions.create(\n"
        f"    model={_quoted(model)},\n"
        '    messages=[{"role": "user", "content": "Hello"}],\n'
        ")\n"
        "print(answer.choices[0].message.content)"
    )
    node = (
        "// npm install openai\n"
        'import OpenAI from "openai";\n\n'
        f"const client = new OpenAI({{ baseURL: {_quoted(base)}, apiKey: process.env.BULKHEAD_KEY }});\n"
        "const answer = await client.chat.completions.create({\n"
        f"  model: {_quoted(model)},\n"
        '  messages: [{ role: "user", content: "Hello" }],\n'
        "});\n"
        "console.log(answer.choices[0].message.content);"
    )
    return [Snippet("curl", "curl", curl), Snippet("python", "Python", python), Snippet("node", "Node", node)]


def _quoted(text: str) -> str:
    """A string that Python and JavaScript read alike."""
    return json.dumps(text)
