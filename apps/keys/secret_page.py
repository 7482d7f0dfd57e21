"""The page that shows a secret: the answer to the POST that made or fetched it, kept by nobody (ADR 0071)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from apps.accounts.scope import Choice
from apps.keys.detail import allowed, model_for
from apps.keys.models import VirtualKey
from apps.keys.neighbours import routes_known


def secret_page(
    request: HttpRequest, choice: Choice, key: VirtualKey, token: str, *, since: datetime | str, replaced: bool = False
) -> HttpResponseBase:
    """The secret of a key, what to do with it, and whether its first request came. since: from when on that is looked for."""
    routes = [route for route in routes_known(choice.organisation) if allowed(key, route)]
    context: dict[str, Any] = {
        "choice": choice,
        "key": key,
        "token": token,
        "export": f"export BULKHEAD_KEY={token}",
        "model": model_for(key, routes),
        "since": since if isinstance(since, str) else str(int(since.timestamp() * 1000)),
        "replaced": replaced,
    }
    return unstored(render(request, "keys/secret.html", context))


def unstored(response: HttpResponse) -> HttpResponse:
    """An answer with secrets, which no cache and no history of a browser keeps."""
    response["Cache-Control"] = "no-store, private, max-age=0"
    response["Referrer-Policy"] = "no-referrer"
    return response
