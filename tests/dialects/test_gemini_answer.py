"""What a provider's answer in Gemini's format says as a chat completion; what is none has a defined outcome."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.proxy.dialects.gemini import GeminiBack
from apps.proxy.dialects.gemini_fields import MAKER
from apps.proxy.dialects.translation import NotAnAnswer

BACK = GeminiBack()
DEEP = b'{"a":' * 10_000


def body(**fields: Any) -> bytes:
    candidate = {"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}
    return json.dumps({"candidates": [candidate], "responseId": "r1", "modelVersion": "gemini-x", **fields}).encode()


def answer(**fields: Any) -> dict[str, Any]:
    return BACK.answer(body(**fields), {"model": "asked"})


def choice(**candidate: Any) -> dict[str, Any]:
    return answer(candidates=[{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP", **candidate}])["choices"][0]


def parts(*given: dict[str, Any]) -> dict[str, Any]:
    return choice(content={"parts": list(given)})["message"]


def test_a_whole_answer() -> None:
    completion = answer(
        createTime="2026-05-28T14:45:17.041985823Z",
        usageMetadata={
            "promptTokenCount": 50,
            "toolUsePromptTokenCount": 7,
            "cachedContentTokenCount": 30,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 11,
            "totalTokenCount": 73,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}, {"modality": "AUDIO", "tokenCount": 40}],
            "trafficType": "ON_DEMAND_FLEX",
        },
    )
    assert completion == {
        "id": "r1",
        "object": "chat.completion",
        "created": 1779979517,
        "model": "gemini-x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
                "native_finish_reason": "STOP",
            }
        ],
        "usage": {
            "prompt_tokens": 57,
            "completion_tokens": 16,
            "total_tokens": 73,
            "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 40},
            "completion_tokens_details": {"reasoning_tokens": 11},
        },
        "service_tier": "flex",
    }


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("OTHER", "content_filter"),
        ("A_REASON_OF_TOMORROW", "content_filter"),
    ],
)
def test_why_it_ended(reason: str, finish: str) -> None:
    said = choice(finishReason=reason, finishMessage="because")
    assert (said["finish_reason"], said["native_finish_reason"]) == (finish, reason)
    assert said["message"]["refusal"] == ("because" if finish == "content_filter" else None)


def test_thoughts_signatures_and_calls() -> None:
    message = parts(
        {"text": "hm", "thought": True, "thoughtSignature": "QUFB"},
        {"text": "so "},
        {"text": "yes", "thoughtSignature": "QkJC"},
        {"functionCall": {"name": "look", "args": {"at": "é"}}, "thoughtSignature": "Q0ND"},
        {"functionCall": {"name": "hear", "id": "mine"}},
    )
    assert message["content"] == "so yes" and message["reasoning_content"] == "hm"
    assert message["thinking_blocks"] == [
        {"type": "thinking", "thinking": "hm", "signature": MAKER + "QUFB"},
        {"type": "thinking", "thinking": "", "signature": MAKER + "QkJC"},
    ]
    first, second = message["tool_calls"]
    assert (first["id"], first["signature"], json.loads(first["function"]["arguments"])) == ("call_r1_0", "Q0ND", {"at": "é"})
    assert second == {"id": "mine", "type": "function", "function": {"name": "hear", "arguments": "{}"}}
    assert choice(content={"parts": [{"functionCall": {"name": "f"}}]})["finish_reason"] == "tool_calls"


def test_ids_of_calls_are_short_and_differ_between_candidates() -> None:
    call = {"content": {"parts": [{"functionCall": {"name": "f"}}]}, "finishReason": "STOP"}
    completion = answer(responseId="x" * 90, candidates=[call, {**call, "index": 1}])
    ids = [one["message"]["tool_calls"][0]["id"] for one in completion["choices"]]
    assert len(set(ids)) == 2 and all(len(identity) <= 40 for identity in ids)


def test_two_answers_without_an_id_have_different_ones() -> None:
    said = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}, "finishReason": "STOP"}]}
    first, second = (BACK.answer(json.dumps(said).encode(), {"model": "asked"}) for _ in range(2))
    assert first["id"] != second["id"] and first["model"] == "asked" and "usage" not in first
    assert first["choices"][0]["message"]["tool_calls"][0]["id"] != second["choices"][0]["message"]["tool_calls"][0]["id"]


def test_a_blocked_prompt_is_a_filtered_answer() -> None:
    said = answer(
        candidates=[], promptFeedback={"blockReason": "SAFETY", "blockReasonMessage": "no"}, usageMetadata={"promptTokenCount": 3}
    )
    (only,) = said["choices"]
    assert only["finish_reason"] == "content_filter"
    assert only["native_finish_reason"] == "promptFeedback.blockReason=SAFETY"
    assert only["message"] == {"role": "assistant", "content": None, "refusal": "no"}
    assert said["usage"]["total_tokens"] == 3


def test_logprobs() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "tokenId": 5, "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "e", "logProbability": -1}]}],
    }
    assert choice(logprobsResult=result)["logprobs"] == {
        "content": [
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [195, 169],
                "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
            }
        ],
        "refusal": None,
    }


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b"null",
        b"[]",
        b"{}",
        b'{"candidates": []}',
        b'{"promptFeedback": {}}',
        b'{"error": {"code": 500, "message": "x"}}',
        body()[:-3],
        body(candidates=3),
        body(candidates=[3]),
        body(candidates=[{"finishReason": "STOP", "content": {"parts": "x"}}]),
        body(candidates=[{"finishReason": "STOP", "content": {"parts": [{"text": 3}]}}]),
        body(candidates=[{"content": {"parts": [{"text": "x"}]}}]),
        body(candidates=[{"finishReason": "FINISH_REASON_UNSPECIFIED", "content": {"parts": [{"text": "x"}]}}]),
        body(candidates=[{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "x"}]),
        body(candidates=[{"finishReason": "UNEXPECTED_TOOL_CALL"}]),
        body(candidates=[{"finishReason": "STOP", "content": {"parts": [{"functionCall": {"name": "f", "args": [1]}}]}}]),
        body(candidates=[{"finishReason": "STOP", "content": {"parts": [{"functionCall": {"args": {}}}]}}]),
        body(candidates=[{"finishReason": "STOP", "content": {"parts": [{"functionCall": {"name": "f", "willContinue": True}}]}}]),
        body(candidates=[{"finishReason": "STOP", "content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}}]),
        body(candidates=[{"finishReason": "STOP", "content": {"parts": [{"executableCode": {"code": "1"}}]}}]),
        body(usageMetadata={"promptTokenCount": "many"}),
        body(usageMetadata=[]),
        body().replace(b"hi", b"h\xff"),
        body(candidates=[{"finishReason": "STOP", "content": {"parts": [{"functionCall": {"name": "f", "args": {"a": "QQ"}}}]}}]).replace(
            b"QQ", b"\xff"
        ),
        DEEP,
        b'{"candidates": ' + DEEP,
    ],
)
def test_nonsense_is_no_answer(nonsense: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        BACK.answer(nonsense, {"model": "asked"})


@pytest.mark.parametrize(
    ("status", "said", "type", "code", "message"),
    [
        (400, {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}, "invalid_request_error", "invalid_argument", "bad"),
        (
            400,
            {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]},
            "authentication_error",
            "invalid_api_key",
            "API key not valid.",
        ),
        (
            400,
            {"message": "The input token count (9) exceeds the maximum number of tokens allowed (8).", "status": "INVALID_ARGUMENT"},
            "invalid_request_error",
            "context_length_exceeded",
            "The input token count (9) exceeds the maximum number of tokens allowed (8).",
        ),
        (403, {"message": "no", "status": "PERMISSION_DENIED"}, "permission_error", "permission_denied", "no"),
        (404, {"message": "no", "status": "NOT_FOUND"}, "not_found_error", "not_found", "no"),
        (429, {"message": "slow", "status": "RESOURCE_EXHAUSTED", "details": "x"}, "rate_limit_error", "resource_exhausted", "slow"),
        (503, {"message": "busy", "status": "UNAVAILABLE"}, "server_error", "unavailable", "busy"),
        (500, {"message": 3, "status": 3}, "server_error", None, "the provider answered 500"),
    ],
)
def test_errors(status: int, said: dict[str, Any], type: str, code: str | None, message: str) -> None:
    for written in ({"error": said}, [{"error": said}]):
        trouble = BACK.error(status, json.dumps(written).encode())
        assert (trouble.type, trouble.code, trouble.message) == (type, code, message)


@pytest.mark.parametrize(
    ("status", "said", "type", "beginning"),
    [
        (502, b"<html>\n<h1>Bad   Gateway</h1>" + b"x" * 5000, "server_error", "<html> <h1>Bad Gateway</h1>"),
        (401, b"", "authentication_error", "the provider answered 401"),
        (400, b'{"error": "plain"}', "invalid_request_error", "plain"),
        (500, b"\xff\xfe" + DEEP, "server_error", "\ufffd\ufffd"),
        (429, b"[]", "rate_limit_error", "[]"),
    ],
)
def test_errors_that_are_none_of_googles(status: int, said: bytes, type: str, beginning: str) -> None:
    trouble = BACK.error(status, said)
    assert trouble.type == type and trouble.message.startswith(beginning) and len(trouble.message) <= 300
