"""Legacy completions: answered by chat models, or passed through."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion

from apps.proxy.dialects.completions import CompletionsFront, CompletionsNative, CompletionsStream, native_answer
from apps.proxy.dialects.translation import Chunk, Trouble, Unsupported
from tests.dialects.completions_recordings import events_of
from tests.scale import examples

FRONT, NATIVE = CompletionsFront(), CompletionsNative()
ASKED: dict[str, Any] = {"model": "route", "prompt": "Once"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
LIKELY = {
    "content": [
        {
            "token": "up",
            "logprob": -0.5,
            "bytes": [117],
            "top_logprobs": [{"token": "up", "logprob": -0.5}, {"token": "on", "logprob": -1.0}],
        },
        {"token": "on", "logprob": -0.1, "bytes": [111], "top_logprobs": []},
    ]
}

READ: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a text": ({}, {"max_tokens": 16}),
    "a list of one": ({"prompt": ["Once"]}, {"max_tokens": 16}),
    "same words": (
        {"max_tokens": 5, "temperature": 0, "stop": ["."], "n": 2, "seed": 1, "user": "u", "logit_bias": {"1": 2}},
        {"max_tokens": 5, "temperature": 0, "stop": ["."], "n": 2, "seed": 1, "user": "u", "logit_bias": {"1": 2}},
    ),
    "log probabilities": ({"logprobs": 2}, {"max_tokens": 16, "logprobs": True, "top_logprobs": 2}),
    "log probabilities without others": ({"logprobs": 0}, {"max_tokens": 16, "logprobs": True, "top_logprobs": 0}),
    "a stream": ({"stream": True}, {"max_tokens": 16, "stream": True, "stream_options": {"include_usage": True}}),
    "what a client leaves empty": ({"suffix": "", "echo": False, "best_of": 1, "logprobs": None, "safety_model": None}, {"max_tokens": 16}),
}


@pytest.mark.parametrize("name", READ)
def test_requests_are_read(name: str) -> None:
    fields, pivot = READ[name]
    asked = FRONT.read({**ASKED, **fields})
    assert asked.payload == {"model": "route", "messages": [{"role": "user", "content": "Once"}], **pivot}
    assert [one.partition(": ")[0] for one in asked.approximated] == ["prompt"]


OUTLINES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "several prompts": ({"prompt": ["a", "b"], "n": 3}, {"n": 6}),
    "the best of several": ({"prompt": "a", "n": 2, "best_of": 5}, {"n": 5}),
    "tokens": ({"prompt": [1, 2, 3], "max_tokens": 7}, {"max_tokens": 7}),
    "lists of tokens": ({"prompt": [[1, 2], [3]]}, {"n": 2}),
    "a suffix": ({"prompt": "a", "suffix": "z"}, {}),
}


@pytest.mark.parametrize("name", OUTLINES)
def test_what_only_a_completion_model_can_do_is_counted_whole(name: str) -> None:
    """It is for a target that the app's bytes pass through to: every answer that is billed is counted."""
    fields, pivot = OUTLINES[name]
    with pytest.raises(Unsupported):
        FRONT.read({**ASKED, **fields})
    payload = FRONT.outline({**ASKED, **fields}).payload
    said = payload.pop("messages")[0]["content"]
    assert said == fields["prompt"] or json.loads(said) == [fields["prompt"], fields.get("suffix")]
    assert payload == {"model": "route", "max_tokens": 16, **pivot}


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "several prompts": ("prompt", {"prompt": ["a", "b"]}),
    "tokens": ("prompt", {"prompt": [1, 2]}),
    "lists of tokens": ("prompt", {"prompt": [[1, 2]]}),
    "no prompt": ("prompt", {"prompt": None}),
    "an empty list": ("prompt", {"prompt": []}),
    "an object": ("prompt", {"prompt": {"text": "a"}}),
    "a suffix": ("suffix", {"suffix": "the end"}),
    "too many log probabilities": ("logprobs", {"logprobs": 6}),
    "log probabilities that are none": ("logprobs", {"logprobs": True}),
    "log probabilities of the prompt": ("logprobs", {"logprobs": 1, "echo": True}),
    "fewer than wanted": ("best_of", {"best_of": 1, "n": 2}),
    "the best of several": ("best_of", {"best_of": 4, "n": 2}),
    "what it does not know": ("repetition_penalty", {"repetition_penalty": 1.1}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_chat_model_cannot_do_is_refused_by_its_name(name: str) -> None:
    field, fields = REFUSED[name]
    with pytest.raises(Unsupported) as refused:
        FRONT.read({**ASKED, **fields})
    assert refused.value.field == field
    assert str(refused.value).endswith(".")


def completion(*messages: dict[str, Any], reason: str = "stop", logprobs: Any = None) -> dict[str, Any]:
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": reason, "logprobs": logprobs}
        for index, message in enumerate(messages)
    ]
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "m", "choices": choices, "usage": USAGE}


