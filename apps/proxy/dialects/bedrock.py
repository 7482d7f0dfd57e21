"""Amazon Bedrock's Converse and ConverseStream: how its models are asked, and what they answer. Apps do not speak it to the proxy.

Source: AWS's API reference of ``bedrock-runtime``, 2023-09-30.
"""

from __future__ import annotations

from apps.proxy.dialects import bedrock_request
from apps.proxy.dialects.bedrock_answer import pivot_answer
from apps.proxy.dialects.bedrock_stream import BedrockStream
from apps.proxy.dialects.bedrock_wire import trouble_of
from apps.proxy.dialects.translation import BackStream, Completion, Payload, Sent, Trouble

__all__ = ["BedrockBack"]


class BedrockBack:
    """model: a model's id, an inference profile's id or its ARN; it stands in the path."""

    name = "bedrock"
    stream_type = b"application/vnd.amazon.eventstream"

    def request(self, payload: Payload, model: str, *, stream: bool) -> Sent:
        return bedrock_request.request(payload, model, stream=stream)

    def answer(self, body: bytes, payload: Payload) -> Completion:
        return pivot_answer(body, payload)

    def stream(self, payload: Payload) -> BackStream:
        return BedrockStream(payload)

    def error(self, status: int, body: bytes) -> Trouble:
        return trouble_of(status, body)
