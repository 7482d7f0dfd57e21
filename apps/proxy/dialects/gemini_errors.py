"""Errors as Google's APIs write them: ``{"error": {"code", "message", "status", "details"}}``. Source: google.rpc.Status."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from apps.proxy.dialects.gemini_words import status_of
from apps.proxy.dialects.translation import Payload, Trouble

BEGINNING = 300
"""Characters of a body that says nothing readable."""
_TYPES = {
    "UNAUTHENTICATED": "authentication_error",
    "PERMISSION_DENIED": "permission_error",
    "NOT_FOUND": "not_found_error",
    "RESOURCE_EXHAUSTED": "rate_limit_error",
}
_OF_STATUS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "overloaded_error": 503,
    "timeout_error": 504,
}
_TOO_LONG = re.compile(r"token count.{0,80}exceeds|exceeds the maximum (?:number of )?tokens", re.IGNORECASE | re.DOTALL)
_decode = msgspec.json.Decoder().decode


def trouble_of(status: int, body: bytes) -> Trouble:
    """status: of HTTP; 0 for an error in a stream, whose own code counts. Never raises."""
    error = _error(body)
    if error is None:
        beginning = " ".join(body[: BEGINNING * 4].decode("utf-8", "replace").split())[:BEGINNING]
        return Trouble(beginning or f"the provider answered {status} without a word", _type(status, ""))
    message, name, code = error.get("message"), error.get("status"), error.get("code")
    name = name if type(name) is str else ""
    status = status or (code if type(code) is int else 500)
    said = message if type(message) is str and message else name or f"the provider answered {status}"
    reason = _reason(error.get("details"))
    if reason == "API_KEY_INVALID":
        return Trouble(said, "authentication_error", "invalid_api_key")
    if _TOO_LONG.search(said):
        return Trouble(said, "invalid_request_error", "context_length_exceeded", "messages")
    return Trouble(said, _type(status, name), reason or name.lower() or None)


def _error(body: bytes) -> dict[str, Any] | None:
    try:
        found = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if type(found) is list and found:  # a stream's errors stand in an array
        found = found[0]
    error = found.get("error") if type(found) is dict else None
    if type(error) is str:
        return {"message": error}
    return error if type(error) is dict else None


def _reason(details: Any) -> str | None:
    for detail in details if type(details) is list else ():
        reason = detail.get("reason") if type(detail) is dict else None
        if type(reason) is str and reason:
            return reason
    return None


def _type(status: int, name: str) -> str:
    found = _TYPES.get(name) or _OF_STATUS.get(status)
    return found or ("server_error" if status >= 500 or not status else "invalid_request_error")


def error_body(status: int, trouble: Trouble, request_id: str) -> Payload:
    """Our own code stands where Google's machines name their reasons, the field where they name violated ones."""
    details: list[dict[str, Any]] = []
    if trouble.code:
        details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": trouble.code, "domain": "bulkhead"})
    if trouble.param:
        violation = {"field": trouble.param, "description": trouble.message}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    if request_id:
        details.append({"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": request_id})
    error: dict[str, Any] = {"code": status, "message": trouble.message, "status": status_of(status)}
    if details:
        error["details"] = details
    return {"error": error}


def code_of(type: str) -> int:
    """The HTTP status of an error in our words: in a stream it is told in the body alone."""
    return _CODES.get(type, 500)
