"""Fragments that a page polls: tagged, so that what did not change is not sent again (htmx's ``hx-ptag``)."""

from __future__ import annotations

import hashlib

from django.http import HttpRequest, HttpResponse


def tagged(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """A fragment with its tag; 304 where the panel already shows exactly this."""
    tag = hashlib.sha256(response.content).hexdigest()[:20]
    if request.headers.get("HX-PTag") == tag:
        response = HttpResponse(status=304)
    response["HX-PTag"] = tag
    return response
