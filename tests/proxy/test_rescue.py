"""Two upstreams, one answer: what a stock SDK accumulates is the whole text once, or the seam is refused; no duplicate, no hole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from apps.contracts.usage import Tokens
from apps.proxy.dialects.openai import OpenAIStream
from apps.proxy.dialects.openai_stream import KEEP_RAW, KEEP_TEXT
from apps.proxy.rescue import Continuation, Sofar, continuation, why_not
from apps.proxy.splice import ECHO, OVERLAP, PROOF, Splicer
from tests.scale import examples

CLIENT = openai.OpenAI(api_key="-", base_url="http://127.0.0.1:1")
PAYLOAD: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "Tell me."}], "stream": True, "seed": 1}
DONE = b"data: [DONE]\n\n"


@dataclass
class Host:
    host: str = "10.0.0.7"


@dataclass
class Place:
    model: str = "model-b"
    prefill: bool = False
    translates: bool = False
    origin: Host = field(default_factory=Host)


def piece(text: str, *, index: int = 0, id: str = "first", ascii: bool = True, **more: Any) -> bytes:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": None} | more
    body = {"id": id, "object": "chat.completion.chunk", "created": len(id), "model": f"m-{id}", "choices": [choice]}
    return f"data: {json.dumps(body, ensure_ascii=ascii)}\n\n".encode()


def role(id: str = "first") -> bytes:
    return piece("", id=id, delta={"role": "assistant", "content": ""})


def finish(id: str = "first", reason: str = "stop") -> bytes:
    return piece("", id=id, delta={}, finish_reason=reason)


def usage(prompt: int, completion: int) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return f"data: {json.dumps({'id': 'u', 'object': 'chat.completion.chunk', 'choices': [], 'usage': counts})}\n\n".encode()


def sdk(body: bytes) -> list[ChatCompletionChunk]:
    """What the stock SDK reads; raises as it raises."""
    response = httpx2.Response(200, content=body, request=httpx2.Request("POST", "http://127.0.0.1:1"))
    return list(openai.Stream(cast_to=ChatCompletionChunk, response=response, client=CLIENT))


def said(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def first_part(*events: bytes) -> tuple[OpenAIStream, bytes, Sofar]:
    """A stream that broke off after these events: (its watch, what the app got, what is known of it)."""
    watch = OpenAIStream(hide_usage=False)
    body = b"".join(watch.feed(event) for event in events)
    sofar = Sofar.of(watch)
    assert sofar is not None
    return watch, body, sofar


def ask(
    sofar: Sofar, *, prefill: bool = False, tried: tuple[str, ...] = (), payload: dict[str, Any] = PAYLOAD, **more: Any
) -> Continuation:
    made = continuation(payload, sofar, Place(prefill=prefill), tried=tried, **more)  # type: ignore[arg-type]
    assert made is not None
    return made


def splice(sofar: Sofar, made: Continuation, *events: bytes, usage_asked: bool = True, **more: Any) -> tuple[Splicer, bytes]:
    splicer = Splicer(sofar, made, usage_asked=usage_asked, **more)
    body = b"".join(splicer.feed(event) for event in events)
    whole = splicer.close()
    return splicer, body + (splicer.rest if whole else b"")


# --- any text, any cut, any second provider ---

characters = st.characters(exclude_categories=["Cs"])
any_text = st.one_of(
    st.text(characters, min_size=1, max_size=60),
    st.lists(st.sampled_from(["ab", " ", "\n", "ab ab", "é", "🙂", '"', "\\n", "\\", "data: ", "[DONE]"]), min_size=1, max_size=40).map(
        "".join
    ),
    st.text(characters, min_size=200, max_size=400),
)
told_apart = st.lists(st.sampled_from(["{} ", "wörd{} ", "\n\n- {}: ", "{}🙂", "\t{}  ", '"{}", ']), min_size=2, max_size=90).map(
    lambda parts: "".join(part.format(number + 100) for number, part in enumerate(parts))
)
"""Texts in which nothing long enough to prove a seam is said twice."""


@st.composite
def cut_up(draw: st.DrawFn, whole: Any) -> list[Any]:
    """A text or bytes in pieces."""
    if len(whole) < 2:
        return [whole]
    cuts = sorted(draw(st.lists(st.integers(1, len(whole) - 1), max_size=12, unique=True)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def stream_of(draw: st.DrawFn, text: str, id: str) -> bytes:
    """An upstream's whole stream that says this, in its own manner."""
    ascii, crlf = draw(st.booleans()), draw(st.booleans())
    events = [role(id)] if draw(st.booleans()) else []
    for part in draw(cut_up(text)) if text else []:
        events.append(piece(part, id=id, ascii=ascii))
        if draw(st.integers(0, 9)) == 0:
            events.append(b": ping\n\n")
    events.append(finish(id))
    if draw(st.booleans()):
        events.append(usage(5, 7))
    if draw(st.booleans()):
        events.append(DONE)
    body = b"".join(events)
    return body.replace(b"\n", b"\r\n") if crlf else body


