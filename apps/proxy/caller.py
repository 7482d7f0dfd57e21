"""An app that speaks another format than OpenAI's chat completions: its request is read here, and its answer written.

Everything behind this speaks OpenAI's format: a ``Caller`` stands between it and the app's ``Reply``, and is a ``Reply`` itself.
So every answer, refusal, broken stream and continuation reaches the app in its own words.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from apps.proxy.dialects.openai_wire import json_object
from apps.proxy.dialects.sse import Framer
from apps.proxy.dialects.translation import NotAnAnswer, Trouble, Unsupported
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import Refusal
from apps.proxy.translate import Rendered

if TYPE_CHECKING:
    from apps.proxy.dialects.natives import Native
    from apps.proxy.dialects.translation import Asked, Chunk, Completion, Front, FrontStream, Payload
    from apps.proxy.exchange import Exchange
    from apps.proxy.http.types import Flow, Gone, Reply
    from apps.proxy.runtime import CompiledTarget

log = logging.getLogger("bulkhead.proxy")

STEP = "read"
_CONTENT_TYPE = re.compile(rb"content-type:[^\r\n]*\r\n", re.I)
_JSON = b"content-type: application/json\r\n"
_UNREADABLE = Trouble("The provider's answer cannot be given in this format.", "server_error", "upstream_malformed")
MAX_QUOTE = 500
"""Characters of an error's body that is no JSON."""


