"""The exact shapes of OpenAI's answers and events, for chat and for completions. A stream's events are cut from one template each, because
they are written once for every token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from apps.engine.http.reply import encode


class Choice(NamedTuple):
    """One finished answer."""

    text: str
    tokens: int
    finish: str


def usage(prompt_tokens: int, tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt_tokens, "completion_tokens": tokens, "total_tokens": prompt_tokens + tokens}


class Shape:
    """One request's. id, created: as every event and answer of it says. chat: else completions. with_usage: the stream ends with its
    usage."""

    def __init__(self, id: str, created: int, model: str, *, chat: bool, with_usage: bool) -> None:
        self._head = {"id": id, "object": "", "created": created, "model": model}
        self._chat = chat
        self._with_usage = with_usage
        head = encode({**self._head, "object": "chat.completion.chunk" if chat else "text_completion"})[:-1]
        self._start = b"data: " + head + b',"choices":[{"index":'
        self._end = b"}]" + (b',"usage":null' if with_usage else b"") + b"}\n\n"
        self._empty = b"data: " + head + b',"choices":[]'

    def opening(self, index: int) -> bytes:
        """A chat's first event says who speaks; completions have none."""
        if not self._chat:
            return b""
        return (
            self._start
            + str(index).encode()
            + b',"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null'
            + self._end
        )

    def text(self, index: int, text: str) -> bytes:
        if self._chat:
            return self._start + b'%d,"delta":{"content":%b},"logprobs":null,"finish_reason":null' % (index, encode(text)) + self._end
        return self._start + b'%d,"text":%b,"logprobs":null,"finish_reason":null' % (index, encode(text)) + self._end

    def finish(self, index: int, reason: str) -> bytes:
        what = b'"delta":{}' if self._chat else b'"text":""'
        return self._start + b'%d,%b,"logprobs":null,"finish_reason":"%b"' % (index, what, reason.encode()) + self._end

    def closing(self, prompt_tokens: int, tokens: int) -> bytes:
        """The usage where it was asked for, and the end."""
        said = self._empty + b',"usage":' + encode(usage(prompt_tokens, tokens)) + b"}\n\n" if self._with_usage else b""
        return said + b"data: [DONE]\n\n"

    def whole(self, choices: Sequence[Choice], prompt_tokens: int) -> dict[str, object]:
        """choices: in the order of their indexes."""
        tokens = sum(choice.tokens for choice in choices)
        if self._chat:
            found: list[dict[str, object]] = [
                {
                    "index": index,
                    "message": {"role": "assistant", "content": choice.text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": choice.finish,
                }
                for index, choice in enumerate(choices)
            ]
        else:
            found = [
                {"index": index, "text": choice.text, "logprobs": None, "finish_reason": choice.finish}
                for index, choice in enumerate(choices)
            ]
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": found, "usage": usage(prompt_tokens, tokens)}
