"""What a wire format is to the simulator: where its chat calls are asked, how they are read, and how answers are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from apps.simulator.openai import ChatCall, Choice

JSON = b"content-type: application/json\r\n"
SSE = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
Usage = dict[str, Any]
"""As OpenAI says it: ``prompt_tokens``, ``completion_tokens``."""


class Asked(NamedTuple):
    """A chat call as it came. match: of the format's path."""

    match: re.Match[str]
    body: dict[str, Any]


class Knock(NamedTuple):
    """What a request shows of itself before it is read. target: the path as it was sent, percent-encoded. headers: lower-case names."""

    method: str
    target: str
    query: str
    headers: dict[bytes, bytes]
    body: bytes


class Events(Protocol):
    """Writes the events of one streamed answer in one wire format."""

    @property
    def error(self) -> bytes:
        """The error that ends a stream, as event."""

    @property
    def malformed(self) -> bytes: ...

    def opening(self, index: int, choice: Choice) -> bytes: ...

    def pieces(self, index: int, choice: Choice, tokens_per_event: int) -> Iterator[tuple[int, bytes]]:
        """(tokens, event) for each piece of the content."""

    def closing(self, index: int, choice: Choice) -> bytes: ...

    def ending(self, *, usage: bool, done: bool) -> bytes:
        """What follows the finish reasons. usage, done: whether it says what was used, and that it is whole."""


class ErrorBody(Protocol):
    """An error's body in one wire format."""

    def __call__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> bytes: ...


def _no_headers(status: int, code: str | None) -> bytes:
    return b""


class Format(NamedTuple):
    """One wire format.

    path: of its chat calls, whole. identity: what its answers' ids begin with. call: reads a call, raises Refused. body: the whole
    answer, of (id, created, call, choices, usage or None). events: writes the stream, of (id, created, call, usage). admit: lets a request
    in, of (knock, keys, region); raises Refused. error_headers: of an error, by status and code.
    """

    name: str
    path: re.Pattern[str]
    identity: str
    call: Callable[[Asked], ChatCall]
    body: Callable[[str, int, ChatCall, list[Choice], Usage | None], bytes]
    events: Callable[[str, int, ChatCall, Usage], Events]
    admit: Callable[[Knock, list[str] | None, str], None]
    error_body: ErrorBody
    error_headers: Callable[[int, str | None], bytes] = _no_headers
    stream_headers: bytes = SSE
