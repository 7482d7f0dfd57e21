"""What fails around views, in the shape of whoever asked: the API's one shape under ``/api/``, a page everywhere else."""

from __future__ import annotations

import sys
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.views.defaults import bad_request as plain_bad_request
from rest_framework.exceptions import NotFound

from apps.accounts.api.errors import RETRY_SECONDS, failed
from apps.accounts.api.views import ApiView
from apps.ui import outage, views
from controlplane.away import database_away

API = "/api/"


class NothingHereView(ApiView):
    """Every other address below the API's: 404 in the one shape, also without a trailing slash."""

    schema = None
    http_method_names = ["get", "post", "put", "patch", "delete", "head", "options"]

    def _nothing(self, request: Any, rest: str = "") -> HttpResponse:
        slash = "" if request.path.endswith("/") else " Addresses end with a slash."
        raise NotFound(f"There is nothing at this address.{slash} GET /api/v1/schema/ names all there are.")

    get = post = put = patch = delete = _nothing


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 of what Django itself refuses, such as a host it does not serve; 413 of a form that is too large to be read."""
    large = isinstance(exception, RequestDataTooBig)
    if request.path.startswith(API):
        if large:
            return failed(request, 413, "too_large", "The body is larger than what is taken here: send less at once.")
        return failed(request, 400, "invalid", "This request cannot be read.")
    if large:
        return views.too_large(request)
    return plain_bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    if request.path.startswith(API):
        return failed(request, 403, "permission_denied", str(exception) or "You may not do this.")
    return views.forbidden(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    if request.path.startswith(API):
        return failed(request, 404, "not_found", "There is nothing at this address.")
    return views.not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """500, or 503 where the database cannot be reached. Django calls it inside the ``except`` block."""
    if not request.path.startswith(API):
        return views.server_error(request)
    error = sys.exc_info()[1]
    if error is not None and database_away(error):
        outage.failed()
        response = failed(request, 503, "database_unavailable", "The control plane cannot reach its database: ask again soon.")
        response["Retry-After"] = str(RETRY_SECONDS)
        return response
    return failed(request, 500, "internal", "Something is broken here. Tell an operator the request_id: the log has the rest.")
