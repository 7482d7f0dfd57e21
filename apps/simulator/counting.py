"""How the simulator counts tokens: deterministic, explainable, never above the UTF-8 bytes of the input.

One token per started ``BYTES_PER_TOKEN`` UTF-8 bytes of content, at least one per message or embedding input.

* A message's content is its text, or the texts of its parts added up. A part that is not text, the ``tool_calls``
  of an assistant's message and the request's ``tools`` count as the bytes of their compact JSON.
* An embedding input given as token ids counts as its length.
* An answer counts by the same rule: its text, or the arguments of its tool call. One that goes on from a beginning counts as the
  whole less that beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

BYTES_PER_TOKEN = 4

_encode = msgspec.json.Encoder().encode


def tokens_of_bytes(count: int) -> int:
    """Tokens of so many bytes; at least one."""
    return max(1, -(-count // BYTES_PER_TOKEN))


def text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _content_bytes(content: Any) -> int:
    if isinstance(content, str):
        return text_bytes(content)
    if content is None:
        return 0
    if isinstance(content, list):
        return sum(
            text_bytes(part["text"])
            if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
            else len(_encode(part))
            for part in content
        )
    return len(_encode(content))


def message_tokens(message: dict[str, Any]) -> int:
    """Prompt tokens of one chat message."""
    count = _content_bytes(message.get("content"))
    calls = message.get("tool_calls")
    if calls:
        count += len(_encode(calls))
    return tokens_of_bytes(count)


def prompt_tokens(messages: Sequence[dict[str, Any]], tools: Any = None) -> int:
    """Prompt tokens of a chat request."""
    count = sum(message_tokens(message) for message in messages)
    return count + tokens_of_bytes(len(_encode(tools))) if tools else count


def input_tokens(item: str | list[int]) -> int:
    """Tokens of one embedding input: a text, or token ids."""
    return tokens_of_bytes(text_bytes(item)) if isinstance(item, str) else max(1, len(item))


def text_tokens(text: str) -> int:
    """Completion tokens of a text; none for no text."""
    return tokens_of_bytes(text_bytes(text)) if text else 0
