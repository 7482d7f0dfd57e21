"""Whole answers: the pivot's as a response, and a provider's response as the pivot's."""

from __future__ import annotations

import time
from typing import Any

from apps.proxy.dialects.responses_wire import (
    decode_response,
    pivot_usage,
    reasoning_text,
    responses_usage,
    sealed,
    trouble_of,
    unsealed,
    wrapped,
)
from apps.proxy.dialects.translation import Completion, NotAnAnswer, Payload
from apps.proxy.dialects.wire_json import UNREADABLE

_ECHOED: Payload = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": False,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
"""What a response says of its request, with what is said where the request does not."""
_UNFINISHED = {"length": "max_output_tokens", "content_filter": "content_filter"}
_FINISHED = frozenset({"completed", "complete", "incomplete"})
_CALLS = ("function_call", "custom_tool_call")


def skeleton(asked: Payload, first: Payload, ident: str = "") -> Payload:
    """A response without output. first: the completion, or the first event of a stream. ident: its id; empty: as the pivot's."""
    made: Payload = {"id": ident or response_id(first.get("id")), "object": "response"}
    created = first.get("created")
    made["created_at"] = created if type(created) is int else int(time.time())
    made["status"] = "in_progress"
    model = first.get("model")
    made["model"] = model if type(model) is str else asked.get("model") or ""
    for name, value in _ECHOED.items():
        given = asked.get(name)
        made[name] = value if given is None else given
    tier = first.get("service_tier")
    if type(tier) is str:
        made["service_tier"] = tier
    reasoning = asked.get("reasoning") or {}
    made["reasoning"] = {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")}
    made["text"] = {"format": {"type": "text"}, **(asked.get("text") or {})}
    if asked.get("user") is not None:  # OpenAI's schema has no null for it
        made["user"] = asked["user"]
    made["tools"] = [_shown(tool) for tool in asked.get("tools") or ()]
    made["output"] = []
    return made


def response_id(given: Any) -> str:
    """``resp_...``, made of the pivot's id."""
    ident = given if type(given) is str and given else "0"
    return ident if ident.startswith("resp_") else f"resp_{ident.removeprefix('chatcmpl-')}"


def _shown(tool: Payload) -> Payload:
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, **tool, "strict": tool.get("strict") is True}


def finish(made: Payload, output: list[Payload], reason: Any, usage: Any) -> Payload:
    """The response when it is whole: ``made`` with what was not known in the beginning."""
    unfinished = _UNFINISHED.get(reason) if type(reason) is str else None
    whole = {
        **made,
        "status": "incomplete" if unfinished else "completed",
        "incomplete_details": {"reason": unfinished} if unfinished else None,
        "output": output,
    }
    counted = responses_usage(usage)
    if counted is not None:
        whole["usage"] = counted
    return whole


def answer_write(completion: Completion, asked: Payload, ident: str = "") -> Payload:
    choices = completion.get("choices")
    choice = choices[0] if type(choices) is list and choices and type(choices[0]) is dict else {}
    given = choice.get("message")
    message: Payload = given if type(given) is dict else {}
    made = skeleton(asked, completion, ident)
    output = _Output(made["id"].removeprefix("resp_"), wants_summary(asked))
    output.thoughts(message)
    output.message(message, choice.get("logprobs"))
    output.calls(message.get("tool_calls"))
    reason = choice.get("finish_reason")
    if type(reason) is str and reason in _UNFINISHED and output.items:
        output.items[-1]["status"] = "incomplete"
    return finish(made, output.items, reason, completion.get("usage"))


def wants_summary(asked: Payload) -> bool:
    """The app asked for a summary of the thinking: it is shown as one. Else it is shown as the model's own words."""
    reasoning = asked.get("reasoning")
    return type(reasoning) is dict and bool(reasoning.get("summary") or reasoning.get("generate_summary"))


def reasoning_item(ident: str, text: str, marks: list[Payload], summary: bool) -> Payload:
    """A reasoning item; marks: what must come back with it, of another provider. Without any it is marked as another's all the same."""
    item: Payload = {"id": ident, "type": "reasoning", "summary": [{"type": "summary_text", "text": text}] if text and summary else []}
    if text and not summary:
        item["content"] = [{"type": "reasoning_text", "text": text}]
    item["encrypted_content"] = wrapped(marks)
    return item


def thinking_mark(block: Payload, text: str) -> Payload | None:
    """What must come back of a thinking block whose item says ``text``; None where that is all of it."""
    if block.get("type") != "thinking":
        return block
    if block.get("thinking") == text:
        return {"type": "thinking", "signature": block["signature"]} if block.get("signature") else None
    return block


