"""A provider's stream on its way to an app, without sockets: what the proxy does between the two, and what the app can make of it.

Good streams are the simulator's; ``Outcome.state`` is what becomes of one:

- ``whole``: the app's stream ends as one that is whole, and says what the provider said.
- ``broken``: it ends with an error in the app's own format, and never looks whole.
- ``before``: nothing was given yet: another target is asked, or the app gets an error instead of a stream.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from apps.proxy.caller import Caller
from apps.proxy.dialects import FRONTS
from apps.proxy.dialects.anthropic import AnthropicBack
from apps.proxy.dialects.bedrock import BedrockBack
from apps.proxy.dialects.cohere import CohereBack
from apps.proxy.dialects.gemini import GeminiBack
from apps.proxy.dialects.ollama import OllamaBack
from apps.proxy.dialects.responses import ResponsesBack
from apps.proxy.dialects.sse import Framer
from apps.proxy.dialects.translation import Back
from apps.proxy.translate import Call
from apps.simulator import formats
from apps.simulator.openai import ChatCall, Choice, usage_object

BACKS: dict[str, Back | None] = {
    "openai": None,
    "anthropic": AnthropicBack(),
    "gemini": GeminiBack(),
    "responses": ResponsesBack(),
    "bedrock": BedrockBack(),
    "cohere": CohereBack(),
    "ollama": OllamaBack(),
}
WRITERS = {form.name: form for form in formats.FORMATS}
TEXT = "The quick brown fox jumps over a löwe. "
TOOL = '{"city": "Köln", "days": 3}'
PAYLOAD = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
ASKED: dict[str, dict[str, Any]] = {"completions": {"model": "m", "prompt": "hi", "stream": True}}


class Outcome(NamedTuple):
    """text: what the app was told, or its call's arguments. given: the app's bytes."""

    state: str
    text: str
    given: bytes


@cache
def good(back: str, *, tool: str = "", identity: str = "one", text: str = TEXT) -> tuple[bytes, ...]:
    """A good stream's events, each whole; the last ones are its end. tool: arguments of the call that is answered instead of a text.
    identity: of the answer."""
    form = WRITERS[back]
    call = ChatCall({**PAYLOAD, "stream_options": {"include_usage": True}})
    choice = Choice(tool, 6, "tool_calls", "weather") if tool else Choice(text, 10, "stop")
    events = form.events(f"{form.identity}{identity}-0000000000", 1, call, usage_object(3, 10))
    found = [events.opening(0, choice)]
    found += [event for _, event in events.pieces(0, choice, 2)]
    found += [events.closing(0, choice), events.ending(usage=True, done=True)]
    return tuple(event for event in found if event)


class Taken:
    """An app's reply: keeps what was given, and how it ended."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = ""
        self.started = False
        self.on_gone = None
        self.gone = False

    def set_flow(self, flow: object) -> None:
        pass

    def start(self, status: int, headers: bytes, data: bytes = b"") -> None:
        self.started = True
        self.data += data

    def write(self, data: bytes) -> None:
        assert data, "nothing empty is written"
        self.data += data

    def finish(self, data: bytes = b"") -> None:
        self.data += data
        self.ended = "whole"

    def abort(self) -> None:
        self.ended = "broken"

    def broken(self, body: bytes) -> None:
        self.data += b"data: %b\n\n" % body
        self.ended = "broken"


BROKEN = b'{"error":{"message":"The stream broke off.","type":"server_error","param":null,"code":"stream_interrupted"}}'


def passed_on(back: str, front: str, pieces: Iterable[bytes]) -> Outcome:
    """What becomes of a provider's bytes for an app of this format (``openai``: none between)."""
    taken = Taken()
    caller = caller_of(front, taken)
    watch = Call(b"", b"", PAYLOAD, caller=caller, back=BACKS[back]).stream()
    state = _run(watch, caller or taken, taken, pieces)
    if state == "before":
        assert not taken.data
        return Outcome("before", "", b"")
    assert state == taken.ended, (state, taken.ended)
    text, whole = READERS[front](taken.data)
    assert whole == (state == "whole"), f"{front}: an answer that is {state} reads as {'whole' if whole else 'broken'}:\n{taken.data!r}"
    return Outcome(state, text, taken.data)


def caller_of(front: str, taken: Any) -> Caller | None:
    """What stands between the proxy and an app of this format; None for OpenAI's own."""
    if front == "openai":
        return None
    caller = Caller(FRONTS[front], None)
    caller.inner = taken
    caller.wrote = caller.asked = caller.echoed = ASKED.get(front, {"model": "m"})
    return caller


