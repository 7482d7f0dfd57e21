"""One request as one target is asked it, where app and target do not both speak OpenAI's chat completions.

Whatever lies between (plans, limits, retries, rescues, records) knows OpenAI's format alone. Requests whose app and target speak it
never come here. Where both speak the same other one, the app's bytes pass through; everything else goes by the pivot
(``apps.proxy.dialects.translation``).

What a target's format cannot say is known before it is called: ``sayable`` is asked first, costs no attempt and holds nothing
against the target.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from apps.proxy.dialects import BACKS
from apps.proxy.dialects.base import Answer
from apps.proxy.dialects.openai import OpenAIDialect, output_cap
from apps.proxy.dialects.openai_plain import plain
from apps.proxy.dialects.openai_stream import OpenAIStream
from apps.proxy.dialects.openai_wire import encode_event, json_object
from apps.proxy.dialects.translated import BASE, REST, TranslatedDialect, TranslatedStream
from apps.proxy.dialects.translation import NotAnAnswer, Unsupported
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.proxy.caller import Caller
    from apps.proxy.dialects.base import StreamWatch
    from apps.proxy.dialects.natives import Native
    from apps.proxy.dialects.translation import Back, Completion, FrontStream, Payload
    from apps.proxy.exchange import Exchange
    from apps.proxy.operations.base import OperationCall
    from apps.proxy.runtime import CompiledTarget

log = logging.getLogger("bulkhead.proxy")

STEP = "plan"
EVENT_STREAM = b"text/event-stream"
_OPENAI = OpenAIDialect()
RESPONSES_HOSTS = ("api.openai.com", "openai.azure.com")
"""OpenAI-compatible hosts that are known to serve Responses too."""
COMPLETION_MODELS = ("gpt-3.5-turbo-instruct", "davinci-002", "babbage-002")
"""Models that complete a text and cannot chat."""
_AUXILIARY = ("stream_options",)
"""Of the pivot, what says how OpenAI's own format is to be spoken: no other one has it."""


class Rendered(bytes):
    """A JSON answer in the app's own format: it goes out as it is."""

    pivot: Callable[[], bytes]
    """The same as a chat completion."""


