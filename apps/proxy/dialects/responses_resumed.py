"""A provider's stream that passed through and broke off, gone on with in its own ids and numbers.

Only what ends in the middle of a message's text can be gone on with: everything that came before it is whole and stays as it was told.
"""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects.responses_told import Open, ResponsesFrontStream
from apps.proxy.dialects.responses_wire import decode_any
from apps.proxy.dialects.sse import Framer
from apps.proxy.dialects.translation import Payload
from apps.proxy.dialects.wire_json import UNREADABLE

_SILENT = frozenset({"response.in_progress", "response.queued"})
_WHOLE = ("reasoning",)
"""Items that may lie before the text."""


class ResumedResponse(ResponsesFrontStream):
    """Writes the rest of a stream whose beginning a provider wrote: ``take`` it all, then ask whether it ``can_go_on``."""

    def take(self, passed: bytes) -> bool:
        """False where something in it is not understood."""
        for event in Framer().feed(passed):
            try:
                said = decode_any(event.data)
            except UNREADABLE:
                return False
            if type(said) is not dict or not self._took(said, said.get("type")):
                return False
            number = said.get("sequence_number")
            self._number = number + 1 if type(number) is int else self._number + 1
        return True

    def can_go_on(self) -> bool:
        item = self._open
        return bool(self._made) and not self._ended and item is not None and item.part == "output_text"

    def _took(self, said: Payload, kind: Any) -> bool:
        if kind == "response.created":
            return self._began(said.get("response"))
        if not self._made or kind in _SILENT:
            return bool(self._made)
        place, item = said.get("output_index"), self._open
        if type(place) is not int:
            return False
        if kind == "response.output_item.added":
            return self._opened(said.get("item"), place)
        if kind == "response.output_item.done":
            return self._closed(said.get("item"), place)
        if item is None or item.index != place:
            return False
        return item.reasoning or self._told_text(said, kind, item)

    def _began(self, response: Any) -> bool:
        if type(response) is not dict or type(response.get("id")) is not str or self._made:
            return False
        self._made = {**response, "output": []}
        self._tail = response["id"].removeprefix("resp_")
        return True

    def _opened(self, item: Any, place: int) -> bool:
        if type(item) is not dict or self._open is not None or place != self._places or type(item.get("id")) is not str:
            return False
        if item.get("type") not in ("message", *_WHOLE):
            return False
        self._open = Open(item["id"], self._place(), reasoning=item["type"] != "message")
        return True

    def _closed(self, item: Any, place: int) -> bool:
        if type(item) is not dict or self._open is None or self._open.index != place or item.get("type") not in _WHOLE:
            return False  # a message that has ended is not gone on with
        self._output[place], self._open = item, None
        return True

    def _told_text(self, said: Payload, kind: Any, item: Open) -> bool:
        if kind == "response.content_part.added":
            part = said.get("part")
            if item.part or item.parts or type(part) is not dict or part.get("type") != "output_text":
                return False
            item.part = "output_text"
            return True
        if item.part != "output_text":
            return False
        if kind == "response.output_text.delta" and type(said.get("delta")) is str:
            item.texts.append(said["delta"])
            found = said.get("logprobs")
            item.logprobs += found if type(found) is list else []
            return True
        if kind == "response.output_text.annotation.added" and type(said.get("annotation")) is dict:
            item.annotations.append(said["annotation"])
            return True
        return False
