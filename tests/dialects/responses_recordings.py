"""Runs what was recorded of the Responses API (OpenAI, Azure, DeepSeek, Bedrock Mantle, OpenRouter), and a sample of chat completions,
through both directions of the format.

A request is passed over only for what is written down here (``foreign``), and then must be refused by the code for it too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from apps.proxy.dialects.responses import ResponsesBack, ResponsesFront
from apps.proxy.dialects.responses_watch import ResponsesStream, native_answer
from apps.proxy.dialects.sse import Framer
from apps.proxy.dialects.translation import NotAnAnswer, Unsupported
from tests.conformance.recordings import Recording, recordings
from tests.conformance.table import report

FRONT, BACK = ResponsesFront(), ResponsesBack()
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
PARAMS: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsNonStreaming)
FORMAT = "responses"
CHATS = 30
"""Recorded chat completions that are taken as a sample."""
LEFT_OUT = {
    "request.stream": "whether to stream is said beside the pivot's request",
    "request.store": "keeping responses is for the proxy; the provider is told not to",
    "request.previous_response_id": "its items are joined before the request is read",
    "request.include": "what comes of encrypted reasoning is asked for whenever the model may think; the rest is for tools of providers",
    "request.truncation": "named among what is approximated",
    "request.reasoning.summary": "named among what is approximated, as context and mode are",
    "request.text.format": "'text' is what is meant where nothing is said",
    "request.instructions": "empty ones say nothing; a system message that stands first says the same",
    "request.input": "a text is a user's message; ids and states of items are for those who keep them, citations for those who read them; "
    "a message without text says nothing",
    "request.tools[].strict": "false where nothing is said, as chat completions mean it",
    "answer.ids": "made of the pivot's; calls keep theirs",
    "answer.request": "what a response says of its request is taken from the request, not from the provider",
    "answer.output": "the pivot has one message: texts of several are one, and calls of tools that the provider runs are left out",
    "answer.citations": "chat completions cite URLs only",
    "answer.logprobs": "to the third digit: OpenAI's own last event rounds what its pieces said",
    "answer.status": "'complete' is how one test server spells it",
}
"""What is not compared, and why."""
_ITEMS = frozenset({"message", "function_call", "function_call_output", "reasoning", None})
_DONE = frozenset({"completed", "complete", "incomplete"})


def foreign(body: dict[str, Any]) -> str:
    """Why the pivot cannot carry this request; empty where it can."""
    for name in ("background", "conversation", "context_management", "provider"):
        if body.get(name):
            return f"'{name}' is the provider's own"
    for tool in body.get("tools") or ():
        if tool["type"] not in ("function", "custom"):
            return "tools that the provider runs"
    items = body.get("input")
    if type(items) is list and any(item.get("type") not in _ITEMS for item in items):
        return "items of tools that the provider runs, or of its own making"
    return ""


def read_of(body: dict[str, Any]) -> dict[str, Any]:
    """What a front is given to read: the request after its items were joined."""
    return {name: value for name, value in body.items() if name != "previous_response_id"}


def asked_plainly(body: dict[str, Any]) -> dict[str, Any]:
    """A request without what is not compared."""
    left = ("stream", "store", "previous_response_id", "include", "truncation", "instructions")
    said = {name: value for name, value in body.items() if name not in left and value is not None}
    items = said["input"] if type(said["input"]) is list else [{"role": "user", "content": said["input"]}]
    if body.get("instructions"):
        items = [{"role": "system", "content": body["instructions"]}, *items]
    said["input"] = [_item(item) for item in items if item.get("content") != ""]
    said.pop("reasoning", None)
    if (body.get("reasoning") or {}).get("effort"):
        said["reasoning"] = {"effort": body["reasoning"]["effort"]}
    text = {name: value for name, value in said.pop("text", {}).items() if value != {"type": "text"}}
    if text:
        said["text"] = text
    if "tools" in said:
        said["tools"] = [{name: value for name, value in {"strict": False, **tool}.items() if value is not None} for tool in said["tools"]]
    return said


def _item(item: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in item.items() if value is not None and name not in ("status", "phase")}
    if kept.get("type") != "reasoning":
        kept.pop("id", None)
    if kept.get("type") == "message":
        del kept["type"]
    content = kept.get("content")
    if kept.get("role") == "assistant" and type(content) is list:
        kept["content"] = "".join(part["text"] for part in content)
    return kept


def answered_plainly(response: dict[str, Any]) -> dict[str, Any]:
    """An answer without what is not compared."""
    texts: list[str] = []
    logprobs: list[Any] = []
    thoughts: list[str] = []
    cited: list[Any] = []
    calls = []
    for item in response["output"]:
        if item["type"] == "message":
            for part in item["content"]:
                texts.append(part.get("text") or part.get("refusal"))
                logprobs += [(one["token"], round(one["logprob"], 3)) for one in part.get("logprobs") or ()]
                cited += [one["url"] for one in part.get("annotations") or () if one["type"] == "url_citation"]
        elif item["type"] == "reasoning":
            words = "".join(part["text"] for part in item.get("content") or ())
            thoughts.append(words or "\n\n".join(part["text"] for part in item["summary"]))
        elif item["type"] == "function_call":
            calls.append({name: item[name] for name in ("call_id", "name", "arguments")})
    usage = response.get("usage") or {}
    return {
        "status": "completed" if response["status"] == "complete" else response["status"],
        "incomplete": response.get("incomplete_details"),
        "model": response["model"],
        "text": "\n\n".join(texts),
        "thoughts": "\n\n".join(thought for thought in thoughts if thought),
        "calls": calls,
        "citations": cited,
        "logprobs": logprobs,
        "tokens": [
            usage["input_tokens"],
            usage["output_tokens"],
            (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0,
            (usage.get("input_tokens_details") or {}).get("cache_write_tokens") or 0,
            (usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
        ],
    }


def events_of(told: bytes) -> list[dict[str, Any]]:
    framer = Framer()
    return [json.loads(event.data) for event in [*framer.feed(told), *framer.close()] if event.data != b"[DONE]"]


def accumulated(told: bytes) -> dict[str, Any]:
    """What OpenAI's SDK makes of a stream: each event parses strictly, in its order, and all of them together."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    last: Any = None
    for number, event in enumerate(events_of(told)):
        assert event["sequence_number"] == number, f"event {number} has the number {event['sequence_number']}"
        parsed = EVENT.validate_python(event, strict=True)
        state.handle_event(parsed)
        last = event
    assert last["type"] in ("response.completed", "response.incomplete"), last["type"]
    whole: dict[str, Any] = last["response"]
    if last["type"] == "response.completed":
        kept = state._completed_response
        assert kept is not None
        assert [item.to_dict()["id"] for item in kept.output] == [item["id"] for item in whole["output"]]
    return whole


