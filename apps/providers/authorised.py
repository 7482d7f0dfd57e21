"""A provider's credential on one call from the control plane: a key is sent, a request is signed, a token is asked for first.

Proxies keep tokens and renew them; here calls are rare, and each asks for its own.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import httpx

from apps.contracts.credentials import (
    FORMS,
    AwsDefault,
    AwsKeys,
    CredentialError,
    EntraApp,
    GoogleAccount,
    Key,
    credential_read,
    region_of,
)
from apps.contracts.tokens_issued import TokenRefused, token_read, token_request
from apps.providers import outbound
from apps.providers.choices import KINDS
from apps.providers.spoken import call_headers

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
MOST_BYTES = 65_536
"""Of a token endpoint's answer."""


class NotAuthorised(Exception):
    """There is nothing that the call could be made with. The message says what to do, and holds no secret."""


def credential_headers(
    kind: str,
    secret: str,
    *,
    method: str,
    url: str,
    body: bytes,
    allow_private: bool,
    resolve: outbound.Resolve = outbound.resolve,
) -> dict[str, str]:
    """Every header that a call to a provider of this kind needs for its format and its credential. Raises NotAuthorised, and
    what httpx raises where a token endpoint cannot be reached."""
    try:
        credential = credential_read(secret)
        if credential.form not in KINDS[kind].forms:
            takes = " or ".join(FORMS[form] for form in KINDS[kind].forms)
            raise NotAuthorised(f"{KINDS[kind].label} takes no {FORMS[credential.form]}: give it a credential of the form {takes}.")
        if isinstance(credential, Key):
            return call_headers(kind, secret)
        if isinstance(credential, AwsDefault):
            raise NotAuthorised("AWS's default chain is a proxy's own: it cannot be tried from here. Try a request through a route.")
        if isinstance(credential, AwsKeys):
            return {**KINDS[kind].headers, **_signed(credential, method, url, body)}
        token = _token(credential, allow_private=allow_private, resolve=resolve)
        return {**KINDS[kind].headers, "authorization": f"Bearer {token}"}
    except (CredentialError, TokenRefused) as error:
        raise NotAuthorised(str(error)) from None


def _signed(account: AwsKeys, method: str, url: str, body: bytes) -> dict[str, str]:
    from apps.contracts.aws_signing import sign_bedrock

    region = region_of(urlsplit(url).hostname or "", account)
    if not region:
        raise NotAuthorised("The endpoint's address names no AWS region, and the credential has none: add region to the credential.")
    return sign_bedrock(method, url, body, account.access_key, account.secret_key, account.session_token or None, region)


def _token(account: GoogleAccount | EntraApp, *, allow_private: bool, resolve: outbound.Resolve) -> str:
    asked = token_request(account, time.time())
    if not allow_private and not asked.url.startswith("https://"):
        raise NotAuthorised("The credential's token address is not https: tokens are asked for in the open on private networks only.")
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json", "user-agent": "bulkhead-check"}
    with (
        outbound.client(allow_private=allow_private, tls=outbound.tls_settings(), timeout=TIMEOUT, asked=resolve) as client,
        client.stream("POST", asked.url, content=asked.body, headers=headers) as answer,
    ):
        said = b""
        for chunk in answer.iter_bytes():
            said += chunk
            if len(said) > MOST_BYTES:
                raise TokenRefused(f"{asked.url} does not stop answering. Check the credential's address.", lasting=False)
    return token_read(asked.url, answer.status_code, said).text
