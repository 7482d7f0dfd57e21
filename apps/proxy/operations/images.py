"""Images: made of a text (``generations``), of images and a text (``edits``), or of one image (``variations``).

Billed per image, by quality and size, or by tokens, as the model's prices say; the tokens of an image are bounded by its size.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from apps.contracts.metering import ANY, meter_of
from apps.contracts.usage import Kind, Tokens
from apps.proxy.bounds import Extras
from apps.proxy.dialects.base import Answer
from apps.proxy.dialects.openai import IMAGE_TOKENS
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
    renamed,
    usage_tokens,
    wrong,
)
from apps.proxy.operations.form import Form, read_form
from apps.proxy.operations.watches import ResultEvents
from apps.proxy.steps.json_body import json_body

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

MAX_IMAGES = 16
"""Of one request: more than any provider makes at once."""
MAX_PIXELS = 64_000_000
LEAST_TOKENS = 8_192
"""Of one image that is made: the documented most is 6,240, of 1024x1536 in high quality."""
PIXELS_A_TOKEN = 192
"""An image has at most one token for so many pixels: 252 in what is documented."""
PARTIAL_TOKENS = 100
"""Of each image that is shown while it is being made."""
_SIZE = re.compile(r"([1-9]\d{1,4})x([1-9]\d{1,4})")
_UNSAID = (None, "", "auto")


class Images(Plain):
    """head: names its address among a target's request heads. prompt: it needs one."""

    kind: Kind = "images"

    def __init__(self, head: str, *, uploads: bool, prompt: bool) -> None:
        self.uploads = uploads
        self._head = head
        self._prompt = prompt

    def read(self, exchange: Exchange) -> Refusal | None:
        pictures = 0
        if self.uploads:
            form = read_form(exchange.request.headers, exchange.request.body)
            if isinstance(form, Refusal):
                return form
            try:
                payload: dict[str, Any] = dict(form.fields())
            except UnicodeDecodeError:
                return Refusal("invalid_form", "read", "A field of the form is not valid UTF-8.")
            if sum(part.name == "model" for part in form.parts) > 1:
                return wrong("model", "The form names more than one 'model': send one.")
            pictures = len(form.files("image", "image[]", "mask"))
            if not form.files("image", "image[]"):
                return missing("image", "the image to begin with, as a file")
            exchange.operation_data = form
            exchange.input_bound = sum(part.end - part.start for part in form.parts if not part.file)
        else:
            found = json_body(exchange)
            if isinstance(found, Refusal):
                return found
            payload = found
            exchange.input_bound = len(exchange.body)
        exchange.payload = payload
        model = model_of(payload)
        if isinstance(model, Refusal):
            return model
        if self._prompt and (type(payload.get("prompt")) is not str or not payload["prompt"]):
            return missing("prompt", "what the image shows, as a text")
        count = _whole(payload.get("n"), 1, MAX_IMAGES)
        if count is None:
            return wrong("n", f"The field 'n' must be a whole number from 1 to {MAX_IMAGES}.")
        partial = _whole(payload.get("partial_images"), 0, 16)
        if partial is None:
            return wrong("partial_images", "The field 'partial_images' must be a whole number from 0 to 16.")
        stream = payload.get("stream")
        if stream not in (None, True, False, "true", "false"):
            return wrong("stream", "The field 'stream' must be true or false.")
        exchange.requested_model = model
        exchange.stream = stream in (True, "true")
        size, unbounded, most = payload.get("size"), "", LEAST_TOKENS
        if size not in _UNSAID:
            pixels = _pixels(size)
            if pixels is None:
                unbounded = f"an image of the size {str(size)[:40]!r} cannot be bounded: write it as width x height, or auto"
            else:
                most = max(LEAST_TOKENS, pixels // PIXELS_A_TOKEN)
        exchange.extras = Extras(
            input=pictures * IMAGE_TOKENS,
            output=count * (most + PARTIAL_TOKENS * partial),
            meters={_meter(payload): count},
            open_output=unbounded,
        )
        return None

    def call(self, exchange: Exchange, target: CompiledTarget) -> OperationCall:
        head = openai_head(target, self._head, "images")
        if self.uploads:
            form: Form = exchange.operation_data
            renaming = target.model != exchange.requested_model
            body = form.with_text("model", target.model) if renaming else form.body
            head += b"%b\r\ncontent-length: " % form.content_type
        else:
            body = renamed(exchange, target)
        payload = exchange.payload

        def read(answer: bytes) -> Answer | None:
            said = json_answer(answer)
            made = said.get("data") if said is not None else None
            if said is None or type(made) is not list or not made:
                return None
            return Answer(billed(exchange, target, metered({_meter(payload, said): len(made)}, usage_tokens(said))))

        def ended(said: dict[str, Any]) -> Tokens | None:
            return billed(exchange, target, metered({_meter(payload, said): 1}, usage_tokens(said)))

        count = _whole(payload.get("n"), 1, MAX_IMAGES) or 1
        return OperationCall(head, body, read, watch=lambda: ResultEvents(ended, count))


def _meter(asked: dict[str, Any], said: dict[str, Any] | None = None) -> str:
    """How an image is metered: as it was asked for; where that left it open, as the answer says; where nobody says, as the dearest."""
    words = []
    for field in ("quality", "size"):
        value = asked.get(field)
        if value in _UNSAID and said is not None:
            value = said.get(field)
        words.append(str(value)[:40].replace(":", "") if value not in _UNSAID else ANY)
    return meter_of("image", *words)


def _pixels(size: Any) -> int | None:
    found = _SIZE.fullmatch(size) if type(size) is str else None
    if found is None:
        return None
    pixels = int(found.group(1)) * int(found.group(2))
    return pixels if pixels <= MAX_PIXELS else None


def _whole(value: Any, least: int, most: int) -> int | None:
    """A whole number, in a form as text; None where it is none. Not given: the least."""
    if value is None or value == "":
        return least
    if type(value) is str and value.isdecimal() and len(value) < 6:
        value = int(value)
    return value if type(value) is int and least <= value <= most else None


IMAGES = Images("images", uploads=False, prompt=True)
IMAGE_EDITS = Images("image_edits", uploads=True, prompt=True)
IMAGE_VARIATIONS = Images("image_variations", uploads=True, prompt=False)
