"""A provider's stream of a response, as the pivot's events."""

from __future__ import annotations

import time
from typing import Any

from apps.proxy.dialects.responses_answer import call_read, citation, finish_reason, thinking_block
from apps.proxy.dialects.responses_wire import (
    Event,
    Response,
    decode_event,
    decode_response,
    pivot_usage,
    reasoning_text,
    trouble_of,
)
from apps.proxy.dialects.sse import Framer
from apps.proxy.dialects.translation import Chunk, NotAnAnswer, Payload
from apps.proxy.dialects.wire_json import UNREADABLE

_CALLS = ("function_call", "custom_tool_call")
_ENDS = frozenset({"response.completed", "response.incomplete"})
_STARTS = frozenset({"response.in_progress", "response.queued"})


class _Heard:
    """What was given of one item. sent: characters of each part; a call's arguments are part 0. channel: where its thoughts come from."""

    __slots__ = ("channel", "done", "sent", "tool")

    def __init__(self) -> None:
        self.sent: dict[int, int] = {}
        self.done = False
        self.channel = ""
        self.tool = -1
        """Place among the tool calls; -1 where it is none."""


class ResponsesBackStream:
    """Reads one stream. What was not told in pieces is given when its item is done, or with the end: some servers tell no pieces."""

    def __init__(self) -> None:
        self.finished = False
        self._framer = Framer()
        self._base: Payload = {}
        """What every chunk begins with; empty until the response has begun."""
        self._id = ""
        self._items: dict[int, _Heard] = {}
        self._places: dict[str, int] = {}
        """Of items, by their ids and by those of their calls."""
        self._spoken: set[str] = set()
        """Kinds of items that said something."""
        self._tools = 0
        self._custom: set[int] = set()
        self._text = 0
        """Characters of text that were given, over all messages; ``_before``: those before the message that is open."""
        self._before = 0
        self._texts_of = -1
        """Place of the message that text was last given of."""
        self._thoughts_of = (-1, -1)
        self._ended = False

    def feed(self, data: bytes) -> list[Chunk]:
        return self._read(self._framer.feed(data))

    def close(self) -> list[Chunk]:
        return self._read(self._framer.close())

    def _read(self, events: list[Any]) -> list[Chunk]:
        chunks: list[Chunk] = []
        for event in events:
            if self._ended:
                break
            data = event.data.strip()
            if data and data != b"[DONE]":
                try:
                    heard = decode_event(data)
                except UNREADABLE as error:
                    raise NotAnAnswer(f"an event of the stream is none of a response: {error}") from None
                self._event(heard, chunks)
        return chunks

    def _event(self, event: Event, chunks: list[Chunk]) -> None:
        kind = event.type
        if kind == "response.output_text.delta":
            self._text_piece(event, event.delta, chunks)
        elif kind == "response.function_call_arguments.delta" or kind == "response.custom_tool_call_input.delta":
            self._argument(event.output_index, event.delta, chunks)
        elif kind == "response.reasoning_text.delta":
            self._thought(event.output_index, "content", event.content_index, event.delta, chunks)
        elif kind == "response.reasoning_summary_text.delta":
            self._thought(event.output_index, "summary", event.summary_index, event.delta, chunks)
        elif kind == "response.refusal.delta":
            self._refusal(event.output_index, event.content_index, event.delta, chunks)
        elif kind == "response.output_item.added":
            if event.item is not None:
                self._known(event.output_index, event.item)
                if event.item.get("type") in _CALLS:
                    self._call(event.output_index, event.item, chunks)
        elif kind == "response.output_item.done":
            if event.item is not None:
                self._done(event.output_index, event.item, chunks)
        elif kind == "response.output_text.annotation.added":
            made = citation(event.annotation, self._before)
            if made is not None:
                chunks.append(self._chunk({"annotations": [made]}))
        elif kind == "response.created":
            self._begin(self._response(event), chunks)
        elif kind in _STARTS:
            self._same(self._response(event))
        elif kind in _ENDS:
            self._end(self._response(event), kind, chunks)
        elif kind == "response.failed":
            self._fail(self._response(event).error, chunks)
        elif kind == "error" or (not kind and event.error is not None):
            self._fail(event.error or {"message": event.message, "code": event.code, "param": event.param}, chunks)
        elif not kind:
            raise NotAnAnswer("an event of the stream has no type")

    def _response(self, event: Event) -> Response:
        try:
            return decode_response(event.response)
        except UNREADABLE as error:
            raise NotAnAnswer(f"an event {event.type!r} without a response: {error}") from None

    def _begin(self, response: Response, chunks: list[Chunk]) -> None:
        if self._base:
            raise NotAnAnswer("a second response began in the stream")
        self._start(response)
        chunks.append(self._chunk({"role": "assistant", "content": ""}))

    def _start(self, response: Response) -> None:
        self._id = response.id or ""
        self._base = {
            "id": response.id or "resp_0",
            "object": "chat.completion.chunk",
            "created": int(response.created_at or time.time()),
            "model": response.model or "",
        }

    def _same(self, response: Response) -> None:
        if not self._base:
            self._start(response)
        elif response.id is not None and self._id and response.id != self._id:
            raise NotAnAnswer(f"the stream of response {self._id!r} went on as that of {response.id!r}")

    def _chunk(self, delta: Payload, reason: str | None = None, logprobs: Any = None) -> Chunk:
        if not self._base:
            raise NotAnAnswer("a stream that did not begin with a response")
        choice: Payload = {"index": 0, "delta": delta, "finish_reason": reason}
        if logprobs:
            choice["logprobs"] = {"content": logprobs, "refusal": None}
        return {**self._base, "choices": [choice]}

    def _heard(self, place: int) -> _Heard:
        heard = self._items.get(place)
        if heard is None:
            heard = self._items[place] = _Heard()
        return heard

    def _text_piece(self, event: Event, text: Any, chunks: list[Chunk]) -> None:
        if type(text) is not str:
            raise NotAnAnswer("a piece of text that is none")
        heard = self._heard(event.output_index)
        heard.sent[event.content_index] = heard.sent.get(event.content_index, 0) + len(text)
        if text:
            self._say(event.output_index, text, event.logprobs, chunks)

    def _say(self, place: int, text: str, logprobs: Any, chunks: list[Chunk]) -> None:
        if place != self._texts_of:
            text = self._apart(place) + text
        self._text += len(text)
        self._spoken.add("message")
        chunks.append(self._chunk({"content": text}, None, logprobs))

    def _apart(self, place: int) -> str:
        """What stands between the texts of two messages: a chat completion has one."""
        apart = "" if self._texts_of < 0 else "\n\n"
        self._texts_of = place
        self._before = self._text + len(apart)
        return apart

    def _refusal(self, place: int, part: int, text: Any, chunks: list[Chunk]) -> None:
        if type(text) is not str:
            raise NotAnAnswer("a piece of a refusal that is none")
        heard = self._heard(place)
        heard.sent[part] = heard.sent.get(part, 0) + len(text)
        if text:
            self._spoken.add("message")
            chunks.append(self._chunk({"refusal": text}))

    def _thought(self, place: int, channel: str, part: int, text: Any, chunks: list[Chunk]) -> None:
        """Thoughts come in their own words or as a summary; where a server tells both, the first that comes is given."""
        if type(text) is not str:
            raise NotAnAnswer("a piece of reasoning that is none")
        heard = self._heard(place)
        heard.channel = heard.channel or channel
        if heard.channel != channel or not text:
            return
        apart = ""
        if self._thoughts_of != (place, part):
            told = self._thoughts_of[0]
            apart = "\n\n" if told >= 0 and (told != place or channel == "summary") else ""
            self._thoughts_of = (place, part)
        heard.sent[part] = heard.sent.get(part, 0) + len(text)
        self._spoken.add("reasoning")
        chunks.append(self._chunk({"reasoning_content": apart + text}))

    def _call(self, place: int, item: Payload, chunks: list[Chunk]) -> _Heard:
        heard = self._heard(place)
        if heard.tool < 0:
            call = call_read(item)
            heard.tool = self._tools
            self._tools += 1
            if call["type"] == "custom":
                self._custom.add(heard.tool)
            heard.sent[0] = len(call[call["type"]]["input" if call["type"] == "custom" else "arguments"])
            chunks.append(self._chunk({"tool_calls": [{"index": heard.tool, **call}]}))
        return heard

    def _argument(self, place: int, piece: Any, chunks: list[Chunk]) -> None:
        heard = self._items.get(place)
        if heard is None or heard.tool < 0 or type(piece) is not str:
            raise NotAnAnswer("arguments of a tool call that did not begin")
        heard.sent[0] += len(piece)
        if piece:
            field = {"custom": {"input": piece}} if heard.tool in self._custom else {"function": {"arguments": piece}}
            chunks.append(self._chunk({"tool_calls": [{"index": heard.tool, **field}]}))

    def _done(self, place: int, item: Payload, chunks: list[Chunk]) -> None:
        """An item is whole: what was not told of it in pieces is given."""
        kind = item.get("type")
        heard = self._heard(place)
        if heard.done:
            return
        heard.done = True
        self._known(place, item)
        if kind == "message":
            self._rest_of_message(place, heard, item.get("content"), chunks)
        elif kind == "reasoning":
            text = reasoning_text(item)
            if text and not heard.sent:
                self._thought(place, "content", 0, text, chunks)
            block = thinking_block(item, text)
            if block is not None:
                self._spoken.add("reasoning")
                chunks.append(self._chunk({"thinking_blocks": [block]}))
        elif kind in _CALLS:
            given = item.get("input" if kind == "custom_tool_call" else "arguments")
            heard = self._call(place, item, chunks)
            if type(given) is str and len(given) > heard.sent[0]:
                self._argument(place, given[heard.sent[0] :], chunks)

    def _known(self, place: int, item: Payload) -> None:
        for name in ("id", "call_id"):
            if type(item.get(name)) is str:
                self._places[item[name]] = place

    def _rest(self, item: Payload, spoken: frozenset[str], chunks: list[Chunk]) -> None:
        """An item of the whole response: what is still missing of it, or all of it where nothing of its kind was told.

        Some servers give items another id and another place there than in the events before.
        """
        place = self._places.get(str(item.get("id")), self._places.get(str(item.get("call_id"))))
        if place is None:
            if str(item.get("type")) in spoken:
                return
            place = max(self._items, default=-1) + 1
        self._done(place, item, chunks)

    def _rest_of_message(self, place: int, heard: _Heard, parts: Any, chunks: list[Chunk]) -> None:
        for number, part in enumerate(parts if type(parts) is list else ()):
            if type(part) is not dict:
                continue
            sent = heard.sent.get(number, 0)
            text, refusal = part.get("text"), part.get("refusal")
            if type(text) is str and len(text) > sent:
                self._say(place, text[sent:], None if sent else part.get("logprobs"), chunks)
            elif type(refusal) is str and len(refusal) > sent:
                chunks.append(self._chunk({"refusal": refusal[sent:]}))

    def _end(self, response: Response, kind: str, chunks: list[Chunk]) -> None:
        if response.error is not None:
            self._fail(response.error, chunks)
            return
        self._same(response)
        spoken = frozenset(self._spoken)
        for item in response.output or ():
            self._rest(item, spoken, chunks)
        unfinished = kind == "response.incomplete" or response.status == "incomplete"
        reason = response.incomplete_details.reason if unfinished and response.incomplete_details is not None else None
        last = self._chunk({}, finish_reason(unfinished, reason, self._tools > 0))
        if reason:
            last["choices"][0]["native_finish_reason"] = reason
        if type(response.service_tier) is str:
            last["service_tier"] = response.service_tier
        chunks.append(last)
        if response.usage is not None:
            chunks.append({**self._base, "choices": [], "usage": pivot_usage(response.usage)})
        self._ended = self.finished = True

    def _fail(self, error: Any, chunks: list[Chunk]) -> None:
        trouble = trouble_of(error, "the response failed, and the provider does not say why", "server_error")
        chunks.append({"error": {"message": trouble.message, "type": trouble.type, "code": trouble.code or "upstream_error"}})
        self._ended = True
