"""What a provider says wrongly, by every format of providers, to apps of every format: one defined outcome for each cell.

``whole``, ``broken`` and ``before`` are those of ``nonsense_lab``. The readers there are strict: a cell that is whole was read as whole,
one that is broken ended in an error of the app's own format and looks whole to nobody.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.proxy.dialects import FRONTS, event_watch, eventstream, ollama, openai_stream, sse
from apps.proxy.dialects.translation import NotAnAnswer
from apps.proxy.translate import Call
from apps.simulator.bedrock import message
from apps.simulator.openai import ChatCall, Choice, usage_object
from tests.dialects.nonsense_lab import BACKS, PAYLOAD, READERS, TEXT, TOOL, WRITERS, Taken, caller_of, good, passed_on
from tests.scale import examples

Pieces = list[bytes]
LONG = "x" * 3000
OTHERS = tuple(front for front in READERS if front != "openai")


def _line(back: str, data: bytes) -> bytes:
    """An event of this format with such data."""
    if back == "bedrock":
        return message({":event-type": "contentBlockDelta", ":message-type": "event"}, data)
    return data + b"\n" if back == "ollama" else b"data: %b\n\n" % data


def _with(data: Callable[[str], bytes]) -> Callable[[str], Pieces]:
    """A good stream with something in its middle."""

    def made(back: str) -> Pieces:
        events = list(good(back))
        return [*events[: len(events) // 2], data(back), *events[len(events) // 2 :]]

    return made


def _half(back: str) -> Pieces:
    return list(good(back)[: len(good(back)) // 2])


def _call(text: str) -> Callable[[str], Pieces]:
    """A call of these arguments; formats that write them as JSON have them as they are where they are JSON, else as a text."""
    own = text.encode() if text.startswith("[") else b'"no"'

    def made(back: str) -> Pieces:
        events = good(back, tool=text)
        return [event.replace(b'"args":{}', b'"args":' + own).replace(b'"arguments":{}', b'"arguments":' + own) for event in events]

    return made


def _error(back: str) -> bytes:
    return WRITERS[back].events("x-000000000000", 1, ChatCall(PAYLOAD), usage_object(1, 1)).error


def _cut(back: str) -> Pieces:
    """Cut within the event before the last piece of the text."""
    events = good(back)
    return [*events[: len(events) - 4], events[len(events) - 4][:-7]]


class Case(NamedTuple):
    """make: a back's bytes. state: of every cell but those of ``but``, by (back, front), ``*`` for any. says: what a whole one says."""

    make: Callable[[str], Pieces]
    state: str
    but: dict[tuple[str, str], str] = {}
    says: str | None = TEXT


