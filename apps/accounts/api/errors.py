"""One shape for everything that fails: ``{"error": {code, message, field, details, request_id}}``.

    ApiError                        code, message and status are its own
    ├── PreconditionRequired   428  a write without If-Match
    ├── ChangedMeanwhile       412  somebody else wrote in between; details.current is what holds now
    └── TooLarge               413  a body beyond what is read

Everything else is translated here, at the one border: services' refusals, the framework's own, the database's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import DataError, Error, IntegrityError, OperationalError
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from apps.accounts import answers
from apps.accounts.pages import refusal_text
from apps.accounts.rules import PermissionRefused, roles_for
from apps.accounts.scopes import ScopeRefused
from apps.audit.errors import ServiceError
from apps.ui import outage, requestid
from controlplane.away import database_away

log = logging.getLogger(__name__)

RETRY_SECONDS = 5
"""When to ask again while the database is away."""
CODES: dict[type[exceptions.APIException], str] = {
    exceptions.ParseError: "malformed_json",
    exceptions.NotAuthenticated: "not_authenticated",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.Throttled: "too_many_requests",
}


class ApiError(exceptions.APIException):
    """A failure that says its own code. details: what a program may want to know of it."""

    status_code = status.HTTP_400_BAD_REQUEST
    code = "invalid"

    def __init__(self, message: str, *, field: str | None = None, details: Mapping[str, Any] | None = None, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.details = dict(details or {})
        self.code = code or self.code


class PreconditionRequired(ApiError):
    """A write to something that others may have changed, without saying what it was read as."""

    status_code = status.HTTP_428_PRECONDITION_REQUIRED
    code = "precondition_required"


class ChangedMeanwhile(ApiError):
    """The thing is not what the writer read."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    code = "changed_meanwhile"

    def __init__(self, message: str, *, current: Any, etag: str) -> None:
        super().__init__(message, details={"current": current, "etag": etag})
        self.etag = etag


class TooLarge(ApiError):
    """A body beyond what is read into memory."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    code = "too_large"


def failure(code: str, message: str, *, field: str | None = None, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The one shape."""
    return {
        "error": {
            "code": code,
            "message": message,
            "field": field,
            "details": dict(details or {}),
            "request_id": requestid.current.get(),
        }
    }


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """Whatever a view raised, in the one shape; what nobody expected is logged and told as little as possible."""
    set_rollback()
    if isinstance(error, ApiError):
        headers = {"ETag": error.etag} if isinstance(error, ChangedMeanwhile) else {}
        return Response(failure(error.code, error.message, field=error.field, details=error.details), error.status_code, headers=headers)
    if isinstance(error, exceptions.ValidationError):
        return _invalid(error)
    if isinstance(error, exceptions.APIException):
        return _framework(error)
    if isinstance(error, Http404):
        return Response(failure("not_found", str(error) or "There is nothing at this address."), status.HTTP_404_NOT_FOUND)
    if isinstance(error, RequestDataTooBig):
        return Response(failure("too_large", "The body is larger than what is taken here: send less at once."), 413)
    if isinstance(error, (PermissionRefused, PermissionDenied)):
        return _refused(error)
    if isinstance(error, answers.KeyReused):
        return Response(failure("idempotency_mismatch", error.message, field="Idempotency-Key"), status.HTTP_409_CONFLICT)
    if isinstance(error, ServiceError):
        details = {name: found for name in ("section", "object_id") if (found := getattr(error, name, ""))}
        code = "not_publishable" if details else "invalid"
        return Response(failure(code, error.message, field=error.field, details=details), status.HTTP_400_BAD_REQUEST)
    if database_away(error):
        return away(error)
    if isinstance(error, (ProtectedError, RestrictedError, DataError, IntegrityError, OperationalError)):
        return _database(error)
    log.error("the API failed", exc_info=error)
    return Response(failure("internal", "Something is broken here. Tell an operator the request_id: the log has the rest."), 500)


def away(error: Error) -> Response:
    """503: the database cannot be reached. What proxies do goes on."""
    log.error("database unreachable: %s", error)
    since = outage.failed()
    message = "The control plane cannot reach its database. Proxies go on with what they have; ask again soon."
    body = failure("database_unavailable", message, details={"since": since.isoformat()})
    return Response(body, 503, headers={"Retry-After": str(RETRY_SECONDS)})


def failed(request: HttpRequest, http_status: int, code: str, message: str) -> JsonResponse:
    """The one shape for what fails outside of any view of the API: an address that is none, a crash in what lies around views."""
    return JsonResponse(failure(code, message), status=http_status)


def _framework(error: exceptions.APIException) -> Response:
    headers: dict[str, str] = {}
    details: dict[str, Any] = {}
    code = (
        next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), "")
        or getattr(error.detail, "code", None)
        or error.default_code
    )
    message = str(error.detail)
    if isinstance(error, exceptions.AuthenticationFailed):
        code = getattr(error.detail, "code", "token_invalid")
    if isinstance(error, exceptions.NotAuthenticated):
        message = "Send `Authorization: Bearer <personal token>`, or sign in."
    if isinstance(error, exceptions.Throttled):
        wait = max(1, round(error.wait or 1))
        message, details, headers = f"Too many requests: ask again in {wait} s.", {"retry_after": wait}, {"Retry-After": str(wait)}
        if counted := getattr(error, "counted", ""):
            details["counted"] = counted
    if header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = header
    return Response(failure(code, message, details=details), error.status_code, headers=headers)


def _invalid(error: exceptions.ValidationError) -> Response:
    found = list(_flat(error.detail))
    field, message = found[0] if found else (None, "This is not valid.")
    fields = [{"field": name, "message": said} for name, said in found]
    return Response(failure("invalid", message, field=field, details={"fields": fields}), status.HTTP_400_BAD_REQUEST)


def _flat(detail: Any, path: str = "") -> list[tuple[str | None, str]]:
    """Serializers' nested messages as (dotted path, message), ``targets[0].model``."""
    if isinstance(detail, Mapping):
        found = []
        for name, inner in detail.items():
            if name == "non_field_errors":
                found += _flat(inner, path)
            else:
                found += _flat(inner, f"{path}[{name}]" if isinstance(name, int) else f"{path}.{name}" if path else str(name))
        return found
    if isinstance(detail, list):
        if any(isinstance(inner, (Mapping, list)) for inner in detail):
            return [pair for at, inner in enumerate(detail) for pair in _flat(inner, f"{path}[{at}]")]
        return [(path or None, str(inner)) for inner in detail]
    return [(path or None, str(detail))]


def _refused(error: PermissionRefused | PermissionDenied) -> Response:
    if isinstance(error, ScopeRefused):
        return Response(failure("scope_missing", error.message, details={"scope": error.grant, "action": error.action}), 403)
    if isinstance(error, PermissionRefused):
        details = {"action": error.action, "roles": sorted(role.value for role in roles_for(error.action))}
        return Response(failure("permission_denied", error.message, details=details), 403)
    return Response(failure("permission_denied", str(error) or "You may not do this."), 403)


def _database(error: Exception) -> Response:
    try:
        message, field = refusal_text(error)
    except Exception:
        log.error("the API failed", exc_info=error)
        return Response(failure("internal", "Something is broken here. Tell an operator the request_id: the log has the rest."), 500)
    if isinstance(error, OperationalError):
        return Response(failure("busy", message), status.HTTP_409_CONFLICT, headers={"Retry-After": "1"})
    conflict = isinstance(error, (ProtectedError, RestrictedError))
    return Response(failure("in_use" if conflict else "invalid", message, field=field), 409 if conflict else 400)
