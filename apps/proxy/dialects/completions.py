"""OpenAI's legacy completions (``POST /v1/completions``): a text that goes on. Chat models answer them nearly as asked.

Source: OpenAI's API reference, "Completions". A chat model is given the text as a user's message: it answers it, where a completion model
would continue it. Everything else that the format can say is either said to it or refused.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from apps.contracts.usage import Tokens
from apps.proxy.dialects.base import Answer
from apps.proxy.dialects.event_watch import MALFORMED, EventWatch
from apps.proxy.dialects.translation import Asked, Chunk, Completion, Payload, Trouble, Unsupported
from apps.proxy.dialects.wire_json import UNREADABLE, written

if TYPE_CHECKING:
    from apps.proxy.dialects.base import StreamWatch

__all__ = ["CompletionsFront", "CompletionsFrontStream", "CompletionsNative", "CompletionsStream", "native_answer"]

DEFAULT_TOKENS = 16
"""Of the answer, where the app names no bound: this format's own default, and a surprisingly small one."""
MOST_LOGPROBS = 5
_SAME = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "n",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "user",
    "metadata",
    "stream",
)
"""Fields that chat completions have, too, in the same words."""
_ELSEWHERE = frozenset({"prompt", "suffix", "echo", "best_of", "logprobs", "max_tokens", "stream_options"})
_NOTHING: tuple[Any, ...] = (None, False, [], {}, "")
_REASONS = {"length": "length", "content_filter": "content_filter"}
_encode = msgspec.json.Encoder().encode


class CompletionsFront:
    name = "completions"
    alive = b": alive\n\n"

    def read(self, body: Payload) -> Asked:
        for name in body:
            if name not in _SAME and name not in _ELSEWHERE and body[name] not in _NOTHING:
                raise Unsupported(name, f"The field {name!r} cannot be told to a chat model: leave it out.")
        said = ["prompt: told as a user's message, which a chat model answers and does not continue"]
        payload: Payload = {name: body[name] for name in _SAME if body.get(name) is not None}
        payload["messages"] = [{"role": "user", "content": _prompt(body)}]
        if body.get("suffix") not in (None, ""):
            raise Unsupported("suffix", "A chat model cannot fill in between a prompt and a suffix: leave the suffix out.")
        cap = body.get("max_tokens")
        payload["max_tokens"] = DEFAULT_TOKENS if cap is None else cap
        best, wanted = body.get("best_of"), body.get("n") or 1
        if best is not None and best != wanted:
            raise Unsupported("best_of", "A chat model gives every answer that it makes: leave 'best_of' out, or ask for as many as 'n'.")
        _logprobs(body, payload)
        if body.get("stream"):
            payload["stream_options"] = {"include_usage": True}
        return Asked(payload, tuple(said))

    def outline(self, body: Payload) -> Asked:
        """``read`` of what only a completion model can be told (several prompts, tokens, a suffix, the best of several): for choosing and
        counting, never to be sent. Every answer that is made is counted, given or not."""
        prompt = body.get("prompt")
        told = prompt if type(prompt) is str else _encode([prompt, body.get("suffix")]).decode()
        payload: Payload = {name: body[name] for name in _SAME if body.get(name) is not None}
        payload["messages"] = [{"role": "user", "content": told}]
        payload["max_tokens"] = DEFAULT_TOKENS if body.get("max_tokens") is None else body["max_tokens"]
        made = [count for count in (body.get("n"), body.get("best_of")) if type(count) is int]
        several = type(prompt) is list and bool(prompt) and type(prompt[0]) is not int
        if made or several:
            payload["n"] = max(made, default=1) * (len(prompt) if several and type(prompt) is list else 1)
        return Asked(payload)

    def answer(self, completion: Completion, asked: Payload) -> Payload:
        before = _before(asked)
        made = _base(completion, asked)
        made["choices"] = [
            _choice(choice, before, asked.get("logprobs"))
            for choice in (completion["choices"] if type(completion.get("choices")) is list else ())
            if type(choice) is dict
        ]
        usage = completion.get("usage")
        if type(usage) is dict:
            made["usage"] = usage
        return made

    def counted(self, tokens: int) -> Payload:
        """The tokens of an input, as OpenAI words it."""
        return {"object": "response.input_tokens", "input_tokens": tokens}

    def stream(self, asked: Payload) -> CompletionsFrontStream:
        return CompletionsFrontStream(asked)

    def error(self, status: int, trouble: Trouble, request_id: str) -> Payload:
        return {"error": {"message": trouble.message, "type": trouble.type, "param": trouble.param, "code": trouble.code}}


