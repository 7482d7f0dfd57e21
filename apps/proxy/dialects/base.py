"""What a dialect must know about a provider's wire format."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from apps.contracts.usage import Tokens

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget


PROBE = "probe"
"""Not a kind of request: the whole of a free one that shows whether a server answers (``apps.proxy.probe``)."""


class Answer(NamedTuple):
    """What a whole JSON answer says of itself. tokens None: it reported no usage. body: what the app is given, where not what came."""

    tokens: Tokens | None
    body: bytes | None = None


class StreamWatch(Protocol):
    """Follows one upstream stream without parsing what it can pass through.

    ``feed`` takes the upstream's bytes and gives what may go to the app now (perhaps nothing); it never changes the
    content of what it passes. At the end ``rest`` is what was held back: the last event is given only after the record is written.
    """

    @property
    def tokens(self) -> Tokens | None: ...

    @property
    def finished(self) -> bool:
        """The stream said that it is complete: its end is an end, not a cut."""

    @property
    def error(self) -> str:
        """The in-band error that the provider sent; empty when none."""

    @property
    def has_output(self) -> bool:
        """Real output has shown, not only a preamble."""

    @property
    def failed(self) -> str:
        """Why what it says cannot be given to the app (a continuation that is none); empty while it can."""

    @property
    def rest(self) -> bytes: ...

    @property
    def passed_bytes(self) -> int:
        """Of the body, in chunks that went on as they lie on the wire (``passes``)."""

    def feed(self, chunk: bytes) -> bytes: ...

    def passes(self, wire: bytes, start: int) -> bool:
        """True when this chunk, as it lies on the wire (its data from ``start`` on), may go to the app as it is; it is counted then."""

    def close(self) -> bool:
        """The upstream's body ended. True when the stream was whole: it said so, or gave a finish reason."""

    def output_bytes(self) -> int:
        """UTF-8 bytes of the answer's text so far: an upper bound of its tokens."""


class Dialect(Protocol):
    """Where ``translates`` is set, requests are made by ``apps.proxy.translate`` and none of the methods but the first is called."""

    name: str
    translates: bool
    """Its requests and answers are not OpenAI's."""
    secret_header: bytes
    """How a credential that is a key is said, with ``%b`` for it; without a line's end."""
    forms: tuple[str, ...]
    """Of credentials that its providers take (``apps.contracts.credentials``)."""

    def request_heads(
        self, *, base_path: str, host: bytes, secret: bytes | None, model: str = "", api_version: str = ""
    ) -> dict[str, bytes]:
        """Rendered request heads by kind of request, each ending before ``content-length``'s value.

        secret: None where the credential is none, or is added to each request. model, api_version: where they are part of the path.
        Under ``PROBE``, where the format knows a free question that every server of it answers: that whole request.
        """

    def body(self, exchange: Exchange, target: CompiledTarget) -> bytes:
        """The upstream's body for this exchange: the app's own bytes wherever nothing has to change."""

    def answer(self, body: bytes) -> Answer | None:
        """What a 200's body says; None when it is not a whole answer."""

    def stream(self, exchange: Exchange) -> StreamWatch: ...
