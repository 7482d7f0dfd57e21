"""Wire errors: the stable codes that apps may rely on, and the shape they arrive in.

Shape (OpenAI's): ``{"error": {"message", "type", "param", "code"}}`` with ours beside them:
``"bulkhead": {"step", "config_version", "request_id", ...}``. A code, once shipped, never changes its meaning.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class WireError(NamedTuple):
    """status: HTTP. type: OpenAI's error type. retry: whether the same call may succeed later."""

    status: int
    type: str
    retry: bool = False


_INVALID = "invalid_request_error"
_AUTH = "authentication_error"

CODES: dict[str, WireError] = {
    # the request itself
    "malformed_http": WireError(400, _INVALID),
    "invalid_json": WireError(400, _INVALID),
    "invalid_form": WireError(400, _INVALID),
    "duplicate_key": WireError(400, _INVALID),
    "too_deep": WireError(400, _INVALID),
    "invalid_field": WireError(400, _INVALID),
    "missing_field": WireError(400, _INVALID),
    "empty_body": WireError(400, _INVALID),
    "unsupported_media_type": WireError(415, _INVALID),
    "unsupported_encoding": WireError(415, _INVALID),
    "body_too_large": WireError(413, _INVALID),
    "headers_too_large": WireError(431, _INVALID),
    "uri_too_long": WireError(414, _INVALID),
    "request_timeout": WireError(408, _INVALID, retry=True),
    "not_found": WireError(404, _INVALID),
    "method_not_allowed": WireError(405, _INVALID),
    "http_version_not_supported": WireError(505, _INVALID),
    "expectation_failed": WireError(417, _INVALID),
    # who asks
    "missing_key": WireError(401, _AUTH),
    "invalid_api_key": WireError(401, _AUTH),
    "key_revoked": WireError(401, _AUTH),
    "key_expired": WireError(401, _AUTH),
    "key_killed": WireError(403, "permission_error"),
    "key_disabled": WireError(403, "permission_error"),
    "address_not_allowed": WireError(403, "permission_error"),
    # what they ask for
    "model_not_found": WireError(404, _INVALID),
    "route_disabled": WireError(503, "service_unavailable_error"),
    "degraded": WireError(503, "service_unavailable_error", retry=True),
    "route_killed": WireError(503, "service_unavailable_error"),
    "feature_killed": WireError(503, "service_unavailable_error"),
    "request_not_found": WireError(404, _INVALID),
    "response_not_found": WireError(404, _INVALID),
    "previous_response_not_found": WireError(400, _INVALID),
    "idempotency_conflict": WireError(409, _INVALID),
    "unsupported_operation": WireError(400, _INVALID),
    "context_length_exceeded": WireError(400, _INVALID),
    "explain_not_allowed": WireError(403, "permission_error"),
    # how much of it
    "rate_limit_exceeded": WireError(429, "rate_limit_error", retry=True),
    "request_exceeds_limit": WireError(429, "rate_limit_error"),
    "limit_unavailable": WireError(503, "service_unavailable_error", retry=True),
    # money
    "budget_exceeded": WireError(429, "insufficient_quota"),
    "budget_unavailable": WireError(503, "service_unavailable_error", retry=True),
    "unpriced_model": WireError(403, "permission_error"),
    "unbounded_cost": WireError(400, _INVALID),
    # upstreams
    "upstream_error": WireError(502, "upstream_error", retry=True),
    "upstream_unreachable": WireError(502, "upstream_error", retry=True),
    "upstream_timeout": WireError(504, "upstream_error", retry=True),
    "upstream_malformed": WireError(502, "upstream_error", retry=True),
    "upstream_credentials_exhausted": WireError(502, "upstream_error"),
    "stream_interrupted": WireError(502, "upstream_error", retry=True),
    "no_target": WireError(503, "service_unavailable_error", retry=True),
    # ourselves
    "not_ready": WireError(503, "service_unavailable_error", retry=True),
    "shutting_down": WireError(503, "service_unavailable_error", retry=True),
    "journal_full": WireError(503, "service_unavailable_error", retry=True),
    "overloaded": WireError(429, "rate_limit_error", retry=True),
    "internal_error": WireError(500, "server_error", retry=True),
}

_encode = msgspec.json.Encoder().encode


def error_body(code: str, message: str, *, param: str | None = None, **bulkhead: Any) -> bytes:
    """The JSON body of an error; ``bulkhead`` goes into our own object beside OpenAI's."""
    body: dict[str, Any] = {"error": {"message": message, "type": CODES[code].type, "param": param, "code": code}}
    if bulkhead:
        body["bulkhead"] = bulkhead
    return _encode(body)
