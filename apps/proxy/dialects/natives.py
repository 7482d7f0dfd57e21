"""What an app and a provider both speak passes through: what must still be known of a format then.

A request goes as the app wrote it, but for the model's name and a cap on the output where the app set none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from apps.proxy.dialects.translation import NotAnAnswer

if TYPE_CHECKING:
    from apps.proxy.dialects.base import Answer, StreamWatch
    from apps.proxy.dialects.translation import BackStream, Chunk, FrontStream, Payload


class Resumed(NamedTuple):
    """seen: what the app was given, as the pivot's events. front: writes what follows, as if it had written all of it."""

    seen: list[Chunk]
    front: FrontStream


class Native(Protocol):
    """One format that passes through."""

    @property
    def stream_type(self) -> bytes:
        """The media type of its streams."""

    @property
    def headers(self) -> tuple[bytes, ...]:
        """Lower-case names of the app's headers that its provider is told, as they are."""

    def path(self, model: str, *, stream: bool) -> str:
        """Below the endpoint's base path, with a leading slash, percent-encoded."""

    def changed(self, asked: Payload, model: str, cap: int | None) -> Payload:
        """The app's request for this model; ``asked`` itself where nothing changes. cap: tokens of output, where the app named no bound."""

    def answer(self, body: bytes) -> Answer | None:
        """What a 200's body says of itself; None when it is not a whole answer."""

    def stream(self, asked: Payload | None = None) -> StreamWatch:
        """Follows one stream. asked: the app's request."""

    def resume(self, watch: StreamWatch, asked: Payload) -> Resumed | None:
        """How a stream of ``stream`` goes on that broke off after the app had its beginning; None where that cannot be done safely."""


def retold(passed: bytes, back: BackStream, front: FrontStream) -> Resumed | None:
    """What was passed, read as a provider's stream and told again by ``front`` to nobody, which then knows where it stands."""
    try:
        seen = back.feed(passed)
        for chunk in seen:
            front.feed(chunk)
    except NotAnAnswer:
        return None
    return Resumed(seen, front)
