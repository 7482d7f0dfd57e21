"""Providers of other formats than OpenAI's: how their requests begin, and their streams followed as if they were OpenAI's.

What is said in the body is known to the format's own ``Back``; this is what lies around it, the same for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.proxy.dialects.base import PROBE, Answer
from apps.proxy.dialects.openai_stream import OpenAIStream
from apps.proxy.dialects.openai_wire import encode_event
from apps.proxy.dialects.translation import NotAnAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from apps.contracts.usage import Tokens
    from apps.proxy.dialects.base import StreamWatch
    from apps.proxy.dialects.translation import Back, BackStream, Chunk
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

BASE, REST = "base", "rest"
"""Names among a target's request heads: the path before every path of the format, and the head from its second line on."""
_DONE = b"data: [DONE]\n\n"
_SILENT = (b":", b"event: ping")
"""How events begin that only keep a connection alive."""
_ALIVE = b": alive\n\n"


class TranslatedDialect:
    """One of them. secret_header: how the credential is said, with ``%b`` for it. headers: what each request has besides, unless the app
    has it. probe: the path of a free question, empty where there is none."""

    translates = True

    def __init__(
        self,
        back: Back,
        *,
        secret_header: bytes,
        headers: Mapping[bytes, bytes] | None = None,
        probe: str = "",
        forms: tuple[str, ...] = ("key",),
    ) -> None:
        self.name = back.name
        self.back = back
        self.headers = dict(headers or {})
        self.secret_header = secret_header
        self.forms = forms
        self._probe = probe

    def request_heads(
        self, *, base_path: str, host: bytes, secret: bytes | None, model: str = "", api_version: str = ""
    ) -> dict[str, bytes]:
        """``BASE`` and ``REST``, of which each request's head is made (its path may depend on model and stream), and ``PROBE``."""
        shared = b"host: %b\r\n" % host
        if secret is not None:
            shared += self.secret_header % secret + b"\r\n"
        shared += b"accept-encoding: identity\r\nuser-agent: bulkhead\r\n"
        heads = {BASE: base_path.encode(), REST: shared + b"content-type: application/json\r\ncontent-length: "}
        if self._probe:
            heads[PROBE] = b"GET %b%b HTTP/1.1\r\n%b%b\r\n" % (base_path.encode(), self._probe.encode(), self.told({}), shared)
        return heads

    def told(self, by_app: Mapping[bytes, bytes]) -> bytes:
        """The rendered headers of one request beside those that are the same for all; the app's own go first."""
        return b"".join([b"%b: %b\r\n" % pair for pair in {**self.headers, **by_app}.items()])

    def body(self, exchange: Exchange, target: CompiledTarget) -> bytes:
        raise TypeError(f"requests in the format {self.name!r} are made by apps.proxy.translate")

    def answer(self, body: bytes) -> Answer | None:
        raise TypeError(f"answers in the format {self.name!r} are read by apps.proxy.translate")

    def stream(self, exchange: Exchange) -> StreamWatch:
        raise TypeError(f"streams in the format {self.name!r} are followed by apps.proxy.translate")


class TranslatedStream:
    """A StreamWatch over a stream of another format: ``followed`` is given the events that OpenAI would have sent.

    So whatever holds for OpenAI's streams (rescue, limits, tokens, what breaks) holds for this one. bare: without what only the
    model that said it can be told again (``thinking_blocks``), for a stream that goes on with somebody else's.
    """

    __slots__ = ("_back", "_bare", "followed", "passed_bytes", "rest")

    def __init__(self, back: BackStream, followed: OpenAIStream, *, bare: bool = False) -> None:
        self.followed = followed
        self.passed_bytes = 0
        self.rest = b""
        self._back = back
        self._bare = bare

    @property
    def tokens(self) -> Tokens | None:
        return self.followed.tokens

    @property
    def finished(self) -> bool:
        return self.followed.finished

    @property
    def error(self) -> str:
        return self.followed.error

    @property
    def has_output(self) -> bool:
        return self.followed.has_output

    @property
    def failed(self) -> str:
        return self.followed.failed

    def feed(self, chunk: bytes) -> bytes:
        if self.followed.error:
            return b""
        try:
            chunks = self._back.feed(chunk)
        except NotAnAnswer as error:
            chunks = [_broken(error)]
        if not chunks and chunk.startswith(_SILENT) and self.followed.has_output:
            return _ALIVE
        return self._follow(chunks)

    def passes(self, wire: bytes, start: int) -> bool:
        return False

    def close(self) -> bool:
        if not self.followed.error:
            try:
                chunks = self._back.close()
            except NotAnAnswer as error:
                chunks = [_broken(error)]
            self.rest = self._follow(chunks)
            if self._back.finished and not self.followed.error:
                self.followed.feed(_DONE)
        whole = self.followed.close()
        self.rest += self.followed.rest
        return whole

    def output_bytes(self) -> int:
        return self.followed.output_bytes()

    def _follow(self, chunks: list[Chunk]) -> bytes:
        if not chunks:
            return b""
        if self._bare:
            chunks = [_bare(chunk) for chunk in chunks]
        return self.followed.feed(encode_event(chunks[0]) if len(chunks) == 1 else b"".join([encode_event(chunk) for chunk in chunks]))


def followed(watch: StreamWatch | None) -> OpenAIStream | None:
    """OpenAI's stream that a watch follows; None where it follows none, as with a stream that is passed on in its own format."""
    if isinstance(watch, TranslatedStream):
        return watch.followed
    return watch if isinstance(watch, OpenAIStream) else None


def _broken(error: NotAnAnswer) -> Chunk:
    return {"error": {"message": f"the provider's stream cannot be read: {error}", "type": "server_error", "code": "upstream_malformed"}}


def _bare(chunk: Chunk) -> Chunk:
    choices = chunk.get("choices")
    if not isinstance(choices, list) or not any("thinking_blocks" in (choice.get("delta") or ()) for choice in choices):
        return chunk
    left = [
        {**choice, "delta": {name: value for name, value in (choice.get("delta") or {}).items() if name != "thinking_blocks"}}
        for choice in choices
    ]
    return {**chunk, "choices": left}