class Call:
    """What one target is sent, and how its answer is read. A call of the app's own words (``native``) and one by the pivot differ only
    here; with a ``caller`` answers are given in its format.

    head: ends before ``content-length``'s value. approximated: what is not told the target quite as it was asked.
    """

    __slots__ = ("_back", "_caller", "_native", "_payload", "_resumed", "approximated", "body", "head", "stream_type")

    def __init__(
        self,
        head: bytes,
        body: bytes,
        payload: Payload,
        *,
        caller: Caller | None,
        back: Back | None = None,
        native: Native | None = None,
        approximated: tuple[str, ...] = (),
    ) -> None:
        self.head = head
        self.body = body
        self.approximated = approximated
        self.stream_type: bytes = getattr(native or back, "stream_type", EVENT_STREAM)
        self._payload = payload
        self._caller = caller
        self._back = back
        self._native = native
        self._resumed: tuple[OpenAIStream, FrontStream] | None = None

    @property
    def native(self) -> bool:
        """Its stream is the app's as it comes."""
        return self._native is not None

    def answer(self, body: bytes) -> Answer | None:
        """What a 200's body says, as the app is given it; None when it is not a whole answer."""
        back = self._back
        if self._native is not None:
            found = self._native.answer(body)
            if found is None:
                return None
            rendered = Rendered(body)
            rendered.pivot = lambda: written(self._read(body) or {})
            return Answer(found.tokens, rendered)
        if back is not None:
            completion = self._read(body)
            if completion is None:
                return None
            pivot = written(completion)
        else:
            completion, pivot = json_object(body), body
        understood = _OPENAI.answer(pivot)
        if understood is None or completion is None:
            return None
        if self._caller is None:
            return Answer(understood.tokens, pivot)
        given = self._caller.rendered(completion)
        if given is None:
            return None
        rendered = Rendered(given)
        rendered.pivot = lambda: pivot
        return Answer(understood.tokens, rendered)

    def stream(self) -> StreamWatch:
        if self._native is not None:
            return self._native.stream(self._caller.asked if self._caller is not None else None)
        # An app of another format is never told a stream with a hole: it ends there, and somebody else may say the rest.
        hides = self._caller is None and not _usage_asked(self._payload)
        return self.follow(OpenAIStream(hide_usage=hides, stop_at_malformed=self._caller is not None))

    def follow(self, watch: OpenAIStream, *, bare: bool = False) -> StreamWatch:
        """The target's stream, as ``watch`` would follow OpenAI's."""
        if self._back is None:
            return watch
        return TranslatedStream(self._back.stream(self._payload), watch, bare=bare)

    def resumed(self, watch: StreamWatch) -> tuple[OpenAIStream, FrontStream] | None:
        """Of a stream that passed through and broke off: (what the app was given of it, as OpenAI's; who writes it the rest). None where
        nobody can go on with it."""
        caller = self._caller
        if self._native is None or caller is None or caller.own is not None:
            return None
        if self._resumed is None:
            try:
                found = self._native.resume(watch, caller.echoed)
            except Exception:  # a fault of ours: the stream ends as a broken one
                log.exception("a stream in the format %r could not be gone on with", caller.front.name)
                found = None
            if found is None:
                return None
            seen = OpenAIStream(hide_usage=False)
            for chunk in found.seen:
                seen.feed(encode_event(chunk))
            self._resumed = (seen, found.front)
        return self._resumed

    def problem(self, status: int, body: bytes) -> bytes:
        """A target's error as OpenAI words it."""
        if self._back is None:
            return body
        trouble = self._back.error(status, body)
        said: dict[str, Any] = {"message": trouble.message, "type": trouble.type, "param": trouble.param, "code": trouble.code}
        return written({"error": said})

    def _read(self, body: bytes) -> Completion | None:
        if self._back is None:
            return None
        try:
            return self._back.answer(body, self._payload)
        except NotAnAnswer:
            return None
        except Exception:
            log.exception("an answer could not be read by %s", type(self._back).__name__)
            return None


def call_of(exchange: Exchange, target: CompiledTarget) -> Call | OperationCall | None:
    """How this target is asked; None where it is asked as everybody is. Made once for each target. Raises Unsupported."""
    caller = exchange.caller
    if caller is None and not target.translates and exchange.operation is None:
        return None
    calls = exchange.calls
    if calls is None:
        calls = exchange.calls = {}
    found = calls.get(target.label)
    if found is None:
        try:
            operation = exchange.operation
            found = _made(exchange, target, caller) if operation is None else operation.call(exchange, target)
        except Unsupported as unsupported:
            found = unsupported
        except Exception:  # a fault of ours in one format must not end what others can answer
            log.exception("request %s could not be said to %s", exchange.request_id, target.label)
            found = Unsupported("", f"the request could not be said in the format of {target.provider!r}")
        calls[target.label] = found
    if isinstance(found, Unsupported):
        raise found
    return found


def sayable(exchange: Exchange, target: CompiledTarget) -> bool:
    """Whether the target's format can say this request."""
    try:
        call_of(exchange, target)
    except Unsupported:
        return False
    return True


def unsayable(exchange: Exchange) -> Refusal:
    """The answer where no target could be asked: names each field."""
    found = [(label, call) for label, call in (exchange.calls or {}).items() if isinstance(call, Unsupported)]
    said = "; ".join(f"{label}: {_field(call)}{call}" for label, call in found)
    route = exchange.route
    named = f" of the route {route.name!r}" if route is not None else ""
    message = f"No target{named} can be told this request ({said}). Leave out what it cannot be told, or use another model."
    return Refusal("unsupported_operation", STEP, message, found[0][1].field or None if found else None)