def _prompt(body: Payload) -> str:
    prompt = body.get("prompt")
    if type(prompt) is list and prompt and type(prompt[0]) in (int, list):
        raise Unsupported("prompt", "A prompt in tokens can be read by the model that they are of only: send it as a text.")
    if type(prompt) is list and len(prompt) > 1:
        raise Unsupported("prompt", "A chat model answers one prompt a call: send each in a request of its own.")
    if type(prompt) is list and prompt:
        prompt = prompt[0]
    if type(prompt) is not str:
        _wrong("prompt", "a text, or a list of one")
    return prompt


def _logprobs(body: Payload, payload: Payload) -> None:
    most = body.get("logprobs")
    if most is None or most is False:
        return
    if type(most) is not int or not 0 <= most <= MOST_LOGPROBS:
        _wrong("logprobs", f"a whole number from 0 to {MOST_LOGPROBS}")
    if body.get("echo"):
        raise Unsupported("logprobs", "A chat model does not tell how likely a prompt was: ask for 'logprobs' or for 'echo'.")
    payload["logprobs"] = True
    payload["top_logprobs"] = most


def _wrong(path: str, wanted: str) -> NoReturn:
    raise Unsupported(path, f"The field {path!r} must be {wanted}.")


def _before(asked: Payload) -> str:
    """What the app wants to see before each answer."""
    return _prompt(asked) if asked.get("echo") else ""


def _base(first: Payload, asked: Payload) -> Payload:
    ident, created, model = first.get("id"), first.get("created"), first.get("model")
    tail = ident.removeprefix("chatcmpl-").removeprefix("cmpl-") if type(ident) is str and ident else "0"
    made: Payload = {"id": f"cmpl-{tail}", "object": "text_completion", "created": created if type(created) is int else int(time.time())}
    made["model"] = model if type(model) is str else asked.get("model") or ""
    if type(first.get("system_fingerprint")) is str:
        made["system_fingerprint"] = first["system_fingerprint"]
    return made


def _choice(choice: Payload, before: str, most: Any) -> Payload:
    message = choice.get("message")
    found: Payload = message if type(message) is dict else {}
    index, reason = choice.get("index"), choice.get("finish_reason")
    return {
        "index": index if type(index) is int else 0,
        "text": before + _said(found),
        "logprobs": _likely(choice.get("logprobs"), 0) if most is not None and most is not False else None,
        "finish_reason": _REASONS.get(reason, "stop") if type(reason) is str else "stop",
    }


def _said(found: Payload) -> str:
    """The text of a message or a delta; a refusal is what was said, too."""
    content, refusal = found.get("content"), found.get("refusal")
    if type(content) is list:
        content = "".join([part["text"] for part in content if type(part) is dict and type(part.get("text")) is str])
    text = content if type(content) is str else ""
    return text + refusal if type(refusal) is str else text


def _likely(found: Any, start: int) -> Payload | None:
    """Log probabilities as this format has them. start: characters of the text before them."""
    content = found.get("content") if type(found) is dict else None
    if type(content) is not list:
        return None
    made: Payload = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for one in content:
        if type(one) is not dict or type(one.get("token")) is not str:
            continue
        top = one.get("top_logprobs")
        made["tokens"].append(one["token"])
        made["token_logprobs"].append(one.get("logprob"))
        made["text_offset"].append(start)
        made["top_logprobs"].append(
            {other["token"]: other.get("logprob") for other in top if type(other) is dict and type(other.get("token")) is str}
            if type(top) is list
            else {}
        )
        start += len(one["token"])
    return made


def _event(payload: Payload) -> bytes:
    return b"data: %b\n\n" % written(payload)


class CompletionsFrontStream:
    """Writes one app's stream. What an upstream has in a field where a text belongs is left out, never raised."""

    def __init__(self, asked: Payload) -> None:
        self._asked = asked
        self._before = _before(asked)
        options = asked.get("stream_options")
        self._usage_asked = type(options) is dict and options.get("include_usage") is True
        self._likely = asked.get("logprobs") is not None and asked.get("logprobs") is not False
        self._base: Payload = {}
        self._offsets: dict[int, int] = {}
        """Characters that each choice has said; a choice that has said nothing has not had the prompt either."""
        self._ended = False

    def feed(self, chunk: Chunk) -> bytes:
        if self._ended:
            return b""
        error = chunk.get("error")
        if error:
            found = error if type(error) is dict else {}
            message = found.get("message")
            return self.error(Trouble(message if type(message) is str else "the stream broke off", "server_error"))
        if not self._base:
            self._base = _base(chunk, self._asked)
        told = []
        choices = chunk.get("choices")
        for choice in choices if type(choices) is list else ():
            if type(choice) is dict:
                told.append(self._choice(choice))
        usage = chunk.get("usage")
        if self._usage_asked and type(usage) is dict:
            told.append(_event({**self._base, "choices": [], "usage": usage}))
        return b"".join(told)

    def _choice(self, choice: Payload) -> bytes:
        delta, number, reason = choice.get("delta"), choice.get("index"), choice.get("finish_reason")
        index = number if type(number) is int else 0
        text = _said(delta) if type(delta) is dict else ""
        if not text and not reason:
            return b""
        start = self._offsets.get(index, 0)
        logprobs = _likely(choice.get("logprobs"), start) if self._likely else None
        if index not in self._offsets:
            text = self._before + text
        self._offsets[index] = start + len(text)
        ended = _REASONS.get(reason, "stop") if type(reason) is str else None
        return _event({**self._base, "choices": [{"index": index, "text": text, "logprobs": logprobs, "finish_reason": ended}]})

    def close(self) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        return b"data: [DONE]\n\n"

    def error(self, trouble: Trouble) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        return _event({"error": {"message": trouble.message, "type": trouble.type, "param": trouble.param, "code": trouble.code}})


