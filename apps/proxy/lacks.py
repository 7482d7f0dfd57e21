"""What a request asks of a model that not every model has, and whether targets lack it.

``Lacks`` is made when a config is compiled: the fields of a request that could ask for something that some target of a route is known not
to have. A request with none of them, which is nearly every one, is told apart by one comparison of sets; what the others ask for is then
read exactly (``needs_of``). What is not known of a model is never taken for a no.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

_FIELDS = {
    "tools": ("tools", "functions"),
    "json_schema": ("response_format",),
    "parallel_tools": ("parallel_tool_calls",),
    "audio": ("modalities", "audio"),
    "reasoning": ("reasoning_effort", "thinking"),
    "logprobs": ("logprobs", "top_logprobs"),
    "seed": ("seed",),
    "n": ("n",),
    "streaming": ("stream",),
}
"""Fields of a chat completion that may ask for it."""
_PARTS = {"image_url": "images", "file": "documents", "input_audio": "audio"}
"""Types of message parts."""
_IN_MESSAGES = frozenset({*_PARTS.values(), "prefill"})


class Lacks:
    """fields: a request with one of them may ask for something that a target lacks. parts: so may one with parts that are no text, or whose
    last message is the assistant's. output: a cap that the app sets above it is more than some target gives, 0: none is known."""

    __slots__ = ("fields", "output", "parts")

    def __init__(self, fields: frozenset[str], parts: bool, output: int) -> None:
        self.fields = fields
        self.parts = parts
        self.output = output

    @classmethod
    def of(cls, targets: Sequence[CompiledTarget]) -> Lacks | None:
        """None: nothing is known that a target lacks."""
        names: frozenset[str] = frozenset().union(*(target.cannot for target in targets)) - {"caching"}
        output = min((target.max_output for target in targets if target.max_output), default=0)
        if not names and not output:
            return None
        return cls(frozenset(field for name in names for field in _FIELDS.get(name, ())), not names.isdisjoint(_IN_MESSAGES), output)

    def may_concern(self, exchange: Exchange) -> bool:
        """Whether targets have to be asked one by one; False for nearly every request."""
        if exchange.kind != "chat":
            return False
        payload = exchange.payload
        if not self.fields.isdisjoint(payload):
            return True
        if self.output and exchange.max_output > self.output and not exchange.cap_injected:
            return True
        if not self.parts:
            return False
        # images and files were counted on top of the body's bytes, or the bound was given up for them
        return exchange.input_bound != len(exchange.body) or bool(exchange.unbounded) or _begun(payload)


def needs_of(exchange: Exchange) -> frozenset[str]:
    """What a request asks of a model, as ``apps.contracts.model_facts.CAPABILITIES`` has it."""
    if exchange.kind != "chat":
        return frozenset()
    payload: dict[str, Any] = exchange.payload
    needs = set()
    if payload.get("tools") or payload.get("functions"):
        needs.add("tools")
        if payload.get("parallel_tool_calls") is True:
            needs.add("parallel_tools")
    wanted = payload.get("response_format")
    if type(wanted) is dict and wanted.get("type") == "json_schema":
        needs.add("json_schema")
    if payload.get("reasoning_effort") not in (None, "none") or _thinks(payload.get("thinking")):
        needs.add("reasoning")
    if payload.get("logprobs") is True or payload.get("top_logprobs"):
        needs.add("logprobs")
    if payload.get("seed") is not None:
        needs.add("seed")
    if exchange.n > 1:
        needs.add("n")
    if exchange.stream:
        needs.add("streaming")
    modalities = payload.get("modalities")
    if payload.get("audio") is not None or (type(modalities) is list and "audio" in modalities):
        needs.add("audio")
    if _begun(payload):
        needs.add("prefill")
    for message in payload.get("messages", ()):
        content = message.get("content") if type(message) is dict else None
        if type(content) is list:
            for part in content:
                kind = part.get("type") if type(part) is dict else None
                if type(kind) is str and kind in _PARTS:
                    needs.add(_PARTS[kind])
    return frozenset(needs)


def _thinks(thinking: Any) -> bool:
    kind = thinking.get("type") if type(thinking) is dict else thinking
    return kind in ("enabled", "adaptive")


def _begun(payload: dict[str, Any]) -> bool:
    """Whether the app has begun the answer: its last message is the assistant's, and calls no tool."""
    messages = payload.get("messages")
    last = messages[-1] if type(messages) is list and messages else None
    return type(last) is dict and last.get("role") == "assistant" and not last.get("tool_calls")
