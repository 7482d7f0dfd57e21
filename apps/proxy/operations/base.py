"""What an operation must know, and a call of one target as the engine sees it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from apps.contracts.metering import WHOLE, parts_of
from apps.contracts.usage import Kind, TokenDetails, Tokens
from apps.proxy.dialects.base import Answer
from apps.proxy.dialects.openai_wire import json_object
from apps.proxy.dialects.translated import BASE, REST, TranslatedDialect
from apps.proxy.dialects.translation import NotAnAnswer, Payload, Trouble, Unsupported
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import Refusal
from apps.proxy.steps.json_body import json_body

if TYPE_CHECKING:
    from apps.proxy.dialects.base import StreamWatch
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

STEP = "read"
_CONTENT_TYPE = re.compile(rb"^content-type:[^\r\n]*\r\n", re.M)


class Operation(Protocol):
    """One of them for the whole process; everything of a request is in its exchange."""

    kind: Kind
    uploads: bool
    """Its body is a form with a file in it."""

    def read(self, exchange: Exchange) -> Refusal | None:
        """Fills payload, requested_model, input_bound, extras and stream of the exchange from its request's body."""

    def call(self, exchange: Exchange, target: CompiledTarget) -> OperationCall:
        """How this target is asked. Raises Unsupported where it cannot be."""

    def typed(self, exchange: Exchange, head: bytes, headers: dict[bytes, bytes]) -> bytes:
        """The head of the app's answer with the content type that it has. headers: the provider's."""

    def tells(self, exchange: Exchange) -> bool:
        """A stream that broke can say so in its own events."""


class Plain:
    """What holds for every operation whose answers are JSON, and streams events."""

    uploads = False

    def typed(self, exchange: Exchange, head: bytes, headers: dict[bytes, bytes]) -> bytes:
        return head

    def tells(self, exchange: Exchange) -> bool:
        return True


def typed_as(head: bytes, headers: dict[bytes, bytes]) -> bytes:
    """The head with the provider's own content type, where it says one."""
    said = headers.get(b"content-type", b"")
    return _CONTENT_TYPE.sub(lambda _: b"content-type: %b\r\n" % said, head, count=1) if said else head


class Translation(Protocol):
    """An operation in another format than the app's: what a provider is asked and answers."""

    def answer(self, body: bytes, payload: Payload) -> Payload:
        """A 200's body as the app is given it. Raises NotAnAnswer."""

    def error(self, status: int, body: bytes) -> Trouble: ...


class OperationCall:
    """What one target is sent, and how its answer is read: what ``apps.proxy.translate.Call`` is for chat.

    head: ends before ``content-length``'s value. read: what a 200's body says, None where it is no whole answer. watch: follows its
    stream, where it is asked for one.
    """

    __slots__ = ("_read", "_watch", "approximated", "body", "head", "native", "stream_type", "translation")

    def __init__(
        self,
        head: bytes,
        body: bytes,
        read: Callable[[bytes], Answer | None],
        *,
        translation: Translation | None = None,
        watch: Callable[[], StreamWatch] | None = None,
        stream_type: bytes | tuple[bytes, ...] = b"text/event-stream",
        approximated: tuple[str, ...] = (),
    ) -> None:
        self.head = head
        self.body = body
        self.stream_type = stream_type
        self.approximated = approximated
        self.native = True
        self._read = read
        self.translation = translation
        self._watch = watch

    def answer(self, body: bytes) -> Answer | None:
        return self._read(body)

    def stream(self) -> StreamWatch:
        assert self._watch is not None
        return self._watch()

    def problem(self, status: int, body: bytes) -> bytes:
        """A target's error as OpenAI words it."""
        if self.translation is None:
            return body
        trouble = self.translation.error(status, body)
        said: dict[str, Any] = {"message": trouble.message, "type": trouble.type, "param": trouble.param, "code": trouble.code}
        return written({"error": said})


def asked_of(exchange: Exchange) -> Payload | Refusal:
    """The object that a request is; the route that it names is the exchange's from here on."""
    payload = json_body(exchange)
    if isinstance(payload, Refusal):
        return payload
    model = model_of(payload)
    if isinstance(model, Refusal):
        return model
    exchange.requested_model = model
    return payload


