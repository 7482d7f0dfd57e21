"""Whole answers of the Messages API and the pivot's, each as the other's."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from typing import Any

from apps.proxy.dialects.anthropic_wire import (
    SIGNATURE_IN_ID,
    STRUCTURED_TOOL,
    WireBlock,
    decode_message,
    input_text,
    json_object,
    pivot_usage,
    plain_id,
    wire_usage,
)
from apps.proxy.dialects.translation import Completion, NotAnAnswer, Payload

FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""The pivot's word for each stop reason."""
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use", "content_filter": "refusal"}


def is_structured(payload: Payload) -> bool:
    """Whether a call of STRUCTURED_TOOL in the answer is the answer itself, not one of the app's tools."""
    wanted = payload.get("response_format")
    if type(wanted) is not dict or wanted.get("type") != "json_schema":
        return False
    tools = payload.get("tools")
    functions = [tool.get("function") for tool in tools if type(tool) is dict] if type(tools) is list else []
    return all(type(function) is not dict or function.get("name") != STRUCTURED_TOOL for function in functions)


def pivot_answer(body: bytes, payload: Payload) -> Completion:
    """Raises NotAnAnswer."""
    message = decode_message(body)
    if message.error is not None:
        raise NotAnAnswer(f"an error instead of an answer: {message.error.message or message.error.type}")
    if message.type != "message" or message.content is None or message.stop_reason is None:
        raise NotAnAnswer("the answer is no message with content and a stop reason")
    structured = is_structured(payload)
    texts: list[str] = []
    thoughts: list[Payload] = []
    calls: list[Payload] = []
    stopped = message.stop_reason
    for block in message.content:
        if block.type == "text" and block.text is not None:
            texts.append(block.text)
        elif block.type in ("thinking", "redacted_thinking"):
            thoughts.append(thought(block))
        elif block.type == "tool_use" and block.id and block.name:
            arguments = input_text(block.input)
            if arguments is None:
                raise NotAnAnswer("a call's input is no JSON object")
            if structured and block.name == STRUCTURED_TOOL:
                texts = [arguments]  # what it said before calling is no part of what was asked for
                stopped = "end_turn" if stopped == "tool_use" else stopped
            else:
                calls.append({"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}})
        else:
            raise NotAnAnswer(f"a block of type {block.type!r} that was not asked for, or that says nothing")
    if calls and stopped == "end_turn" and message.stop_reason == "tool_use":
        stopped = "tool_use"
    said: Payload = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if message.stop_details is not None and message.stop_details.explanation:
        said["refusal"] = message.stop_details.explanation
    if thoughts:
        text = "".join(block.get("thinking", "") for block in thoughts)
        if text:
            said["reasoning_content"] = text
        said["thinking_blocks"] = thoughts
    if calls:
        said["tool_calls"] = calls
    choice: Payload = {
        "index": 0,
        "message": said,
        "logprobs": None,
        "finish_reason": FINISHES.get(stopped, "stop"),
        "native_finish_reason": message.stop_reason,
    }
    if message.stop_sequence is not None:
        choice["stop_sequence"] = message.stop_sequence
    completion: Completion = {
        "id": message.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": message.model,
        "choices": [choice],
    }
    if message.usage is not None:
        completion["usage"] = pivot_usage(message.usage)
        if message.usage.service_tier == "batch":
            completion["service_tier"] = "batch"
    return completion


def thought(block: WireBlock) -> Payload:
    """A block of thinking as it must be given back. Raises NotAnAnswer."""
    if block.type == "redacted_thinking":
        if block.data is None:
            raise NotAnAnswer("a block of redacted thinking without its data")
        return {"type": "redacted_thinking", "data": block.data}
    return {"type": "thinking", "thinking": block.thinking or "", "signature": block.signature or ""}


def app_answer(completion: Completion, asked: Payload) -> Payload:
    """The pivot's answer as a message. Raises NotAnAnswer where a call's arguments are no JSON object, or there is no choice at all.

    asked: the app's own request; thinking that it wants left out is.
    """
    choices = completion.get("choices")
    choice = choices[0] if type(choices) is list and choices else None
    message = choice.get("message") if type(choice) is dict else None
    if type(choice) is not dict or type(message) is not dict:
        raise NotAnAnswer("the answer has no choice with a message")
    finish = choice.get("finish_reason")
    thinking, text = plain_parts(message.get("content"))
    content = thought_blocks(message, thinking, hidden=hides_thinking(asked))
    if text:
        content.append({"type": "text", "text": text})
    refusal = message.get("refusal")
    refusal = refusal if type(refusal) is str and refusal else None
    if refusal and finish != "content_filter":
        content.append({"type": "text", "text": refusal})
    own_id = message_id(completion.get("id"))
    called = False
    calls = message.get("tool_calls")
    for number, call in enumerate(calls if type(calls) is list else ()):
        content.append(_call(call, f"toolu_{own_id}_{number}", cut=finish == "length"))
        called = True
    met = stop_sequence(choice, asked)
    stop = stop_reason(choice, met, called=called)
    return {
        "id": own_id,
        "type": "message",
        "role": "assistant",
        "model": str(completion.get("model") or asked.get("model") or ""),
        "content": content,
        "stop_reason": "refusal" if refusal and not called else stop,
        "stop_sequence": met,
        "stop_details": stop_details(refusal) if finish == "content_filter" else None,
        "usage": wire_usage(completion.get("usage")),
    }


def _call(call: object, spare_id: str, *, cut: bool) -> Payload:
    function = call.get("function") if type(call) is dict else None
    if type(call) is not dict or type(function) is not dict or type(function.get("name")) is not str:
        raise NotAnAnswer("a call that names no function")
    arguments = function.get("arguments")
    said = json_object(arguments or "") if arguments is None or type(arguments) is str else None
    if said is None:
        if not cut:
            raise NotAnAnswer("a call's arguments are no JSON object")
        said = {}  # the cap cut them off: the stop reason says so
    return {"type": "tool_use", "id": call_id(call, spare_id), "name": function["name"], "input": said}


def call_id(call: Payload, spare_id: str) -> str:
    """The call's id as apps get it, its signature behind it where it has one."""
    own = call.get("id")
    own = plain_id(own) if type(own) is str and own else spare_id
    signature = call.get("signature")
    if type(signature) is not str or not signature:
        return own
    return f"{own}{SIGNATURE_IN_ID}{urlsafe_b64encode(signature.encode('utf-8', 'replace')).decode().rstrip('=')}"


def hides_thinking(asked: Payload) -> bool:
    thinking = asked.get("thinking")
    return type(thinking) is dict and thinking.get("display") == "omitted"


def thought_blocks(message: Payload, thinking: str, *, hidden: bool) -> list[Payload]:
    """Thinking as blocks: signed where it is; text of a provider that signs nothing as one block without a signature.

    thinking: what was found of it among the answer's parts.
    """
    blocks = message.get("thinking_blocks")
    said: list[Payload] = []
    for block in blocks if type(blocks) is list else ():
        kind = block.get("type") if type(block) is dict else None
        if kind == "redacted_thinking" and type(block.get("data")) is str:
            said.append({"type": kind, "data": block["data"]})
        elif kind == "thinking":
            text, signature = block.get("thinking"), block.get("signature")
            shown = text if type(text) is str and not hidden else ""
            said.append({"type": kind, "thinking": shown, "signature": signature if type(signature) is str else ""})
    reasoning = message.get("reasoning_content") or message.get("reasoning") or thinking
    if not said and type(reasoning) is str and reasoning:
        said.append({"type": "thinking", "thinking": "" if hidden else reasoning, "signature": ""})
    return said


def plain_parts(content: object) -> tuple[str, str]:
    """(thinking, text) of an answer, also where a server gives them in parts (Mistral)."""
    if type(content) is str:
        return "", content
    thoughts: list[str] = []
    texts: list[str] = []
    for part in content if type(content) is list else ():
        kind = part.get("type") if type(part) is dict else None
        if kind == "text" and type(part.get("text")) is str:
            texts.append(part["text"])
        elif kind == "thinking":
            inner = part.get("thinking")
            thoughts.append(inner if type(inner) is str else plain_parts(inner)[1])
    return "".join(thoughts), "".join(texts)


def stop_reason(choice: Payload, met: str | None, *, called: bool) -> str:
    """Anthropic's word. Its own is kept where a provider of this format gave it and it means the same. met: the stop sequence that was."""
    finish, native = choice.get("finish_reason"), choice.get("native_finish_reason")
    if type(native) is str and native in FINISHES and FINISHES[native] == finish:
        return native
    if called and finish in ("stop", "tool_calls"):  # some servers say "stop" after a call that was forced
        return "tool_use"
    if finish == "stop" and met is not None:
        return "stop_sequence"
    return _STOPS.get(finish, "end_turn") if type(finish) is str else "end_turn"


def stop_sequence(choice: Payload, asked: Payload) -> str | None:
    """The one that was met: as the pivot says it, or as engines do (vLLM, SGLang) where it is one that was asked for."""
    met = choice.get("stop_sequence")
    if type(met) is str:
        return met
    stops = asked.get("stop_sequences")
    for name in ("stop_reason", "matched_stop"):
        met = choice.get(name)
        if type(met) is str and type(stops) is list and met in stops:
            return met
    return None


def stop_details(explanation: str | None) -> dict[str, Any] | None:
    return {"type": "refusal", "category": None, "explanation": explanation} if explanation else None


def message_id(value: object) -> str:
    own = plain_id(value) if type(value) is str and value else "unknown"
    return own if own.startswith("msg_") else f"msg_{own}"
