"""Embeddings: one text, a list of texts, tokens, or lists of tokens; as numbers or packed as base64, whatever the provider gives."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from apps.proxy.dialects import EMBEDDERS
from apps.proxy.dialects.base import Answer
from apps.proxy.dialects.embedding_parts import pack, unpack
from apps.proxy.dialects.openai_wire import json_object
from apps.proxy.dialects.translated import TranslatedDialect
from apps.proxy.dialects.translation import NotAnAnswer, Unsupported
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import Refusal
from apps.proxy.operations.base import (
    OperationCall,
    Plain,
    asked_of,
    missing,
    openai_head,
    translated_answer,
    translated_head,
    usage_tokens,
    wrong,
)

if TYPE_CHECKING:
    from apps.contracts.usage import Kind
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

_FIRST = re.compile(rb'"embedding"\s*:\s*(["\[])')


class Embeddings(Plain):
    kind: Kind = "embeddings"

    def read(self, exchange: Exchange) -> Refusal | None:
        payload = asked_of(exchange)
        if isinstance(payload, Refusal):
            return payload
        exchange.input_bound = len(exchange.body)
        given = payload.get("input")
        if "input" not in payload:
            return missing("input", "a text or a list of texts")
        if type(given) not in (str, list) or not given:
            return wrong("input", "The field 'input' must be a text or a list of texts, of tokens or of lists of tokens; not an empty one.")
        if payload.get("encoding_format") not in (None, "float", "base64"):
            return wrong("encoding_format", "The field 'encoding_format' must be float or base64.")
        dimensions = payload.get("dimensions")
        if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
            return wrong("dimensions", "The field 'dimensions' must be a whole number from 1 on.")
        return None

    def call(self, exchange: Exchange, target: CompiledTarget) -> OperationCall:
        payload, dialect = exchange.payload, target.dialect
        if isinstance(dialect, TranslatedDialect):
            embedder = EMBEDDERS.get(dialect.name)
            if embedder is None:
                raise Unsupported("model", f"providers of the kind {target.provider_kind!r} have no embeddings that the proxy knows")
            sent = embedder.request(payload, target.model)

            def translated(answer: bytes) -> Answer | None:
                said = translated_answer(embedder, answer, payload)
                return None if said is None else Answer(usage_tokens(said), written(said))

            head = translated_head(target, sent.path)
            return OperationCall(head, written(sent.body), translated, translation=embedder, approximated=sent.approximated)
        packed = payload.get("encoding_format") == "base64"

        def read(answer: bytes) -> Answer | None:
            understood = dialect.answer(answer)
            found = _FIRST.search(answer)
            if understood is None or found is None or (found.group(1) == b'"') == packed:
                return understood
            try:
                return Answer(understood.tokens, _as_asked(answer, packed=packed))
            except NotAnAnswer:
                return None

        return OperationCall(openai_head(target, "embeddings", "embeddings"), dialect.body(exchange, target), read)


def _as_asked(answer: bytes, *, packed: bool) -> bytes:
    """The answer with its vectors as the app asked for them, of a provider that gave them the other way. Raises NotAnAnswer."""
    said = json_object(answer)
    rows: Any = said.get("data") if said is not None else None
    if said is None or type(rows) is not list:
        raise NotAnAnswer("the body holds no embeddings")
    changed = []
    for row in rows:
        vector = row.get("embedding") if type(row) is dict else None
        if packed and type(vector) is list:
            changed.append({**row, "embedding": pack(vector)})
        elif not packed and type(vector) is str:
            changed.append({**row, "embedding": unpack(vector)})
        else:
            raise NotAnAnswer("a row holds no embedding")
    return written({**said, "data": changed})


EMBEDDINGS = Embeddings()
