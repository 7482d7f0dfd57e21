"""Gemini to Gemini: the app's own words pass, and what must be known of them is known."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from apps.contracts.usage import TokenDetails, Tokens
from apps.proxy.dialects.gemini import GeminiFront, GeminiNative
from apps.proxy.dialects.gemini_fields import wrapped
from apps.proxy.dialects.gemini_words import SKIP_SIGNATURE
from apps.proxy.dialects.openai import chat_extras
from apps.proxy.dialects.translation import Unsupported
from tests.conformance.recordings import needs_recordings, recordings

NATIVE = GeminiNative()
HI = {"role": "user", "parts": [{"text": "hi"}]}
USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 3, "cachedContentTokenCount": 4}
TOKENS = Tokens(input=9, output=5, cache_read=4, reasoning=3)


def event(text: str = "a", **candidate: Any) -> bytes:
    said = {"candidates": [{"content": {"parts": [{"text": text}]}, **candidate}], "usageMetadata": USAGE, "responseId": "r1"}
    return b"data: %b\r\n\r\n" % json.dumps(said).encode()


def lf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_stream_passes_and_its_end_is_held_back(step: int) -> None:
    data = event("grüße") + b": still here\r\n\r\n" + event(" more") + event("", finishReason="STOP")
    watch = NATIVE.stream()
    passed = b"".join(watch.feed(data[at : at + step]) for at in range(0, len(data), step))
    assert not watch.finished and watch.has_output
    assert watch.close() and watch.finished and not watch.error
    assert passed + watch.rest == lf(data) and watch.rest == lf(event("", finishReason="STOP"))
    assert watch.tokens == TOKENS and watch.output_bytes() == len("grüße more".encode())


def test_a_stream_without_an_end_is_broken_and_was_used_so_far() -> None:
    watch = NATIVE.stream()
    assert watch.feed(event("a") + b'data: {"cand') == lf(event("a"))
    assert not watch.close() and not watch.finished and not watch.error
    assert watch.tokens == TOKENS


def test_a_second_candidate_may_begin_after_the_first_has_ended() -> None:
    watch = NATIVE.stream()
    assert watch.feed(event("a", index=0, finishReason="STOP") + event("b", index=1)) == b""
    assert not watch.close()
    watch = NATIVE.stream()
    data = event("a", index=0, finishReason="STOP") + event("b", index=1, finishReason="MAX_TOKENS")
    assert watch.feed(data) == b"" and watch.close()
    assert watch.rest == lf(data) and watch.output_bytes() == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'data: {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}\n\n', "busy"),
        (b"data: <html>\n\n", "an event of the stream is not a JSON object"),
        (event("b", finishReason="MALFORMED_FUNCTION_CALL"), "the model ended with MALFORMED_FUNCTION_CALL: nothing more is said"),
        (event("b", finishReason="STOP").replace(b"r1", b"r2"), "another answer begins in the middle of this one"),
    ],
)
def test_what_breaks_a_stream_is_not_given(data: bytes, message: str) -> None:
    watch = NATIVE.stream()
    assert watch.feed(event("a")) == lf(event("a"))
    assert watch.feed(data) == b""
    assert json.loads(watch.error)["error"]["message"] == message
    assert watch.feed(event("c", finishReason="STOP")) == b"" and not watch.close() and not watch.finished


def test_a_blocked_prompt_is_a_whole_answer() -> None:
    said = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {**USAGE, "trafficType": "ON_DEMAND_FLEX"}}
    watch = NATIVE.stream()
    assert watch.feed(b"data: %b\n\n" % json.dumps(said).encode()) == b"" and watch.close()
    assert watch.tokens is not None and watch.tokens.details == TokenDetails(batch=True)
    answer = NATIVE.answer(json.dumps(said).encode())
    assert answer is not None and answer.tokens == watch.tokens


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (event("a", finishReason="STOP")[6:], TOKENS),
        (b'{"candidates": [{"finishReason": "SAFETY"}]}', None),
        (b'{"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": "x"}}', None),
    ],
)
def test_whole_answers(body: bytes, tokens: Tokens | None) -> None:
    answer = NATIVE.answer(body)
    assert answer is not None and answer.tokens == tokens


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"error": {}}',
        event("a")[6:],
        b'{"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}',
        b'{"candidates": 3}',
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    assert NATIVE.answer(body) is None


def test_a_request_passes_as_it_is_but_for_a_cap() -> None:
    asked = {"contents": [HI], "tools": [{"googleSearch": {}}], "generation_config": {"temperature": 1}}
    before = copy.deepcopy(asked)
    assert NATIVE.changed(asked, "gemini-2.5-flash", None) is asked
    assert NATIVE.changed(asked, "m", 50) == {**asked, "generation_config": {"temperature": 1, "maxOutputTokens": 50}}
    assert NATIVE.changed({"contents": [HI]}, "m", 50)["generationConfig"] == {"maxOutputTokens": 50}
    assert asked == before
    assert NATIVE.path("gemini-2.5-flash", stream=True) == "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert NATIVE.path("tunedModels/a b", stream=False) == "/tunedModels/a%20b:generateContent"


def test_what_other_models_said_is_told_as_gemini_takes_it() -> None:
    thought = {"text": "hm", "thought": True, "thoughtSignature": wrapped({"type": "thinking", "signature": "EuYB"})}
    call = {"functionCall": {"name": "f", "args": {}}}
    asked = {"contents": [HI, {"role": "model", "parts": [thought, call, call]}]}
    before = copy.deepcopy(asked)
    parts = NATIVE.changed(asked, "gemini-3-pro-preview", None)["contents"][1]["parts"]
    assert parts == [{"text": "hm", "thought": True}, {**call, "thoughtSignature": SKIP_SIGNATURE}, call]
    assert NATIVE.changed(asked, "gemini-2.5-pro", None)["contents"][1]["parts"] == [{"text": "hm", "thought": True}, call, call]
    assert asked == before
    own = {"contents": [HI, {"role": "model", "parts": [{**call, "thoughtSignature": "QUFB"}, call]}]}
    assert NATIVE.changed(own, "gemini-3-pro-preview", None) is own


@pytest.mark.parametrize(
    ("fields", "unbounded"),
    [
        (
            {"tools": [{"googleSearch": {}, "functionDeclarations": [{"name": "f", "behavior": "NON_BLOCKING"}]}]},
            "'googleSearch' is billed apart",
        ),
        ({"cachedContent": "cachedContents/1"}, "'cached_content' has a cost"),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {}}}, "cannot be bounded"),
        ({"generationConfig": {"responseMimeType": "text/x.enum", "responseSchema": {"enum": ["a"]}}}, ""),
        ({"toolConfig": {"includeServerSideToolInvocations": True}, "modelArmorConfig": {}}, ""),
        (
            {
                "contents": [
                    HI,
                    {"role": "model", "parts": [{"executableCode": {"code": "1"}, "thoughtSignature": "QUFB"}, {"toolCall": {}}]},
                    HI,
                ]
            },
            "",
        ),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "https://h/a.mp4"}, "videoMetadata": {"fps": 1}}]}]}, "'file' has a cost"),
    ],
)
def test_the_outline_of_what_only_google_can_be_told(fields: dict[str, Any], unbounded: str) -> None:
    front, asked = GeminiFront(), {"contents": [HI], **fields}
    before = copy.deepcopy(asked)
    with pytest.raises(Unsupported):
        front.read(asked)
    payload = front.outline(asked).payload
    assert asked == before and payload["messages"]
    why = chat_extras(payload)[1]
    assert unbounded in why and bool(why) == bool(unbounded)


def test_images_that_a_model_made_are_counted_and_what_is_wrong_stays_refused() -> None:
    front = GeminiFront()
    made = {"role": "model", "parts": [{"text": "here"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}
    assert chat_extras(front.outline({"contents": [HI, made, HI]}).payload)[0] > 0
    with pytest.raises(Unsupported) as refused:
        front.outline({"contents": [HI], "generationConfig": {"temperature": "hot"}})
    assert refused.value.field == "generationConfig.temperature"
    assert front.read({"generateContentRequest": {"model": "models/m", "contents": [HI]}}).payload == {
        "messages": [{"role": "user", "content": "hi"}]
    }


@needs_recordings
def test_every_recorded_request_has_an_outline_and_every_stream_passes() -> None:
    front, streams = GeminiFront(), 0
    for recording in recordings(host="generativelanguage.googleapis.com", path="enerateContent"):
        assert front.outline(recording.asked).payload["messages"]
        if recording.streamed:
            watch = NATIVE.stream()
            assert watch.feed(recording.answer) + (watch.rest if watch.close() else b"?") == lf(recording.answer)
            assert watch.tokens is not None and watch.tokens.output > 0
            streams += 1
        else:
            answer = NATIVE.answer(recording.answer)
            assert answer is not None and answer.tokens is not None
    assert streams >= 16
