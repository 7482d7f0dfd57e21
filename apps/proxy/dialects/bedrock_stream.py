"""ConverseStream's messages as the pivot's chunks."""

from __future__ import annotations

from apps.proxy.dialects.bedrock_answer import input_text
from apps.proxy.dialects.bedrock_wire import (
    TIERS,
    ReasoningDelta,
    WireDelta,
    WireEvent,
    WireTier,
    WireUsage,
    blob_of,
    decode_event,
    finish_of,
    pivot_usage,
    redacted_data,
    says,
    trouble_of,
)
from apps.proxy.dialects.eventstream import Framer, Message
from apps.proxy.dialects.pivot import head_of
from apps.proxy.dialects.translation import Chunk, NotAnAnswer, Payload
from apps.proxy.dialects.wire_json import read_as


class _Block:
    """One that is open. kind: text, call or thinking. call: its place among the calls. said: something of a call's input was given."""

    __slots__ = ("call", "kind", "redacted", "said", "signature", "texts")

    def __init__(self, kind: str, call: int = -1) -> None:
        self.kind = kind
        self.call = call
        self.said = False
        self.texts: list[str] = []
        self.signature = ""
        self.redacted = b""


class BedrockStream:
    """Only calls' blocks have a start of their own: a text or a thought begins with its first piece. No block begins twice. Kinds of events
    that are not known are passed over. Whole once a stop reason was given; usage follows it, and a stream that ends without is whole too.
    """

    __slots__ = ("_blocks", "_calls", "_closed", "_ended", "_framer", "_head", "_started", "_stopped", "_tier", "_usage", "finished")

    def __init__(self, payload: Payload) -> None:
        self.finished = False
        self._framer = Framer()
        self._head = head_of(payload, "chat.completion.chunk")
        self._blocks: dict[int, _Block] = {}
        self._closed: set[int] = set()
        self._calls = 0
        self._started = False
        self._stopped = False
        self._ended = False
        self._usage: WireUsage | None = None
        self._tier: WireTier | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        chunks: list[Chunk] = []
        if self._ended:  # what comes after the end is not read
            return chunks
        for message in self._framer.feed(data):
            if self._ended:
                break
            self._message(message, chunks)
        return chunks

    def close(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        if self._ended:
            return chunks
        if self._stopped:  # an answer that says why it ended is whole, whatever of its counts was cut off
            self._end(chunks)
        else:
            self._framer.close()
        return chunks

    def _message(self, message: Message, chunks: list[Chunk]) -> None:
        kind = message.text(":message-type")
        if kind == "event":
            self._event(message.text(":event-type"), message.payload, chunks)
            return
        if kind not in ("exception", "error"):
            raise NotAnAnswer("a message of the event stream that is neither an event nor an error")
        self._ended = True
        if kind == "exception":
            trouble = trouble_of(0, message.payload, message.text(":exception-type"))
        else:
            said = message.text(":error-message").encode()
            trouble = trouble_of(0, said or message.payload, message.text(":error-code"))
        chunks.append({"error": {"message": trouble.message, "type": trouble.type, "code": trouble.code}})

    def _event(self, name: str, payload: bytes, chunks: list[Chunk]) -> None:
        if name == "contentBlockDelta":
            self._open()
            event = self._decoded(payload)
            if event.delta is None:
                raise NotAnAnswer("a piece that says nothing")
            self._delta(event.content_block_index, event.delta, chunks)
        elif name == "contentBlockStart":
            self._open()
            self._start(self._decoded(payload), chunks)
        elif name == "contentBlockStop":
            self._open()
            self._close_block(self._decoded(payload).content_block_index, chunks)
        elif name == "messageStart":
            if self._started:
                raise NotAnAnswer("a second start")
            self._started = True
            chunks.append(self._chunk({"role": "assistant", "content": ""}))
        elif name == "messageStop":
            self._open()
            self._stop(self._decoded(payload).stop_reason, chunks)
        elif name == "metadata":
            event = self._decoded(payload)
            self._usage, self._tier = event.usage, event.service_tier
            if self._stopped:
                self._end(chunks)

    @staticmethod
    def _decoded(payload: bytes) -> WireEvent:
        return read_as(decode_event, payload, "an event of the stream")

    def _open(self) -> None:
        if not self._started or self._stopped:
            raise NotAnAnswer("a piece before the start of its message, or after its end")

    def _chunk(self, delta: Payload) -> Chunk:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    def _begin(self, index: int, block: _Block) -> _Block:
        if index in self._blocks or index in self._closed:
            raise NotAnAnswer("a block that begins twice")
        self._blocks[index] = block
        return block

    def _start(self, event: WireEvent, chunks: list[Chunk]) -> None:
        call = event.start.tool_use if event.start is not None else None
        if call is None:
            raise NotAnAnswer("a block that was not asked for")
        if not call.tool_use_id or not call.name or call.type not in (None, "tool_use"):
            raise NotAnAnswer("a call without its id or name, or one that the provider answers")
        block = self._begin(event.content_block_index, _Block("call", self._calls))
        self._calls += 1
        arguments = ""
        if says(call.input):
            arguments, block.said = input_text(call.input), True
        function = {"name": call.name, "arguments": arguments}
        chunks.append(
            self._chunk({"tool_calls": [{"index": block.call, "id": call.tool_use_id, "type": "function", "function": function}]})
        )

    def _delta(self, index: int, delta: WireDelta, chunks: list[Chunk]) -> None:
        if delta.text is not None:
            self._of("text", index)
            if delta.text:
                chunks.append(self._chunk({"content": delta.text}))
        elif delta.tool_use is not None:
            block = self._blocks.get(index)
            if block is None or block.kind != "call":
                raise NotAnAnswer("a piece of a call that did not begin")
            if delta.tool_use.input:
                block.said = True
                chunks.append(self._chunk(_arguments(block, delta.tool_use.input)))
        elif delta.reasoning_content is not None:
            self._thought(self._of("thinking", index), delta.reasoning_content, chunks)
        elif not says(delta.citation):  # of what was cited the text itself is told as text
            raise NotAnAnswer("a piece that was not asked for, or that says nothing")

    def _of(self, kind: str, index: int) -> _Block:
        block = self._blocks.get(index) or self._begin(index, _Block(kind))
        if block.kind != kind:
            raise NotAnAnswer(f"a piece of kind {kind!r} in a block of kind {block.kind!r}")
        return block

    def _thought(self, block: _Block, delta: ReasoningDelta, chunks: list[Chunk]) -> None:
        if delta.text:
            block.texts.append(delta.text)
            chunks.append(self._chunk({"reasoning_content": delta.text}))
        if delta.signature:
            block.signature += delta.signature
        if delta.redacted_content:
            block.redacted += blob_of(delta.redacted_content)

    def _close_block(self, index: int, chunks: list[Chunk]) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            # A text or thought without a single piece ends without having begun.
            if index in self._closed:
                raise NotAnAnswer("the end of a block that has ended")
            self._closed.add(index)
            return
        self._closed.add(index)
        if block.kind == "call":
            if not block.said:
                chunks.append(self._chunk(_arguments(block, "{}")))
        elif block.redacted:
            chunks.append(self._chunk({"thinking_blocks": [{"type": "redacted_thinking", "data": redacted_data(block.redacted)}]}))
        elif block.signature:
            whole = {"type": "thinking", "thinking": "".join(block.texts), "signature": block.signature}
            chunks.append(self._chunk({"thinking_blocks": [whole]}))

    def _stop(self, reason: str | None, chunks: list[Chunk]) -> None:
        if not reason:
            raise NotAnAnswer("a stream that ends without saying why")
        finish = finish_of(reason)
        for index in list(self._blocks):
            self._close_block(index, chunks)
        last = self._chunk({})
        last["choices"][0]["finish_reason"] = "stop" if finish == "tool_calls" and not self._calls else finish
        last["choices"][0]["native_finish_reason"] = reason
        chunks.append(last)
        self._stopped = True
        if self._usage is not None:  # counted before it ended
            self._end(chunks)

    def _end(self, chunks: list[Chunk]) -> None:
        self._ended = self.finished = True
        if self._usage is None:
            return
        counted: Chunk = {**self._head, "choices": [], "usage": pivot_usage(self._usage)}
        if self._tier is not None and self._tier.type in TIERS:
            counted["service_tier"] = self._tier.type
        chunks.append(counted)


def _arguments(block: _Block, text: str) -> Payload:
    return {"tool_calls": [{"index": block.call, "function": {"arguments": text}}]}