class _CachedDetails(msgspec.Struct):
    cached_tokens: int | None = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _CachedDetails | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    text: str | None = None
    finish_reason: str | None = None


class _Said(msgspec.Struct):
    """A whole answer, or an event of a stream."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Said).decode


def _tokens(usage: _Usage) -> Tokens:
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details is not None else 0
    return Tokens(input=max(0, usage.prompt_tokens), output=max(0, usage.completion_tokens), cache_read=cached)


def native_answer(body: bytes) -> Answer | None:
    """What a 200's body says of itself; None when it is not a whole answer."""
    try:
        said = _decode(body)
    except UNREADABLE:
        return None
    if said.error or said.choices is None:
        return None
    return Answer(_tokens(said.usage) if said.usage is not None else None)


class CompletionsStream(EventWatch):
    """Follows one stream that passes through. hide_usage: the app has not asked for the usage that the proxy asked for."""

    __slots__ = ("_done", "_hide_usage", "_seen")

    marks = (b'"usage":{', b'"usage": {', b"[DONE]", b'"error"')

    def __init__(self, *, hide_usage: bool = False) -> None:
        super().__init__()
        self._hide_usage = hide_usage
        self._seen: set[int] = set()
        self._done: set[int] = set()

    def look(self, data: bytes, event: bytes) -> bool:
        if data == b"[DONE]":
            self.finished = True
            self.rest = event + b"\n\n"
            return False
        try:
            said = _decode(data)
        except UNREADABLE:
            self.error = MALFORMED
            return False
        if said.error:
            self.error = data.decode("utf-8", "replace")
            return False
        if said.usage is not None:
            self.tokens = _tokens(said.usage)
        for choice in said.choices or ():
            if choice.text or choice.finish_reason:
                self.has_output = True
        return not (self._hide_usage and said.usage is not None and not said.choices)

    def measure(self, data: bytes) -> int:
        try:
            said = _decode(data)
        except UNREADABLE:
            return len(data)
        size = 0
        for choice in said.choices or ():
            self._seen.add(choice.index)
            if choice.finish_reason:
                self._done.add(choice.index)
            if choice.text:
                size += len(choice.text.encode("utf-8", "surrogatepass"))
        return size

    def close(self) -> bool:
        whole = super().close()
        if not whole and not self.error:
            self.output_bytes()
            if self._done and self._seen <= self._done:  # some servers forget [DONE]
                self.finished = whole = True
                self.rest += b"data: [DONE]\n\n"
        return whole


class CompletionsNative:
    """Requests that pass through (``apps.proxy.dialects.natives.Native``)."""

    stream_type = b"text/event-stream"
    headers: tuple[bytes, ...] = ()

    def path(self, model: str, *, stream: bool) -> str:
        return "/completions"

    def changed(self, asked: Payload, model: str, cap: int | None) -> Payload:
        changes: Payload = {}
        if asked.get("model") != model:
            changes["model"] = model
        if cap is not None and asked.get("max_tokens") is None:
            changes["max_tokens"] = cap
        if asked.get("stream") and not _usage_asked(asked):
            options = asked.get("stream_options")
            changes["stream_options"] = {**(options if type(options) is dict else {}), "include_usage": True}
        return {**asked, **changes} if changes else asked

    def answer(self, body: bytes) -> Answer | None:
        return native_answer(body)

    def stream(self, asked: Payload | None = None) -> CompletionsStream:
        return CompletionsStream(hide_usage=asked is not None and not _usage_asked(asked))

    def resume(self, watch: StreamWatch, asked: Payload) -> None:
        """A text that goes on has no conversation in which anybody could be asked to go on."""


def _usage_asked(asked: Payload) -> bool:
    options = asked.get("stream_options")
    return type(options) is dict and options.get("include_usage") is True
