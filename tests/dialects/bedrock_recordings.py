"""Recorded exchanges with Bedrock's Converse, run through its back; what became of each is reported for the table.

No app speaks this format to the proxy, so a recorded request is read back into the pivot here, and asked again.
"""

from __future__ import annotations

import json
from base64 import b64decode
from functools import cache
from typing import Any
from urllib.parse import unquote

from botocore.eventstream import EventStreamBuffer
from botocore.model import ServiceModel, Shape
from botocore.serialize import create_serializer
from botocore.session import Session
from botocore.validate import ParamValidator

from apps.proxy.dialects.bedrock import BedrockBack
from apps.proxy.dialects.bedrock_wire import redacted_data
from apps.proxy.dialects.translation import NotAnAnswer, Unsupported
from tests.conformance.recordings import Recording, recordings
from tests.conformance.table import report

BACK = BedrockBack()
REQUEST, ANSWER, STREAM, ERROR = "OpenAI's request to provider's", "provider's answer to app's", "provider's stream to app's", "error"
NOT_COMPARED = {
    "inferenceConfig, system": "empty ones say nothing",
    "toolResult.status": "success is what holds without it",
    "toolResult.content[].json": "chat completions have texts: the JSON as one",
    "toolUse.type, toolResult.type": "server tools' alone, which are refused before",
    "document.format": "md comes from text/markdown, and so on: compared as said",
    "outputConfig.textFormat.structure.jsonSchema.schema": "compared as JSON, not as text",
    "temperature and topP of Claude": "4.1 and later take one of them",
    "additionalModelRequestFields.inferenceConfig": "said as top_k",
    "messages": "neighbours of one role are one turn; a user's cache point stands behind what it marks",
}
"""What a recorded request may differ in from the one that we would send, and why."""
_MEDIA = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "html": "text/html"}
_CHOICES = {"auto": "auto", "any": "required"}


class Unspoken(Exception):
    """The recorded request has what chat completions have no word for."""


@cache
def model() -> ServiceModel:
    return Session().get_service_model("bedrock-runtime")


def recordings_check() -> None:
    for recording in recordings(host="bedrock-runtime", path="/converse"):
        operation = "ConverseStream" if recording.path.endswith("/converse-stream") else "Converse"
        if recording.status != 200:
            trouble = BACK.error(recording.status, recording.answer)
            assert trouble.message == json.loads(recording.answer)["message"] and trouble.code == "model_not_found"
            report("bedrock", ERROR, recording.name, "passed")
            continue
        _request_check(recording, operation)
        (_stream_check if operation == "ConverseStream" else _answer_check)(recording)


def _request_check(recording: Recording, operation: str) -> None:
    name = unquote(recording.path.split("/")[2])
    if not isinstance(recording.asked, dict):
        report("bedrock", REQUEST, recording.name, "skipped", "recorded without its body")
        return
    try:
        sent = BACK.request(pivot_of(recording.asked), name, stream=operation == "ConverseStream")
    except Unspoken as words:
        report("bedrock", REQUEST, recording.name, "skipped", str(words))
        return
    except Unsupported as refused:
        report("bedrock", REQUEST, recording.name, "skipped", f"refused: {''.join(s for s in refused.field if not s.isdigit())}")
        return
    assert sent.path == recording.path
    assert canonical(sent.body) == canonical(recording.asked), recording.name
    sdk_takes(sent.body, name, operation, sent.path)
    report("bedrock", REQUEST, recording.name, "passed")


def sdk_takes(body: dict[str, Any], name: str, operation: str, path: str) -> None:
    """AWS's own SDK finds no fault in this request, and would send the same."""
    shape = model().operation_model(operation)
    assert shape.input_shape is not None
    params = {"modelId": name, **_typed(body, shape.input_shape)}
    found = ParamValidator().validate(params, shape.input_shape)
    assert not found.has_errors(), found.generate_report()
    made = create_serializer("rest-json").serialize_to_request(params, shape)
    assert made["url_path"] == path and json.loads(made["body"]) == json.loads(json.dumps(body))


def _typed(value: Any, shape: Shape) -> Any:
    """With bytes where the SDK wants bytes."""
    if shape.type_name == "blob":
        return b64decode(value, validate=True)
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        assert value.keys() <= shape.members.keys(), value.keys() - shape.members.keys()
        return {key: _typed(one, shape.members[key]) for key, one in value.items()}
    if shape.type_name == "list":
        return [_typed(one, shape.member) for one in value]
    return value


def _answer_check(recording: Recording) -> None:
    said = json.loads(recording.answer)
    try:
        completion = BACK.answer(recording.answer, {"model": "m"})
    except NotAnAnswer as refused:
        report("bedrock", ANSWER, recording.name, "skipped", f"cannot be asked for: {refused}")
        return
    choice = completion["choices"][0]
    assert learnt(choice["message"], choice, completion["usage"]) == told(
        said["output"]["message"]["content"], said["stopReason"], said["usage"]
    )
    report("bedrock", ANSWER, recording.name, "passed")


