"""Gemini's answers as chat completions. Source: Google's reference of the Gemini API (``GenerateContentResponse``)."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from apps.proxy.dialects.gemini_fields import MAKER
from apps.proxy.dialects.gemini_words import BROKEN, FINISHED, NOT_YET, PROMPT_BLOCKED
from apps.proxy.dialects.translation import Completion, NotAnAnswer

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
NOTHING = msgspec.Raw(b"")
_TIERS = {"flex": "flex", "priority": "priority", "standard": "default", "ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}


class Named(msgspec.Struct, rename="camel"):
    """Fields as Google names them; those that decide nothing are not read at all."""


class Call(Named):
    name: str = ""
    args: msgspec.Raw = NOTHING
    id: str | None = None
    will_continue: bool | None = None


class Part(Named):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: Call | None = None
    inline_data: msgspec.Raw = NOTHING
    file_data: msgspec.Raw = NOTHING
    executable_code: msgspec.Raw = NOTHING
    code_execution_result: msgspec.Raw = NOTHING
    tool_call: msgspec.Raw = NOTHING
    tool_response: msgspec.Raw = NOTHING


class Content(Named):
    parts: list[Part] | None = None


class Chosen(Named):
    token: str = ""
    log_probability: float | None = None


class Top(Named):
    candidates: list[Chosen] | None = None


class Logprobs(Named):
    chosen_candidates: list[Chosen] | None = None
    top_candidates: list[Top] | None = None


class Candidate(Named):
    index: int | None = None
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    logprobs_result: Logprobs | None = None


class Count(Named):
    modality: str = ""
    token_count: int | None = None


class Usage(Named):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    prompt_tokens_details: list[Count] | None = None
    candidates_tokens_details: list[Count] | None = None
    service_tier: str | None = None
    traffic_type: str | None = None


class Feedback(Named):
    block_reason: str | None = None
    block_reason_message: str | None = None


class Said(Named):
    """A ``GenerateContentResponse``: a whole answer, or one event of a stream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: msgspec.Raw = NOTHING
    """A ``Usage``; of a stream's only the last one is read."""
    model_version: str | None = None
    response_id: str | None = None
    create_time: str | None = None
    error: msgspec.Raw = NOTHING


decode_said = msgspec.json.Decoder(Said).decode
_decode_usage = msgspec.json.Decoder(Usage).decode


class Told(NamedTuple):
    """What parts say, in the order of the pivot's fields. calls: as tool calls, without their index."""

    text: str
    thoughts: str
    blocks: list[dict[str, Any]]
    calls: list[dict[str, Any]]


def says(raw: msgspec.Raw) -> bool:
    return raw is not NOTHING and bytes(raw) not in (b"null", b"")


def parts_told(parts: list[Part], identity: str, before: int) -> Told:
    """identity: opens the ids of calls that have none. before: how many calls came before these. Raises NotAnAnswer."""
    text, thoughts = "", ""
    blocks: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for part in parts:
        signature = part.thought_signature
        if (call := part.function_call) is not None:
            calls.append(_call(call, signature, f"{identity}_{before + len(calls)}"))
            continue
        words = part.text
        if words is None:
            _unread(part)
            words = ""
        if part.thought:
            thoughts += words
            if signature:
                blocks.append({"type": "thinking", "thinking": words, "signature": MAKER + signature})
            continue
        text += words
        if signature:
            blocks.append({"type": "thinking", "thinking": "", "signature": MAKER + signature})
    return Told(text, thoughts, blocks, calls)


def _call(call: Call, signature: str | None, identity: str) -> dict[str, Any]:
    if not call.name:
        raise NotAnAnswer("a function call has no name")
    if call.will_continue:
        raise NotAnAnswer("a function call is not whole")
    arguments = "{}"
    if says(call.args):
        if not bytes(call.args).startswith(b"{"):
            raise NotAnAnswer("a function call's arguments are no object")
        try:
            arguments = msgspec.json.format(bytes(call.args), indent=-1).decode()
        except UNREADABLE:
            raise NotAnAnswer("a function call's arguments are not UTF-8") from None
    made = {"id": call.id or identity, "type": "function", "function": {"name": call.name, "arguments": arguments}}
    if signature:
        made["signature"] = signature
    return made


def _unread(part: Part) -> None:
    """Parts that only Google's own tools and image models make: none of them can be asked for through chat completions."""
    for name in ("inline_data", "file_data", "executable_code", "code_execution_result", "tool_call", "tool_response"):
        if says(getattr(part, name)):
            raise NotAnAnswer(f"a part of an answer is {name.replace('_', ' ')}, which chat completions cannot say")


def finish_of(candidate: Candidate, called: bool) -> str:
    """Raises NotAnAnswer where the model failed to say anything."""
    reason = candidate.finish_reason or ""
    if reason in BROKEN:
        raise NotAnAnswer(f"the model ended with {reason}: {(candidate.finish_message or 'nothing more is said')[:200]}")
    finish = FINISHED.get(reason, "content_filter")
    return "tool_calls" if called and finish == "stop" else finish


