"""Answers as steps: what is written when, with the faults in their places. One generator per kind of answer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate

from apps.simulator import openai
from apps.simulator.behaviour import Behaviour, Resolved
from apps.simulator.bill import RequestLine
from apps.simulator.faults import Fault
from apps.simulator.http import LAST_CHUNK, Exchange, Step, chunk
from apps.simulator.wire import JSON, Events, Format

MAX_WRITE = 16 * 1024
"""Events without a pause between them share a write of at most about so many bytes."""


class Answer:
    """All that an answer's generator needs; ``line`` is kept up to date, so that it is right whenever the client leaves."""

    __slots__ = ("behaviour", "clock", "created", "exchange", "fault", "first_byte_s", "form", "headers", "line", "ordinal")

    def __init__(
        self,
        exchange: Exchange,
        line: RequestLine,
        resolved: Resolved,
        fault: Fault,
        *,
        headers: bytes,
        ordinal: int,
        created: int,
        clock: Callable[[], float],
        form: Format,
    ) -> None:
        self.form = form
        self.exchange = exchange
        self.line = line
        self.behaviour: Behaviour = resolved.behaviour
        self.fault = fault
        self.headers = headers
        self.ordinal = ordinal
        self.created = created
        self.clock = clock
        self.first_byte_s = resolved.behaviour.first_byte_ms.draw(resolved.rng) / 1000

    def stall(self, where: str) -> Iterator[Step]:
        """The stall, where the fault has one there."""
        if self.fault.kind == "stall" and self.fault.where == where:
            if self.fault.seconds:
                yield self.clock() + self.fault.seconds
            else:
                yield "hang"

    def opening(self) -> Iterator[Step]:
        """Everything before the first byte: latency, stalls, resets."""
        if self.first_byte_s:
            yield self.clock() + self.first_byte_s
        yield from self.stall("headers")
        if self.fault.kind == "reset":
            self.line.outcome = "cut"
            yield "reset"


def refusal(answer: Answer, status: int, message: str, *, param: str | None = None, code: str | None = None) -> Iterator[Step]:
    """An error as the provider sends it, or as a balancer in front of it does."""
    yield from answer.opening()
    fault = answer.fault
    headers = answer.headers
    if fault.kind == "status" and fault.retry_after is not None:
        headers += _retry_after(fault.retry_after, fault.spelling)
    body = answer.form.error_body(status, message, param=param, code=code)
    headers += answer.form.error_headers(status, code)
    content_type = JSON
    if fault.kind == "status" and fault.body == "html":
        content_type = b"content-type: text/html\r\n"
        body = b"<html><head><title>%d</title></head><body><h1>%d (simulated)</h1></body></html>\n" % (status, status)
    elif fault.kind == "status" and fault.body == "empty":
        content_type, body = b"", b""
    answer.line.outcome, answer.line.status = "error", status
    yield answer.exchange.head(status, headers + content_type, len(body)) + body


def _retry_after(seconds: float, spelling: str) -> bytes:
    """The header, in one of the ways in which providers write it. A date has whole seconds: it is rounded up."""
    if spelling == "date":
        return b"retry-after: %b\r\n" % formatdate(math.ceil(time.time() + seconds), usegmt=True).encode()
    if spelling == "seconds":
        return b"retry-after: %b\r\n" % format(seconds, "g").encode()
    return b"%b: %d\r\n" % (b"retry-after-ms" if spelling == "ms" else b"x-ms-retry-after-ms", round(seconds * 1000))


