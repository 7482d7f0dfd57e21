"""Recorded exchanges with Cohere's Chat API (v2), run through its back; what became of each is reported for the table."""

from __future__ import annotations

import json
from typing import Any

from apps.proxy.dialects.cohere import CohereBack
from tests.conformance.recordings import Recording, recordings
from tests.conformance.table import report
from tests.dialects.bedrock_recordings import accumulated

BACK = CohereBack()
REQUEST, ANSWER, STREAM = "OpenAI's request to provider's", "provider's answer to app's", "provider's stream to app's"
FINISHES = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "TOOL_CALL": "tool_calls", "MAX_TOKENS": "length"}
_PIVOT = {"max_tokens": "max_tokens", "stop_sequences": "stop", "tools": "tools"}


def recordings_check() -> None:
    for recording in recordings(host="api.cohere.com", path="/v2/chat"):
        sent = BACK.request(pivot_of(recording.asked), recording.asked["model"], stream=recording.streamed)
        assert sent.path == recording.path and canonical(sent.body) == canonical(recording.asked), recording.name
        report("cohere", REQUEST, recording.name, "passed")
        (_stream_check if recording.streamed else _answer_check)(recording)


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """A text alone is a list of one; nothing said is said by null, too."""
    made = json.loads(json.dumps({name: value for name, value in body.items() if value is not None}))
    for message in made["messages"]:
        if isinstance(message.get("content"), str):
            message["content"] = [{"type": "text", "text": message["content"]}]
        if message.get("content") is None:
            message.pop("content", None)
    return dict(made)


def pivot_of(asked: dict[str, Any]) -> dict[str, Any]:
    payload: dict[str, Any] = {ours: asked[theirs] for theirs, ours in _PIVOT.items() if theirs in asked}
    if "tool_choice" in asked:
        payload["tool_choice"] = asked["tool_choice"].lower()
    payload["messages"] = []
    for message in asked["messages"]:
        said = dict(message)
        content = message.get("content")
        if isinstance(content, list):
            thoughts = [part["thinking"] for part in content if part["type"] == "thinking"]
            said["content"] = [part for part in content if part["type"] != "thinking"]
            if thoughts:
                said["reasoning_content"] = "".join(thoughts)
        if "tool_plan" in said:
            said["reasoning_content"] = said.pop("tool_plan")
        payload["messages"].append(said)
    return payload


def _answer_check(recording: Recording) -> None:
    said = json.loads(recording.answer)
    completion = BACK.answer(recording.answer, {"model": "m"})
    choice = completion["choices"][0]
    assert completion["id"] == said["id"]
    assert learnt(choice["message"], choice, completion["usage"]) == told(said["message"], said["finish_reason"], said["usage"])
    report("cohere", ANSWER, recording.name, "passed")


def _stream_check(recording: Recording) -> None:
    message: dict[str, Any] = {"content": [{"text": ""}], "tool_plan": "", "tool_calls": [], "citations": []}
    last: dict[str, Any] = {}
    for line in recording.answer.splitlines():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        delta = event.get("delta", {}).get("message", {})
        if event["type"] == "content-delta":
            message["content"][0]["text"] += delta["content"]["text"]
        elif event["type"] == "tool-plan-delta":
            message["tool_plan"] += delta["tool_plan"]
        elif event["type"] == "tool-call-start":
            message["tool_calls"].append(delta["tool_calls"])
        elif event["type"] == "tool-call-delta":
            message["tool_calls"][event["index"]]["function"]["arguments"] += delta["tool_calls"]["function"]["arguments"]
        elif event["type"] == "citation-start":
            message["citations"].append(delta["citations"])
        elif event["type"] == "message-end":
            last = event["delta"]
    stream = BACK.stream({"model": "m"})
    chunks = stream.feed(recording.answer) + stream.close()
    assert stream.finished
    found, choice = accumulated(chunks)
    citations = [one for chunk in chunks for one in chunk["choices"] for one in one["delta"].get("citations", ())]
    if citations:
        found["citations"] = citations
    assert learnt(found, choice, chunks[-1]["usage"]) == told(message, last["finish_reason"], last["usage"]), recording.name
    report("cohere", STREAM, recording.name, "passed")


def learnt(message: dict[str, Any], choice: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls") or ()
    return {
        "text": message["content"] or "",
        "thoughts": message.get("reasoning_content") or "",
        "calls": [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls],
        "citations": message.get("citations") or [],
        "finish": (choice["finish_reason"], choice["native_finish_reason"]),
        "usage": (usage["prompt_tokens"], usage["completion_tokens"], usage["prompt_tokens_details"]["cached_tokens"]),
    }


def told(message: dict[str, Any], reason: str, usage: dict[str, Any]) -> dict[str, Any]:
    """What the recorded answer says, in the fields that matter."""
    parts, calls, billed = message.get("content") or [], message.get("tool_calls") or (), usage["billed_units"]
    return {
        "text": "".join(part.get("text", "") for part in parts),
        "thoughts": (message.get("tool_plan") or "") + "".join(part.get("thinking", "") for part in parts),
        "calls": [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls],
        "citations": message.get("citations") or [],
        "finish": (FINISHES[reason], reason),
        "usage": (billed["input_tokens"], billed["output_tokens"], min(billed["input_tokens"], usage.get("cached_tokens", 0))),
    }
