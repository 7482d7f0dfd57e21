"""What can go wrong with an answer, as data, and the short notation in which tests and model names write it.

Notation: ``<kind>[:<option>[=<value>],...][x<times>]``, steps joined by ``-then-``::

    503x2-then-ok                       two 503s, then well
    429:retry-after=2x1-then-ok         one 429 with Retry-After: 2
    429:retry-after=2,spelling=date     ... as a date; ``ms``: retry-after-ms, ``azure``: x-ms-retry-after-ms
    429:body=quota                      the account has no credit left
    400:body=context_length             the request is too long for the model's window
    stall:seconds=2x1-then-ok           one answer two seconds late
    cut:events=3                        every stream breaks off after three events
    cut:events=3,clean                  ... with a proper end of the HTTP message
    stall:where=first_token,seconds=5   headers at once, the first token five seconds late

A step without ``x<times>`` lasts for ever; after the last counted step all is well again. A model whose name
begins with ``sim-fault/`` is such a script itself; ``#anything`` at its end makes a script of its own of it,
with its own count: ``sim-fault/503x1-then-ok#case-7``.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

MODEL_PREFIX = "sim-fault/"

FaultKind = Literal[
    "ok", "status", "cut", "stall", "reset", "malformed_sse", "truncated_json", "missing_usage", "missing_done", "error_event", "overrun"
]


class FaultError(ValueError):
    """A fault that cannot be read; the message says what was expected."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way for one answer to go wrong.

    * ``ok``: nothing goes wrong (a step of a script).
    * ``status``: answers ``status`` (400..599), with ``Retry-After`` where ``retry_after`` (seconds) is set, as ``spelling`` says;
      ``body`` is the format's error object, that of a request too long for the model or turned down by its content filter or of an
      account without credit, an HTML page as balancers send, or nothing.
    * ``cut``: closes after ``events`` events of a stream, or half a JSON body. ``clean``: the HTTP message ends properly and
      the connection lives on.
      ``rst``: by a TCP reset instead of a FIN.
    * ``stall``: says nothing for ``seconds`` (0: until the client leaves) before the headers, before the first token, or
      after ``events`` events.
    * ``reset``: a TCP reset instead of any answer.
    * ``malformed_sse``: after ``events`` events, an event whose data is no JSON and a line that is no field; then goes on. Of binary
      streams: a message with a wrong checksum.
    * ``truncated_json``: half of the JSON body, as a whole HTTP message.
    * ``missing_usage``, ``missing_done``: leaves out the usage, what says that a stream is whole (``data: [DONE]``).
    * ``error_event``: after ``events`` events, an error object as event, then the end of the stream.
    * ``overrun``: bills and reports ``tokens`` output tokens more than were asked for.
    """

    kind: FaultKind
    status: int = 500
    retry_after: float | None = None
    spelling: Literal["seconds", "ms", "azure", "date"] = "seconds"
    body: Literal["openai", "context_length", "content_filter", "quota", "html", "empty"] = "openai"
    events: int = 1
    clean: bool = False
    rst: bool = False
    where: Literal["headers", "first_token", "mid"] = "headers"
    seconds: float = 0.0
    tokens: int = 100
    times: int | None = None
    """How many requests this step is for; None: all further ones."""

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise FaultError(f"status {self.status} is no error: write 400 to 599")
        if self.times is not None and self.times < 1:
            raise FaultError(f"times {self.times} must be at least 1")
        for name, value in (
            ("events", self.events),
            ("seconds", self.seconds),
            ("retry_after", self.retry_after or 0),
            ("tokens", self.tokens),
        ):
            if not 0 <= value < 1e9:
                raise FaultError(f"{name} {value} must be from 0 to a billion")


OK = Fault(kind="ok")

_STEP = re.compile(r"(?P<name>\d+|[a-z_-]+?)(?::(?P<options>.+?))?(?:x(?P<times>\d+))?")
_NAMES = frozenset(FaultKind.__args__) - {"status"}  # type: ignore[attr-defined]


def parse_fault(text: str) -> Fault:
    """One step of the notation. Raises FaultError."""
    match = _STEP.fullmatch(text.strip())
    if match is None:
        raise FaultError(f"{text!r} is no fault: write a kind such as '503', 'cut:events=3' or '503x2'")
    name = match["name"].replace("-", "_")
    fields: dict[str, object] = {"kind": name}
    if name.isdigit():
        fields = {"kind": "status", "status": int(name)}
    elif name not in _NAMES:
        raise FaultError(f"{name!r} is no fault: known are a status from 400 to 599, {', '.join(sorted(_NAMES))}")
    for option in filter(None, (match["options"] or "").split(",")):
        key, equals, value = option.partition("=")
        fields[key.strip().replace("-", "_")] = value.strip() if equals else True
    if match["times"]:
        fields["times"] = int(match["times"])
    try:
        return msgspec.convert(fields, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise FaultError(f"{text!r}: {error}") from None


def parse_script(text: str) -> list[Fault]:
    """A whole script, ``503x2-then-ok``. Raises FaultError."""
    return [parse_fault(step) for step in text.split("-then-")]


class Script:
    """Steps consumed one request at a time."""

    __slots__ = ("_left", "_steps")

    def __init__(self, steps: list[Fault]) -> None:
        self._steps = list(reversed(steps))
        self._left = (self._steps[-1].times or 0) if self._steps else 0

    def take(self) -> Fault | None:
        """The next request's fault; None when the script is through."""
        if not self._steps:
            return None
        fault = self._steps[-1]
        if fault.times is not None:
            self._left -= 1
            if self._left <= 0:
                self._steps.pop()
                self._left = (self._steps[-1].times or 0) if self._steps else 0
        return fault
