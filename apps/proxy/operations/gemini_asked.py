"""Embeddings as Google's SDKs ask for them: ``:embedContent`` and ``:batchEmbedContents``.

A provider of Gemini's format is told what the app wrote; every other one what of it embeddings are everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from apps.proxy.dialects.base import Answer
from apps.proxy.dialects.openai_wire import json_object
from apps.proxy.dialects.translation import Payload, Unsupported
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import Refusal
from apps.proxy.operations.base import OperationCall, missing, translated_head, wrong
from apps.proxy.operations.embeddings import Embeddings
from apps.proxy.steps.json_body import json_body
from apps.proxy.translate import Rendered

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

METHODS = {"embedContent": False, "batchEmbedContents": True}
"""Method -> whether it takes several."""
_PURPOSES = {
    "RETRIEVAL_QUERY": "search_query",
    "RETRIEVAL_DOCUMENT": "search_document",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
}
_SIZES = ("outputDimensionality", "output_dimensionality")
_TASKS = ("taskType", "task_type")
_KNOWN = frozenset({"model", "content", "title", *_SIZES, *_TASKS})


class AskedAsGemini(Embeddings):
    """One request of it. model: the route, as the path names it."""

    def __init__(self, model: str, *, several: bool) -> None:
        self._model = model
        self._several = several

    def read(self, exchange: Exchange) -> Refusal | None:
        asked = json_body(exchange)
        if isinstance(asked, Refusal):
            return asked
        requests = asked.get("requests") if self._several else [asked]
        if type(requests) is not list or not requests:
            return missing("requests", "a list of what to embed")
        texts, sizes, tasks = [], set(), set()
        for number, request in enumerate(requests):
            at = f"requests[{number}]." if self._several else ""
            text = _text(request.get("content")) if type(request) is dict else None
            if text is None:
                return wrong(f"{at}content", f"The field '{at}content' must be an object with 'parts' of text.")
            for name in request:
                if name not in _KNOWN:
                    return wrong(f"{at}{name}", f"The field '{at}{name}' is not known.")
            texts.append(text)
            sizes.add(next((request[name] for name in _SIZES if request.get(name) is not None), None))
            tasks.add(str(next((request[name] for name in _TASKS if request.get(name) is not None), "")))
        payload: Payload = {"model": self._model, "input": texts}
        size = sizes.pop() if len(sizes) == 1 else None
        if size is not None:
            if type(size) is not int or size < 1:
                return wrong(_SIZES[0], f"The field '{_SIZES[0]}' must be a whole number from 1 on.")
            payload["dimensions"] = size
        exchange.payload, exchange.requested_model = payload, self._model
        exchange.input_bound = len(exchange.body)
        exchange.operation_data = _Asked(requests, mixed=bool(sizes), task=tasks.pop() if len(tasks) == 1 else "")
        return None

    def call(self, exchange: Exchange, target: CompiledTarget) -> OperationCall:
        asked: _Asked = exchange.operation_data
        if target.dialect.name == "gemini":
            return self._told(asked, target)
        if asked.mixed:
            raise Unsupported("requests", "vectors of different sizes in one request can be asked of Gemini only")
        purpose = _PURPOSES.get(asked.task) if target.dialect.name in ("cohere", "bedrock") else None
        payload = exchange.payload
        if purpose is not None:
            exchange.payload = {**payload, "input_type": purpose}
        try:
            exchange.body = written({**exchange.payload, "encoding_format": "float"})
            call = super().call(exchange, target)
        finally:
            exchange.payload = payload
        inner = call.answer

        def read(body: bytes) -> Answer | None:
            found = inner(body)
            said = json_object(body if found is None or found.body is None else found.body)
            if found is None or said is None:
                return None
            values = [{"values": row["embedding"]} for row in said["data"]]
            return Answer(found.tokens, Rendered(written({"embeddings": values} if self._several else {"embedding": values[0]})))

        notes = call.approximated
        if asked.task and purpose is None:
            notes += ("taskType: not told to the provider",)
        return OperationCall(call.head, call.body, read, translation=call.translation, approximated=notes)

    def _told(self, asked: _Asked, target: CompiledTarget) -> OperationCall:
        name = f"models/{target.model.removeprefix('models/')}"
        requests = [{**request, "model": name} for request in asked.requests]
        method, field = ("batchEmbedContents", "embeddings") if self._several else ("embedContent", "embedding")
        body = written({"requests": requests} if self._several else requests[0])

        def read(answer: bytes) -> Answer | None:
            said = json_object(answer)
            return Answer(None, Rendered(answer)) if said is not None and said.get(field) else None

        return OperationCall(translated_head(target, f"/{quote(name)}:{method}"), body, read)


class _Asked:
    """What the app wrote. mixed: of different sizes. task: what all of it is for, empty where that differs or was not said."""

    __slots__ = ("mixed", "requests", "task")

    def __init__(self, requests: list[dict[str, Any]], *, mixed: bool, task: str) -> None:
        self.requests = requests
        self.mixed = mixed
        self.task = task

    def digest(self) -> bytes:
        return written(self.requests)


def _text(content: Any) -> str | None:
    """A content's text; None where it is none, or has anything else."""
    parts = content.get("parts") if type(content) is dict else None
    parts = [parts] if type(parts) is dict else parts
    if type(parts) is not list or not parts:
        return None
    texts = [part.get("text") if type(part) is dict else None for part in parts]
    return "".join(texts) if all(type(text) is str for text in texts) else None  # type: ignore[arg-type]
