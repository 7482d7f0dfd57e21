"""Runs what was recorded of legacy completions (OpenAI, Together, vLLM), and a sample of chat completions, through the format's front.

There is no back: nobody is asked in this format but by apps that speak it themselves, and then it passes through.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from openai.types import Completion

from apps.proxy.dialects.completions import DEFAULT_TOKENS, CompletionsFront, CompletionsNative, CompletionsStream, native_answer
from apps.proxy.dialects.sse import Framer
from tests.conformance.recordings import Recording, recordings
from tests.conformance.table import report

FRONT, NATIVE = CompletionsFront(), CompletionsNative()
FORMAT = "completions"
CHATS = 30
"""Recorded chat completions that are taken as a sample."""
LEFT_OUT = {
    "answer.id": "made of the pivot's",
    "answer.object": "Together spells it 'text.completion'",
    "answer.choices[].finish_reason": "'eos' and 'stop' are the same",
}
"""What is not compared, and why."""


def as_chat(answer: dict[str, Any]) -> dict[str, Any]:
    """A completion as a chat model would have given it."""
    choices = [
        {"index": one["index"], "message": {"role": "assistant", "content": one["text"]}, "finish_reason": one["finish_reason"]}
        for one in answer["choices"]
    ]
    return {**answer, "object": "chat.completion", "choices": choices}


def as_chunk(event: dict[str, Any]) -> dict[str, Any]:
    choices = [
        {"index": one["index"], "delta": {"content": one["text"]}, "finish_reason": one["finish_reason"]} for one in event["choices"]
    ]
    return {**event, "object": "chat.completion.chunk", "choices": choices}


def events_of(told: bytes) -> list[dict[str, Any]]:
    framer = Framer()
    return [json.loads(event.data) for event in [*framer.feed(told), *framer.close()] if event.data != b"[DONE]"]


def _asked(recording: Recording) -> None:
    body = recording.asked
    read = FRONT.read(body)
    prompt = body["prompt"] if type(body["prompt"]) is str else body["prompt"][0]
    assert read.payload["messages"] == [{"role": "user", "content": prompt}]
    assert read.payload["max_tokens"] == body.get("max_tokens", DEFAULT_TOKENS)
    assert read.payload["model"] == body["model"]
    assert bool(read.payload.get("stream")) is bool(body.get("stream"))
    changed = NATIVE.changed(body, body["model"], None)
    if body.get("stream"):  # its usage is asked for, and kept from an app that did not ask for it
        assert changed == {**body, "stream_options": {**(body.get("stream_options") or {}), "include_usage": True}}
    else:
        assert changed is body
    report(FORMAT, "app's request to provider's", recording.name, "passed")


def _answered(recording: Recording) -> None:
    wanted = json.loads(recording.answer)
    told = FRONT.answer(as_chat(wanted), recording.asked)
    Completion.model_validate(told, strict=True)
    assert [one["text"] for one in told["choices"]] == [one["text"] for one in wanted["choices"]]
    assert [one["finish_reason"] for one in told["choices"]] == [one["finish_reason"] for one in wanted["choices"]]
    assert (told["usage"], told["model"], told["created"]) == (wanted["usage"], wanted["model"], wanted["created"])
    passed = native_answer(recording.answer)
    assert passed is not None
    assert passed.tokens is not None
    assert passed.tokens.output == wanted["usage"]["completion_tokens"]
    report(FORMAT, "provider's answer to app's", recording.name, "passed")


def _streamed(recording: Recording) -> None:
    wanted = events_of(recording.answer)
    front = FRONT.stream(recording.asked)
    told = b"".join([front.feed(as_chunk(event)) for event in wanted]) + front.close()
    assert told.endswith(b"data: [DONE]\n\n")
    made = events_of(told)
    for event in made:
        # strict but for what the SDK's own type denies: events before the last have no finish reason
        Completion.model_validate({**event, "choices": [{**one, "finish_reason": "stop"} for one in event["choices"]]}, strict=True)
    assert _said(made) == _said(wanted)
    report(FORMAT, "provider's stream to app's", recording.name, "passed")
    watch = CompletionsStream()
    passed = watch.feed(recording.answer)
    assert watch.close()
    assert events_of(passed + watch.rest) == wanted
    assert watch.output_bytes() == len(_said(wanted)[0].encode())
    report(FORMAT, "stream passed through", recording.name, "passed")


def _said(events: list[dict[str, Any]]) -> tuple[str, list[str]]:
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(choice["text"] for choice in choices), [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def _chat(recording: Recording) -> None:
    asked = {"model": "m", "prompt": "x"}
    if recording.streamed:
        chunks, front = events_of(recording.answer), FRONT.stream(asked)
        told = events_of(b"".join([front.feed(chunk) for chunk in chunks]) + front.close())
        pieces = [choice["delta"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == 0]
        assert "".join(one["text"] for event in told for one in event["choices"]) == "".join(piece.get("content") or "" for piece in pieces)
        report(FORMAT, "OpenAI's stream to app's", recording.name, "passed")
        return
    completion = json.loads(recording.answer)
    made = FRONT.answer(completion, asked)
    Completion.model_validate(made, strict=True)
    message = completion["choices"][0]["message"]
    assert made["choices"][0]["text"] == (message["content"] or message.get("refusal") or "")
    assert made["usage"] == completion["usage"]
    report(FORMAT, "OpenAI's answer to app's", recording.name, "passed")


def recordings_check() -> None:
    for recording in recordings(path="/v1/completions"):
        if recording.asked is None:
            report(FORMAT, "app's request to provider's", recording.name, "skipped", "its body was not recorded")
            continue
        _asked(recording)
        (_streamed if recording.streamed else _answered)(recording)
    chats = recordings(host="api.openai.com", path="/chat/completions")
    for recording in islice((one for one in chats if one.status == 200), CHATS):
        _chat(recording)
