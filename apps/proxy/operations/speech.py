"""Speech: text becomes sound, which goes to the app as it comes. Billed by the characters of its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.contracts.usage import Tokens
from apps.proxy.bounds import Extras
from apps.proxy.errors import Refusal
from apps.proxy.operations.base import (
    OperationCall,
    Plain,
    asked_of,
    billed,
    metered,
    missing,
    openai_head,
    renamed,
    typed_as,
    usage_tokens,
    wrong,
)
from apps.proxy.operations.watches import BytesWatch, ResultEvents

if TYPE_CHECKING:
    from apps.contracts.usage import Kind
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

_SOUND = (b"audio/", b"application/octet-stream", b"video/")
"""What providers call it; some say nothing better than bytes."""
TOKENS_A_CHARACTER = 6
"""Of sound, spoken as slowly as can be asked for: what is booked where a model is billed by tokens and its answer reports none."""
_NOT_BOUNDED = "speech that is billed by tokens of sound has no upper bound: give the model a price per character"


class Speech(Plain):
    kind: Kind = "speech"

    def read(self, exchange: Exchange) -> Refusal | None:
        payload = asked_of(exchange)
        if isinstance(payload, Refusal):
            return payload
        text = payload.get("input")
        if text is None:
            return missing("input", "the text to speak")
        if type(text) is not str or not text:
            return wrong("input", "The field 'input' must be a text, not an empty one.")
        wanted = payload.get("stream_format")
        if wanted not in (None, "audio", "sse"):
            return wrong("stream_format", "The field 'stream_format' must be audio or sse.")
        exchange.input_bound = len(exchange.body)
        exchange.stream = True
        likely = TOKENS_A_CHARACTER * len(text)
        exchange.extras = Extras(output=likely, meters={"character": len(text)}, open_output=_NOT_BOUNDED)
        return None

    def call(self, exchange: Exchange, target: CompiledTarget) -> OperationCall:
        head = openai_head(target, "speech", "speech")
        body = renamed(exchange, target)
        spoken = {"character": len(exchange.payload["input"])}
        if exchange.payload.get("stream_format") == "sse":

            def told(said: dict[str, Any]) -> Tokens | None:
                return billed(exchange, target, metered(dict(spoken), usage_tokens(said)))

            return OperationCall(head, body, _nothing, watch=lambda: ResultEvents(told))
        tokens = billed(exchange, target, metered(spoken))
        return OperationCall(head, body, _nothing, watch=lambda: BytesWatch(tokens), stream_type=_SOUND)

    def typed(self, exchange: Exchange, head: bytes, headers: dict[bytes, bytes]) -> bytes:
        return head if self.tells(exchange) else typed_as(head, headers)

    def tells(self, exchange: Exchange) -> bool:
        return bool(exchange.payload.get("stream_format") == "sse")


def _nothing(answer: bytes) -> None:
    """What is no sound is no answer."""
    return


SPEECH = Speech()
