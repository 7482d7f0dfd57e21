"""What can go wrong on a request, as exceptions inside the proxy.

::

    ProxyError
      Refused            the proxy says no; carries a Refusal (code, step, message)
      ClientGone         the app left before its answer was finished
      Beaten             another attempt of the same request was quicker, or there was no room for a second one
      AttemptFailed      one attempt at one target failed
        UpstreamAnswered     with a status of its own (4xx, 5xx)
        UpstreamSilent       a deadline passed: connect, first byte, idle, total
        UpstreamBroken       reset, refused, truncated, malformed
        SeamRefused          it answered, but not as the rest of the stream that it was to continue
        LimitReached         a limit of its model is used up: it was not asked
      StartError         the process cannot start; the message says what to do

Socket errors (``apps.proxy.http.errors.UpstreamError``) are translated to AttemptFailed in ``attempt.py`` and nowhere else.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """A no: ``code`` is one of ``apps.contracts.errors.CODES``; ``detail`` goes beside the error for machines."""

    code: str
    step: str
    message: str
    param: str | None = None
    detail: dict[str, Any] | None = None


class ProxyError(Exception):
    pass


class Refused(ProxyError):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class ClientGone(ProxyError):
    pass


class Beaten(ProxyError):
    pass


class StartError(ProxyError):
    pass


class AttemptFailed(ProxyError):
    """code: wire code when this failure becomes the answer. billable: the provider may have done work for it. credential: the name of the
    one that was used, where its endpoint has several."""

    code = "upstream_error"
    billable = True
    credential = ""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class UpstreamAnswered(AttemptFailed):
    """The provider answered with an error of its own; ``body`` is passed to the app where that is its business.

    in_band: inside an answer that had begun well. Its work had begun, too: a fault of its own (5xx) may be on its bill.
    """

    billable = False

    def __init__(self, status: int, headers: dict[bytes, bytes], body: bytes, *, in_band: bool = False) -> None:
        super().__init__(f"the provider answered {status}")
        self.billable = in_band and status >= 500
        self.status = status
        self.headers = headers
        self.body = body


class UpstreamSilent(AttemptFailed):
    """telling: the target had the time that config gives it, so its silence says something of it."""

    code = "upstream_timeout"

    def __init__(self, which: str, seconds: float, *, telling: bool = True) -> None:
        super().__init__(f"no {which} within {seconds:g} s")
        self.which = which
        self.telling = telling


class SeamRefused(AttemptFailed):
    code = "stream_interrupted"


class LimitReached(AttemptFailed):
    """refusal: the answer where nobody else can be asked."""

    code = "rate_limit_exceeded"
    billable = False

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class UpstreamBroken(AttemptFailed):
    """``sent``: whether any of the request had been written; nothing written is never billed.

    again: the same target may well answer a moment later. ours: the fault is on this side, and says nothing of the target.
    """

    def __init__(self, message: str, *, code: str, sent: bool, again: bool = True, ours: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.billable = sent
        self.again = again
        self.ours = ours


class SettleError(RuntimeError):
    """Charges settled twice, never reserved, or at a negative cost: a programming error in the caller."""