def logprobs_of(result: Logprobs | None) -> dict[str, Any] | None:
    if result is None or not result.chosen_candidates:
        return None
    tops = result.top_candidates or []
    content = []
    for number, chosen in enumerate(result.chosen_candidates):
        one = _logprob(chosen)
        others = tops[number].candidates if number < len(tops) else None
        one["top_logprobs"] = [_logprob(other) for other in others or ()]
        content.append(one)
    return {"content": content, "refusal": None}


def _logprob(chosen: Chosen) -> dict[str, Any]:
    return {
        "token": chosen.token,
        "logprob": chosen.log_probability if chosen.log_probability is not None else 0.0,
        "bytes": list(chosen.token.encode()),
    }


def usage_put(raw: msgspec.Raw, said: dict[str, Any]) -> None:
    """``usage``, and ``service_tier`` where it is told. Raises NotAnAnswer."""
    try:
        usage = _decode_usage(raw)
    except UNREADABLE as error:
        raise NotAnAnswer(f"the usage cannot be read: {error}") from None
    said["usage"] = usage_of(usage)
    tier = _TIERS.get(usage.service_tier or "") or _TIERS.get(usage.traffic_type or "")
    if tier is not None:
        said["service_tier"] = tier


def usage_of(usage: Usage) -> dict[str, Any]:
    """What tools of Google's put into the prompt is input too, and what the model thought is output."""
    prompt = _count(usage.prompt_token_count) + _count(usage.tool_use_prompt_token_count)
    thoughts = _count(usage.thoughts_token_count)
    completion = _count(usage.candidates_token_count) + thoughts
    prompt_details = {"cached_tokens": min(prompt, _count(usage.cached_content_token_count))}
    completion_details = {"reasoning_tokens": thoughts}
    _modalities(usage.prompt_tokens_details, prompt_details)
    _modalities(usage.candidates_tokens_details, completion_details)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }


def _count(tokens: int | None) -> int:
    return max(0, tokens or 0)


def _modalities(counts: list[Count] | None, details: dict[str, int]) -> None:
    for one in counts or ():
        if one.modality in ("AUDIO", "IMAGE") and one.token_count:
            details[f"{one.modality.lower()}_tokens"] = _count(one.token_count)


def created_of(said: Said) -> int:
    if said.create_time:
        try:
            return int(datetime.fromisoformat(said.create_time).timestamp())
        except (ValueError, OverflowError):
            pass
    return int(time.time())


def identity_of(said: Said) -> str:
    """The answer's own id, short enough for ids of calls made of it: OpenAI takes forty signs."""
    return said.response_id[:28] if said.response_id else uuid4().hex


def blocked(feedback: Feedback) -> tuple[str, str]:
    """(native finish reason, what to tell) of a prompt that was not answered."""
    reason = feedback.block_reason or ""
    return f"{PROMPT_BLOCKED}{reason}", feedback.block_reason_message or f"the provider blocked the prompt: {reason}"


def completion_of(body: bytes, model: str) -> Completion:
    """model: where the answer does not name its own. Raises NotAnAnswer."""
    try:
        said = decode_said(body)
    except UNREADABLE as error:
        raise NotAnAnswer(f"the body is no answer of Gemini: {error}") from None
    if says(said.error):
        raise NotAnAnswer("the body is an error")
    identity = identity_of(said)
    choices = [_choice(candidate, number, identity) for number, candidate in enumerate(said.candidates or ())]
    if not choices:
        if said.prompt_feedback is None or not said.prompt_feedback.block_reason:
            raise NotAnAnswer("the answer has no candidates")
        native, message = blocked(said.prompt_feedback)
        choices = [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "refusal": message},
                "logprobs": None,
                "finish_reason": "content_filter",
                "native_finish_reason": native,
            }
        ]
    completion: Completion = {
        "id": identity,
        "object": "chat.completion",
        "created": created_of(said),
        "model": said.model_version or model,
        "choices": choices,
    }
    if says(said.usage_metadata):
        usage_put(said.usage_metadata, completion)
    return completion


def _choice(candidate: Candidate, number: int, identity: str) -> dict[str, Any]:
    index = candidate.index if candidate.index is not None else number
    if (candidate.finish_reason or "") in NOT_YET:
        raise NotAnAnswer("the answer does not say why it ended")
    parts = (candidate.content.parts if candidate.content is not None else None) or []
    told = parts_told(parts, f"call_{identity}" if not index else f"call_{identity}_{index}", 0)
    finish = finish_of(candidate, bool(told.calls))
    silent = None if told.calls or finish != "stop" else ""
    message: dict[str, Any] = {"role": "assistant", "content": told.text or silent, "refusal": None}
    if finish == "content_filter" and candidate.finish_message:
        message["refusal"] = candidate.finish_message
    if told.thoughts:
        message["reasoning_content"] = told.thoughts
    if told.blocks:
        message["thinking_blocks"] = told.blocks
    if told.calls:
        message["tool_calls"] = told.calls
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs_of(candidate.logprobs_result),
        "finish_reason": finish,
        "native_finish_reason": candidate.finish_reason,
    }
