"""OpenAI's Responses (``POST /v1/responses``): apps that speak them reach any provider, and providers that speak nothing else any app.

``responses_read`` and ``responses_write`` have the requests, ``responses_answer`` whole answers, ``responses_told`` and
``responses_heard`` the streams, ``responses_watch`` what passes through, ``responses_wire`` the shapes.
"""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects import responses_outline
from apps.proxy.dialects.responses_answer import answer_read, answer_write
from apps.proxy.dialects.responses_heard import ResponsesBackStream
from apps.proxy.dialects.responses_read import items_of, request_read
from apps.proxy.dialects.responses_told import ResponsesFrontStream
from apps.proxy.dialects.responses_wire import body_trouble
from apps.proxy.dialects.responses_write import request_write
from apps.proxy.dialects.translation import Asked, Completion, Payload, Sent, Trouble

__all__ = ["ResponsesBack", "ResponsesBackStream", "ResponsesFront", "ResponsesFrontStream", "responses_items_join"]


class ResponsesFront:
    """``previous_response_id`` is for who keeps responses: they join the items (``responses_items_join``) and take it out of what is read
    here; a response that is not known must not become a conversation without its beginning, so it is refused where it is still there."""

    name = "responses"
    alive = b": alive\n\n"

    def __init__(self, ident: str = "") -> None:
        """ident: the id that its answers have, for one request; empty: made of the provider's."""
        self._ident = ident

    def read(self, body: Payload) -> Asked:
        return request_read(body)

    def outline(self, body: Payload) -> Asked:
        """``read`` without what only a target of this format can be told: for choosing and counting, never to be sent."""
        return responses_outline.outline(body)

    def answer(self, completion: Completion, asked: Payload) -> Payload:
        return answer_write(completion, asked, self._ident)

    def counted(self, tokens: int) -> Payload:
        """The tokens of an input, as OpenAI words it."""
        return {"object": "response.input_tokens", "input_tokens": tokens}

    def stream(self, asked: Payload) -> ResponsesFrontStream:
        return ResponsesFrontStream(asked, self._ident)

    def error(self, status: int, trouble: Trouble, request_id: str) -> Payload:
        return {"error": {"message": trouble.message, "type": trouble.type, "param": trouble.param, "code": trouble.code}}


class ResponsesBack:
    name = "responses"
    stream_type = b"text/event-stream"

    def request(self, payload: Payload, model: str, *, stream: bool) -> Sent:
        return request_write(payload, model, stream=stream)

    def answer(self, body: bytes, payload: Payload) -> Completion:
        return answer_read(body)

    def stream(self, payload: Payload) -> ResponsesBackStream:
        return ResponsesBackStream()

    def error(self, status: int, body: bytes) -> Trouble:
        return body_trouble(status, body)


def responses_items_join(previous: list[Any], new: Any) -> list[Any]:
    """The ``input`` that continues a response. previous: the items that it was asked with and those that it answered with; new: the
    request's own ``input``. Raises Unsupported where that is neither text nor list."""
    return [*previous, *items_of(new)]
