"""Recorded exchanges with Ollama's chat API, run through its back; what became of each is reported for the table."""

from __future__ import annotations

import json
from typing import Any

from apps.proxy.dialects.ollama import OllamaBack
from tests.conformance.recordings import Recording, recordings
from tests.conformance.table import report
from tests.dialects.bedrock_recordings import accumulated

BACK = OllamaBack()
REQUEST, ANSWER, STREAM = "OpenAI's request to provider's", "provider's answer to app's", "provider's stream to app's"


def recordings_check() -> None:
    for recording in recordings(host=":11434", path="/api/chat"):
        _request_check(recording)
        _answer_check(recording)


def _request_check(recording: Recording) -> None:
    asked = recording.asked
    messages: list[dict[str, Any]] = []
    for message in asked["messages"]:
        said = dict(message)
        if message["role"] == "tool":
            said["tool_call_id"] = "of another conversation"
        if "tool_calls" in message:
            calls = [one["function"] for one in message["tool_calls"]]
            said["tool_calls"] = [
                {"id": "c", "type": "function", "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])}}
                for call in calls
            ]
        messages.append(said)
    sent = BACK.request({"messages": messages, "tools": asked.get("tools")}, asked["model"], stream=asked["stream"])
    expected = {name: value for name, value in asked.items() if value not in (None, "", {}, [])}  # which say nothing
    assert sent.path == recording.path and sent.body == expected, recording.name
    report("ollama", REQUEST, recording.name, "passed")


def _answer_check(recording: Recording) -> None:
    lines = [json.loads(line) for line in recording.answer.splitlines() if line]
    told = ("".join(line["message"]["content"] for line in lines), lines[-1]["done_reason"])
    counted = (lines[-1].get("prompt_eval_count", 0), lines[-1]["eval_count"])
    if recording.content_type.startswith("application/x-ndjson"):
        stream = BACK.stream({"model": "m"})
        chunks = stream.feed(recording.answer) + stream.close()
        assert stream.finished
        (message, choice), usage = accumulated(chunks), chunks[-1]["usage"]
    else:
        completion = BACK.answer(recording.answer, {"model": "m"})
        choice, usage = completion["choices"][0], completion["usage"]
        message = choice["message"]
    assert (message["content"], choice["finish_reason"]) == told and choice["native_finish_reason"] == told[1]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == counted
    report("ollama", STREAM if "x-ndjson" in recording.content_type else ANSWER, recording.name, "passed")