def text_of(content: Any) -> str:
    """A message's text, where some servers give it in parts."""
    if type(content) is str:
        return content
    if type(content) is not list:
        return ""
    return "".join([part["text"] for part in content if type(part) is dict and type(part.get("text")) is str])


def annotations_of(found: Any) -> list[Payload]:
    """Citations of a chat completion as those of a response; others than of URLs have no shape there."""
    if type(found) is not list:
        return []
    made = []
    for one in found:
        cited = one.get("url_citation") if type(one) is dict else None
        if type(cited) is dict and type(cited.get("url")) is str:
            title = cited.get("title")
            made.append(
                {
                    "type": "url_citation",
                    "url": cited["url"],
                    "title": title if type(title) is str else "",
                    "start_index": cited["start_index"] if type(cited.get("start_index")) is int else 0,
                    "end_index": cited["end_index"] if type(cited.get("end_index")) is int else 0,
                }
            )
    return made


def logprobs_of(found: Any) -> list[Payload]:
    """A choice's log probabilities as those of a part of text."""
    content = found.get("content") if type(found) is dict else None
    if type(content) is not list:
        return []
    return [
        {
            "token": one["token"],
            "bytes": one.get("bytes") or [],
            "logprob": one.get("logprob", 0.0),
            "top_logprobs": one.get("top_logprobs") or [],
        }
        for one in content
        if type(one) is dict and type(one.get("token")) is str
    ]


class _Output:
    """The items of a response, in the order in which models give them: thoughts, text, calls."""

    def __init__(self, tail: str, summary: bool) -> None:
        self.items: list[Payload] = []
        self._tail = tail
        self._summary = summary

    def _id(self, kind: str) -> str:
        return f"{kind}_{self._tail}_{len(self.items)}"

    def thoughts(self, message: Payload) -> None:
        blocks = message.get("thinking_blocks")
        if type(blocks) is list and blocks:
            for block in blocks:
                if type(block) is not dict:
                    continue
                own = unsealed(block.get("signature"))
                if own is not None:
                    self.items.append({"id": self._id("rs"), **own})
                    continue
                said = block.get("thinking")
                text = said if type(said) is str else ""
                mark = thinking_mark(block, text)
                self.items.append(reasoning_item(self._id("rs"), text, [mark] if mark is not None else [], self._summary))
            return
        text = text_of(message.get("reasoning_content") or message.get("reasoning"))
        if text:
            self.items.append(reasoning_item(self._id("rs"), text, [], self._summary))

    def message(self, message: Payload, logprobs: Any) -> None:
        content, refusal = message.get("content"), message.get("refusal")
        text = text_of(content)
        parts: list[Payload] = []
        if text or (type(content) is str and not refusal and not message.get("tool_calls")):
            parts.append(
                {
                    "type": "output_text",
                    "text": text,
                    "annotations": annotations_of(message.get("annotations")),
                    "logprobs": logprobs_of(logprobs),
                }
            )
        if type(refusal) is str and refusal:
            parts.append({"type": "refusal", "refusal": refusal})
        if parts:
            self.items.append({"id": self._id("msg"), "type": "message", "status": "completed", "role": "assistant", "content": parts})

    def calls(self, calls: Any) -> None:
        if type(calls) is not list:
            return
        marks = []
        for call in calls:
            if type(call) is not dict:
                continue
            item = call_item(call, self._id("fc"), self._tail, len(self.items))
            if type(call.get("signature")) is str:
                marks.append({"type": "tool_call", "id": item["call_id"], "signature": call["signature"]})
            self.items.append(item)
        if marks:
            first = len(self.items) - len(calls)
            self.items.insert(max(0, first), reasoning_item(self._id("rs"), "", marks, self._summary))


def call_item(call: Payload, ident: str, tail: str, number: int) -> Payload:
    """A call as an item; what a server left out of it is filled in."""
    custom = call.get("custom")
    named = custom if type(custom) is dict else call.get("function")
    found = named if type(named) is dict else {}
    given, name = call.get("id"), found.get("name")
    item: Payload = {"id": ident, "type": "function_call", "status": "completed"}
    item["call_id"] = given if type(given) is str and given else f"call_{tail}_{number}"
    item["name"] = name if type(name) is str else ""
    if type(custom) is dict:
        item["type"] = "custom_tool_call"
        item["input"] = custom["input"] if type(custom.get("input")) is str else ""
    else:
        item["arguments"] = found["arguments"] if type(found.get("arguments")) is str else "{}"
    return item