def json_answer(answer: Answer, body: bytes, *, output_tokens: int) -> Iterator[Step]:
    """A JSON body, after the time that its tokens take."""
    line, fault, speed = answer.line, answer.fault, answer.behaviour.tokens_per_second
    yield from answer.opening()
    yield from answer.stall("first_token")
    if speed and output_tokens:
        began = answer.clock()
        try:
            yield began + output_tokens / speed
        except GeneratorExit:  # the client left: it pays for what was generated so far
            line.output_tokens = min(output_tokens, int((answer.clock() - began) * speed))
            raise
    line.output_tokens = output_tokens
    line.status = 200
    headers = answer.headers + JSON
    half = body[: max(1, len(body) // 2)]
    if fault.kind == "truncated_json":
        yield answer.exchange.head(200, headers, len(half)) + half
    elif fault.kind == "cut" or (fault.kind == "stall" and fault.where == "mid"):
        if fault.clean and answer.exchange.chunks:
            line.outcome = "cut"
            yield answer.exchange.head(200, headers, None) + chunk(half) + LAST_CHUNK
            return
        yield answer.exchange.head(200, headers, len(body)) + half
        if fault.kind == "stall":
            yield from answer.stall("mid")
            yield body[len(half) :]
        else:
            # Half a millisecond, so that a reset does not overtake the bytes before it.
            yield answer.clock() + 0.0005
            line.outcome = "cut"
            yield "reset" if fault.rst else "close"
    else:
        yield answer.exchange.head(200, headers, len(body)) + body


def stream_answer(answer: Answer, events: Events, choices: list[openai.Choice], *, output_tokens: int) -> Iterator[Step]:
    """A stream's events at the set speed: the beginnings, content, finish reasons, the end. output_tokens: of the whole, as billed."""
    line, fault, exchange = answer.line, answer.fault, answer.exchange
    speed, per_event = answer.behaviour.tokens_per_second, answer.behaviour.tokens_per_event
    frame = chunk if exchange.chunks else bytes
    yield from answer.opening()
    line.status = 200
    pending = exchange.head(200, answer.headers + answer.form.stream_headers, None)
    if fault.kind == "stall" and fault.where == "first_token":
        yield pending
        pending = b""
        yield from answer.stall("first_token")
    began = answer.clock()
    tokens = 0
    breaks = fault.kind in ("cut", "malformed_sse", "error_event") or (fault.kind == "stall" and fault.where == "mid")

    for written, (event_tokens, event) in enumerate(_events(events, choices, per_event)):
        if breaks and written == fault.events:
            breaks = False
            if pending:
                yield pending
                pending = b""
            if fault.kind == "cut":
                line.outcome = "cut"
                if fault.clean and exchange.chunks:
                    yield LAST_CHUNK
                    return
                yield answer.clock() + 0.0005
                yield "reset" if fault.rst else "close"
            elif fault.kind == "error_event":
                line.outcome = "error"
                yield frame(events.error)
                break
            elif fault.kind == "malformed_sse":
                yield frame(events.malformed)
            else:
                yield from answer.stall("mid")
                began += fault.seconds
        if speed and event_tokens:
            due = began + (tokens + event_tokens) / speed
            if due > answer.clock():
                if pending:
                    yield pending
                    pending = b""
                yield due
        pending += frame(event) if event else b""
        tokens += event_tokens
        line.output_tokens = tokens
        if len(pending) >= MAX_WRITE:
            yield pending
            pending = b""
    else:
        line.output_tokens = output_tokens
        end = events.ending(usage=fault.kind != "missing_usage", done=fault.kind != "missing_done")
        if end:
            pending += frame(end)
    yield pending + (LAST_CHUNK if exchange.chunks else b"")


def _events(events: Events, choices: list[openai.Choice], per_event: int) -> Iterator[tuple[int, bytes]]:
    """(tokens, event) of all choices: roles first, then their pieces in turn, then the finish reasons."""
    for index, choice in enumerate(choices):
        yield 0, events.opening(index, choice)
    if len(choices) == 1:
        yield from events.pieces(0, choices[0], per_event)
    else:
        turns = [events.pieces(index, choice, per_event) for index, choice in enumerate(choices)]
        while turns:
            for turn in list(turns):
                piece = next(turn, None)
                if piece is None:
                    turns.remove(turn)
                else:
                    yield piece
    for index, choice in enumerate(choices):
        yield 0, events.closing(index, choice)
