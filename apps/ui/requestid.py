"""An id per request: in the answer's ``X-Request-Id``, in every log line written meanwhile, and on the page that says it broke. A caller's
trace (``traceparent``) is in those lines, too."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponseBase
from structlog.contextvars import bind_contextvars, reset_contextvars

from apps.contracts.traceparent import trace_accept

current: ContextVar[str] = ContextVar("request_id", default="")


class RequestIdMiddleware:
    """Outermost, so that whatever fails further in is logged under the id. A client's own id is never taken over: logs are ours."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        token = current.set(secrets.token_hex(8))
        trace = trace_accept(given.encode("latin-1", "replace"), None) if (given := request.headers.get("traceparent")) else None
        bound = bind_contextvars(request_id=current.get(), **({"trace_id": trace.trace_id.hex()} if trace is not None else {}))
        try:
            response = self.get_response(request)
            response["X-Request-Id"] = current.get()
            return response
        finally:
            reset_contextvars(**bound)
            current.reset(token)


class RequestIdFilter(logging.Filter):
    """Puts ``[<id>] `` before a message that is written during a request, where logs are text."""

    def filter(self, record: logging.LogRecord) -> bool:
        found = current.get()
        record.request_id = f"[{found}] " if found else ""
        return True
