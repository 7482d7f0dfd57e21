"""Runs what was recorded of Anthropic's Messages API, and a sample of OpenAI's chat completions, through both directions of the format.

A recording is passed over only for what is written down here (``foreign``), and then must be refused by the code for it too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from pydantic import TypeAdapter

from apps.proxy.dialects.anthropic import AnthropicBack, AnthropicFront, AnthropicStream, native_answer, native_count
from apps.proxy.dialects.openai_wire import decode_any
from apps.proxy.dialects.sse import Framer
from apps.proxy.dialects.translation import Chunk, NotAnAnswer, Unsupported
from tests.conformance.recordings import Recording, recordings
from tests.conformance.table import report

FRONT, BACK = AnthropicFront(), AnthropicBack()
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
FORMAT = "anthropic"
LEFT_OUT = {
    "request.stream": "whether to stream is said beside the pivot's request",
    "request.text": "a text and one block of it are the same to the provider, and neighbours of one role are one turn to it",
    "request.is_error": "false says nothing",
    "request.output_format": "the older spelling of output_config.format",
    "request.cache_control": "a mark on all of it is one on its last block",
    "request.context_management": "named among what is approximated",
    "request.output_config.task_budget": "named among what is approximated",
    "request.thinking": "one that was not asked for comes with an effort that was: the pivot's effort is an effort of reasoning",
    "request.citations": "named among what is approximated",
    "request.defer_loading": "named among what is approximated",
    "answer.content[].citations": "the pivot has none",
    "answer.content[].caller": "the pivot has none; the model is the caller",
    "answer.content": "thinking comes first, then text, then calls; texts next to each other are one",
    "answer.container": "the pivot has none",
    "answer.context_management": "the pivot has none",
    "answer.usage": "where it was computed, by which tier and how long a cache lives is not the pivot's",
}
"""Fields that are not compared, and why."""
OPENAI_SAMPLE = ("models/cassettes/test_openai/", "cassettes/test_finish_reasons/", "cassettes/test_vision/", "cassettes/test_functions/")
_BLOCKS = {"text", "tool_use", "tool_result", "thinking", "redacted_thinking", "image", "document"}


def foreign(body: dict[str, Any]) -> str:
    """Why the pivot cannot carry this request; empty where it can."""
    for name in ("container", "mcp_servers"):
        if body.get(name):
            return f"'{name}' is the provider's own"
    for tool in body.get("tools", ()):
        if tool.get("type") not in (None, "custom"):
            return "tools that the provider runs or defines"
    for message in body["messages"]:
        content = message["content"] if type(message["content"]) is list else []
        for block in content:
            inner = block.get("content") if block["type"] == "tool_result" else None
            kinds = {block["type"], *(one["type"] for one in inner if type(inner) is list)} if type(inner) is list else {block["type"]}
            if kinds - _BLOCKS:
                return "blocks of the provider's own making"
    return ""


def asked_plainly(body: dict[str, Any]) -> dict[str, Any]:
    """A request without what is not compared."""
    said = {name: value for name, value in body.items() if name not in ("stream", "output_format", "cache_control", "context_management")}
    if "output_format" in body:
        said["output_config"] = {"format": body["output_format"]}
    config = {name: value for name, value in said.pop("output_config", {}).items() if name != "task_budget"}
    if config:
        said["output_config"] = config
    turns: list[dict[str, Any]] = []
    for message in body["messages"]:
        blocks = [_block(block) for block in _blocks(message["content"])]
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": message["role"], "content": blocks})
    if body.get("cache_control"):
        turns[-1]["content"][-1] = {**turns[-1]["content"][-1], "cache_control": body["cache_control"]}
    said["messages"] = turns
    if "system" in said:
        said["system"] = _blocks(said["system"])
    if "tools" in said:
        said["tools"] = [{name: value for name, value in tool.items() if name != "defer_loading"} for tool in said["tools"]]
    return said


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if type(content) is str else content


def _block(block: dict[str, Any]) -> dict[str, Any]:
    said = dict(block)
    if said["type"] == "tool_result":
        if not said.get("is_error"):
            said.pop("is_error", None)
        said["content"] = [_block(one) for one in _blocks(said.get("content") or [])]
    elif said["type"] == "document" and "type" not in said["source"]:
        said["source"] = {"type": "base64", **said["source"]}
    said.pop("citations", None)
    return said


def answered_plainly(message: dict[str, Any]) -> dict[str, Any]:
    """An answer without what is not compared."""
    content: list[dict[str, Any]] = []
    places = {"thinking": 0, "redacted_thinking": 0, "text": 1}
    for block in sorted(message["content"], key=lambda block: places.get(block["type"], 2)):
        kept = {name: block[name] for name in ("type", "text", "thinking", "signature", "data", "id", "name", "input") if name in block}
        if kept["type"] == "text" and content and content[-1]["type"] == "text":
            content[-1] = {"type": "text", "text": content[-1]["text"] + kept["text"]}
        elif kept["type"] != "text" or kept["text"]:
            content.append(kept)
    usage = message["usage"]
    counts = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return {
        "id": message["id"],
        "model": message["model"],
        "role": message["role"],
        "content": content,
        "stop_reason": message["stop_reason"],
        "stop_sequence": message.get("stop_sequence"),
        "usage": {name: usage.get(name) or 0 for name in counts},
        "thinking_tokens": (usage.get("output_tokens_details") or {}).get("thinking_tokens"),
    }


def messages_recorded() -> list[Recording]:
    return [one for one in recordings(path="/v1/messages") if one.method == "POST" and type(one.asked) is dict]


def recordings_check() -> None:
    """Raises AssertionError, naming the recording, where one comes out as something else."""
    for recording in messages_recorded():
        checks = [check_error] if recording.status != 200 else [check_request]
        if recording.path.endswith("/count_tokens"):
            checks = [check_count] if recording.status == 200 else checks
        elif recording.status == 200:
            checks += [check_stream, check_passed] if recording.streamed else [check_answer]
        for check in checks:
            try:
                check(recording)
            except Exception as error:
                raise AssertionError(f"{recording.name}: {error}") from error
    for recording in openai_recorded():
        for check in (check_openai_request, check_openai_stream if recording.streamed else check_openai_answer):
            try:
                check(recording)
            except Exception as error:
                raise AssertionError(f"{recording.name}: {error}") from error


# the format's own recordings


def check_request(recording: Recording) -> None:
    direction, body = "app's request to provider's", recording.asked
    why = foreign(body)
    if why:
        with pytest.raises(Unsupported):
            FRONT.read(body)
        assert FRONT.outline(body).payload["messages"]
        report(FORMAT, direction, recording.name, "skipped", why)
        return
    before = json.dumps(body)
    asked = FRONT.read(body)
    pivot = json.dumps(asked.payload)
    sent = BACK.request(asked.payload, body["model"], stream=bool(body.get("stream")))
    assert json.dumps(body) == before, "the app's request was changed"
    assert json.dumps(asked.payload) == pivot, "the pivot's request was changed"
    assert sent.path == "/messages"
    assert sent.body.get("stream", False) == bool(body.get("stream"))
    said, wanted = asked_plainly(sent.body), asked_plainly(body)
    if "thinking" not in wanted and "effort" in wanted.get("output_config", {}):
        said.pop("thinking")
        if wanted["output_config"]["effort"] == "xhigh" and said["output_config"]["effort"] == "max":
            assert "reasoning_effort: max" in sent.approximated  # what this provider refused when it was asked
            said["output_config"] = {"effort": "xhigh"}
    assert said == wanted
    report(FORMAT, direction, recording.name, "passed")


def check_count(recording: Recording) -> None:
    direction, body = "tokens of an input", recording.asked
    counted = native_count(recording.answer)
    assert counted == json.loads(recording.answer)["input_tokens"]
    MessageTokensCount.model_validate(FRONT.counted(counted), strict=True)
    why = foreign(body)
    if why:
        with pytest.raises(Unsupported):
            FRONT.read(body)
        report(FORMAT, direction, recording.name, "skipped", why)
        return
    asked = FRONT.read(body)
    sent = BACK.count_request(asked.payload, body["model"])
    assert sent.path == "/messages/count_tokens"
    assert asked_plainly(sent.body) == asked_plainly(body)
    report(FORMAT, direction, recording.name, "passed")


def check_error(recording: Recording) -> None:
    said = json.loads(recording.answer)
    trouble = BACK.error(recording.status, recording.answer)
    told = FRONT.error(recording.status, trouble, said["request_id"])
    ErrorResponse.model_validate(told, strict=True)
    kept = {name: told["error"][name] for name in ("type", "message")}
    assert {**told, "error": kept} == said
    report(FORMAT, "error", recording.name, "passed")


def check_answer(recording: Recording) -> None:
    direction, wanted = "provider's answer to app's", json.loads(recording.answer)
    whole = native_answer(recording.answer)
    assert whole is not None and whole.tokens is not None and whole.tokens.output == wanted["usage"]["output_tokens"]
    if {block["type"] for block in wanted["content"]} - _BLOCKS:
        with pytest.raises(NotAnAnswer):
            BACK.answer(recording.answer, {})
        report(FORMAT, direction, recording.name, "skipped", "blocks of the provider's own making")
        return
    payload = {} if foreign(recording.asked) else FRONT.read(recording.asked).payload
    completion = BACK.answer(recording.answer, payload)
    told = FRONT.answer(completion, recording.asked)
    Message.model_validate(told, strict=True)
    assert answered_plainly(told) == answered_plainly(wanted)
    assert completion["usage"]["prompt_tokens"] == whole.tokens.input
    report(FORMAT, direction, recording.name, "passed")


def accumulated(stream: bytes) -> dict[str, Any]:
    """What the SDK makes of a stream, each event of it checked against its types."""
    framer, snapshot, buffers = Framer(), None, {}
    names = []
    for event in [*framer.feed(stream), *framer.close()]:
        value = json.loads(event.data)
        assert value["type"] == event.name
        names.append(event.name)
        if event.name != "ping":
            parsed = EVENT.validate_python(value)
            snapshot = accumulate_event(event=parsed, current_snapshot=snapshot, json_bufs=buffers)
    assert names[0] == "message_start" and names[-1] == "message_stop"
    assert snapshot is not None
    return snapshot.to_dict()


def check_stream(recording: Recording) -> None:
    direction = "provider's stream to app's"
    back, front = BACK.stream({}), FRONT.stream(recording.asked)
    begun = {
        json.loads(event.data)["content_block"]["type"] for event in Framer().feed(recording.answer) if event.name == "content_block_start"
    }
    if begun - _BLOCKS:
        with pytest.raises(NotAnAnswer):
            back.feed(recording.answer)
        report(FORMAT, direction, recording.name, "skipped", "blocks of the provider's own making")
        return
    wanted = accumulated(recording.answer)
    chunks = [*back.feed(recording.answer), *back.close()]
    assert back.finished
    told = b"".join(front.feed(chunk) for chunk in chunks) + front.close()
    assert answered_plainly(accumulated(told)) == answered_plainly(wanted)
    report(FORMAT, direction, recording.name, "passed")


def check_passed(recording: Recording) -> None:
    watch = AnthropicStream()
    stream = recording.answer.replace(b"\r\n", b"\n")
    passed = b"".join(watch.feed(stream[at : at + 400]) for at in range(0, len(stream), 400))
    assert watch.close() and watch.has_output and not watch.malformed
    assert (passed + watch.rest).strip() == stream.strip()
    usage: dict[str, Any] = {}
    for event in Framer().feed(stream):
        value = json.loads(event.data)
        usage |= {
            name: count for name, count in (value.get("usage") or value.get("message", {}).get("usage") or {}).items() if count is not None
        }
    counts = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    assert watch.tokens is not None
    assert (watch.tokens.input, watch.tokens.output) == (sum(usage.get(name, 0) for name in counts), usage["output_tokens"])
    report(FORMAT, "stream passed through", recording.name, "passed")


# what apps and providers of OpenAI's format said


def openai_recorded() -> Iterator[Recording]:
    """Chat completions that succeeded: a sample, the first of each file."""
    seen: set[str] = set()
    for folder in OPENAI_SAMPLE:
        for one in recordings(host="api.openai.com", path="/chat/completions", folder=folder):
            file = one.name.partition("#")[0]
            if one.status == 200 and type(one.asked) is dict and one.answer and file not in seen:
                seen.add(file)
                yield one


def check_openai_request(recording: Recording) -> None:
    direction = "OpenAI's request to provider's"
    try:
        sent = BACK.request(recording.asked, "claude-sonnet-4-5", stream=False)
    except Unsupported as error:
        report(FORMAT, direction, recording.name, "skipped", f"{re.sub('[0-9]+', '', error.field)} cannot be said in this format")
        return
    again = FRONT.read(sent.body)
    roles = [message["role"] for message in again.payload["messages"]]
    assert roles.count("tool") == sum(message["role"] == "tool" for message in recording.asked["messages"])
    assert asked_plainly(BACK.request(again.payload, "claude-sonnet-4-5", stream=False).body) == asked_plainly(sent.body)
    report(FORMAT, direction, recording.name, "passed")


def check_openai_answer(recording: Recording) -> None:
    direction, completion = "OpenAI's answer to app's", json.loads(recording.answer)
    if completion["choices"][0]["message"].get("function_call"):
        report(FORMAT, direction, recording.name, "skipped", "a function in the old spelling, which nobody is asked for")
        return
    told = FRONT.answer(completion, {})
    Message.model_validate(told, strict=True)
    choice, usage = completion["choices"][0], completion["usage"]
    calls = [block for block in told["content"] if block["type"] == "tool_use"]
    assert [call["name"] for call in calls] == [call["function"]["name"] for call in choice["message"].get("tool_calls") or ()]
    refusal = choice["message"].get("refusal") or ""
    text = (choice["message"]["content"] or "") + refusal
    assert "".join(block["text"] for block in told["content"] if block["type"] == "text") == text
    stops = {
        "stop": "tool_use" if calls else "refusal" if refusal else "end_turn",
        "tool_calls": "tool_use",
        "length": "max_tokens",
        "content_filter": "refusal",
    }
    assert told["stop_reason"] == stops[choice["finish_reason"]]
    assert told["usage"]["input_tokens"] + told["usage"]["cache_read_input_tokens"] == usage["prompt_tokens"]
    assert told["usage"]["output_tokens"] == usage["completion_tokens"]
    report(FORMAT, direction, recording.name, "passed")


def check_openai_stream(recording: Recording) -> None:
    framer, front = Framer(), FRONT.stream({})
    chunks: list[Chunk] = [decode_any(one.data) for one in [*framer.feed(recording.answer), *framer.close()] if one.data != b"[DONE]"]
    told = accumulated(b"".join(front.feed(chunk) for chunk in chunks) + front.close())
    Message.model_validate(told)
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"] if choice["index"] == 0)
    assert "".join(block["text"] for block in told["content"] if block["type"] == "text") == text
    usage = next((chunk["usage"] for chunk in chunks if chunk.get("usage")), None)
    assert told["usage"]["output_tokens"] == (usage["completion_tokens"] if usage else 0)
    report(FORMAT, "OpenAI's stream to app's", recording.name, "passed")
