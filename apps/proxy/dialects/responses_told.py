"""The pivot's stream told as a response's: events in their order, numbered, as OpenAI's SDKs put them together again."""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects.responses_answer import (
    annotations_of,
    call_item,
    finish,
    logprobs_of,
    reasoning_item,
    skeleton,
    text_of,
    thinking_mark,
    wants_summary,
)
from apps.proxy.dialects.responses_wire import encode_event, trouble_of
from apps.proxy.dialects.translation import Chunk, Payload, Trouble
from apps.proxy.dialects.wire_json import written

_TEXT = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":%d,"item_id":%b,'
    b'"output_index":%d,"content_index":%d,"delta":%b,"logprobs":[]}\n\n'
)
_FAILURES = {"rate_limit_error": "rate_limit_exceeded", "rate_limit_exceeded": "rate_limit_exceeded", "invalid_prompt": "invalid_prompt"}
"""Of a trouble's code or type, what a failed response calls it; all others are ``server_error``."""


class Open:
    """A message or a reasoning item that is being told. marks: what must come back with a reasoning item."""

    __slots__ = ("annotations", "id", "index", "logprobs", "marks", "part", "parts", "reasoning", "texts")

    def __init__(self, ident: str, index: int, *, reasoning: bool) -> None:
        self.id = ident
        self.index = index
        self.reasoning = reasoning
        self.part = ""
        """The kind of the part that is open; empty where none is."""
        self.parts: list[Payload] = []
        self.texts: list[str] = []
        self.logprobs: list[Payload] = []
        self.annotations: list[Payload] = []
        self.marks: list[Payload] = []


class _Call:
    """A tool call that is being told. index: -1 until its name is known, without which it cannot be announced."""

    __slots__ = ("custom", "given", "id", "index", "name", "pieces", "signature")

    def __init__(self, given: str, custom: bool) -> None:
        self.given = given
        """The pivot's id of the call."""
        self.custom = custom
        self.name = ""
        self.id = ""
        self.index = -1
        self.pieces: list[str] = []
        self.signature = ""


