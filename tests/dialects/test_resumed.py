"""Streams that passed through in a format of their own, cut after any event and gone on with: whole for who reads them, or refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from apps.proxy.dialects import BACKS, FRONTS, NATIVES
from apps.proxy.dialects.event_watch import KEEP_RAW
from apps.proxy.dialects.natives import Resumed
from apps.proxy.dialects.translation import Chunk

FORMATS = ("anthropic", "gemini", "responses")
ASKED: dict[str, dict[str, Any]] = {
    "anthropic": {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "?"}], "stream": True},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "?"}]}], "generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
    "responses": {"model": "m", "input": "?", "stream": True},
}
WORDS = ["The ", "moon ", "is ", "far, ", "über ", "alles ", "gesehen. 🌙", "\nAnd ", 'so "on".']
TEXT = "".join(WORDS)
USAGE = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> Chunk:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}


def told(name: str, chunks: list[Chunk]) -> list[bytes]:
    """A provider's stream of this format, one event after the other."""
    stream = FRONTS[name].stream(ASKED[name])
    data = b"".join([*(stream.feed(one) for one in chunks), stream.close()]).replace(b"\r\n", b"\n")
    return [event + b"\n\n" for event in data.split(b"\n\n") if event]


def answer(thinks: bool, signature: str = "anthropic-signed") -> list[Chunk]:
    thought: list[Chunk] = []
    if thinks:
        block = {"type": "thinking", "thinking": "Hm, let me see.", "signature": signature}
        thought = [chunk({"reasoning_content": "Hm, "}), chunk({"reasoning_content": "let me see."}), chunk({"thinking_blocks": [block]})]
    return [chunk({"role": "assistant"}), *thought, *(chunk({"content": word}) for word in WORDS), *END]


END: list[Chunk] = [chunk({}, "stop"), {**chunk({}), "choices": [], "usage": USAGE}]


def cut(name: str, events: list[bytes]) -> tuple[Resumed | None, bytes]:
    """(how it goes on, what the app was given)."""
    native = NATIVES[name]
    watch = native.stream(ASKED[name])
    given = b"".join([watch.feed(event) for event in events])
    return native.resume(watch, ASKED[name]) if watch.has_output else None, given


def text_of(chunks: list[Chunk]) -> str:
    return "".join([choice["delta"].get("content") or "" for one in chunks for choice in one.get("choices") or ()])


@pytest.mark.parametrize("thinks", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_cut_after_any_event_is_gone_on_with_or_not_at_all(name: str, thinks: bool) -> None:
    events = told(name, answer(thinks))
    resumed = 0
    for number in range(1, len(events)):
        found, given = cut(name, events[:number])
        if found is None:
            continue
        sofar = text_of(found.seen)
        assert TEXT.startswith(sofar)
        rest = [{**chunk({"content": TEXT[len(sofar) :]}), "id": "another", "model": "other"}] if sofar != TEXT else []
        more = b"".join([*(found.front.feed(one) for one in (*rest, *END)), found.front.close()])
        back = BACKS[name].stream({})
        chunks = [*back.feed(given + more), *back.close()]  # strict about what begins, goes on and ends
        assert text_of(chunks) == TEXT and back.finished, number
        reasons = [choice["finish_reason"] for one in chunks for choice in one["choices"] if choice.get("finish_reason")]
        assert reasons == ["stop"], number
        resumed += 1
    assert resumed >= len(WORDS) - 1


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_told_twice(name: str) -> None:
    """Identity, numbers and places go on where the provider's stopped."""
    events = told(name, answer(False))
    middle = next(number for number, event in enumerate(events) if b"alles" in event)
    found, given = cut(name, events[:middle])
    assert found is not None
    more = b"".join([*(found.front.feed(one) for one in (chunk({"content": "rest"}), *END)), found.front.close()])
    told_now = [msgspec.json.decode(part.partition(b"data: ")[2]) for part in more.replace(b"\r\n", b"\n").split(b"\n\n") if part]
    if name == "anthropic":
        assert [one["type"] for one in told_now] == ["content_block_delta", "content_block_stop", "message_delta", "message_stop"]
        assert {one["index"] for one in told_now if "index" in one} == {0}
    elif name == "responses":
        before = [msgspec.json.decode(part.partition(b"data: ")[2]) for part in given.split(b"\n\n") if part]
        numbers = [one["sequence_number"] for one in (*before, *told_now)]
        assert numbers == list(range(len(numbers)))
        ids = {one["item_id"] for one in (*before, *told_now) if "item_id" in one}
        assert len(ids) == 1 and told_now[-1]["response"]["id"] == before[0]["response"]["id"]
        assert told_now[-1]["response"]["output"][0]["id"] in ids
    else:
        assert {one["responseId"] for one in told_now} == {"c-1"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_call_of_a_tool_is_not_gone_on_with(name: str) -> None:
    """It may be told again by no other model: who rescues sees that it is one."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}
    events = told(name, [chunk({"role": "assistant"}), chunk({"content": "Hm."}), chunk({"tool_calls": [call]}), *END])
    for number in range(1, len(events)):
        found, _ = cut(name, events[:number])
        if found is not None and b"weather" in b"".join(events[:number]):
            assert any(choice["delta"].get("tool_calls") for one in found.seen for choice in one.get("choices") or ())


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_packed_is_gone_on_with_too(name: str) -> None:
    words = [f"word {number} " * 20 for number in range(1_000)]
    events = told(name, [chunk({"role": "assistant"}), *(chunk({"content": word}) for word in words), *END])
    watch = NATIVES[name].stream(ASKED[name])
    for event in events[: len(words) // 2]:
        watch.feed(event)
    measured = watch.output_bytes()
    assert sum(map(len, watch._raw)) <= KEEP_RAW and watch._packed.pieces()  # type: ignore[attr-defined]
    found = NATIVES[name].resume(watch, ASKED[name])
    assert found is not None
    assert measured == watch.output_bytes() == len(text_of(found.seen).encode())
    assert "".join(words).startswith(text_of(found.seen)) and len(text_of(found.seen)) > KEEP_RAW / 2


@pytest.mark.parametrize("name", FORMATS)
def test_what_became_too_much_is_let_go_and_still_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.proxy.dialects.passed.MOST", 1_000)
    words = [f"word {number} " * 20 for number in range(2_000)]
    events = told(name, [chunk({"role": "assistant"}), *(chunk({"content": word}) for word in words), *END])
    watch = NATIVES[name].stream(ASKED[name])
    for event in events[: len(words)]:
        watch.feed(event)
    assert NATIVES[name].resume(watch, ASKED[name]) is None
    kept = "".join(words).encode()
    assert 0.9 * len(kept) < watch.output_bytes() <= len(kept)
