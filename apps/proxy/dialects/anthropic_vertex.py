"""Anthropic's models on Vertex AI: Anthropic's messages under Google's addresses.

Source: Anthropic's page "Claude on Vertex AI". The path names the model and says whether the answer is a stream; the body names the
version of the format instead of a header.
"""

from __future__ import annotations

from urllib.parse import quote

from apps.proxy.dialects.anthropic import AnthropicBack
from apps.proxy.dialects.translation import Payload, Sent, Unsupported

__all__ = ["VERSION", "AnthropicVertexBack"]

VERSION = "vertex-2023-10-16"
_PUBLISHER = "publishers/anthropic/models/"


class AnthropicVertexBack(AnthropicBack):
    """Under a base path such as ``/v1/projects/P/locations/L``. model: ``claude-sonnet-4-5@20250929``."""

    name = "vertex-anthropic"

    def request(self, payload: Payload, model: str, *, stream: bool) -> Sent:
        own = model.removeprefix(_PUBLISHER)
        if "/" in own:
            raise Unsupported("model", f"{model} is no model of Anthropic's on Vertex AI: name it as claude-sonnet-4-5@20250929")
        sent = super().request(payload, own, stream=stream)
        body = {name: value for name, value in sent.body.items() if name != "model"}
        path = f"/{_PUBLISHER}{quote(own, safe='@')}:{'streamRawPredict' if stream else 'rawPredict'}"
        return Sent(path, {"anthropic_version": VERSION, **body}, sent.approximated)

    def count_request(self, payload: Payload, model: str) -> Sent:
        raise Unsupported("model", "tokens are not counted by Vertex AI here")