_IDS = {"gemini": "broken", "responses": "broken"}
"""Formats in which every event names its answer: another name there is another answer."""
_OWN = {("openai", "openai"): "whole"}
"""The same format passes through, framed and not parsed (an event that no SDK could read is left out)."""
_TOLD = {(back, "anthropic"): "broken" for back in ("openai", "anthropic", "responses", "bedrock", "cohere")}
"""Anthropic's SDKs take the arguments of a call as an object, so there it is no answer; Gemini's have a word for it, the others a text."""
_OBJECTS = {("gemini", "*"): "before", ("ollama", "*"): "before"}
"""Formats whose calls have objects: anything else is no answer, and nothing was said before."""
CASES: dict[str, Case] = {
    "good": Case(lambda back: [b"".join(good(back))], "whole"),
    "good, event by event": Case(lambda back: list(good(back)), "whole"),
    "split at every byte": Case(lambda back: [bytes((one,)) for one in b"".join(good(back))], "whole"),
    "a page": Case(lambda back: [b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>\n"], "before"),
    "an error as an object": Case(lambda back: [b'{"error":{"message":"no"}}'], "before"),
    "nothing": Case(lambda back: [], "before"),
    "compressed, without a word": Case(lambda back: [gzip.compress(b"".join(good(back)))], "before"),
    "no UTF-8": Case(lambda back: [event.replace("ö".encode(), b"\xc3") for event in good(back)], "broken", _OWN, says=None),
    "no end": Case(lambda back: list(good(back)[:-2]), "broken"),
    "cut within an event": Case(_cut, "broken"),
    "a second start": Case(
        # Gemini's and Ollama's streams have no start; OpenAI's is a role, which some servers repeat in every event.
        lambda back: [*_half(back), good(back)[0], *good(back)[len(_half(back)) :]],
        "broken",
        {("openai", "*"): "whole", ("gemini", "*"): "whole", ("ollama", "*"): "whole"},
        says=None,
    ),
    "another answer's start, spliced in": Case(
        # Ollama's lines name neither a start nor an answer: two of them look like one.
        lambda back: [*_half(back), *good(back, identity="two")],
        "broken",
        {**_OWN, ("ollama", "*"): "whole"},
        says=None,
    ),
    "another id from the middle on": Case(
        lambda back: [*_half(back), *good(back, identity="two")[len(_half(back)) :]],
        "whole",
        {(back, "*"): state for back, state in _IDS.items()},
    ),
    "a second answer behind the first": Case(lambda back: [*good(back), *good(back, identity="two")], "whole", {("gemini", "*"): "broken"}),
    "an event that is no JSON": Case(_with(lambda back: _line(back, b'{"a":')), "broken", _OWN),
    "an event that is a list": Case(_with(lambda back: _line(back, b"[]")), "broken", _OWN),
    "an event of another kind": Case(
        # Of servers that speak OpenAI's and Gemini's formats events are known that say nothing.
        _with(lambda back: _line(back, b'{"x":1}')),
        "broken",
        {("openai", "*"): "whole", ("gemini", "*"): "whole"},
    ),
    "an error inside": Case(_with(_error), "broken"),
    "zeros between events": Case(
        _with(lambda back: b"\0" * 10 + (b"" if back == "bedrock" else b"\n\n")),
        "whole",
        {("bedrock", "*"): "broken", ("ollama", "*"): "broken"},
    ),
    "arguments that are no JSON": Case(_call('{"city": "Bonn",, 3'), "whole", {**_TOLD, **_OBJECTS}, says=None),
    "arguments that are a list": Case(_call("[1]"), "whole", {**_TOLD, **_OBJECTS}, says=None),
    "arguments that are nothing": Case(lambda back: list(good(back, tool=" ")), "whole", says=None),
}


def expected(case: Case, back: str, front: str) -> str:
    found = (case.but.get(key) for key in ((back, front), (back, "*"), ("*", front)))
    return next((state for state in found if state), case.state)


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("name", CASES)
def test_a_stream(name: str, back: str) -> None:
    case = CASES[name]
    for front in READERS:
        if (name, back, front) == ("no UTF-8", "openai", "openai"):
            continue  # its bytes are the app's to read, as they came
        outcome = passed_on(back, front, case.make(back))
        assert outcome.state == expected(case, back, front), (front, outcome)
        if outcome.state == "whole" and case.says is not None:
            assert outcome.text == case.says, front


@pytest.mark.parametrize("back", BACKS)
def test_a_call_reaches_every_app(back: str) -> None:
    for front in READERS:
        if front != "completions":  # whose apps cannot offer any
            assert json.loads(passed_on(back, front, good(back, tool=TOOL)).text) == json.loads(TOOL)


@pytest.mark.parametrize("back", BACKS)
def test_an_event_beyond_measure(back: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not held in memory until it ends, which it may never do."""
    for module, name in (
        (sse, "MAX_EVENT_BYTES"),
        (eventstream, "MAX_PAYLOAD_BYTES"),
        (ollama, "MAX_LINE_BYTES"),
        (openai_stream, "MAX_CARRY"),
        (event_watch, "MAX_CARRY"),
    ):
        monkeypatch.setattr(module, name, 2000)
    giant = _line(back, b'{"x":"' + b"x" * 5000 + b'"}')
    pieces = [*_half(back), *(giant[at : at + 100] for at in range(0, len(giant) - 10, 100))]
    for front in READERS:
        assert passed_on(back, front, pieces).state == "broken", front


@pytest.mark.parametrize("back", BACKS)
@settings(max_examples=examples(6))
@given(data=st.data())
def test_good_and_bad_streams_mean_the_same_however_they_are_cut(back: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["good", "no end", "an event that is no JSON", "arguments that are no JSON", "an error inside"]))
    front = data.draw(st.sampled_from(list(READERS)))
    whole = b"".join(CASES[name].make(back))
    cuts = sorted({0, len(whole), *data.draw(st.lists(st.integers(0, len(whole)), max_size=20))})
    pieces = [whole[start:end] for start, end in pairwise(cuts)]
    outcome, together = passed_on(back, front, pieces), passed_on(back, front, [whole])
    # What is read at once may be known to be wrong before anything of it is given.
    assert outcome.state == together.state or {outcome.state, together.state} == {"before", "broken"}
    if outcome.state == "whole":
        assert outcome.text == together.text


@pytest.mark.parametrize("back", BACKS)
@settings(max_examples=examples(8))
@given(data=st.data())
def test_a_byte_that_is_another_never_raises(back: str, data: st.DataObject) -> None:
    """Whatever becomes of it, no reader is shown anything but a stream of its format (``passed_on`` checks that)."""
    whole = bytearray(b"".join(good(back)))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    passed_on(back, data.draw(st.sampled_from(OTHERS)), [bytes(whole[:300]), bytes(whole[300:])])


# --- whole answers, and errors ---


def answer(back: str, *, tool: str = "") -> bytes:
    form = WRITERS[back]
    choice = Choice(tool, 6, "tool_calls", "weather") if tool else Choice(TEXT, 10, "stop")
    return form.body(f"{form.identity}one-0000000000", 1, ChatCall(PAYLOAD), [choice], usage_object(3, 10))


NO_ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "a page": lambda body: b"<html><body>It works!</body></html>",
    "nothing": lambda body: b"",
    "half of it": lambda body: body[: len(body) // 2],
    "compressed, without a word": gzip.compress,
    "a list": lambda body: b"[" + body + b"]",
    "a text": lambda body: b'"hello"',
    "no UTF-8": lambda body: body.replace("ö".encode(), b"\xc3"),
    "another object": lambda body: b'{"x": 1}',
    "two of it": lambda body: body + body,
    "zeros": lambda body: b"\0" * 100,
    "deep": lambda body: b"[" * 100_000,
}


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_is_none_for_anybody(back: str, name: str) -> None:
    for front in READERS:
        caller = caller_of(front, Taken())
        if caller is None and back == "openai":
            continue  # passes as it is, or not: tests/proxy/test_fault_table.py
        call = Call(b"", b"", PAYLOAD, caller=caller, back=BACKS[back])
        assert call.answer(answer(back)) is not None
        assert call.answer(NO_ANSWERS[name](answer(back))) is None, front


@pytest.mark.parametrize("back", BACKS)
def test_arguments_that_are_no_json_in_a_whole_answer(back: str) -> None:
    body = answer(back, tool='{"city": "Bonn",, 3')
    for written in (b'"args":', b'"arguments":', b'"input":'):
        body = body.replace(written + b"{}", written + b'"no"')
    given = {}
    for front in READERS:
        found = Call(b"", b"", PAYLOAD, caller=caller_of(front, Taken()), back=BACKS[back]).answer(body)
        given[front] = found.body.decode() if found is not None and found.body is not None else None
    if back in ("gemini", "ollama", "bedrock", "anthropic"):
        assert set(given.values()) == {None}, "an object is what these have"
        return
    assert given["anthropic"] is None and "MALFORMED_FUNCTION_CALL" in str(given["gemini"])
    assert "Bonn" in str(given["openai"]) and "Bonn" in str(given["responses"])


ERRORS = {
    "a page": b"<html><head><title>502</title></head><body><h1>502 Bad Gateway</h1></body></html>",
    "nothing": b"",
    "zeros and no UTF-8": b"\0\xff\xfe" * 50,
    "compressed": gzip.compress(b'{"error":{"message":"no"}}'),
    "a list": b'[{"error":{"message":"no"}}]',
    "odd types": b'{"error":{"message":7,"type":[],"code":{}},"message":[],"detail":1}',
    "endless": b'{"error":{"message":"' + b"x" * 100_000 + b'"}}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("back", [name for name, spoken in BACKS.items() if spoken is not None])
def test_errors_that_say_nothing_readable_are_errors_all_the_same(back: str) -> None:
    spoken: Any = BACKS[back]
    for name, body in ERRORS.items():
        for status in (400, 401, 429, 500, 502):
            trouble = spoken.error(status, body)
            assert type(trouble.message) is str and trouble.message and type(trouble.type) is str, name
            for front in FRONTS.values():
                said = json.dumps(front.error(status, trouble, "r1"))
                assert "error" in said or "message" in said
            taken = Taken()
            for app in OTHERS:
                caller = caller_of(app, taken)
                assert caller is not None and json.loads(caller.error(status, trouble))


def test_an_answer_of_a_back_is_never_an_exception_of_ours() -> None:
    """Only NotAnAnswer may leave a back."""
    for back, spoken in BACKS.items():
        if spoken is None:
            continue
        for made in NO_ANSWERS.values():
            with pytest.raises(NotAnAnswer):
                spoken.answer(made(answer(back)), PAYLOAD)
