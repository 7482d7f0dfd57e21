"""Transcriptions and translations of sound: a form with a file in it, passed on as it is but for the model's name.

Billed by seconds or by tokens, as the provider's usage says; where it says nothing, by the longest that the file can play.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from apps.contracts.usage import Kind, Tokens
from apps.proxy.bounds import Extras
from apps.proxy.dialects.base import Answer
from apps.proxy.errors import Refusal
from apps.proxy.operations.base import (
    OperationCall,
    Plain,
    billed,
    json_answer,
    metered,
    missing,
    model_of,
    openai_head,
    typed_as,
    usage_tokens,
    wrong,
)
from apps.proxy.operations.form import Form, read_form
from apps.proxy.operations.sound import READABLE, longest_seconds
from apps.proxy.operations.watches import ResultEvents

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

TOKENS_A_SECOND = 64
"""Of sound that comes in: OpenAI counts 10, Mistral 12.5, Gemini 32."""
WORDS_A_SECOND = 32
"""Tokens of text that a second of speech becomes, at most: whisper's own limit is 448 for thirty seconds."""
LEAST_OUTPUT = 2_048
BYTES_A_SECOND = 1_000
"""Of a file that cannot be read, where its provider reports nothing either: as few as speech is ever sent with."""
_JSON_FORMATS = ("json", "verbose_json", "diarized_json")
_FORMATS = (*_JSON_FORMATS, "text", "srt", "vtt")


class Transcription(Plain):
    """kind: transcriptions or translations."""

    uploads = True

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind

    def read(self, exchange: Exchange) -> Refusal | None:
        form = read_form(exchange.request.headers, exchange.request.body)
        if isinstance(form, Refusal):
            return form
        try:
            fields: dict[str, Any] = dict(form.fields())
        except UnicodeDecodeError:
            return Refusal("invalid_form", "read", "A field of the form is not valid UTF-8.")
        model = model_of(fields)
        if isinstance(model, Refusal):
            return model
        if sum(part.name == "model" for part in form.parts) != 1:
            return wrong("model", "The form names more than one 'model': send one.")
        files = form.files("file")
        if not files:
            return missing("file", "the sound to transcribe")
        if len(files) > 1:
            return wrong("file", "The form has more than one 'file': send one.")
        wanted = fields.get("response_format", "json")
        if wanted not in _FORMATS:
            return wrong("response_format", f"The field 'response_format' must be one of {', '.join(_FORMATS)}.")
        streamed = fields.get("stream", "false").lower()
        if streamed not in ("true", "false"):
            return wrong("stream", "The field 'stream' must be true or false.")
        exchange.requested_model = model
        exchange.payload = fields
        exchange.operation_data = form
        exchange.stream = streamed == "true"
        exchange.input_bound = sum(part.end - part.start for part in form.parts if not part.file)
        seconds, unbounded = longest_seconds(files[0]), ""
        if seconds is None:
            seconds = len(files[0]) / BYTES_A_SECOND
            unbounded = f"how long the file plays cannot be read from it (readable are {READABLE})"
        whole = ceil(seconds)
        output = LEAST_OUTPUT + WORDS_A_SECOND * whole
        exchange.extras = Extras(input=TOKENS_A_SECOND * whole, output=output, meters={"second": whole}, unbounded=unbounded, dear=True)
        return None

    def call(self, exchange: Exchange, target: CompiledTarget) -> OperationCall:
        form: Form = exchange.operation_data
        head = openai_head(target, self.kind, "transcription of sound")
        body = form.body if target.model == exchange.requested_model else form.with_text("model", target.model)
        structured = _structured(exchange)

        def read(answer: bytes) -> Answer | None:
            said = json_answer(answer) if structured else None
            if said is None:
                return None if structured or not answer.strip() else Answer(None)
            return Answer(billed(exchange, target, told(said)))

        def ended(said: dict[str, Any]) -> Tokens | None:
            return billed(exchange, target, told(said))

        head += b"%b\r\ncontent-length: " % form.content_type
        return OperationCall(head, body, read, watch=lambda: ResultEvents(ended))

    def typed(self, exchange: Exchange, head: bytes, headers: dict[bytes, bytes]) -> bytes:
        return head if exchange.stream or _structured(exchange) else typed_as(head, headers)


def _structured(exchange: Exchange) -> bool:
    """Its answer is JSON."""
    return exchange.payload.get("response_format", "json") in _JSON_FORMATS


def told(said: dict[str, Any]) -> Tokens | None:
    """What an answer says of its usage: seconds, tokens, or at least how long the sound was. None where it says nothing."""
    usage = said.get("usage")
    seconds = usage.get("seconds", usage.get("prompt_audio_seconds")) if type(usage) is dict else None
    tokens = usage_tokens(said)
    if seconds is None and tokens is None:
        seconds = said.get("duration")
    if type(seconds) is str:  # OpenAI's verbose answers once had it as a text
        try:
            seconds = float(seconds)
        except ValueError:
            seconds = None
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e9:
        return tokens
    return metered({"second": ceil(seconds)}, tokens)


TRANSCRIPTIONS = Transcription("transcriptions")
TRANSLATIONS = Transcription("translations")
