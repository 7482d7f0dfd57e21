"""What of a Responses request everybody can be told, for choosing and counting: it is never sent.

A request that only a provider of this format can be told (its tools, its stored conversations and files, its prompts) still reaches one
as the app wrote it. What lies before the call (plans, limits, records) knows such a request by this outline.
"""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects.translation import Asked, Payload
from apps.proxy.dialects.wire_json import written

_SAME = ("model", "stream", "metadata", "user", "service_tier", "parallel_tool_calls", "temperature", "top_p")


def outline(body: Payload) -> Asked:
    """The input's JSON stands for its words, so that its size counts; tools stand for themselves by their types."""
    said: dict[str, Any] = {"input": body.get("input"), "instructions": body.get("instructions"), "tools": body.get("tools")}
    payload: Payload = {name: body[name] for name in _SAME if name in body}
    payload["messages"] = [{"role": "user", "content": written(said).decode()}]
    if body.get("max_output_tokens") is not None:
        payload["max_completion_tokens"] = body["max_output_tokens"]
    tools = body.get("tools")
    if type(tools) is list:
        kinds = [tool["type"] for tool in tools if type(tool) is dict and type(tool.get("type")) is str]
        payload["tools"] = [{"type": kind, **({"function": {"name": "any"}} if kind == "function" else {})} for kind in kinds]
    return Asked(payload)