def _stream_check(recording: Recording) -> None:
    stream = BACK.stream({"model": "m"})
    try:
        chunks = stream.feed(recording.answer) + stream.close()
    except NotAnAnswer as refused:
        report("bedrock", STREAM, recording.name, "skipped", f"cannot be asked for: {refused}")
        return
    assert stream.finished
    content, reason, usage = gathered(recording.answer)
    message, choice = accumulated(chunks)
    assert learnt(message, choice, chunks[-1]["usage"]) == told(content, reason, usage), recording.name
    report("bedrock", STREAM, recording.name, "passed")


def gathered(body: bytes) -> tuple[list[dict[str, Any]], str, dict[str, Any]]:
    """(content, stop reason, usage) of a stream, framed by AWS's SDK."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    blocks: dict[int, dict[str, Any]] = {}
    reason, usage = "", {}
    for message in buffer:
        event = json.loads(message.payload)
        name = message.headers[":event-type"]
        index = event.get("contentBlockIndex")
        if name == "contentBlockStart":
            blocks[index] = {"toolUse": {**event["start"]["toolUse"], "input": ""}}
        elif name == "contentBlockDelta":
            delta = event["delta"]
            if "text" in delta:
                block = blocks.setdefault(index, {"text": ""})
                block["text"] += delta["text"]
            elif "toolUse" in delta:
                blocks[index]["toolUse"]["input"] += delta["toolUse"]["input"]
            elif "redactedContent" in delta["reasoningContent"]:
                block = blocks.setdefault(index, {"reasoningContent": {"redactedContent": b""}})
                block["reasoningContent"]["redactedContent"] += b64decode(delta["reasoningContent"]["redactedContent"])
            else:
                block = blocks.setdefault(index, {"reasoningContent": {"reasoningText": {"text": ""}}})
                text = block["reasoningContent"]["reasoningText"]
                for key, value in delta["reasoningContent"].items():
                    text[key] = text.get(key, "") + value
        elif name == "messageStop":
            reason = event["stopReason"]
        elif name == "metadata":
            usage = event["usage"]
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return list(blocks.values()), reason, usage


def accumulated(chunks: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(message, last choice) as an app gathers them."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "thinking_blocks": [], "tool_calls": []}
    last: dict[str, Any] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            for name in ("content", "reasoning_content", "thinking_blocks"):
                message[name] += delta.get(name) or type(message[name])()
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(message["tool_calls"]):
                    message["tool_calls"].append({"id": call["id"], "function": dict(call["function"])})
                else:
                    message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
            last = choice
    return message, last


def learnt(message: dict[str, Any], choice: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": message["content"] or "",
        "thoughts": message.get("reasoning_content") or "",
        "blocks": message.get("thinking_blocks") or [],
        "calls": [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls") or ()
        ],
        "finish": (choice["finish_reason"], choice["native_finish_reason"]),
        "usage": (
            usage["total_tokens"],
            usage["completion_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
            usage["prompt_tokens_details"]["cache_write_tokens"],
        ),
    }


FINISHES = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length", "guardrail_intervened": "content_filter"}


def told(content: list[dict[str, Any]], reason: str, usage: dict[str, Any]) -> dict[str, Any]:
    """What the recorded answer says, in the fields that matter."""
    found: dict[str, Any] = {"text": "", "thoughts": "", "blocks": [], "calls": []}
    for block in content:
        found["text"] += block.get("text", "")
        if "toolUse" in block:
            found["calls"].append((block["toolUse"]["toolUseId"], block["toolUse"]["name"], block["toolUse"]["input"]))
        thinking = block.get("reasoningContent", {})
        text = thinking.get("reasoningText", {})
        found["thoughts"] += text.get("text", "")
        if "signature" in text:
            found["blocks"].append({"type": "thinking", "thinking": text["text"], "signature": text["signature"]})
        if "redactedContent" in thinking:
            blob = thinking["redactedContent"]
            found["blocks"].append(
                {"type": "redacted_thinking", "data": redacted_data(blob if isinstance(blob, bytes) else b64decode(blob))}
            )
    return {
        **found,
        "finish": (FINISHES[reason], reason),
        "usage": (
            usage["totalTokens"],
            usage["outputTokens"],
            usage.get("cacheReadInputTokens", 0),
            usage.get("cacheWriteInputTokens", 0),
        ),
    }


# recorded requests in the pivot's words


def pivot_of(asked: dict[str, Any]) -> dict[str, Any]:
    """Raises Unspoken."""
    config, extra = asked.get("inferenceConfig", {}), dict(asked.get("additionalModelRequestFields", {}))
    payload: dict[str, Any] = {"messages": [], "model": "m"}
    if asked.get("system"):
        payload["messages"].append({"role": "system", "content": _parts(asked["system"])})
    for message in asked["messages"]:
        payload["messages"] += _messages(message)
    for theirs, ours in (("maxTokens", "max_tokens"), ("temperature", "temperature"), ("topP", "top_p"), ("stopSequences", "stop")):
        if theirs in config:
            payload[ours] = config[theirs]
    if "topK" in config:
        raise Unspoken("inferenceConfig.topK, which is no field of Converse")
    if "topK" in extra.get("inferenceConfig", {}):
        payload["top_k"] = extra.pop("inferenceConfig")["topK"]
    for name in ("top_k", "thinking", "reasoning_effort"):
        if name in extra:
            payload[name] = extra.pop(name)
    effort = extra.pop("output_config", {}).get("effort") or extra.pop("reasoning_config", None)
    if effort:
        payload.pop("thinking", None)
        payload["reasoning_effort"] = effort
    if extra:
        payload["additionalModelRequestFields"] = extra
    for name in ("guardrailConfig", "performanceConfig"):
        if name in asked:
            payload[name] = asked[name]
    if "serviceTier" in asked:
        payload["service_tier"] = asked["serviceTier"]["type"]
    if "outputConfig" in asked:
        form = asked["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
        payload["response_format"] = {"type": "json_schema", "json_schema": {**form, "schema": json.loads(form["schema"])}}
    _tools(asked.get("toolConfig", {}), payload)
    return payload


def _tools(config: dict[str, Any], payload: dict[str, Any]) -> None:
    for tool in config.get("tools", ()):
        if "systemTool" in tool:
            raise Unspoken("tools that the provider runs")
        if "cachePoint" in tool:
            payload["tools"][-1]["cache_control"] = _mark(tool)
            continue
        spec = tool["toolSpec"]
        function = {"name": spec["name"], "parameters": spec["inputSchema"]["json"]}
        function.update({name: spec[name] for name in ("description", "strict") if name in spec})
        payload.setdefault("tools", []).append({"type": "function", "function": function})
    for kind, value in config.get("toolChoice", {}).items():
        payload["tool_choice"] = {"type": "function", "function": {"name": value["name"]}} if kind == "tool" else _CHOICES[kind]


def _mark(block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "ephemeral", **{name: value for name, value in block["cachePoint"].items() if name == "ttl"}}


def _messages(message: dict[str, Any]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    if message["role"] == "assistant":
        said: dict[str, Any] = {"role": "assistant", "content": [], "tool_calls": [], "thinking_blocks": []}
        for block in message["content"]:
            if "toolUse" in block:
                call = block["toolUse"]
                if "type" in call:
                    raise Unspoken("tools that the provider runs")
                said["tool_calls"].append(
                    {
                        "id": call["toolUseId"],
                        "type": "function",
                        "function": {"name": call["name"], "arguments": json.dumps(call["input"])},
                    }
                )
            elif "reasoningContent" in block:
                said["thinking_blocks"].append(_thought(block["reasoningContent"]))
            else:
                said["content"] += _parts([block])
        return [{name: value for name, value in said.items() if value}]
    for block in message["content"]:
        if "toolResult" in block:
            result = block["toolResult"]
            content = [{"text": json.dumps(one["json"])} if "json" in one else one for one in result["content"]]
            made.append({"role": "tool", "tool_call_id": result["toolUseId"], "content": _parts(content)})
            if result.get("status") == "error":
                made[-1]["is_error"] = True
        elif "cachePoint" in block and made:
            holder = made[-1] if made[-1]["role"] == "tool" else made[-1]["content"][-1]
            holder["cache_control"] = _mark(block)
        else:
            made.append({"role": "user", "content": _parts([block])})
    return made


def _thought(block: dict[str, Any]) -> dict[str, Any]:
    if "redactedContent" in block:
        return {"type": "redacted_thinking", "data": redacted_data(b64decode(block["redactedContent"]))}
    return {"type": "thinking", "thinking": block["reasoningText"]["text"], "signature": block["reasoningText"]["signature"]}


def _parts(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for block in blocks:
        kind, value = next(iter(block.items()))
        if kind == "text":
            parts.append({"type": "text", "text": value})
        elif kind == "cachePoint":
            parts[-1]["cache_control"] = _mark(block)
        elif kind == "document":
            url = f"data:{_MEDIA[value['format']]};base64,{value['source']['bytes']}"
            parts.append({"type": "file", "file": {"file_data": url, "filename": value["name"]}})
        elif kind == "image":
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/{value['format']};base64,{value['source']['bytes']}"}})
        else:
            raise Unspoken(f"blocks of kind {kind}")
    return parts


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """Without what is in NOT_COMPARED."""
    made = json.loads(json.dumps({name: value for name, value in body.items() if value not in ({}, [])}))
    turns: list[dict[str, Any]] = []
    for message in made["messages"]:
        for block in message["content"]:
            result = block.get("toolResult")
            if result is not None:
                if result.get("status") == "success":
                    del result["status"]
                result["content"] = [{"text": json.dumps(one["json"])} if "json" in one else one for one in result["content"]]
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += message["content"]
        else:
            turns.append(message)
    made["messages"] = turns
    if "outputConfig" in made:
        form = made["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
        form["schema"] = json.loads(form["schema"])
    return made