def broken(draw: st.DrawFn, text: str) -> tuple[bytes, Sofar]:
    """A first upstream that dies anywhere before its finish: (what the app got, what is known of it)."""
    body = stream_of(draw, text, "first")
    end = body.rindex(b"data: ", 0, body.index(b'"finish_reason": "stop"'))
    watch = OpenAIStream(hide_usage=False)
    given = b"".join(watch.feed(chunk) for chunk in draw(cut_up(body[: draw(st.integers(0, end))])))
    assert not watch.close()
    sofar = Sofar.of(watch)
    assert sofar is not None and sofar.safe == ""
    assert sofar.text == said(sdk(given))
    return given, sofar


def rest_of(draw: st.DrawFn, given: bytes, sofar: Sofar, made: Continuation, text: str) -> tuple[Splicer, bytes]:
    splicer = Splicer(sofar, made, usage_asked=draw(st.booleans()), before=Tokens(input=3, output=2))
    given += b"".join(splicer.feed(chunk) for chunk in draw(cut_up(stream_of(draw, text, "second"))))
    if splicer.close():
        given += splicer.rest
    return splicer, given


def assert_one_answer(body: bytes, text: str) -> None:
    chunks = sdk(body)
    assert said(chunks) == text
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks if chunk.choices}) == 1
    assert sum(choice.delta.role is not None for chunk in chunks for choice in chunk.choices) <= 1
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert body.count(DONE) == 1 and body.endswith(DONE)


@given(st.data(), any_text)
@settings(max_examples=examples(50), deadline=None)
def test_a_target_that_goes_on_from_a_prefill(data: st.DataObject, text: str) -> None:
    given, sofar = broken(data.draw, text)
    assume(sofar.text.strip())
    made = ask(sofar, prefill=True)
    assert made.kind == "prefill"
    shown = json.loads(made.body)["messages"][-1]["content"]
    assert sofar.text.startswith(shown)
    assume(len(shown) < ECHO or not text[len(shown) :].startswith(shown))
    echoed = data.draw(st.booleans()) and len(shown) >= ECHO
    splicer, body = rest_of(data.draw, given, sofar, made, text if echoed else text[len(shown) :])
    assert splicer.failed == ""
    assert_one_answer(body, text)


@given(st.data(), any_text)
@settings(max_examples=examples(50), deadline=None)
def test_a_target_that_says_the_same_again(data: st.DataObject, text: str) -> None:
    given, sofar = broken(data.draw, text)
    made = ask(sofar)
    assert made.kind == "regenerate"
    splicer, body = rest_of(data.draw, given, sofar, made, text)
    assert splicer.failed == ""
    if sofar.id is not None:
        assert_one_answer(body, text)
    else:
        assert said(sdk(body)) == text