def _run(watch: Any, reply: Any, taken: Taken, pieces: Iterable[bytes]) -> str:
    """As an attempt does it (``apps.proxy.attempt``)."""
    held = b""
    for piece in pieces:
        given = watch.feed(piece)
        if not taken.started:
            if watch.error:
                return "before"
            held += given
            if watch.has_output:
                reply.start(200, b"", held)
            continue
        if given:
            reply.write(given)
        if taken.ended:
            return taken.ended
        if watch.error:
            break_off(reply)
            return "broken"
    whole = watch.close()
    if not taken.started:
        if not whole:
            return "before"
        reply.start(200, b"", held)
    if not whole:
        break_off(reply)
        return "broken"
    reply.finish(watch.rest)
    return taken.ended


def break_off(reply: Any) -> None:
    reply.broken(reply.breaking(BROKEN) if isinstance(reply, Caller) else BROKEN)


# --- what an app's SDK makes of its stream: (what was said, whether it looks whole). Strict: anything else is an AssertionError. ---


def _events(data: bytes) -> Iterator[tuple[str, bytes]]:
    framer = Framer()
    yield from framer.feed(data)
    yield from framer.close()


def _openai(data: bytes) -> tuple[str, bool]:
    text, done, failed = "", False, False
    for _, event in _events(data):
        assert not done and not failed, "nothing follows the end"
        if event == b"[DONE]":
            done = True
            continue
        said = json.loads(event)
        if said.get("error"):
            failed = True
            continue
        for choice in said.get("choices", ()):
            delta = choice.get("delta", choice)
            text += delta.get("content") or delta.get("text") or ""
            text += "".join(call["function"].get("arguments") or "" for call in delta.get("tool_calls") or ())
    assert not (done and failed)
    return text, done


def _anthropic(data: bytes) -> tuple[str, bool]:
    text, opened, closed, stopped, failed = "", set(), set(), False, False
    for at, (name, event) in enumerate(_events(data)):
        said = json.loads(event)
        assert not stopped and not failed and said["type"] == name
        assert (at == 0) == (name == "message_start") or name == "error", "one start, at the start"
        if name == "content_block_start":
            assert said["index"] == len(opened) == len(closed)
            opened.add(said["index"])
        elif name == "content_block_delta":
            assert said["index"] in opened - closed
            text += said["delta"].get("text") or said["delta"].get("partial_json") or ""
        elif name == "content_block_stop":
            closed.add(said["index"])
        elif name == "message_stop":
            assert opened == closed
            stopped = True
        failed = failed or name == "error"
    return text, stopped


def _candidates(said: dict[str, Any]) -> tuple[str, bool]:
    text, ends = "", False
    for candidate in said.get("candidates", ()):
        for part in candidate.get("content", {}).get("parts", ()):
            call = part.get("functionCall")
            text += part.get("text") or (json.dumps(call["args"], ensure_ascii=False) if call else "")
        ends = ends or "finishReason" in candidate
    return text, ends


def _gemini(data: bytes) -> tuple[str, bool]:
    return _contents(json.loads(event) for _, event in _events(data))


def _gemini_array(data: bytes) -> tuple[str, bool]:
    try:
        found = json.loads(data)
    except ValueError:  # a stream that broke leaves the array open, with the error in it or behind it
        return "", False
    return _contents(one[0] if isinstance(one, list) else one for one in (found if isinstance(found, list) else [found]))


def _contents(events: Iterable[dict[str, Any]]) -> tuple[str, bool]:
    text, whole, failed = "", False, False
    for said in events:
        assert not failed
        failed = "error" in said
        more, ends = _candidates(said)
        text, whole = text + more, whole or ends
    return text, whole and not failed


def _responses(data: bytes) -> tuple[str, bool]:
    text, ended, number = "", "", -1
    for name, event in _events(data):
        said = json.loads(event)
        assert said["type"] == name and said["sequence_number"] > number
        assert not ended or (ended == "response.failed" and name == "error")
        number = said["sequence_number"]
        if name.endswith((".output_text.delta", ".function_call_arguments.delta")):
            text += said["delta"]
        if name in ("response.completed", "response.incomplete", "response.failed"):
            ended = name
    return text, ended in ("response.completed", "response.incomplete")


READERS: dict[str, Callable[[bytes], tuple[str, bool]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "completions": _openai,
    "gemini": _gemini,
    "gemini-array": _gemini_array,
    "responses": _responses,
}