class ResponsesFrontStream:
    """Writes one app's stream. Whatever an upstream has in a field where a text belongs is left out, never raised."""

    def __init__(self, asked: Payload, ident: str = "") -> None:
        self._asked = asked
        self._ident = ident
        self._summary = wants_summary(asked)
        self._made: Payload = {}
        """The response as it was announced; empty until then."""
        self._tail = ""
        self._number = 0
        self._output: dict[int, Payload] = {}
        """Items that are whole, by their place."""
        self._places = 0
        self._open: Open | None = None
        self._thoughts: list[str] = []
        """Texts of reasoning items that are done: a block that comes late is not told a second time."""
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._reason: Any = None
        self._usage: Any = None
        self._ended = False
        self._told: list[bytes] = []

    def feed(self, chunk: Chunk) -> bytes:
        if self._ended:
            return b""
        error = chunk.get("error")
        if error:
            return self.error(trouble_of(error, "the stream broke off", "server_error"))
        if not self._made:
            self._begin(chunk)
        usage = chunk.get("usage")
        if usage is not None:
            self._usage = usage
        tier = chunk.get("service_tier")
        if type(tier) is str:
            self._made["service_tier"] = tier
        choices = chunk.get("choices")
        for choice in choices if type(choices) is list else ():
            if type(choice) is dict and not choice.get("index"):
                self._choice(choice)
        return self._take()

    def close(self) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        if not self._made:
            self._begin({})
        whole = self._reason not in ("length", "content_filter")
        self._shut_item(whole=whole)
        self._shut_calls(whole=whole)
        made = finish(self._made, self._items(), self._reason, self._usage)
        self._tell("response.completed" if whole else "response.incomplete", {"response": made})
        return self._take()

    def error(self, trouble: Trouble) -> bytes:
        """``response.failed`` for who follows the response, where there is one, then ``error``, at which SDKs raise."""
        if self._ended:
            return b""
        self._ended = True
        code = _FAILURES.get(trouble.code or "") or _FAILURES.get(trouble.type) or "server_error"
        if self._made:
            self._shut_item(whole=False)
            self._shut_calls(whole=False)
            made = finish(self._made, self._items(), None, self._usage)
            made.update(status="failed", store=False, error={"code": code, "message": trouble.message})
            self._tell("response.failed", {"response": made})
        said = {"code": trouble.code or code, "message": trouble.message, "param": trouble.param}
        self._tell("error", {**said, "error": {"type": trouble.type, **said}})
        return self._take()

    def _tell(self, kind: str, fields: Payload) -> None:
        self._told.append(encode_event({"type": kind, "sequence_number": self._number, **fields}))
        self._number += 1

    def _take(self) -> bytes:
        told, self._told = self._told, []
        return b"".join(told)

    def _items(self) -> list[Payload]:
        return [self._output[place] for place in sorted(self._output)]

    def _begin(self, chunk: Chunk) -> None:
        self._made = skeleton(self._asked, chunk, self._ident)
        self._tail = self._made["id"].removeprefix("resp_")
        self._tell("response.created", {"response": self._made})
        self._tell("response.in_progress", {"response": self._made})

    def _place(self) -> int:
        self._places += 1
        return self._places - 1

    def _choice(self, choice: Payload) -> None:
        reason = choice.get("finish_reason")
        if reason:
            self._reason = reason
        delta = choice.get("delta")
        if type(delta) is not dict or not delta:
            return
        content = delta.get("content")
        if content and type(content) is str and len(delta) == 1:  # nearly all of them
            self._piece("output_text", content, choice.get("logprobs"))
            return
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if type(thought) is str and thought:
            self._thought(thought)
        blocks = delta.get("thinking_blocks")
        if type(blocks) is list:
            self._blocks([block for block in blocks if type(block) is dict])
        text = text_of(content)
        if text:
            self._piece("output_text", text, choice.get("logprobs"))
        refusal = delta.get("refusal")
        if type(refusal) is str and refusal:
            self._piece("refusal", refusal, None)
        for made in annotations_of(delta.get("annotations")):
            self._annotate(made)
        calls = delta.get("tool_calls")
        for call in calls if type(calls) is list else ():
            if type(call) is dict:
                self._call(call)

    def _item(self, *, reasoning: bool) -> Open:
        """The item of this kind that is open; a new one where none is."""
        item = self._open
        if item is not None and item.reasoning is reasoning:
            return item
        self._shut_item(whole=True)
        place = self._place()
        item = self._open = Open(f"{'rs' if reasoning else 'msg'}_{self._tail}_{place}", place, reasoning=reasoning)
        shown: Payload = {"id": item.id, "type": "reasoning", "summary": []}
        if not reasoning:
            shown = {"id": item.id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        self._tell("response.output_item.added", {"output_index": place, "item": shown})
        return item

    def _piece(self, kind: str, text: str, logprobs: Any) -> None:
        item = self._open
        if item is None or item.part != kind:
            item = self._item(reasoning=False)
            self._shut_part(item)
            item.part = kind
            self._tell("response.content_part.added", {**self._at(item), "part": _message_part(kind, "", [], [])})
        item.texts.append(text)
        if logprobs is None and kind == "output_text":  # nearly all of them
            self._told.append(_TEXT % (self._number, written(item.id), item.index, len(item.parts), written(text)))
            self._number += 1
            return
        fields: Payload = {"item_id": item.id, "output_index": item.index, "content_index": len(item.parts), "delta": text}
        if kind == "output_text":
            fields["logprobs"] = logprobs_of(logprobs) if logprobs is not None else []
            item.logprobs += fields["logprobs"]
        self._tell(f"response.{kind}.delta", fields)

    def _at(self, item: Open) -> Payload:
        return {"item_id": item.id, "output_index": item.index, "content_index": len(item.parts)}

    def _annotate(self, annotation: Payload) -> None:
        item = self._open
        if item is not None and item.part == "output_text":
            place = len(item.annotations)
            item.annotations.append(annotation)
            fields = {**self._at(item), "annotation_index": place, "annotation": annotation}
            self._tell("response.output_text.annotation.added", fields)

    def _thought(self, text: str) -> None:
        item = self._open
        if item is not None and item.reasoning and item.marks:  # what is whole and signed is not added to
            self._shut_item(whole=True)
        item = self._item(reasoning=True)
        where: Payload = {"item_id": item.id, "output_index": item.index, "summary_index" if self._summary else "content_index": 0}
        if not item.part:
            if self._summary:
                item.part = "reasoning_summary_text"
                self._tell("response.reasoning_summary_part.added", {**where, "part": {"type": "summary_text", "text": ""}})
            else:
                item.part = "reasoning_text"
                self._tell("response.content_part.added", {**where, "part": {"type": "reasoning_text", "text": ""}})
        item.texts.append(text)
        self._tell(f"response.{item.part}.delta", {**where, "delta": text})

    def _blocks(self, blocks: list[Payload]) -> None:
        """Whole blocks, whose text was told before where it was told piece by piece."""
        for block in blocks:
            said = block.get("thinking")
            text = said if type(said) is str else ""
            item = self._open
            if item is None or not item.reasoning or item.marks:
                if item is not None and item.reasoning:
                    self._shut_item(whole=True)
                if text and text not in self._thoughts:
                    self._thought(text)
                item = self._item(reasoning=True)
            mark = thinking_mark(block, "".join(item.texts))
            if mark is not None:
                item.marks.append(mark)

    def _call(self, call: Payload) -> None:
        index, given = call.get("index"), call.get("id")
        ident = given if type(given) is str else ""
        custom = call.get("custom")
        named = custom if type(custom) is dict else call.get("function")
        found: Payload = named if type(named) is dict else {}
        name, piece = found.get("name"), found.get("input" if type(custom) is dict else "arguments")
        name = name if type(name) is str else ""
        if type(index) is not int:  # some servers number nothing: an id begins a call
            index = len(self._by_index) if ident or not self._by_index else len(self._by_index) - 1
        told = self._by_index.get(index)
        if told is None or (ident and name and told.given and ident != told.given):  # some give every call the same index
            self._shut_item(whole=True)
            told = self._by_index[index] = _Call(ident, type(custom) is dict)
            self._calls.append(told)
        told.given = told.given or ident
        if type(call.get("signature")) is str:
            told.signature = call["signature"]
        if told.index < 0 and name:
            told.name = name
            self._announce(told)
        if type(piece) is str and piece:
            told.pieces.append(piece)
            if told.index >= 0:
                self._argument(told, piece)

    def _announce(self, told: _Call) -> None:
        told.index = self._place()
        told.id = f"fc_{self._tail}_{told.index}"
        shown = {**self._call_item(told, ""), "status": "in_progress"}
        told.given = shown["call_id"]
        self._tell("response.output_item.added", {"output_index": told.index, "item": shown})
        for piece in told.pieces:
            self._argument(told, piece)

    def _argument(self, told: _Call, piece: str) -> None:
        kind = "response.custom_tool_call_input.delta" if told.custom else "response.function_call_arguments.delta"
        self._tell(kind, {"item_id": told.id, "output_index": told.index, "delta": piece})

    def _call_item(self, told: _Call, said: str) -> Payload:
        kind, field = ("custom", "input") if told.custom else ("function", "arguments")
        return call_item({"id": told.given, kind: {"name": told.name, field: said}}, told.id, self._tail, told.index)

    def _shut_part(self, item: Open) -> None:
        if not item.part:
            return
        text = "".join(item.texts)
        part = _message_part(item.part, text, item.annotations, item.logprobs)
        field = "refusal" if item.part == "refusal" else "text"
        fields: Payload = {**self._at(item), field: text}
        if item.part == "output_text":
            fields["logprobs"] = item.logprobs
        self._tell(f"response.{item.part}.done", fields)
        self._tell("response.content_part.done", {**self._at(item), "part": part})
        item.parts.append(part)
        item.part, item.texts, item.logprobs, item.annotations = "", [], [], []

    def _shut_item(self, *, whole: bool) -> None:
        item, self._open = self._open, None
        if item is None:
            return
        if item.reasoning:
            self._shut_reasoning(item)
            return
        self._shut_part(item)
        status = "completed" if whole else "incomplete"
        self._done(item.index, {"id": item.id, "type": "message", "status": status, "role": "assistant", "content": item.parts})

    def _shut_reasoning(self, item: Open) -> None:
        text = "".join(item.texts)
        if text:
            where: Payload = {"item_id": item.id, "output_index": item.index, "summary_index" if self._summary else "content_index": 0}
            self._tell(f"response.{item.part}.done", {**where, "text": text})
            if self._summary:
                self._tell("response.reasoning_summary_part.done", {**where, "part": {"type": "summary_text", "text": text}})
            else:
                self._tell("response.content_part.done", {**where, "part": {"type": "reasoning_text", "text": text}})
            self._thoughts.append(text)
        self._done(item.index, reasoning_item(item.id, text, item.marks, self._summary))

    def _shut_calls(self, *, whole: bool) -> None:
        marks = []
        for told in self._calls:
            if told.index < 0:
                self._announce(told)
            said = "".join(told.pieces)
            if told.custom:
                self._tell("response.custom_tool_call_input.done", {"item_id": told.id, "output_index": told.index, "input": said})
            else:
                said = said or "{}"
                fields = {"item_id": told.id, "output_index": told.index, "name": told.name, "arguments": said}
                self._tell("response.function_call_arguments.done", fields)
            last = told is self._calls[-1]
            self._done(told.index, {**self._call_item(told, said), "status": "completed" if whole or not last else "incomplete"})
            if told.signature:
                marks.append({"type": "tool_call", "id": told.given, "signature": told.signature})
        if marks:
            self._item(reasoning=True).marks = marks
            self._shut_item(whole=True)

    def _done(self, place: int, item: Payload) -> None:
        self._output[place] = item
        self._tell("response.output_item.done", {"output_index": place, "item": item})


def _message_part(kind: str, text: str, annotations: list[Payload], logprobs: list[Payload]) -> Payload:
    if kind == "refusal":
        return {"type": kind, "refusal": text}
    return {"type": kind, "text": text, "annotations": annotations, "logprobs": logprobs}