def model_of(payload: Payload) -> str | Refusal:
    """The route that a request names."""
    model = payload.get("model")
    if type(model) is not str or not model:
        if "model" not in payload:
            return Refusal("missing_field", STEP, "The field 'model' is missing: name a route.", "model")
        return Refusal("invalid_field", STEP, "The field 'model' must be a text: the name of a route.", "model")
    if len(model) > MAX_MODEL_LENGTH:
        return Refusal("invalid_field", STEP, f"The field 'model' is longer than {MAX_MODEL_LENGTH} characters.", "model")
    return model


MAX_MODEL_LENGTH = 256


def wrong(field: str, message: str) -> Refusal:
    """A field that is not as it must be."""
    return Refusal("invalid_field", STEP, message, field)


def missing(field: str, what: str) -> Refusal:
    return Refusal("missing_field", STEP, f"The field {field!r} is missing: {what}.", field)


def openai_head(target: CompiledTarget, kind: str, operation: str) -> bytes:
    """The head for a target that speaks OpenAI's format. Raises Unsupported for another one."""
    head = target.request_heads.get(kind)
    if head is None or isinstance(target.dialect, TranslatedDialect):
        raise Unsupported("model", f"providers of the kind {target.provider_kind!r} have no {operation} that the proxy knows")
    return head


def translated_head(target: CompiledTarget, path: str) -> bytes:
    """The head for a target of another format; path: below its base path."""
    dialect = target.dialect
    assert isinstance(dialect, TranslatedDialect)
    heads = target.request_heads
    return b"POST %b%b HTTP/1.1\r\n%b%b" % (heads[BASE], path.encode("ascii"), dialect.told({}), heads[REST])


def renamed(exchange: Exchange, target: CompiledTarget) -> bytes:
    """The app's own JSON with the model's name at this target."""
    if target.model == exchange.requested_model:
        return exchange.body
    return written({**exchange.payload, "model": target.model})


def metered(meters: dict[str, int], tokens: Tokens | None = None) -> Tokens:
    """Tokens with what was metered beside them."""
    found = tokens or Tokens()
    if found.details is None:
        found.details = TokenDetails()
    found.details.meters = meters
    return found


def billed(exchange: Exchange, target: CompiledTarget, tokens: Tokens | None) -> Tokens | None:
    """The tokens and meters of an answer; None where they say nothing of what its model is billed by, and the bound is taken instead."""
    prices = target.prices
    price = prices.at(exchange.started_us // 1000) if prices is not None else None
    if tokens is None or price is None or not price.tokens or tokens.input or tokens.output:
        return tokens
    meters = tokens.details.meters if tokens.details is not None else {}
    return tokens if any(parts_of(meter)[0] in WHOLE and price.charges_for(meter) for meter in meters) else None


def usage_tokens(said: dict[str, Any]) -> Tokens | None:
    """The tokens of an answer with OpenAI's usage of the operations: ``input_tokens`` (its details by kind) or ``prompt_tokens``."""
    usage = said.get("usage")
    if type(usage) is not dict:
        return None
    entered = usage.get("input_tokens", usage.get("prompt_tokens", usage.get("total_tokens")))
    given = usage.get("output_tokens", usage.get("completion_tokens", 0))
    if type(entered) is not int or type(given) is not int:
        return None
    tokens = Tokens(input=max(0, entered), output=max(0, given))
    inward, outward = (usage.get(name) for name in ("input_token_details", "output_token_details"))
    if type(inward) is not dict:
        inward = usage.get("input_tokens_details")
    if type(outward) is not dict:
        outward = usage.get("output_tokens_details")
    sound, picture = _count(inward, "audio_tokens"), _count(inward, "image_tokens")
    sound_out, picture_out = _count(outward, "audio_tokens"), _count(outward, "image_tokens")
    if sound or picture or sound_out or picture_out:
        tokens.details = TokenDetails(audio_input=sound, image_input=picture, audio_output=sound_out, image_output=picture_out)
    return tokens


def _count(details: Any, name: str) -> int:
    value = details.get(name) if type(details) is dict else None
    return max(0, value) if type(value) is int else 0


def json_answer(body: bytes) -> dict[str, Any] | None:
    """A 200's JSON object; None where it is none, or is an error."""
    said = json_object(body)
    return None if said is None or said.get("error") else said


def translated_answer(translation: Translation, body: bytes, payload: Payload) -> Payload | None:
    try:
        return translation.answer(body, payload)
    except NotAnAnswer:
        return None
