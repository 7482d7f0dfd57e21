"""Rerank at Cohere (``/v2/rerank``). Source: Cohere's API reference. Apps may write the request as Cohere or as Jina has it."""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects.cohere import CohereBack
from apps.proxy.dialects.openai_wire import json_object
from apps.proxy.dialects.translation import NotAnAnswer, Payload, Sent, Trouble, Unsupported

_KNOWN = frozenset({"model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc", "priority", "user"})


class CohereRerank:
    name = "cohere"

    def request(self, payload: Payload, model: str) -> Sent:
        """Raises Unsupported for documents that are no text, and for fields that it has not."""
        for field, value in payload.items():
            if field not in _KNOWN and value is not None:
                raise Unsupported(field, f"{field} cannot be said to Cohere")
        asked: Payload = {"model": model, "query": payload["query"], "documents": []}
        for number, document in enumerate(payload["documents"]):
            text = text_of(document)
            if text is None:
                raise Unsupported(f"documents[{number}]", f"documents[{number}] must be a text: Cohere ranks nothing else")
            asked["documents"].append(text)
        for field in ("top_n", "max_tokens_per_doc", "priority"):
            if payload.get(field) is not None:
                asked[field] = payload[field]
        return Sent("/v2/rerank", asked, ("user: not told to the provider",) if payload.get("user") is not None else ())

    def answer(self, body: bytes, payload: Payload) -> Payload:
        """As it came, with the documents where the app wants them back: v2 leaves them out. Raises NotAnAnswer."""
        said = json_object(body)
        results = said.get("results") if said is not None else None
        if said is None or type(results) is not list:
            raise NotAnAnswer("the body holds no results")
        found: Payload = {**said, "model": payload.get("model")}
        if payload.get("return_documents"):
            found["results"] = [with_document(result, payload["documents"]) for result in results]
        return found

    def error(self, status: int, body: bytes) -> Trouble:
        return CohereBack().error(status, body)


def text_of(document: Any) -> str | None:
    """A document's text, which Jina's apps may wrap; None where it is none."""
    if type(document) is dict and set(document) == {"text"}:
        document = document["text"]
    return document if type(document) is str else None


def with_document(result: Any, documents: list[Any]) -> Any:
    """A result with its document. Raises NotAnAnswer where it names none of them."""
    index = result.get("index") if type(result) is dict else None
    if type(index) is not int or not 0 <= index < len(documents):
        raise NotAnAnswer("a result names no document of the request")
    return {**result, "document": {"text": text_of(documents[index])}}