def recorded_end(stream: bytes) -> dict[str, Any]:
    for event in reversed(events_of(stream)):
        if event.get("type") in ("response.completed", "response.incomplete"):
            whole: dict[str, Any] = event["response"]
            return whole
    raise AssertionError("the recorded stream has no end")


def _asked(recording: Recording) -> None:
    body, direction = recording.asked, "app's request to provider's"
    why = foreign(body)
    if why:
        with pytest.raises(Unsupported):
            FRONT.read(read_of(body))
        report(FORMAT, direction, recording.name, "skipped", why)
        return
    before = json.dumps(body)
    read = FRONT.read(read_of(body))
    sent = BACK.request(read.payload, body["model"], stream=recording.streamed)
    assert json.dumps(body) == before, "the app's request was changed"
    assert asked_plainly(sent.body) == asked_plainly(body), recording.name
    PARAMS.validate_python({name: value for name, value in sent.body.items() if name != "stream"})
    report(FORMAT, direction, recording.name, "passed")


def _answered(recording: Recording) -> None:
    wanted, direction = json.loads(recording.answer), "provider's answer to app's"
    passed_through = native_answer(recording.answer)
    assert passed_through is not None
    if wanted["status"] not in _DONE:
        with pytest.raises(NotAnAnswer, match="not finished"):
            BACK.answer(recording.answer, {})
        report(FORMAT, direction, recording.name, "skipped", "made in the background, and not finished")
        return
    completion = BACK.answer(recording.answer, {})
    told = FRONT.answer(completion, recording.asked)
    Response.model_validate(told, strict=True)
    assert answered_plainly(told) == answered_plainly(wanted), recording.name
    assert passed_through.tokens is not None
    assert passed_through.tokens.input == completion["usage"]["prompt_tokens"]
    assert passed_through.tokens.reasoning == completion["usage"]["completion_tokens_details"]["reasoning_tokens"]
    report(FORMAT, direction, recording.name, "passed")


