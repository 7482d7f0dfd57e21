"""How formats that are not OpenAI's chat completions are spoken: fronts read what apps send, backs ask what providers serve.

Between the two lies one pivot: chat completions as OpenAI writes them, as plain dicts. A front turns the app's request into it
and the pivot's answer into its own; a back does the opposite. So any front reaches any back, and each format is known to one file.
Everything here is pure: no sockets, no clock that decides, no configuration. What an app and a provider both speak never comes here:
it passes through.

Beyond OpenAI's own fields the pivot carries, under the names that the field uses for them:

- ``message["reasoning_content"]`` (DeepSeek, vLLM): text of the model's thinking; in a stream, ``delta["reasoning_content"]``.
- ``message["thinking_blocks"]``: what must be given back unchanged on the next turn, a list of
  ``{"type": "thinking", "thinking": text, "signature": text}`` and ``{"type": "redacted_thinking", "data": text}``
  (Anthropic's shapes; signatures of others begin with their maker's name and a colon). In a stream ``delta["thinking_blocks"]``, whole
  blocks only.
- ``tool_call["signature"]``: the same for a tool call (Gemini's ``thoughtSignature``).
- ``reasoning_effort`` (OpenAI: none, minimal, low, medium, high, xhigh) and ``thinking`` (Anthropic: ``{"type": "adaptive"}``,
  ``{"type": "disabled"}``, ``{"type": "enabled", "budget_tokens": n}``); at most one of them is there.
- ``message["is_error"]`` of a tool's result: true where the tool failed, and its content says how.
- content parts ``text``, ``image_url`` (URL or data URL), ``input_audio``, ``refusal`` and ``file``
  (``{"file": {"file_data" | "file_id" | "file_url", "filename"}}``); a part, message or tool may carry ``cache_control`` (Anthropic's).
- ``top_k`` (int) in requests.
- ``usage``: ``prompt_tokens`` counts *all* input, cached or not; ``prompt_tokens_details.cached_tokens`` of these were read from the
  provider's cache, ``prompt_tokens_details.cache_write_tokens`` written to it; ``completion_tokens`` counts reasoning, which
  ``completion_tokens_details.reasoning_tokens`` names.
- ``choice["native_finish_reason"]`` (OpenRouter): the provider's own word; ``choice["stop_sequence"]``: the stop sequence that was met.
  ``finish_reason`` is one of stop, length, tool_calls, content_filter.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

Payload = dict[str, Any]
"""A pivot request: the body of a chat completion."""
Completion = dict[str, Any]
"""A pivot answer: a ``chat.completion`` object."""
Chunk = dict[str, Any]
"""One pivot event of a stream: a ``chat.completion.chunk`` object. The last one with choices has a finish reason; one with
``usage`` and ``"choices": []`` follows where usage is known; ``{"error": {"message", "type", "code"}}`` is an in-band error."""


class Unsupported(Exception):
    """The request says something that this format cannot: another target is chosen, or the app is refused with the field's name.

    field: the path in the *pivot* request (back) or in the app's own (front): ``messages[2].content[0]``.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NotAnAnswer(Exception):
    """What came is no answer of this format: an HTML page, truncated JSON, an event without a meaning, a second start."""


class Asked(NamedTuple):
    """What an app's request says. approximated: fields that no provider is told quite as asked, each ``field: what became of it``."""

    payload: Payload
    approximated: tuple[str, ...] = ()


class Sent(NamedTuple):
    """What a provider is sent. path: below the endpoint's base path, with a leading slash, percent-encoded, query included.

    approximated: fields that could only be said nearly, each ``field: what became of it`` in a few words; told to the app in a header.
    """

    path: str
    body: Payload
    approximated: tuple[str, ...] = ()


class Trouble(NamedTuple):
    """A provider's error in our words. type: OpenAI's (``invalid_request_error``, ``rate_limit_error``, ``authentication_error`` ...)."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class FrontStream(Protocol):
    """Writes one app's stream. One for a whole request, whatever number of targets its answer came from."""

    def feed(self, chunk: Chunk) -> bytes:
        """The events that say what this pivot event says; empty where it says nothing in this format."""

    def close(self) -> bytes:
        """The end of a stream that is whole."""

    def error(self, trouble: Trouble) -> bytes:
        """The end of a stream that broke, as this format's SDKs understand it."""


class Front(Protocol):
    name: str
    alive: bytes
    """What says in a stream that nothing is said yet and the connection lives; empty where this format's SDKs would stumble over it."""

    def read(self, body: Payload) -> Asked:
        """The app's request as the pivot's. Raises Unsupported for a field that is wrong or cannot be said. Never changes ``body``."""

    def answer(self, completion: Completion, asked: Payload) -> Payload:
        """The pivot's answer as this format's. asked: the app's own request. Raises NotAnAnswer for one that it has no words for."""

    def stream(self, asked: Payload) -> FrontStream: ...

    def counted(self, tokens: int) -> Payload:
        """The answer to a question for the tokens of an input."""

    def error(self, status: int, trouble: Trouble, request_id: str) -> Payload:
        """An error's body as this format's SDKs read it."""


class Embedder(Protocol):
    """Embeddings, as OpenAI's apps ask for them, or rerank, at a provider of another format."""

    def request(self, payload: Payload, model: str) -> Sent:
        """Raises Unsupported where something in it cannot be said."""

    def answer(self, body: bytes, payload: Payload) -> Payload:
        """A 200's body as OpenAI's list of embeddings, or as results of rerank. Raises NotAnAnswer."""

    def error(self, status: int, body: bytes) -> Trouble: ...


class BackStream(Protocol):
    """Reads one provider's stream. Bytes come as the network cut them: at any place, in a character too."""

    def feed(self, data: bytes) -> list[Chunk]:
        """What is whole by now. Raises NotAnAnswer where it is none; what was given before stays given."""

    def close(self) -> list[Chunk]:
        """The provider's body ended: what was still held back. ``finished`` tells whether the answer was whole."""

    finished: bool


class Back(Protocol):
    name: str
    stream_type: bytes
    """The media type that its streams have: ``text/event-stream``."""

    def request(self, payload: Payload, model: str, *, stream: bool) -> Sent:
        """The pivot's request for this model. Raises Unsupported where something in it cannot be said. Never changes ``payload``."""

    def answer(self, body: bytes, payload: Payload) -> Completion:
        """A 200's body as the pivot's. Raises NotAnAnswer."""

    def stream(self, payload: Payload) -> BackStream: ...

    def error(self, status: int, body: bytes) -> Trouble:
        """What a body that is no answer says; made of its beginning where it says nothing readable. Never raises."""
