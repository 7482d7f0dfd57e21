"""Gemini's format: ``generateContent`` and ``streamGenerateContent``, of the Gemini API and of Vertex AI.

Source: Google's reference of both APIs, and recordings of their answers. Left out, each refused with its field: what lives at
Google (cached contents, files of its Files API named by another provider's id), tools that run there (search, code execution, maps,
URL context, file search), answers that are images or audio, and models of other makers on Vertex AI.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, unquote

from apps.proxy.dialects import gemini_answer, gemini_errors, gemini_outline, gemini_read, gemini_request, gemini_write
from apps.proxy.dialects.gemini_stream import GeminiStream
from apps.proxy.dialects.gemini_watch import GeminiNative, path_of
from apps.proxy.dialects.translation import Asked, Completion, Payload, Sent, Trouble, Unsupported

__all__ = ["METHODS", "GeminiArrayFront", "GeminiBack", "GeminiFront", "GeminiNative", "VertexBack", "path_parts"]

METHODS = {"generateContent": False, "streamGenerateContent": True}
"""Whether a method's answer is a stream."""


class Parts(NamedTuple):
    model: str
    method: str


def path_parts(path: str) -> Parts | None:
    """(model, method) of ``/v1beta/models/{model}:{method}``, without a query; None for another path.

    ``v1`` and Vertex AI's own paths, which Google's SDK builds when told to speak to it, are understood too. The method may be one
    that is not served (``countTokens``): ``METHODS`` has those that are.
    """
    before, mark, rest = path.rpartition("/models/")
    model, colon, method = rest.rpartition(":")
    if not mark or not colon or not model or not method or "/" in method:
        return None
    version, _, vertex = before.strip("/").partition("/")
    if not version.startswith("v1") or (vertex and not vertex.endswith("publishers/google")):
        return None
    return Parts(unquote(model), method)


class GeminiFront:
    """Apps that speak Gemini. The path names the model and whether the answer is a stream (``path_parts``)."""

    name = "gemini"
    stream_type = b"text/event-stream"
    alive = b""

    def read(self, body: Payload) -> Asked:
        return gemini_read.read(body)

    def outline(self, body: Payload) -> Asked:
        """``read`` without what only a target of this format can be told: for choosing and counting, never to be sent."""
        return gemini_outline.outline(body)

    def answer(self, completion: Completion, asked: Payload) -> Payload:
        return gemini_write.answer(completion, asked)

    def stream(self, asked: Payload) -> gemini_write.GeminiFrontStream:
        return gemini_write.GeminiFrontStream(asked, array=False)

    def counted(self, tokens: int) -> Payload:
        """The answer of ``countTokens``."""
        return {"totalTokens": tokens}

    def error(self, status: int, trouble: Trouble, request_id: str) -> Payload:
        return gemini_errors.error_body(status, trouble, request_id)


class GeminiArrayFront(GeminiFront):
    """The same for ``streamGenerateContent`` without ``alt=sse``: one JSON array, an element as each event."""

    stream_type = b"application/json"

    def stream(self, asked: Payload) -> gemini_write.GeminiFrontStream:
        return gemini_write.GeminiFrontStream(asked, array=True)


class GeminiBack:
    """The Gemini API, under a base path such as ``/v1beta``."""

    name = "gemini"
    stream_type = b"text/event-stream"
    vertex = False

    def request(self, payload: Payload, model: str, *, stream: bool) -> Sent:
        body, approximated = gemini_request.request(payload, model, vertex=self.vertex)
        return Sent(self.path(model, stream=stream), body, approximated)

    def answer(self, body: bytes, payload: Payload) -> Completion:
        return gemini_answer.completion_of(body, str(payload.get("model") or ""))

    def stream(self, payload: Payload) -> GeminiStream:
        return GeminiStream(str(payload.get("model") or ""))

    def error(self, status: int, body: bytes) -> Trouble:
        return gemini_errors.trouble_of(status, body)

    def path(self, model: str, *, stream: bool) -> str:
        return path_of(model, stream=stream)


class VertexBack(GeminiBack):
    """Vertex AI, under a base path such as ``/v1/projects/P/locations/L``. Google's own models, and endpoints of tuned ones."""

    name = "vertex"
    vertex = True

    def path(self, model: str, *, stream: bool) -> str:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        if model.startswith("endpoints/"):
            return f"/{quote(model)}:{method}"
        own = model.removeprefix("publishers/google/").removeprefix("models/")
        if "/" in own or own.startswith("claude"):
            raise Unsupported("model", f"{model} speaks another format than Gemini's; on Vertex AI only Google's own models can be asked")
        return f"/publishers/google/models/{quote(own, safe='')}:{method}"