class Caller:
    """One request of such an app, and its reply.

    model, streams: what the address says of the request where the format says it there, else empty and None. counts: it asks for the
    number of its tokens only. native: how the format passes through to a provider of it; None where it never does.
    """

    def __init__(
        self,
        front: Front,
        native: Native | None,
        *,
        model: str = "",
        streams: bool | None = None,
        counts: bool = False,
    ) -> None:
        self.front = front
        self.native = native
        self.counts = counts
        self.wrote: Payload = {}
        """The app's own request, as it lies in the body that it sent."""
        self.asked: Payload = {}
        """The same with what belongs to it (what it continues)."""
        self.echoed: Payload = {}
        """The same as answers speak of it."""
        self.sent_bytes = 0
        """Size of what a provider of the app's own format may be sent, where that is more than the app sent."""
        self.pivot: Payload = {}
        """The same as everything behind this knows it."""
        self.own: Unsupported | None = None
        """What only a provider of the app's own format can be told; None where everybody can be told all of it."""
        self.approximated: tuple[str, ...] = ()
        self._model = model
        self._streams = streams
        self._stream_type: bytes = getattr(front, "stream_type", b"text/event-stream; charset=utf-8")
        self._exchange: Exchange | None = None
        self._inner: Reply | None = None
        self._stream: FrontStream | None = None
        self._framer = Framer()
        self._id = ""
        """Of the answer that is given, as its provider says it."""
        self._over = False
        """The stream was ended with an error: nothing may follow."""
        self._ended = False
        """What the app is given last is known."""

    def attach(self, exchange: Exchange, reply: Reply) -> None:
        """Stands between the exchange and its app from now on."""
        self._exchange = exchange
        self._inner = reply
        exchange.caller = self
        exchange.reply = self

    @property
    def inner(self) -> Reply:
        """The app's reply itself, for what is in its format already."""
        assert self._inner is not None
        return self._inner

    @inner.setter
    def inner(self, reply: Reply) -> None:
        self._inner = reply

    # --- the request ---

    def read(self, asked: Payload) -> Payload | Refusal:
        """The app's request in OpenAI's format."""
        self.wrote = self.asked = self.echoed = asked
        if self._model:
            asked = {**asked, "model": self._model}
        try:
            found = self._read(asked)
        except Unsupported as unsupported:
            return Refusal("invalid_field", STEP, str(unsupported), unsupported.field or None)
        except Exception:  # a fault of ours: the app hears of it instead of nothing
            log.exception("a request in the format %r could not be read", self.front.name)
            return Refusal("invalid_field", STEP, "The request could not be read in this format. It has been logged.")
        pivot = found.payload
        if self._model:
            pivot["model"] = self._model
        if self._streams is not None:
            pivot["stream"] = self._streams
        if pivot.get("stream"):
            pivot["stream_options"] = {"include_usage": True}
        self.pivot = pivot
        self.approximated = found.approximated
        return pivot

    def told(self, target: CompiledTarget) -> tuple[Payload, tuple[str, ...]]:
        """(what a provider of the app's own format is told, what of that is not quite as asked). ``wrote`` itself: the app's bytes."""
        return self.asked, ()

    def going(self) -> None:
        """The request was let in and is made now: nothing of its answer was given yet."""

    def _read(self, asked: Payload) -> Asked:
        try:
            return self.front.read(asked)
        except Unsupported as unsupported:
            outline = getattr(self.front, "outline", None)
            if self.native is None or outline is None:
                raise
            found: Asked = outline(asked)
            self.own = unsupported
            return found

    # --- the answer, a Reply ---

    @property
    def on_gone(self) -> Gone | None:
        return self.inner.on_gone

    @on_gone.setter
    def on_gone(self, on_gone: Gone | None) -> None:
        self.inner.on_gone = on_gone

    @property
    def gone(self) -> bool:
        return self.inner.gone

    @gone.setter
    def gone(self, gone: bool) -> None:
        self.inner.gone = gone

    def set_flow(self, flow: Flow | None) -> None:
        self.inner.set_flow(flow)

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        headers = self._headers(headers, _JSON)
        if isinstance(body, Rendered):
            self.inner.send(status, headers, body)
            return
        if status < 400:
            completion = json_object(body)
            given = self.rendered(completion) if completion is not None else None
            if given is not None:
                self.inner.send(status, headers, given)
                return
            status, trouble, ours = 502, _UNREADABLE, None
        else:
            trouble, ours = trouble_of(body)
        self.inner.send(status, headers, self.error(status, trouble, ours))

    def start(self, status: int, headers: bytes, data: bytes = b"") -> None:
        attempt = self._exchange.streaming if self._exchange is not None else None
        if attempt is None or attempt.call is None or not attempt.call.native:
            self._stream = self.front.stream(self.echoed)
            data = self._counted(data)
        self.inner.start(status, self._headers(headers, b"content-type: %b\r\n" % self._stream_type), data)
        if self._over:
            self.inner.abort()

    def write(self, data: bytes) -> None:
        if self._over:
            return
        if self._stream is not None:
            data = self._counted(data)
        if data:
            self.inner.write(data)
        if self._over:
            self.inner.abort()

    def raw_writer(self) -> Callable[[bytes], None] | None:
        return self.inner.raw_writer() if self._stream is None else None

    def ending(self, data: bytes) -> bytes:
        """The last bytes of a stream as the app is given them, for ``finish``: known before the record of the request is written."""
        stream = self._stream
        if stream is None or self._over or self._ended:
            return data
        self._ended = True
        given = self._translated(data)
        return given if self._over else given + self._guarded(stream.close)

    def finish(self, data: bytes = b"") -> None:
        if self._over and not self._ended:
            return
        data = self.ending(data)
        if self._over:  # its end is told as a broken one's
            self.inner.write(data)
            self.inner.abort()
        else:
            self.inner.finish(data)

    def breaking(self, body: bytes) -> bytes:
        """What tells the app that its stream ends here and is not whole; empty where it was told. body: an error in OpenAI's format."""
        if self._over:
            return b""
        self._over = True
        return (self._stream or self.front.stream(self.echoed)).error(trouble_of(body)[0])

    def broken(self, said: bytes) -> None:
        """The stream ends here as a broken one. said: what ``breaking`` gave."""
        if said:
            self.inner.write(said)
            self.inner.abort()

    def resume(self, stream: FrontStream) -> None:
        """From here on the answer comes as OpenAI's events, and ``stream`` writes it, where it passed through until now."""
        if self._stream is None:
            self._stream = stream

    def abort(self) -> None:
        if not self._over:
            self.inner.abort()

    # --- what both share ---

    def rendered(self, completion: Completion) -> bytes | None:
        """A chat completion in the app's format; None where it is none."""
        if type(completion.get("choices")) is not list:
            return None
        try:
            return written(self.front.answer(completion, self.echoed))
        except NotAnAnswer:
            return None
        except Exception:
            log.exception("an answer could not be given in the format %r", self.front.name)
            return None

    def error(self, status: int, trouble: Trouble, ours: Any = None) -> bytes:
        """ours: what the proxy says beside it, as in OpenAI's errors."""
        request_id = self._exchange.request_id if self._exchange is not None else ""
        body = self.front.error(status, trouble, request_id)
        return written({**body, "bulkhead": ours} if ours else body)

    def _headers(self, headers: bytes, content_type: bytes) -> bytes:
        request_id = self._exchange.request_id if self._exchange is not None else ""
        found = content_type + _CONTENT_TYPE.sub(b"", headers, count=1)
        return found + b"request-id: %b\r\n" % request_id.encode() if request_id else found

    def _counted(self, data: bytes) -> bytes:
        """``_translated``; the app's bytes are counted in the place of those that they were made of."""
        given = self._translated(data)
        if self._exchange is not None:
            self._exchange.bytes_out += len(given) - len(data)
        return given

    def _translated(self, data: bytes) -> bytes:
        """OpenAI's events in the app's format."""
        stream = self._stream
        assert stream is not None
        if self._over or not data:
            return b""
        said: list[bytes] = []
        if data.startswith(b":") and data.endswith(b"\n\n") and data.count(b"\n") == 2:  # it only keeps the connection alive
            return self.front.alive
        for event in self._framer.feed(data):
            chunk = json_object(event.data)
            if chunk is None:
                if event.data.strip() == b"[DONE]":  # the end, which ``finish`` says
                    continue
                said.append(self._end_unreadable())
                break
            if self._begins_anew(chunk):
                said.append(self._end_unreadable())
                break
            if chunk.get("error"):
                said.append(stream.error(trouble_of(event.data)[0]))
                self._over = True
                break
            said.append(self._guarded(stream.feed, chunk))
            if self._over:
                break
        return b"".join(said)

    def _guarded(self, step: Callable[..., bytes], *arguments: Any) -> bytes:
        """What one step of the stream says; where it cannot be said, the stream's end as a broken one."""
        try:
            given = step(*arguments)
        except Exception as error:
            if not isinstance(error, NotAnAnswer):
                log.exception("a stream could not be given in the format %r", self.front.name)
            return self._end_unreadable()
        if getattr(self._stream, "failed", False):  # it ended itself: what it was told has no words in its format
            self._over = True
        return given

    def _end_unreadable(self) -> bytes:
        """The end of a stream that is broken here: nothing may follow."""
        stream = self._stream
        assert stream is not None
        self._over = True
        return stream.error(_UNREADABLE)

    def _begins_anew(self, chunk: Chunk) -> bool:
        """Another answer begins in the middle of this one: another id, and a role again. Ids alone differ at servers that make one for
        each event, roles alone are repeated by others."""
        identity = chunk.get("id")
        if identity == self._id or not identity or type(identity) is not str:
            return False
        if not self._id:
            self._id = identity
            return False
        choices = chunk.get("choices")
        for choice in choices if type(choices) is list else ():
            delta = choice.get("delta") if type(choice) is dict else None
            if type(delta) is dict and delta.get("role") and not delta.get("content"):
                return True
        return False


def trouble_of(body: bytes) -> tuple[Trouble, Any]:
    """(an error's body as OpenAI writes it, what the proxy says beside it)."""
    found = json_object(body)
    error = found.get("error") if found is not None else None
    if type(error) is dict:
        message, kind, code, param = (error.get(name) for name in ("message", "type", "code", "param"))
        return Trouble(
            str(message or "The provider reported an error."),
            str(kind or "api_error"),
            str(code) if code is not None else None,
            param if type(param) is str else None,
        ), (found or {}).get("bulkhead")
    if type(error) is str and error:
        return Trouble(error, "api_error"), None
    text = body[:MAX_QUOTE].decode("utf-8", "replace").strip()
    return Trouble(text or "The provider answered with an error and nothing else.", "api_error"), None