def answer_read(body: bytes) -> Completion:
    """A provider's response as the pivot's answer. Raises NotAnAnswer."""
    try:
        response = decode_response(body)
    except UNREADABLE as error:
        raise NotAnAnswer(f"it is no response: {error}") from None
    if response.error is not None or response.status == "failed":
        raise NotAnAnswer(f"the response failed: {trouble_of(response.error, 'no reason given', '').message}")
    if response.output is None or not response.id:
        raise NotAnAnswer("it is no response: it has no id and output")
    if response.status is not None and response.status not in _FINISHED:
        raise NotAnAnswer(f"the response is not finished: its status is {response.status!r}")
    message, logprobs, called = _message(response.output)
    unfinished = response.status == "incomplete"
    reason = response.incomplete_details.reason if unfinished and response.incomplete_details is not None else None
    choice: Payload = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason(unfinished, reason, called)}
    if reason:
        choice["native_finish_reason"] = reason
    made: Completion = {
        "id": response.id,
        "object": "chat.completion",
        "created": int(response.created_at or time.time()),
        "model": response.model or "",
        "choices": [choice],
    }
    if response.usage is not None:
        made["usage"] = pivot_usage(response.usage)
    if type(response.service_tier) is str:
        made["service_tier"] = response.service_tier
    return made


def finish_reason(unfinished: bool, reason: str | None, called: bool) -> str:
    if unfinished:
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if called else "stop"


def _message(output: list[Payload]) -> tuple[Payload, Payload | None, bool]:
    """(the message, its log probabilities, whether it calls tools)."""
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    blocks: list[Payload] = []
    calls: list[Payload] = []
    citations: list[Payload] = []
    logprobs: list[Payload] = []
    for item in output:
        kind = item.get("type")
        if kind == "message":
            before = len("\n\n".join(texts)) + 2 if texts else 0
            text = _read_parts(item.get("content"), before, refusals, citations, logprobs)
            if text:
                texts.append(text)
        elif kind == "reasoning":
            text = reasoning_text(item)
            if text:
                thoughts.append(text)
            block = thinking_block(item, text)
            if block is not None:
                blocks.append(block)
        elif kind in _CALLS:
            calls.append(call_read(item))
    message: Payload = {"role": "assistant", "content": "\n\n".join(texts) if texts or not (calls or refusals) else None}
    message["refusal"] = "".join(refusals) or None
    if thoughts:
        message["reasoning_content"] = "\n\n".join(thoughts)
    if blocks:
        message["thinking_blocks"] = blocks
    if calls:
        message["tool_calls"] = calls
    if citations:
        message["annotations"] = citations
    return message, {"content": logprobs, "refusal": None} if logprobs else None, bool(calls)


def thinking_block(item: Payload, text: str) -> Payload | None:
    """A reasoning item as a thinking block; None where nothing of it could be given back."""
    if not text and type(item.get("encrypted_content")) is not str:
        return None
    return {"type": "thinking", "thinking": text, "signature": sealed(item)}


def call_read(item: Payload) -> Payload:
    """A call of a response as the pivot's. Arguments that are not JSON are given as they are: both formats carry them as text.

    Raises NotAnAnswer where nobody could answer it.
    """
    kind = "custom" if item.get("type") == "custom_tool_call" else "function"
    ident, name = item.get("call_id") or item.get("id"), item.get("name")
    given = item.get("input" if kind == "custom" else "arguments")
    if type(ident) is not str or type(name) is not str or type(given) not in (str, type(None)):
        raise NotAnAnswer("a tool call without id, name or arguments that are a text")
    return {"id": ident, "type": kind, kind: {"name": name, "input" if kind == "custom" else "arguments": given or ""}}


def citation(one: Any, before: int) -> Payload | None:
    """A citation of a URL as a chat completion has it; None where it is of something else. before: characters of text before its part."""
    if type(one) is not dict or one.get("type") != "url_citation":
        return None
    start, end = one.get("start_index"), one.get("end_index")
    cited = {
        "url": one.get("url"),
        "title": one.get("title"),
        "start_index": start + before if type(start) is int else 0,
        "end_index": end + before if type(end) is int else 0,
    }
    return {"type": "url_citation", "url_citation": cited}


def _read_parts(parts: Any, before: int, refusals: list[str], citations: list[Payload], logprobs: list[Payload]) -> str:
    if type(parts) is str:
        return parts
    text = ""
    for part in parts if type(parts) is list else ():
        if type(part) is not dict:
            continue
        if part.get("type") == "refusal" and type(part.get("refusal")) is str:
            refusals.append(part["refusal"])
        elif type(part.get("text")) is str:
            found = part.get("annotations")
            for one in found if type(found) is list else ():
                made = citation(one, before + len(text))
                if made is not None:
                    citations.append(made)
            text += part["text"]
            found = part.get("logprobs")
            if type(found) is list:
                logprobs += found
    return text