@given(st.data(), any_text, any_text)
@settings(max_examples=examples(50), deadline=None)
def test_a_target_that_says_something_else_is_refused(data: st.DataObject, text: str, other: str) -> None:
    given, sofar = broken(data.draw, text)
    assume(sofar.text and not other.startswith(sofar.text))
    splicer, body = rest_of(data.draw, given, sofar, ask(sofar), other)
    assert splicer.failed == "diverged" and not splicer.close()
    assert DONE not in body and said(sdk(body)) == sofar.text, "nothing was given that would have to be taken back"
    if sofar.text.strip():
        assume(not sofar.text.rstrip().endswith(other.lstrip()[:PROOF]) and not other.lstrip().startswith(sofar.text.strip()))
        made = ask(sofar, tried=("regenerate",))
        assume(made.start not in other)
        splicer, body = rest_of(data.draw, given, sofar, made, other)
        if splicer.failed:
            assert said(sdk(body)) == sofar.text


@given(st.data(), told_apart)
@settings(max_examples=examples(50), deadline=None)
def test_a_target_that_repeats_a_tail(data: st.DataObject, text: str) -> None:
    given, sofar = broken(data.draw, text)
    core = sofar.text.rstrip()
    assume(core)
    made = ask(sofar, tried=("prefill", "regenerate"))
    assert made.kind == "ask" and core.endswith(made.start)
    assert json.loads(made.body)["messages"][-1]["content"].endswith(made.start)
    lengths = [len(made.start), len(core), *range(PROOF, min(OVERLAP, len(core)))]
    back = data.draw(st.sampled_from(lengths))
    # white space at the beginning of an answer proves nothing
    assume(back in lengths[:2] or len(core[-back:].lstrip()) >= PROOF)
    preface = data.draw(st.sampled_from(["", "\n", " "]))
    splicer, body = rest_of(data.draw, given, sofar, made, preface + text[len(core) - back :])
    assert splicer.failed == ""
    assert_one_answer(body, text)


@given(st.data(), told_apart)
@settings(max_examples=examples(40), deadline=None)
def test_a_target_that_does_not_repeat_is_not_believed(data: st.DataObject, text: str) -> None:
    given, sofar = broken(data.draw, text)
    core = sofar.text.rstrip()
    assume(core and text[len(sofar.text) :].strip())
    splicer, body = rest_of(data.draw, given, sofar, ask(sofar, tried=("regenerate",)), text[len(sofar.text) :])
    assert splicer.failed == "diverged" and said(sdk(body)) == sofar.text


@given(st.data(), told_apart)
@settings(max_examples=examples(40), deadline=None)
def test_three_upstreams_one_answer(data: st.DataObject, text: str) -> None:
    given, sofar = broken(data.draw, text)
    assume(sofar.text.strip())
    made = ask(sofar, prefill=True)
    shown = json.loads(made.body)["messages"][-1]["content"]
    second = stream_of(data.draw, text[len(shown) :], "second")
    end = second.rindex(b"data: ", 0, second.index(b'"finish_reason": "stop"'))
    splicer = Splicer(sofar, made, usage_asked=False)
    given += b"".join(splicer.feed(chunk) for chunk in data.draw(cut_up(second[: data.draw(st.integers(0, end))])))
    assert not splicer.close()
    again = Sofar.of(splicer)
    assert again is not None and again.text == said(sdk(given)) and (again.id, again.created) == (sofar.id, sofar.created)
    _, body = rest_of(data.draw, given, again, ask(again), text)
    assert_one_answer(body, text)


