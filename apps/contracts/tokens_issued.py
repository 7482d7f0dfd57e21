"""How an access token is asked for, and what the answer says. Pure: whoever asks, asks.

Google: a signed assertion is exchanged (RFC 7523), made by Google's own library. Entra: client credentials (RFC 6749, 4.4).
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from apps.contracts.credentials import GOOGLE_SCOPE, CredentialError, EntraApp, GoogleAccount

ASSERTION_SECONDS = 3600
LEAST_SECONDS = 30
"""A token that ends sooner is none: it would be asked for again and again."""
MOST_SECONDS = 86_400
_SAID = 300
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
"""Google's have some 1,000 characters, Entra's some 2,000."""


class TokenRequest(NamedTuple):
    """A POST of a form."""

    url: str
    body: bytes


class Token(NamedTuple):
    text: str
    lasts_seconds: float


class TokenRefused(Exception):
    """No token came. The message says who said what, and what to do; it holds no secret. lasting: asking again changes nothing
    until a person has acted."""

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


def token_request(account: GoogleAccount | EntraApp, now: float) -> TokenRequest:
    """now: seconds since the epoch. Signs with RSA for Google (about a millisecond). Raises CredentialError for a key that cannot sign."""
    if isinstance(account, EntraApp):
        form = {
            "grant_type": "client_credentials",
            "client_id": account.client_id,
            "client_secret": account.client_secret,
            "scope": account.scope,
        }
        return TokenRequest(f"{account.authority}/{quote(account.tenant)}/oauth2/v2.0/token", urlencode(form).encode())
    from google.auth import crypt, jwt  # megabytes that a proxy without such a credential need not hold

    claims = {
        "iss": account.email,
        "scope": GOOGLE_SCOPE,
        "aud": account.token_uri,
        "iat": int(now),
        "exp": int(now) + ASSERTION_SECONDS,
    }
    try:
        signer = crypt.RSASigner.from_string(account.private_key, account.key_id or None)  # type: ignore[no-untyped-call]
        assertion = jwt.encode(signer, claims)  # type: ignore[no-untyped-call]
    except Exception:
        raise CredentialError("the service account's private_key cannot sign: paste the key file as it was downloaded") from None
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion.decode()}
    return TokenRequest(account.token_uri, urlencode(form).encode())


def token_read(url: str, status: int, body: bytes) -> Token:
    """The token in an answer. Raises TokenRefused."""
    where = url.split("?", 1)[0]
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise TokenRefused(f"{where} answered {status} with no JSON. Check the address, and whether a proxy stands between.", lasting=False)
    if status != 200:
        code, words = str(said.get("error") or "")[:100], _plain(said.get("error_description"))
        lasting = status in (400, 401, 403)
        advice = "Check that the account's key is still active, then replace the credential." if lasting else "It is asked again by itself."
        raise TokenRefused(f"{where} refused a token ({status} {code}{f': {words}' if words else ''}). {advice}", lasting=lasting)
    text, lasts = said.get("access_token"), said.get("expires_in", ASSERTION_SECONDS)
    try:
        seconds = float(lasts)
    except (TypeError, ValueError):
        seconds = 0.0
    if not isinstance(text, str) or not _TOKEN.fullmatch(text) or not LEAST_SECONDS <= seconds < 1e9:
        raise TokenRefused(f"{where} answered 200 without a usable access_token and expires_in. Check the address.", lasting=False)
    return Token(text, min(seconds, MOST_SECONDS))


def _plain(words: Any) -> str:
    text = words if isinstance(words, str) else ""
    return "".join(character if character.isprintable() else " " for character in text)[:_SAID]
