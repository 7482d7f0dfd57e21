"""Who calls the API: the person of a personal token, or of the browser's session, which then needs its CSRF token as forms do."""

from __future__ import annotations

import logging
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from apps.accounts.api.throttling import REFUSALS, TooMany
from apps.accounts.models import User
from apps.accounts.token_models import PersonalToken
from apps.accounts.tokens import TokenRefused, token_find, token_refusal_record, token_used
from apps.audit.actors import client_address, client_agent

log = logging.getLogger(__name__)
SCHEME = "Bearer"


class TokenAuthentication(authentication.BaseAuthentication):
    """``Authorization: Bearer bkp_…``. Whoever sends wrong ones over and over is not even looked up for a while."""

    def authenticate(self, request: Request) -> tuple[User, PersonalToken] | None:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.casefold() != SCHEME.casefold():
            return None
        address = client_address(request)
        wait = REFUSALS.wait(address)
        if wait:
            raise TooMany(wait, counted=REFUSALS.counted)
        try:
            token = token_find(secret.strip())
        except TokenRefused as refusal:
            if not REFUSALS.take(address):
                token_refusal_record(refusal, address=address, agent=client_agent(request))
            log.warning("a personal token was refused: %s", refusal.code)
            raise exceptions.AuthenticationFailed(refusal.message, code=refusal.code) from refusal
        token_used(token, address=address)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return f'{SCHEME} realm="bulkhead"'


class SessionAuthentication(authentication.SessionAuthentication):
    """The browser's session; a refusal of its CSRF token says what to send."""

    def enforce_csrf(self, request: Any) -> None:
        try:
            super().enforce_csrf(request)
        except exceptions.PermissionDenied as error:
            message = "With a session, send the page's CSRF token in X-CSRFToken; programs send a personal token instead."
            raise exceptions.PermissionDenied(message, code="csrf_failed") from error


class TokenScheme(OpenApiAuthenticationExtension):
    """How the schema names it."""

    target_class = TokenAuthentication
    name = "personalToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A personal token, made in your profile."}


class SessionScheme(OpenApiAuthenticationExtension):
    """How the schema names it."""

    target_class = SessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "The browser's session, with X-CSRFToken for writes."}
