"""Embeddings, rerank and classify: texts in, numbers out; whole answers only, in the shapes of OpenAI, Cohere (as vLLM has it) and vLLM."""

from __future__ import annotations

import base64
import secrets
import struct
import sys
import time
from typing import Any, cast

from apps.engine.backend import Backend, Classifier, Embedder, Reranker
from apps.engine.errors import Refused
from apps.engine.http import fields
from apps.engine.http.fields import Body
from apps.engine.http.gate import Gate
from apps.engine.http.metrics import Metrics
from apps.engine.http.reply import Reply

MAX_TEXTS = 2_048
MAX_DOCUMENTS = 10_000
MAX_TOKENS = 10_000_000
_EMBEDDINGS = frozenset({"model", "input", "encoding_format", "dimensions", "truncate_prompt_tokens"})
_RERANK = frozenset({"model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc"})
_CLASSIFY = frozenset({"model", "input", "truncate_prompt_tokens"})


class Reading:
    """Answers the three addresses over one backend."""

    def __init__(self, backend: Backend, model: str, gate: Gate, metrics: Metrics) -> None:
        self._backend = backend
        self._model = model
        self._gate = gate
        self._metrics = metrics

    async def embeddings(self, body: Body, size: int, reply: Reply) -> None:
        began = time.monotonic()
        self._known(body, _EMBEDDINGS)
        given = fields.tokens_or_texts(body, "input", MAX_TEXTS)
        form = body.get("encoding_format") or "float"
        if form not in ("float", "base64"):
            raise Refused("The field 'encoding_format' must be 'float' or 'base64'.", param="encoding_format")
        dimensions = fields.whole(body, "dimensions", 1, 1_000_000)
        truncate = _truncate(body)
        async with self._gate.place():
            self._metrics.queue.add(time.monotonic() - began)
            vectors = await cast(Embedder, self._backend).embed(given, dimensions=dimensions, truncate=truncate)
        written = _base64 if form == "base64" else _numbers
        data = [{"object": "embedding", "index": index, "embedding": written(vector.values)} for index, vector in enumerate(vectors)]
        tokens = self._done(sum(vector.tokens for vector in vectors), began)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        await reply.json({"object": "list", "data": data, "model": self._model, "usage": usage})

    async def rerank(self, body: Body, size: int, reply: Reply) -> None:
        began = time.monotonic()
        self._known(body, _RERANK)
        query = body.get("query")
        if not isinstance(query, str):
            raise Refused("The field 'query' must be a text.", param="query")
        documents = [_document(one, index) for index, one in enumerate(_list(body, "documents", MAX_DOCUMENTS))]
        top = fields.whole(body, "top_n", 1, 1_000_000) or len(documents)
        truncate = fields.whole(body, "max_tokens_per_doc", 1, MAX_TOKENS)
        shown = body.get("return_documents")
        shown = True if shown is None else fields.flag(body, "return_documents")
        async with self._gate.place():
            self._metrics.queue.add(time.monotonic() - began)
            ranked = await cast(Reranker, self._backend).rerank(query, documents, truncate=truncate)
        order = sorted(range(len(documents)), key=lambda index: (-ranked[index].score, index))[:top]
        results: list[dict[str, Any]] = []
        for index in order:
            result: dict[str, Any] = {"index": index, "relevance_score": ranked[index].score}
            if shown:
                result["document"] = {"text": documents[index]}
            results.append(result)
        tokens = self._done(sum(one.tokens for one in ranked), began)
        id = f"rerank-{secrets.token_hex(12)}"
        await reply.json({"id": id, "model": self._model, "results": results, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})

    async def classify(self, body: Body, size: int, reply: Reply) -> None:
        began = time.monotonic()
        self._known(body, _CLASSIFY)
        texts = fields.tokens_or_texts(body, "input", MAX_TEXTS)
        truncate = _truncate(body)
        backend = cast(Classifier, self._backend)
        async with self._gate.place():
            self._metrics.queue.add(time.monotonic() - began)
            found = await backend.classify(texts, truncate=truncate)
        data = []
        for index, one in enumerate(found):
            probabilities = list(one.probabilities)
            best = max(range(len(probabilities)), key=probabilities.__getitem__)
            data.append({"index": index, "label": backend.labels[best], "probs": probabilities, "num_classes": len(probabilities)})
        tokens = self._done(sum(one.tokens for one in found), began)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
        id = f"classify-{secrets.token_hex(12)}"
        head = {"id": id, "object": "list", "created": int(time.time()), "model": self._model}
        await reply.json({**head, "data": data, "usage": usage})

    def _known(self, body: Body, read: frozenset[str]) -> None:
        fields.known(body, read, {})
        fields.model_of(body, self._model)
        self._gate.check()

    def _done(self, tokens: int, began: float) -> int:
        self._metrics.prompt_tokens += tokens
        self._metrics.latency.add(time.monotonic() - began)
        self._metrics.finish("stop")
        return tokens


def _truncate(body: Body) -> int | None:
    """vLLM's: -1 stands for the context."""
    wanted = fields.whole(body, "truncate_prompt_tokens", -1, MAX_TOKENS)
    if wanted == 0:
        raise Refused("The field 'truncate_prompt_tokens' must be -1 or from 1 on.", param="truncate_prompt_tokens")
    return wanted


def _base64(values: Any) -> str:
    """Single precision, the lowest byte first."""
    if isinstance(values, list | tuple) or sys.byteorder != "little":
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    return base64.b64encode(values).decode()  # an array of single precision is these bytes already


def _numbers(values: Any) -> list[float]:
    found: list[float] = list(values) if isinstance(values, list | tuple) else values.tolist()
    return found


def _list(body: Body, name: str, most: int) -> list[Any]:
    found = body.get(name)
    if not isinstance(found, list) or not 0 < len(found) <= most:
        raise Refused(f"The field {name!r} must be a list of 1 to {most:,}.", param=name)
    return found


def _document(given: Any, index: int) -> str:
    text = given.get("text") if isinstance(given, dict) else given
    if not isinstance(text, str):
        raise Refused(f"documents[{index}] must be a text, or an object with a 'text'.", param=f"documents[{index}]")
    return text
