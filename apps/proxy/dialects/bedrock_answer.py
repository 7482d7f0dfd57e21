"""Whole answers of Converse as the pivot's. An answer has no id and no model's name: the first is made, the second is who was asked."""

from __future__ import annotations

import msgspec

from apps.proxy.dialects.bedrock_wire import (
    TIERS,
    WireBlock,
    blob_of,
    decode_answer,
    finish_of,
    pivot_usage,
    redacted_data,
)
from apps.proxy.dialects.pivot import head_of
from apps.proxy.dialects.translation import Completion, NotAnAnswer, Payload
from apps.proxy.dialects.wire_json import read_as


def pivot_answer(body: bytes, payload: Payload) -> Completion:
    """Raises NotAnAnswer."""
    answer = read_as(decode_answer, body, "the answer")
    message = answer.output.message if answer.output is not None else None
    if message is None or message.content is None or not answer.stop_reason:
        raise NotAnAnswer("the answer is no message with content and a stop reason")
    finish = finish_of(answer.stop_reason)
    texts: list[str] = []
    thoughts: list[str] = []
    blocks: list[Payload] = []
    calls: list[Payload] = []
    for block in message.content:
        _block(block, texts, thoughts, blocks, calls)
    said: Payload = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if thoughts:
        said["reasoning_content"] = "".join(thoughts)
    if blocks:
        said["thinking_blocks"] = blocks
    if calls:
        said["tool_calls"] = calls
    choice: Payload = {
        "index": 0,
        "message": said,
        "logprobs": None,
        "finish_reason": "stop" if finish == "tool_calls" and not calls else finish,
        "native_finish_reason": answer.stop_reason,
    }
    completion: Completion = {**head_of(payload, "chat.completion"), "choices": [choice]}
    if answer.usage is not None:
        completion["usage"] = pivot_usage(answer.usage)
    if answer.service_tier is not None and answer.service_tier.type in TIERS:
        completion["service_tier"] = answer.service_tier.type
    return completion


def _block(block: WireBlock, texts: list[str], thoughts: list[str], blocks: list[Payload], calls: list[Payload]) -> None:
    if block.text is not None:
        texts.append(block.text)
    elif block.tool_use is not None:
        call = block.tool_use
        if not call.tool_use_id or not call.name or call.type not in (None, "tool_use"):
            raise NotAnAnswer("a call without its id or name, or one that the provider answers")
        function = {"name": call.name, "arguments": input_text(call.input)}
        calls.append({"id": call.tool_use_id, "type": "function", "function": function})
    elif block.reasoning_content is not None:
        text, redacted = block.reasoning_content.reasoning_text, block.reasoning_content.redacted_content
        if text is not None:
            if text.text:
                thoughts.append(text.text)
            if text.signature:
                blocks.append({"type": "thinking", "thinking": text.text, "signature": text.signature})
        elif redacted is not None:
            blocks.append({"type": "redacted_thinking", "data": redacted_data(blob_of(redacted))})
        else:
            raise NotAnAnswer("a block of thinking that says nothing")
    elif block.citations_content is not None:
        texts.extend(part.text for part in block.citations_content.content or () if part.text)
    else:
        raise NotAnAnswer("a block that was not asked for, or that says nothing")


def input_text(raw: msgspec.Raw) -> str:
    """A call's input as arguments, as it was written. Raises NotAnAnswer where it is no object."""
    data = bytes(raw)
    if not data or data == b"null":
        return "{}"
    if data[:1] != b"{":
        raise NotAnAnswer("a call's input is no JSON object")
    return data.decode("utf-8", "replace")