def told(whole: dict[str, Any], **fields: Any) -> dict[str, Any]:
    made = FRONT.answer(whole, {**ASKED, **fields})
    Completion.model_validate(made, strict=True)
    return made


def test_answers() -> None:
    made = told(completion({"content": " upon"}, {"content": None, "refusal": "no"}))
    assert (made["id"], made["object"], made["model"], made["created"], made["usage"]) == ("cmpl-1", "text_completion", "m", 5, USAGE)
    assert [(one["index"], one["text"], one["finish_reason"], one["logprobs"]) for one in made["choices"]] == [
        (0, " upon", "stop", None),
        (1, "no", "stop", None),
    ]
    assert told(completion({"content": "a"}), echo=True)["choices"][0]["text"] == "Oncea"


@pytest.mark.parametrize(
    ("reason", "finish"), [("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "stop"), (None, "stop"), (7, "stop")]
)
def test_finish_reasons(reason: Any, finish: str) -> None:
    assert told(completion({"content": "a"}, reason=reason))["choices"][0]["finish_reason"] == finish


def test_log_probabilities() -> None:
    assert told(completion({"content": "upon"}, logprobs=LIKELY), logprobs=2)["choices"][0]["logprobs"] == {
        "tokens": ["up", "on"],
        "token_logprobs": [-0.5, -0.1],
        "top_logprobs": [{"up": -0.5, "on": -1.0}, {}],
        "text_offset": [0, 2],
    }
    assert told(completion({"content": "upon"}, logprobs=LIKELY))["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("whole", [{}, {"choices": 7}, {"choices": [7]}, {"choices": [{}]}, {"choices": [{"message": {"content": 7}}]}])
def test_odd_answers_parse_all_the_same(whole: dict[str, Any]) -> None:
    assert all(one["text"] == "" for one in told(whole)["choices"])


def test_errors() -> None:
    said = FRONT.error(429, Trouble("slow down", "rate_limit_error", "limit", "model"), "req_1")
    assert said == {"error": {"message": "slow down", "type": "rate_limit_error", "param": "model", "code": "limit"}}


def chunk(text: str | None = None, reason: str | None = None, index: int = 0, **more: Any) -> Chunk:
    choice = {"index": index, "delta": {"content": text} if text is not None else {}, "finish_reason": reason, **more}
    return {"id": "chatcmpl-1", "created": 5, "model": "m", "choices": [choice]}


def streamed(chunks: list[Chunk], **fields: Any) -> bytes:
    front = FRONT.stream({**ASKED, "stream": True, **fields})
    return b"".join([front.feed(one) for one in chunks]) + front.close()


def test_streams() -> None:
    stream = streamed([chunk(""), chunk(" up"), chunk("on", logprobs=LIKELY), chunk(None, "length"), {"choices": [], "usage": USAGE}])
    assert stream.endswith(b"data: [DONE]\n\n")
    events = events_of(stream)
    assert [event["choices"][0]["text"] for event in events] == [" up", "on", ""]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, "length"]
    assert {(event["id"], event["object"], event["model"], event["created"]) for event in events} == {("cmpl-1", "text_completion", "m", 5)}


def test_usage_is_told_to_who_asks_for_it() -> None:
    events = events_of(streamed([chunk("a", "stop"), {"choices": [], "usage": USAGE}], stream_options={"include_usage": True}))
    assert (events[-1]["choices"], events[-1]["usage"]) == ([], USAGE)


def test_the_prompt_comes_before_each_answer_and_offsets_go_on() -> None:
    events = events_of(streamed([chunk("a"), chunk("b", index=1), chunk("c"), chunk(None, "stop", 2)], echo=True, n=3))
    assert [event["choices"][0]["text"] for event in events] == ["Oncea", "Onceb", "c", "Once"]
    events = events_of(streamed([chunk("ab"), chunk("upon", logprobs=LIKELY)], logprobs=1))
    assert events[1]["choices"][0]["logprobs"]["text_offset"] == [2, 4]


@pytest.mark.parametrize("error", [{"message": "gone", "type": "server_error"}, "gone"])
def test_a_stream_that_breaks_says_so_and_has_no_end(error: Any) -> None:
    front = FRONT.stream(ASKED)
    stream = front.feed(chunk("half")) + front.feed({"error": error}) + front.feed(chunk("more")) + front.close()
    assert b"[DONE]" not in stream
    assert "message" in events_of(stream)[-1]["error"]
    assert front.error(Trouble("again", "server_error")) == b""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x", "\ud83d"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["content", "token", "index", "delta", "text"]), inner),
    max_leaves=5,
)


@settings(max_examples=examples(90))
@given(st.lists(st.dictionaries(st.sampled_from(["choices", "usage", "id", "created"]), JSON, max_size=3), max_size=4), JSON, JSON)
def test_any_events_are_a_stream(chunks: list[Chunk], delta: Any, logprobs: Any) -> None:
    odd = {"choices": [{"delta": delta, "logprobs": logprobs, "index": delta, "finish_reason": logprobs}]}
    for event in events_of(streamed([*chunks, odd], logprobs=1, echo=True)):
        assert event["object"] == "text_completion"


# passed through


def event(text: str, reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
    said = {"id": "cmpl-1", "object": "text_completion", "choices": [choice], **more}
    return b"data: %b\n\n" % json.dumps(said, separators=(",", ":")).encode()


COUNTED = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = event(" up") + event("on é") + event("", "stop") + COUNTED + DONE


@settings(max_examples=examples(60))
@given(st.lists(st.integers(0, len(WHOLE)), max_size=10), st.booleans())
def test_streams_pass_however_they_are_cut(cuts: list[int], hide: bool) -> None:
    watch = CompletionsStream(hide_usage=hide)
    places = [0, *sorted(cuts), len(WHOLE)]
    passed = b"".join([watch.feed(WHOLE[begin:until]) for begin, until in pairwise(places)])
    assert watch.close()
    assert passed + watch.rest == (WHOLE.replace(COUNTED, b"") if hide else WHOLE)
    assert watch.rest == DONE
    assert watch.tokens is not None
    assert (watch.tokens.input, watch.tokens.output, watch.tokens.cache_read) == (3, 4, 2)
    assert watch.output_bytes() == len(" upon é".encode())


def test_a_stream_that_forgets_its_end_is_whole_with_its_last_reason() -> None:
    watch = CompletionsStream()
    watch.feed(event("a") + event("", "stop"))
    assert watch.close()
    assert watch.rest == DONE
    cut = CompletionsStream()
    cut.feed(event("a"))
    assert not cut.close()


@pytest.mark.parametrize("bad", [b'{"error":{"message":"gone"}}', b"<html>", b'{"choices":[{"text":7}]}', b'{"choices":[{"text":"\xff"}]}'])
def test_a_stream_that_breaks_stops_before_it(bad: bytes) -> None:
    watch = CompletionsStream()
    assert watch.feed(event("a") + b"data: %b\n\n" % bad + DONE) == event("a")
    assert not watch.close()
    assert "error" in json.loads(watch.error)


def test_whole_answers() -> None:
    said = native_answer(json.dumps({"choices": [{"text": "a"}], "usage": USAGE}).encode())
    assert said is not None
    assert said.tokens is not None
    assert (said.tokens.input, said.tokens.output) == (3, 4)
    for body in (b"", b"<html>", b"{}", b'{"error":{"message":"no"},"choices":[]}', b'{"choices":7}'):
        assert native_answer(body) is None


def test_requests_pass_as_they_are_but_for_what_must_change() -> None:
    assert NATIVE.changed(ASKED, "route", None) is ASKED
    assert NATIVE.changed(ASKED, "davinci-002", 50) == {"model": "davinci-002", "prompt": "Once", "max_tokens": 50}
    assert NATIVE.changed({**ASKED, "max_tokens": 5}, "route", 50)["max_tokens"] == 5
    assert NATIVE.path("m", stream=False) == "/completions"


@pytest.mark.parametrize(("options", "asked"), [({}, False), ({"stream_options": {"include_usage": True}}, True)])
def test_usage_of_a_stream_that_passes_through_is_metered_and_kept_from_who_did_not_ask(options: dict[str, Any], asked: bool) -> None:
    native = CompletionsNative()
    body = {"model": "m", "prompt": "Once", "stream": True, **options}
    changed = native.changed(body, "m", None)
    assert changed["stream_options"] == {"include_usage": True} and (changed is body) is asked
    watch = native.stream(body)
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n'
    given = watch.feed(b'data: {"choices":[{"index":0,"text":"upon","finish_reason":"stop"}]}\n\n' + usage + b"data: [DONE]\n\n")
    assert watch.close() and watch.tokens is not None and (watch.tokens.input, watch.tokens.output) == (3, 1)
    assert (b'"usage"' in given) is asked and watch.rest == b"data: [DONE]\n\n"
