"""Rerank: documents in the order in which they answer a query, in Cohere's and Jina's shape, which differ in little.

Billed by search units or by tokens, as the provider's answer says.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from apps.contracts.usage import Tokens
from apps.proxy.bounds import Extras
from apps.proxy.dialects import RERANKERS
from apps.proxy.dialects.base import Answer
from apps.proxy.dialects.translated import TranslatedDialect
from apps.proxy.dialects.translation import Unsupported
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import Refusal
from apps.proxy.operations.base import (
    OperationCall,
    Plain,
    asked_of,
    billed,
    json_answer,
    metered,
    missing,
    openai_head,
    renamed,
    translated_answer,
    translated_head,
    usage_tokens,
    wrong,
)

if TYPE_CHECKING:
    from apps.contracts.usage import Kind
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

MAX_DOCUMENTS = 10_000
DOCUMENTS_A_UNIT = 100
CHUNK_TOKENS = 500
"""Cohere: a document with the query that is longer is split, and each piece counts as a document."""


class Rerank(Plain):
    kind: Kind = "rerank"

    def read(self, exchange: Exchange) -> Refusal | None:
        payload = asked_of(exchange)
        if isinstance(payload, Refusal):
            return payload
        query, documents = payload.get("query"), payload.get("documents")
        if query is None:
            return missing("query", "what to rank the documents by")
        if type(query) not in (str, dict) or not query:
            return wrong("query", "The field 'query' must be a text, not an empty one.")
        if documents is None:
            return missing("documents", "a list of texts")
        if type(documents) is not list or not 1 <= len(documents) <= MAX_DOCUMENTS:
            return wrong("documents", f"The field 'documents' must be a list of 1 to {MAX_DOCUMENTS} texts.")
        top = payload.get("top_n")
        if top is not None and (type(top) is not int or top < 1):
            return wrong("top_n", "The field 'top_n' must be a whole number from 1 on.")
        exchange.input_bound = len(exchange.body)
        asked = len(written(query))
        piece = max(CHUNK_TOKENS // 2, CHUNK_TOKENS - asked)
        pieces = sum(max(1, ceil(len(written(document)) / piece)) for document in documents)
        # each document is read together with the query
        exchange.extras = Extras(input=asked * pieces, meters={"search": ceil(pieces / DOCUMENTS_A_UNIT)})
        return None

    def call(self, exchange: Exchange, target: CompiledTarget) -> OperationCall:
        payload, dialect = exchange.payload, target.dialect
        units = exchange.extras.meters["search"] if exchange.extras is not None else 1

        def counted(said: dict[str, Any]) -> Tokens | None:
            return billed(exchange, target, metered({"search": _units(said, units)}, usage_tokens(said)))

        if isinstance(dialect, TranslatedDialect):
            reranker = RERANKERS.get(dialect.name)
            if reranker is None:
                raise Unsupported("model", f"providers of the kind {target.provider_kind!r} have no rerank that the proxy knows")
            sent = reranker.request(payload, target.model)

            def translated(answer: bytes) -> Answer | None:
                said = translated_answer(reranker, answer, payload)
                return None if said is None else Answer(counted(said), written(said))

            head = translated_head(target, sent.path)
            return OperationCall(head, written(sent.body), translated, translation=reranker, approximated=sent.approximated)

        def read(answer: bytes) -> Answer | None:
            said = json_answer(answer)
            return None if said is None or type(said.get("results")) is not list else Answer(counted(said))

        return OperationCall(openai_head(target, "rerank", "rerank"), renamed(exchange, target), read)


def _units(said: dict[str, Any], most: int) -> int:
    """The search units that an answer says; what was reserved where it says none."""
    meta = said.get("meta")
    units = meta.get("billed_units") if type(meta) is dict else None
    count = units.get("search_units") if type(units) is dict else None
    return ceil(count) if isinstance(count, (int, float)) and 0 <= count < 1e9 else most


RERANK = Rerank()