# --- what may be cut and joined ---


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([piece("a", delta={"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]})], "it holds a tool call"),
        ([piece("a", delta={"function_call": {"name": "f", "arguments": ""}})], "it holds a tool call"),
        ([piece("a", delta={"refusal": "I will not"})], "it holds a refusal"),
        ([piece("a", logprobs={"content": []})], "it holds log probabilities"),
        ([piece("a"), piece("b", index=1)], "it has several choices"),
        ([piece("a"), finish()], "it had already finished"),
        ([piece("a"), b"data: {broken\n\n"], "an event of it could not be read"),
        ([piece("a", delta={"content": "a", "tool_calls": None, "refusal": None}, logprobs=None)], ""),
        ([piece("a", delta={"content": "a", "tool_calls": []})], ""),
    ],
)
def test_text_alone_is_safe(events: list[bytes], reason: str) -> None:
    _, _, sofar = first_part(*events)
    assert sofar.safe == reason == why_not(PAYLOAD, sofar)
    assert sofar.finished == (reason == "it had already finished")
    assert (continuation(PAYLOAD, sofar, Place()) is None) == bool(reason)


@pytest.mark.parametrize("asked", [{"n": 2}, {"logprobs": True}, {"modalities": ["text", "audio"]}])
def test_some_requests_are_never_continued(asked: dict[str, Any]) -> None:
    sofar = Sofar(text="abc")
    assert why_not(PAYLOAD | asked, sofar) and continuation(PAYLOAD | asked, sofar, Place(prefill=True)) is None


@pytest.mark.parametrize(
    "asked",
    [{"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_schema"}}, {"guided_json": {}, "guided_regex": "a+"}],
)
def test_structured_output_is_regenerated_or_not_continued(asked: dict[str, Any]) -> None:
    sofar = Sofar(text='{"a": ' + "1" * 300)
    payload = PAYLOAD | asked | {"seed": None}
    made = ask(sofar, prefill=True, payload=payload)
    assert made.kind == "regenerate" and json.loads(made.body).items() >= asked.items()
    assert continuation(payload, sofar, Place(prefill=True), tried=("regenerate",)) is None


def test_too_much_or_unreadable_is_not_continued() -> None:
    watch = OpenAIStream(hide_usage=False)
    for _ in range(KEEP_TEXT // 1000 + 1):
        watch.feed(piece("x" * 1000))
    assert Sofar.of(watch) is None
    assert watch.output_bytes() == (KEEP_TEXT // 1000 + 1) * 1000
    assert sum(len(part) for part in watch._raw) <= KEEP_RAW and not watch.kept().texts, "what is kept is bounded"
    watch = OpenAIStream(hide_usage=False)
    watch.feed(piece("a"))
    watch.feed(piece("b", delta={"content": ["of", "another", "shape"]}))
    assert Sofar.of(watch) is None


@pytest.mark.parametrize("size", [0, 1, KEEP_RAW // 200, KEEP_RAW // 50])
def test_the_text_outlives_the_raw_events(size: int) -> None:
    watch, body, sofar = first_part(role(), *(piece(f"wörd{i} ") for i in range(size)))
    assert sofar.text == "".join(f"wörd{i} " for i in range(size)) == said(sdk(body))
    assert watch.output_bytes() == len(sofar.text.encode())


# --- how a target is asked ---


def test_the_surest_way_comes_first() -> None:
    sofar = Sofar(text="The quick brown")
    ways: list[Any] = []
    while (made := continuation(PAYLOAD, sofar, Place(prefill=True), tried=ways)) is not None:
        ways.append(made.kind)
    assert ways == ["prefill", "regenerate", "ask"]
    assert ask(Sofar(text="word " * 100), payload=PAYLOAD | {"seed": None}).kind == "ask", (
        "a sampled answer does not come out the same twice"
    )
    assert ask(Sofar(text="word " * 100), payload=PAYLOAD | {"temperature": 0}).kind == "regenerate"
    assert ask(Sofar(text="", role=True, reasoning="Well"), prefill=True).kind == "regenerate", "nothing to go on from"
    assert continuation(PAYLOAD, Sofar(text=" \n"), Place(prefill=True), tried=("regenerate",)) is None


@pytest.mark.parametrize(
    ("host", "message", "body"),
    [
        ("10.0.0.7", {}, {"continue_final_message": True, "add_generation_prompt": False}),
        ("api.mistral.ai", {"prefix": True}, {}),
        ("api.deepseek.com", {"prefix": True}, {}),
        ("api.moonshot.ai", {"partial": True}, {}),
        ("api.anthropic.com", {}, {}),
    ],
)
def test_a_prefill_is_marked_as_the_provider_reads_it(host: str, message: dict[str, Any], body: dict[str, Any]) -> None:
    made = continuation(PAYLOAD, Sofar(text="Once upon \n"), Place(prefill=True, origin=Host(host)))
    assert made is not None
    sent = json.loads(made.body)
    assert sent["messages"] == [*PAYLOAD["messages"], {"role": "assistant", "content": "Once upon", **message}]
    rest = {name: value for name, value in sent.items() if name != "messages"}
    assert rest == {"model": "model-b", "stream": True, "seed": 1, "stream_options": {"include_usage": True}, **body}
    assert made.added_input >= len(made.body) - len(ask(Sofar(text="a"), tried=("prefill",)).body)


def test_a_provider_that_gives_the_prefill_back() -> None:
    _, body, sofar = first_part(role(), piece("One"))
    made = continuation(PAYLOAD, sofar, Place(prefill=True, origin=Host("api.mistral.ai")))
    assert made is not None
    _, rest = splice(sofar, made, piece("On"), piece("e two"), finish(), DONE)
    assert said(sdk(body + rest)) == "One two"


def test_an_answer_that_the_app_began_itself() -> None:
    payload = PAYLOAD | {"messages": [*PAYLOAD["messages"], {"role": "assistant", "content": "Yes: "}]}
    sofar = Sofar(text="one, ", pieces=2)
    assert json.loads(ask(sofar, prefill=True, payload=payload).body)["messages"][1:] == [{"role": "assistant", "content": "Yes: one,"}]
    asked = json.loads(ask(sofar, tried=("regenerate",), payload=payload).body)["messages"]
    assert [m["role"] for m in asked] == ["user", "assistant", "user"] and asked[1]["content"] == "Yes: one,"
    odd = payload | {"messages": [*PAYLOAD["messages"], {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}]}
    assert continuation(odd, sofar, Place(prefill=True), tried=("regenerate",)) is None


def test_the_output_cap_is_lowered_by_what_was_produced() -> None:
    sofar = Sofar(text="word " * 10, pieces=10)
    made = ask(sofar, prefill=True, payload=PAYLOAD | {"max_tokens": 100})
    assert made.max_output == json.loads(made.body)["max_tokens"] == 100 - sofar.produced < 100
    both = json.loads(ask(sofar, prefill=True, payload=PAYLOAD | {"max_tokens": 11, "max_completion_tokens": 50}).body)
    assert both["max_tokens"] == 1 and both["max_completion_tokens"] == 50 - sofar.produced
    assert json.loads(ask(sofar, prefill=True, max_output=40).body)["max_tokens"] == 40 - sofar.produced
    assert json.loads(ask(sofar, max_output=40).body)["max_tokens"] == 40, "regenerated from its beginning"
    own = continuation(PAYLOAD, sofar, Place(origin=Host("api.openai.com")), max_output=40)
    assert own is not None and json.loads(own.body)["max_completion_tokens"] == 40
    assert ask(sofar).max_output == 0 and "max_tokens" not in json.loads(ask(sofar).body)


# --- what the app sees of the second part ---


def test_usage_is_the_sum_for_the_app_and_this_parts_own_for_the_record() -> None:
    _, body, sofar = first_part(role(), piece("One "))
    splicer, rest = splice(sofar, ask(sofar), role("b"), piece("One two"), finish(), usage(10, 4), DONE, before=Tokens(input=9, output=1))
    assert splicer.tokens == Tokens(input=10, output=4)
    last = sdk(body + rest)[-1].usage
    assert last is not None and (last.prompt_tokens, last.completion_tokens, last.total_tokens) == (19, 5, 24)
    splicer, rest = splice(sofar, ask(sofar), piece("One two"), finish(), usage(10, 4), DONE, usage_asked=False)
    assert splicer.tokens == Tokens(input=10, output=4) and b"usage" not in rest


def test_a_tool_call_after_the_seam_is_whole() -> None:
    call = piece(
        "", id="b", delta={"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    )
    _, body, sofar = first_part(role(), piece("I look it up"))
    splicer, rest = splice(sofar, ask(sofar), role("b"), piece("I look it"), piece(" up."), call, finish(reason="tool_calls"), DONE)
    chunks = sdk(body + rest)
    assert said(chunks) == "I look it up." and splicer.failed == ""
    assert [c.delta.tool_calls[0].id for chunk in chunks for c in chunk.choices if c.delta.tool_calls] == ["c1"]
    assert Sofar.of(splicer).safe == "it had already finished"  # type: ignore[union-attr]
    splicer, rest = splice(sofar, ask(sofar), piece("I look"), call, finish(reason="tool_calls"), DONE)
    assert splicer.failed == "diverged" and rest == b"", "it called before it had said what the app already has"


def test_reasoning_is_not_told_twice() -> None:
    def thought(text: str) -> bytes:
        return piece("", id="b", delta={"reasoning_content": text})

    _, body, sofar = first_part(role(), thought("Hm, "), piece("It "))
    _, rest = splice(sofar, ask(sofar), thought("Well."), piece("It is."), finish(), DONE)
    assert said(sdk(body + rest)) == "It is." and b"Well" not in rest
    _, body, sofar = first_part(role(), thought("Hm, "))
    _, rest = splice(sofar, ask(sofar), thought("Hm"), thought(", so"), piece("It is."), finish(), DONE)
    assert b'"Hm' not in rest and b'" so"' not in rest and b'"so"' in rest
    _, rest = splice(sofar, ask(sofar), thought("Hm"), thought("pf"), piece("It is."), finish(), DONE)
    assert b'"Hmpf"' in rest, "another thought is told from its beginning"


def test_the_new_text_may_not_end_before_the_old_one() -> None:
    for end in ((finish(), DONE), (DONE,), ()):
        _, _, sofar = first_part(role(), piece("One two three"))
        splicer, rest = splice(sofar, ask(sofar), piece("One two"), *end)
        assert rest == b"" and not splicer.finished
        assert splicer.failed == ("diverged" if end else "")


def test_an_error_inside_the_second_part_ends_it() -> None:
    _, _, sofar = first_part(role(), piece("One "))
    splicer, rest = splice(sofar, ask(sofar), piece("One two"), b'data: {"error":{"message":"overloaded"}}\n\n', piece(" three"), DONE)
    assert "overloaded" in splicer.error and not splicer.finished and said(sdk(rest)) == "two"
    again = Sofar.of(splicer)
    assert again is not None and again.text == "One two"


# --- malformed events, missing ends ---


@pytest.mark.parametrize(
    ("bad", "counted"),
    [
        (b'data: {"choices":[{"delta":{"content":"hal\n\n', 1),
        (b"data: nonsense\n\n", 1),
        (b'data: "text"\n\n', 1),
        (b"data: {}} \n\n", 1),
        (b"data:\n\n", 0),
        (b"event: ping\n\n", 0),
        (b"id: 7\n\n", 0),
        (b"retry: 5\n\n", 0),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_an_event_that_no_sdk_could_read_is_left_out(bad: bytes, counted: int, joined: bool) -> None:
    events = [role(), piece("One "), bad, piece("two"), finish(), DONE]
    if joined:
        events = [role(), piece("One "), bad + piece("two") + b": and a comment\n\n", finish(), DONE]
    watch = OpenAIStream(hide_usage=False)
    body = b"".join(watch.feed(event) for event in events)
    assert watch.close() and said(sdk(body + watch.rest)) == "One two"
    assert watch.malformed == counted
    _, _, sofar = first_part(role(), piece("One"))
    splicer, rest = splice(sofar, ask(sofar), *events)
    assert said(sdk(rest)) == " two" and splicer.malformed == counted and splicer.finished


def test_a_stream_may_be_made_to_end_at_a_malformed_event() -> None:
    watch = OpenAIStream(hide_usage=False, stop_at_malformed=True)
    body = watch.feed(role()) + watch.feed(piece("One ") + b"data: {oops\n\n" + piece("three"))
    assert watch.error and not watch.close()
    sofar = Sofar.of(watch)
    assert sofar is not None and sofar.text == "One " == said(sdk(body)) and sofar.safe == ""
    _, rest = splice(sofar, ask(sofar), piece("One two three"), finish(), DONE)
    assert said(sdk(body + rest)) == "One two three"


def test_json_of_another_shape_still_passes() -> None:
    watch = OpenAIStream(hide_usage=False)
    event = b'data: {"choices":[{"delta":{"content":[{"text":"a"}]}}],"usage":{"prompt_tokens":"7"}}\n\n'
    half = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n'
    assert watch.feed(event) == event and watch.feed(half) == half and watch.malformed == 0


def test_a_missing_end_after_the_finish_is_an_end_however_many_choices() -> None:
    watch, _, sofar = first_part(role(), piece("One"), finish())
    assert sofar.finished and watch.close() and watch.rest == DONE
    watch = OpenAIStream(hide_usage=False)
    for event in (piece("a"), piece("b", index=1), finish()):
        watch.feed(event)
    assert not watch.close(), "the other choice is cut"


def test_what_came_without_its_end_was_not_given() -> None:
    watch = OpenAIStream(hide_usage=False)
    body = watch.feed(piece("One ") + piece("two")[:-1])
    assert not watch.close()
    sofar = Sofar.of(watch)
    assert sofar is not None and sofar.text == "One " == said(sdk(body))
    assert watch.output_bytes() == len("One two"), "but it was produced"


@given(st.data(), any_text)
@settings(max_examples=examples(40), deadline=None)
@example(None, "abc")
def test_text_on_the_wire_as_chunks_is_kept_too(data: st.DataObject | None, text: str) -> None:
    watch = OpenAIStream(hide_usage=False)
    watch.feed(piece("first "))
    event = piece(text).replace(b'": ', b'":').replace(b'", "', b'","').replace(b', "', b',"')
    assume(event.endswith(b'"finish_reason":null}]}\n\n'))
    start = b"%x\r\n" % len(event)
    assert watch.passes(start + event + b"\r\n", len(start))
    sofar = Sofar.of(watch)
    assert sofar is not None and sofar.text == "first " + said(sdk(event))


def test_an_error_in_the_stream_is_an_error_and_a_tool_call_is_output() -> None:
    error = b'data: {"error":{"message":"overloaded","code":503}}\n\n'
    watch = OpenAIStream(hide_usage=False)
    assert watch.feed(role() + error) == role() and "overloaded" in watch.error and not watch.has_output and not watch.close()
    watch = OpenAIStream(hide_usage=False)
    watch.feed(piece("One "))
    assert watch.feed(piece("two") + error + piece("three")) == piece("two")
    sofar = Sofar.of(watch)
    assert watch.error and sofar is not None and sofar.text == "One two"
    watch = OpenAIStream(hide_usage=False)
    watch.feed(piece("", delta={"role": "assistant", "tool_calls": None}))
    assert not watch.has_output
    watch.feed(piece("", delta={"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}))
    assert watch.has_output
