"""Moderations, passed through: free at most providers, and charged by whatever price the model has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.proxy.bounds import Extras
from apps.proxy.dialects.base import Answer
from apps.proxy.dialects.openai import IMAGE_TOKENS
from apps.proxy.errors import Refusal
from apps.proxy.operations.base import OperationCall, Plain, asked_of, json_answer, missing, openai_head, renamed, usage_tokens, wrong

if TYPE_CHECKING:
    from apps.contracts.usage import Kind
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget


class Moderations(Plain):
    kind: Kind = "moderations"

    def read(self, exchange: Exchange) -> Refusal | None:
        payload = asked_of(exchange)
        if isinstance(payload, Refusal):
            return payload
        given = payload.get("input")
        if given is None:
            return missing("input", "a text, a list of texts, or a list of parts")
        if type(given) not in (str, list) or not given:
            return wrong("input", "The field 'input' must be a text, a list of texts, or a list of parts; not an empty one.")
        exchange.input_bound = len(exchange.body)
        pictures = sum(type(part) is dict and part.get("type") == "image_url" for part in given) if type(given) is list else 0
        if pictures:
            exchange.extras = Extras(input=pictures * IMAGE_TOKENS)
        return None

    def call(self, exchange: Exchange, target: CompiledTarget) -> OperationCall:
        def read(answer: bytes) -> Answer | None:
            said = json_answer(answer)
            return None if said is None or type(said.get("results")) is not list else Answer(usage_tokens(said))

        return OperationCall(openai_head(target, "moderations", "moderations"), renamed(exchange, target), read)


MODERATIONS = Moderations()
