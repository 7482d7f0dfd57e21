"""An app that speaks OpenAI's Responses: what it continues is put before what it says, and what it wants kept is kept.

A kept conversation is told to any target as if the app had sent all of it; so it goes on at another provider, of another format, through
another proxy. ``instructions`` are each request's own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from apps.proxy.caller import Caller
from apps.proxy.dialects import NATIVES
from apps.proxy.dialects.openai_wire import json_object
from apps.proxy.dialects.responses import ResponsesFront, responses_items_join
from apps.proxy.dialects.responses_read import items_of
from apps.proxy.dialects.responses_wire import encode_event, reasoning_text, wrapped
from apps.proxy.dialects.sse import Framer
from apps.proxy.dialects.translation import Unsupported
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import Refusal
from apps.proxy.response_shelf import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from apps.proxy.dialects.translation import Payload
    from apps.proxy.exchange import Exchange
    from apps.proxy.http.types import Flow, Gone, Reply
    from apps.proxy.response_shelf import ResponseShelf
    from apps.proxy.runtime import CompiledTarget

log = logging.getLogger("bulkhead.proxy")

STEP = "responses"
ENCRYPTED = "reasoning.encrypted_content"
_UNTOLD = "previous_response_id: thinking that came without 'encrypted_content' is not told again"
_ENDS = (b"response.completed", b"response.incomplete")


class ResponsesCaller(Caller):
    """shelf: where responses are kept. earlier: the turns that the request continues, or why they are not to be had; None: it continues
    nothing."""

    def __init__(self, shelf: ResponseShelf, earlier: Sequence[Turn] | Refusal | None = None) -> None:
        super().__init__(ResponsesFront(), NATIVES["responses"])
        self._shelf = shelf
        self._earlier = earlier
        self._own: list[Any] = []
        self._notes: tuple[str, ...] = ()
        self._keeps = False

    def attach(self, exchange: Exchange, reply: Reply) -> None:
        super().attach(exchange, reply)
        self.front = ResponsesFront(f"resp_{exchange.id.hex()}")

    def read(self, asked: Payload) -> Payload | Refusal:
        earlier, previous = self._earlier, asked.get("previous_response_id")
        if isinstance(earlier, Refusal):
            return earlier
        if asked.get("background"):
            message = "Responses are not made in the background: leave 'background' out, and stream the answer where it takes long."
            return Refusal("unsupported_operation", STEP, message, "background")
        if previous is not None and (type(previous) is not str or earlier is None):
            return Refusal("invalid_field", STEP, "The field 'previous_response_id' must be a text.", "previous_response_id")
        if previous is not None and asked.get("conversation") is not None:
            message = "The fields 'previous_response_id' and 'conversation' exclude each other: send one of them."
            return Refusal("invalid_field", STEP, message, "conversation")
        wrote, self._keeps = asked, self._shelf.wants(asked)
        try:
            self._own = items_of(asked.get("input", "")) if self._keeps or earlier else []
            if earlier is not None:
                asked = {name: value for name, value in asked.items() if name != "previous_response_id"}
                asked["input"] = responses_items_join(self._history(earlier), self._own)
        except Unsupported as unsupported:
            return Refusal("invalid_field", STEP, str(unsupported), unsupported.field or None)
        pivot = super().read(asked)
        if earlier is not None:
            self.sent_bytes = len(written(asked))
            self.approximated = (*self.approximated, *self._notes)
        self.wrote, self.echoed = wrote, {**wrote, "store": False}
        return pivot

    def told(self, target: CompiledTarget) -> tuple[Payload, tuple[str, ...]]:
        asked = self.asked
        include = asked.get("include")
        if self._keeps and target.reasoning and (include is None or (type(include) is list and ENCRYPTED not in include)):
            asked = {**asked, "include": [*(include or ()), ENCRYPTED]}  # what it thinks could not be told again otherwise
        return asked, self._notes

    def going(self) -> None:
        if self._keeps:
            self.echoed["store"] = True
            self.inner = Keeping(self.inner, self._keep, self._later)

    def _history(self, earlier: Sequence[Turn]) -> list[Any]:
        """Everything that was said, as input. Ids are left out: who is told it need not have said it."""
        items: list[Any] = []
        for turn in earlier:
            output = turn.response.get("output")
            items += turn.input
            items += [told for item in output if (told := self._again(item)) is not None] if type(output) is list else []
        return items

    def _again(self, item: Any) -> Any:
        """An item of an answer as one of the input; None where nobody could read it."""
        if type(item) is not dict:
            return None
        told = {name: value for name, value in item.items() if name not in ("id", "status")}
        if item.get("type") == "reasoning" and type(item.get("encrypted_content")) is not str:
            self._notes = (_UNTOLD,)
            if not reasoning_text(item):
                return None
            told["encrypted_content"] = wrapped(
                []
            )  # as another's: whoever takes thoughts in words is told them, nobody takes them for its own
        return told

    async def _keep(self, response: Payload) -> str:
        exchange = self._exchange
        assert exchange is not None and exchange.key is not None
        previous = response["previous_response_id"] = self.echoed.get("previous_response_id")
        return await self._shelf.keep(exchange.key.id, exchange.key.organisation, Turn(self._own, response, previous or ""))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        exchange = self._exchange
        assert exchange is not None
        engine = exchange.engine
        task = engine.loop.create_task(work)
        engine.background.add(task)
        task.add_done_callback(engine.background.discard)


class Keeping:
    """A reply whose answer is kept before the app has all of it: whoever continues it then finds it, at whatever proxy.

    Where it could not be kept, the app has its answer all the same, which says ``"store": false`` then.
    """

    def __init__(
        self, reply: Reply, keep: Callable[[Payload], Coroutine[Any, Any, str]], later: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._reply = reply
        self._keep = keep
        self._later = later

    @property
    def on_gone(self) -> Gone | None:
        return self._reply.on_gone

    @on_gone.setter
    def on_gone(self, on_gone: Gone | None) -> None:
        self._reply.on_gone = on_gone

    @property
    def gone(self) -> bool:
        return self._reply.gone

    @gone.setter
    def gone(self, gone: bool) -> None:
        self._reply.gone = gone

    def set_flow(self, flow: Flow | None) -> None:
        self._reply.set_flow(flow)

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        response = json_object(body) if status == 200 else None
        if response is None or response.get("status") not in ("completed", "incomplete"):
            self._reply.send(status, headers, body)
        else:
            self._later(self._send(headers, body, response))

    def start(self, status: int, headers: bytes, data: bytes = b"") -> None:
        self._reply.start(status, headers, data)

    def write(self, data: bytes) -> None:
        self._reply.write(data)

    def raw_writer(self) -> Callable[[bytes], None] | None:
        return self._reply.raw_writer()

    def finish(self, data: bytes = b"") -> None:
        if any(end in data for end in _ENDS):
            self._later(self._finish(data))
        else:
            self._reply.finish(data)

    def abort(self) -> None:
        self._reply.abort()

    async def _send(self, headers: bytes, body: bytes, response: Payload) -> None:
        try:
            why_not = await self._kept(response)
            body = written(response)
            if why_not:
                headers += b"x-bulkhead-stored: false; %b\r\n" % why_not.encode()
        finally:
            self._reply.send(200, headers, body)

    async def _finish(self, data: bytes) -> None:
        """The last event but comments has the whole response."""
        try:
            events = []
            for event in Framer().feed(data):
                said = json_object(event.data)
                response = said.get("response") if said is not None else None
                if said is not None and type(response) is dict and str(said.get("type")).encode() in _ENDS:
                    await self._kept(response)
                events.append(encode_event(said) if said is not None and "type" in said else b"data: %b\n\n" % event.data)
            data = b"".join(events)
        finally:
            self._reply.finish(data)

    async def _kept(self, response: Payload) -> str:
        """Why it is not kept; empty when it is. Says so in the response."""
        response["store"] = True
        why_not = await self._keep(response)
        if why_not:
            response["store"] = False
        return why_not