def _streamed(recording: Recording) -> None:
    wanted = answered_plainly(recorded_end(recording.answer))
    back, front = BACK.stream({}), FRONT.stream(recording.asked)
    chunks = [*back.feed(recording.answer), *back.close()]
    assert back.finished
    told = b"".join([front.feed(chunk) for chunk in chunks]) + front.close()
    assert answered_plainly(accumulated(told)) == wanted, recording.name
    report(FORMAT, "provider's stream to app's", recording.name, "passed")
    watch = ResponsesStream()
    passed = watch.feed(recording.answer)
    assert watch.close(), watch.error
    assert watch.tokens is not None
    assert watch.tokens.input == wanted["tokens"][0]
    kept = [event for event in events_of(recording.answer) if event]
    assert events_of(passed + watch.rest) == kept
    report(FORMAT, "stream passed through", recording.name, "passed")


def _refused(recording: Recording) -> None:
    said = json.loads(recording.answer)["error"]
    trouble = BACK.error(recording.status, recording.answer)
    assert FRONT.error(recording.status, trouble, "req") == {"error": {name: said[name] for name in ("message", "type", "param", "code")}}
    with pytest.raises(NotAnAnswer):
        BACK.answer(recording.answer, {})
    report(FORMAT, "error", recording.name, "passed")


def _chat(recording: Recording) -> None:
    """A recorded chat completion: its request through the back, its answer through the front."""
    direction = "OpenAI's request to provider's"
    try:
        sent = BACK.request(recording.asked, "gpt-5", stream=False)
    except Unsupported as error:
        report(FORMAT, direction, recording.name, "skipped", f"{re.sub('[0-9]+', '', error.field)} cannot be said in this format")
    else:
        PARAMS.validate_python(sent.body)
        again = FRONT.read({name: value for name, value in sent.body.items() if name != "store"})
        assert BACK.request(again.payload, "gpt-5", stream=False).body == sent.body, recording.name
        report(FORMAT, direction, recording.name, "passed")
    asked = {"model": "m", "input": "x"}
    if recording.streamed:
        direction, chunks = "OpenAI's stream to app's", events_of(recording.answer)
        front = FRONT.stream(asked)
        told = accumulated(b"".join([front.feed(chunk) for chunk in chunks]) + front.close())
        pieces = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        text = "".join(piece.get("content") or "" for piece in pieces)
        usage = next((chunk["usage"] for chunk in chunks if chunk.get("usage")), None)
    else:
        direction, completion = "OpenAI's answer to app's", json.loads(recording.answer)
        told = FRONT.answer(completion, asked)
        Response.model_validate(told, strict=True)
        text, usage = completion["choices"][0]["message"].get("content") or "", completion["usage"]
    parts = [part for item in told["output"] if item["type"] == "message" for part in item["content"]]
    assert "".join(part.get("text") or "" for part in parts) == text, recording.name
    if usage is not None:
        assert told["usage"]["input_tokens"] == usage["prompt_tokens"]
        assert told["usage"]["output_tokens"] == usage["completion_tokens"]
    report(FORMAT, direction, recording.name, "passed")


def usable() -> Iterator[Recording]:
    for recording in recordings(path="/responses"):
        if recording.path.endswith("/responses") and type(recording.asked) is dict:
            yield recording


def recordings_check() -> None:
    for recording in usable():
        if recording.status != 200:
            _refused(recording)
            continue
        _asked(recording)
        (_streamed if recording.streamed else _answered)(recording)
    chats = recordings(host="api.openai.com", path="/chat/completions")
    for recording in islice((one for one in chats if one.status == 200), CHATS):
        _chat(recording)
