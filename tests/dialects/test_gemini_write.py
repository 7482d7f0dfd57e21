"""What apps with Google's SDK get: answers, streams and errors, whoever the provider was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import errors, types

from apps.proxy.dialects.gemini import GeminiArrayFront, GeminiBack, GeminiFront
from apps.proxy.dialects.gemini_fields import MAKER, unwrapped, wrapped
from apps.proxy.dialects.translation import Trouble

FRONT = GeminiFront()
THOUGHTS = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
FOREIGN = {"type": "thinking", "thinking": "hm", "signature": "EuYB"}
REDACTED = {"type": "redacted_thinking", "data": "EmwK"}


def completion(message: dict[str, Any], finish: str = "stop", **choice: Any) -> dict[str, Any]:
    return {
        "id": "r1",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 7,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    }


def candidate(said: dict[str, Any]) -> dict[str, Any]:
    types.GenerateContentResponse.model_validate(said)
    return said["candidates"][0]


def call(arguments: str, **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "look", "arguments": arguments}, **fields}


def test_an_answer() -> None:
    said = FRONT.answer(completion({"content": "hi", "tool_calls": [call('{"at":1}', signature="Q0ND")]}, "tool_calls"), {})
    assert candidate(said) == {
        "index": 0,
        "content": {
            "role": "model",
            "parts": [
                {"text": "hi"},
                {"functionCall": {"name": "look", "args": {"at": 1}, "id": "c1"}, "thoughtSignature": "Q0ND"},
            ],
        },
        "finishReason": "STOP",
    }
    assert said["usageMetadata"] == {
        "promptTokenCount": 10,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 17,
        "cachedContentTokenCount": 4,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}, {"modality": "AUDIO", "tokenCount": 2}],
    }
    assert (said["createTime"], said["modelVersion"], said["responseId"]) == ("2023-11-14T22:13:20Z", "m", "r1")


@pytest.mark.parametrize(
    ("finish", "native", "reason"),
    [
        ("stop", None, "STOP"),
        ("length", "length", "MAX_TOKENS"),
        ("content_filter", None, "SAFETY"),
        ("content_filter", "RECITATION", "RECITATION"),
        ("stop", "RECITATION", "STOP"),
        ("tool_calls", "STOP", "STOP"),
        (None, None, "OTHER"),
    ],
)
def test_why_it_ended(finish: Any, native: Any, reason: str) -> None:
    said = FRONT.answer(completion({"content": "x"}, finish, native_finish_reason=native), {})
    assert candidate(said)["finishReason"] == reason


def test_arguments_that_are_no_object_are_a_malformed_call() -> None:
    for arguments in ('{"at":', "[1]", "3"):
        said = candidate(FRONT.answer(completion({"content": None, "tool_calls": [call(arguments)]}, "tool_calls"), {}))
        assert said["finishReason"] == "MALFORMED_FUNCTION_CALL" and said["content"]["parts"] == []
        assert arguments in said["finishMessage"]
        stream = FRONT.stream({})
        stream.feed({"id": "r1", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **call(arguments)}]}}]})
        stream.feed({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
        assert b'"MALFORMED_FUNCTION_CALL"' in stream.close()


def test_refusals_are_told() -> None:
    blocked = FRONT.answer(completion({"content": None, "refusal": "no"}, "content_filter"), {})
    assert candidate(blocked)["finishMessage"] == "no"
    assert candidate(FRONT.answer(completion({"content": None, "refusal": "no"}), {}))["content"]["parts"] == [{"text": "no"}]
    native = "promptFeedback.blockReason=SAFETY"
    said = FRONT.answer(completion({"content": None, "refusal": "no"}, "content_filter", native_finish_reason=native), {})
    types.GenerateContentResponse.model_validate(said)
    assert said["promptFeedback"] == {"blockReason": "SAFETY", "blockReasonMessage": "no"} and "candidates" not in said


def test_thoughts_are_shown_to_those_who_ask_and_given_back_to_whoever_thought_them() -> None:
    own = {"type": "thinking", "thinking": "", "signature": MAKER + "QkJC"}
    message = {"content": "yes", "reasoning_content": "hm", "thinking_blocks": [FOREIGN, REDACTED, own]}
    for asked, shown in ((THOUGHTS, "hm"), ({}, "")):
        parts = candidate(FRONT.answer(completion(message), asked))["content"]["parts"]
        assert [part["text"] for part in parts] == [shown, "", "yes"]
        assert parts[2]["thoughtSignature"] == "QkJC"
        back = FRONT.read({"contents": [{"role": "model", "parts": parts}, {"parts": [{"text": "on"}]}]}).payload["messages"][0]
        assert back["thinking_blocks"] == [FOREIGN, REDACTED, own]
    assert candidate(FRONT.answer(completion({"content": "yes", "reasoning_content": "hm"}), {}))["content"]["parts"] == [{"text": "yes"}]
    parts = candidate(FRONT.answer(completion({"content": "yes", "reasoning_content": "hm"}), THOUGHTS))["content"]["parts"]
    assert parts == [{"text": "hm", "thought": True}, {"text": "yes"}]


def test_a_wrapped_signature_that_was_changed_is_nobodys() -> None:
    assert unwrapped(wrapped(FOREIGN)) == FOREIGN
    for signature in (wrapped(FOREIGN)[:-5], "YnVsa2hlYWQ6", wrapped({"type": "other"}), wrapped(FOREIGN) + "!", "QUFB"):
        assert unwrapped(signature) in (None, FOREIGN)


def written(front: GeminiFront, asked: dict[str, Any], chunks: list[dict[str, Any]]) -> bytes:
    stream = front.stream(asked)
    return b"".join([*(stream.feed(chunk) for chunk in chunks), stream.close()])


def events(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.split(b"\r\n\r\n") if line]


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "r1", "created": 1_700_000_000, "model": "m", "choices": [choice], **fields}


STREAM = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "h"}),
    chunk({"reasoning_content": "m"}),
    chunk({"thinking_blocks": [FOREIGN]}),
    chunk({"content": "hi"}),
    chunk({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"at"'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
    chunk({"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "hear", "arguments": ""}}]}),
    chunk({}, "tool_calls"),
    {"id": "other", "model": "m2", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
]


def test_a_stream() -> None:
    said = events(written(FRONT, THOUGHTS, STREAM))
    for one in said:
        types.GenerateContentResponse.model_validate(one)
        assert (one["responseId"], one["modelVersion"]) == ("r1", "m")
    assert [one["candidates"][0]["content"]["parts"] for one in said] == [
        [{"text": "h", "thought": True}],
        [{"text": "m", "thought": True}],
        [{"text": "", "thought": True, "thoughtSignature": wrapped(FOREIGN)}],
        [{"text": "hi"}],
        [
            {"functionCall": {"name": "look", "args": {"at": 1}, "id": "c1"}},
            {"functionCall": {"name": "hear", "args": {}, "id": "c2"}},
        ],
    ]
    assert [one["candidates"][0].get("finishReason") for one in said] == [None, None, None, None, "STOP"]
    assert [one.get("usageMetadata", {}).get("totalTokenCount") for one in said] == [None, None, None, None, 7]
    hidden = events(written(FRONT, {}, STREAM))
    assert "h" not in [part.get("text") for one in hidden for part in one["candidates"][0]["content"]["parts"]]
    parts = [part for one in said for part in one["candidates"][0]["content"]["parts"]]
    back = FRONT.read({"contents": [{"role": "model", "parts": parts}]}).payload["messages"][0]
    assert back["thinking_blocks"] == [FOREIGN] and back["reasoning_content"] == "hm" and back["content"] == "hi"


def test_several_candidates_end_in_one_event_with_the_usage() -> None:
    both = [chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop"), chunk({}, "length", index=1)]
    *_, last = events(written(FRONT, {}, [*both, {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}]))
    assert [(one["index"], one["finishReason"]) for one in last["candidates"]] == [(0, "STOP"), (1, "MAX_TOKENS")]
    assert last["usageMetadata"]["totalTokenCount"] == 2


def test_a_blocked_prompt_is_told_as_one() -> None:
    ended = chunk({"refusal": "no"}, "content_filter")
    ended["choices"][0]["native_finish_reason"] = "promptFeedback.blockReason=SAFETY"
    (only,) = events(written(FRONT, {}, [ended]))
    types.GenerateContentResponse.model_validate(only)
    assert only["promptFeedback"] == {"blockReason": "SAFETY", "blockReasonMessage": "no"}


def test_without_sse_a_stream_is_an_array_that_the_back_reads() -> None:
    data = written(GeminiArrayFront(), THOUGHTS, STREAM)
    assert json.loads(data) == events(written(FRONT, THOUGHTS, STREAM))
    stream = GeminiBack().stream({})
    assert stream.feed(data) and stream.finished
    assert GeminiArrayFront().stream({}).close() == b"[]"
    broken = GeminiArrayFront().stream({})
    data = broken.feed(chunk({"content": "hi"})) + broken.error(Trouble("gone", "server_error"))
    assert json.loads(data)[1]["error"]["message"] == "gone" and broken.close() == b"" == broken.feed(chunk({"content": "x"}))


def test_halves_of_surrogate_pairs_are_written_as_what_cannot_be_read() -> None:
    (one, _) = events(written(FRONT, {}, [chunk({"content": "a\ud83d"}), chunk({}, "stop")]))
    assert one["candidates"][0]["content"]["parts"] == [{"text": "a\ufffd"}]


def test_an_error_in_a_stream_is_raised_by_the_sdk() -> None:
    stream = FRONT.stream({})
    (said,) = events(stream.error(Trouble("slow down", "rate_limit_error", "too_many")))
    assert next(iter(said)) == "error"
    with pytest.raises(errors.ClientError) as raised:
        errors.APIError.raise_error(said["error"]["code"], said, None)
    assert (raised.value.code, raised.value.status, raised.value.message) == (429, "RESOURCE_EXHAUSTED", "slow down")
    assert (
        FRONT.stream({}).feed({"error": {"message": "x", "type": "server_error", "code": None}}).startswith(b'data: {"error":{"code":500')
    )


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "INVALID_ARGUMENT"), (418, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE"), (599, "INTERNAL")],
)
def test_errors(status: int, name: str) -> None:
    body = FRONT.error(status, Trouble("no", "invalid_request_error", "budget_exceeded", "contents[0]"), "req-1")
    assert body["error"]["code"] == status and body["error"]["status"] == name and body["error"]["message"] == "no"
    assert [detail["@type"].rpartition(".")[2] for detail in body["error"]["details"]] == ["ErrorInfo", "BadRequest", "RequestInfo"]
    assert body["error"]["details"][0]["reason"] == "budget_exceeded"


def test_logprobs() -> None:
    content = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.0, "bytes": [98]}]}]
    said = candidate(FRONT.answer(completion({"content": "a"}, logprobs={"content": content}), {}))
    assert said["logprobsResult"] == {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1.0}]}],
    }