def not_said(exchange: Exchange, target: CompiledTarget) -> str:
    """Why the target cannot be asked; empty where it can."""
    try:
        call_of(exchange, target)
    except Unsupported as unsupported:
        return f"its format cannot say {_field(unsupported)}{unsupported}"
    return ""


def approximated(exchange: Exchange, target: CompiledTarget) -> tuple[str, ...]:
    """What of the request this target was told only nearly."""
    call = (exchange.calls or {}).get(target.label)
    own = exchange.caller.approximated if exchange.caller is not None and not (call is not None and call.native) else ()
    return (*own, *call.approximated) if call is not None else own


def carried_on(exchange: Exchange, target: CompiledTarget, body: bytes) -> Call | None:
    """The call for the rest of a broken stream, whose request is ``body`` in OpenAI's format; None where it cannot be said."""
    payload = json_object(body)
    if payload is None:
        return None
    try:
        return _by_pivot(exchange, target, exchange.caller, payload)
    except Unsupported:
        return None


def _made(exchange: Exchange, target: CompiledTarget, caller: Caller | None) -> Call:
    # Where messages were left out or a lower cap was set, what the app wrote is not what is asked any more.
    if caller is not None and caller.native is not None and exchange.payload is caller.pivot and _speaks(target, caller.front.name):
        return _native(exchange, target, caller, caller.native)
    if caller is not None and caller.own is not None:
        raise caller.own
    payload = exchange.payload
    if exchange.cap_injected:
        payload = {**payload, "max_tokens": output_cap(exchange, target)}
    return _by_pivot(exchange, target, caller, payload)


def _speaks(target: CompiledTarget, name: str) -> bool:
    """Whether the target speaks an app's format itself."""
    dialect = target.dialect
    if isinstance(dialect, TranslatedDialect):
        return dialect.back.name == name
    if name == "responses":
        return target.origin.host.endswith(RESPONSES_HOSTS)
    return name == "completions" and target.model.startswith(COMPLETION_MODELS)


def _native(exchange: Exchange, target: CompiledTarget, caller: Caller, native: Native) -> Call:
    dialect = target.dialect
    told, left = caller.told(target)
    changed = native.changed(told, target.model, output_cap(exchange, target) if exchange.cap_injected else None)
    body = exchange.request.body if changed is caller.wrote else written(changed)
    if not isinstance(dialect, TranslatedDialect):
        head, back = target.request_heads[caller.front.name], BACKS.get(caller.front.name)
    else:
        by_app = exchange.request.headers
        said = dialect.told({name: by_app[name] for name in native.headers if name in by_app})
        head, back = _head(target, native.path(target.model, stream=exchange.stream), said), dialect.back
    return Call(head, body, exchange.payload, caller=caller, back=back, native=native, approximated=left)


def _by_pivot(exchange: Exchange, target: CompiledTarget, caller: Caller | None, payload: Payload) -> Call:
    dialect = target.dialect
    if not isinstance(dialect, TranslatedDialect):
        said, left = plain(payload, host=target.origin.host, reasoning=target.reasoning)
        said["model"] = target.model
        return Call(target.request_heads[exchange.kind], written(said), payload, caller=caller, approximated=left)
    told = {name: value for name, value in payload.items() if name not in _AUXILIARY}
    sent = dialect.back.request(told, target.model, stream=exchange.stream)
    body = written(sent.body)
    head = _head(target, sent.path, dialect.told({}))
    return Call(head, body, payload, caller=caller, back=dialect.back, approximated=sent.approximated)


def _head(target: CompiledTarget, path: str, told: bytes) -> bytes:
    heads = target.request_heads
    return b"POST %b%b HTTP/1.1\r\n%b%b" % (heads[BASE], path.encode("ascii"), told, heads[REST])


def _usage_asked(payload: Payload) -> bool:
    options = payload.get("stream_options")
    return type(options) is dict and bool(options.get("include_usage"))


def _field(unsupported: Unsupported) -> str:
    return f"{unsupported.field}: " if unsupported.field else ""
