"""What a provider's credential may be: a key that is sent as it is, or an account from which tokens or signatures are made.

A credential is one text. One that begins with ``{`` is a JSON object whose ``type`` says what it is; any other is a key. Stored and sealed
is the canonical text (``canonical``): an account's fields under our names, on one line. Nothing here says a secret in a message.

======================  ===============================================================================================
``service_account``     Google's key file of a service account, as it is downloaded
``aws``                 ``access_key_id``, ``secret_access_key``, perhaps ``session_token`` and ``region``
``aws-default``         nothing, perhaps ``region``: what AWS's own chain finds on the proxy's host, where its operator allows it
``entra``               ``tenant_id``, ``client_id``, ``client_secret`` of an application in Microsoft Entra
======================  ===============================================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

FORMS = {
    "key": "Key",
    "aws": "AWS access key",
    "aws-default": "AWS default chain",
    "google": "Google service account",
    "entra": "Entra app",
}
"""Every form of credential, with its words for people."""
MOST_CHARACTERS = 16_384
GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
ENTRA_AUTHORITY = "https://login.microsoftonline.com"
ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"
_ALIASES = {
    "AccessKeyId": "access_key_id",
    "SecretAccessKey": "secret_access_key",
    "SessionToken": "session_token",
    "appId": "client_id",
    "password": "client_secret",
    "tenant": "tenant_id",
    "clientId": "client_id",
    "clientSecret": "client_secret",
    "tenantId": "tenant_id",
}
"""How AWS's and Azure's own tools write the same."""


class CredentialError(ValueError):
    """A text that is no credential; the message says what to write and holds no secret."""


class Key(NamedTuple):
    text: str

    @property
    def form(self) -> str:
        return "key"

    @property
    def identity(self) -> str:
        """By whose end people tell it from another."""
        return self.text


class AwsKeys(NamedTuple):
    """session_token: of temporary credentials, which end by themselves. region: where an endpoint's address names none."""

    access_key: str
    secret_key: str
    session_token: str = ""
    region: str = ""

    @property
    def form(self) -> str:
        return "aws"

    @property
    def identity(self) -> str:
        return self.access_key


class AwsDefault(NamedTuple):
    region: str = ""

    @property
    def form(self) -> str:
        return "aws-default"

    @property
    def identity(self) -> str:
        return ""


class GoogleAccount(NamedTuple):
    email: str
    key_id: str
    private_key: str
    token_uri: str = GOOGLE_TOKENS
    project: str = ""

    @property
    def form(self) -> str:
        return "google"

    @property
    def identity(self) -> str:
        return self.key_id


class EntraApp(NamedTuple):
    tenant: str
    client_id: str
    client_secret: str
    authority: str = ENTRA_AUTHORITY
    scope: str = ENTRA_SCOPE

    @property
    def form(self) -> str:
        return "entra"

    @property
    def identity(self) -> str:
        return self.client_id


Account = AwsKeys | AwsDefault | GoogleAccount | EntraApp
Credential = Key | Account


def credential_read(text: str) -> Credential:
    """Raises CredentialError."""
    if not text.startswith("{"):
        return Key(text)
    if len(text) > MOST_CHARACTERS:
        raise CredentialError(f"the credential is longer than {MOST_CHARACTERS} characters")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise CredentialError("the credential begins with '{' and is no JSON object: paste the whole of it") from None
    fields = {_ALIASES.get(name, name): value for name, value in said.items()}
    kind = fields.get("type") or _kind_of(fields)
    reader = _READERS.get(kind if isinstance(kind, str) else "")
    if reader is None:
        raise CredentialError(f"the credential's type {str(kind)[:40]!r} is unknown: use one of {', '.join(_READERS)}")
    return reader(_Fields(fields))


def canonical(credential: Credential) -> str:
    """The text that is stored; equal credentials give equal texts, and reading it gives the same again."""
    if isinstance(credential, Key):
        return credential.text
    kind = "service_account" if isinstance(credential, GoogleAccount) else credential.form
    said = {name: value for name, value in zip(_NAMES[kind], tuple(credential), strict=True) if value}
    return json.dumps({"type": kind, **said}, separators=(",", ":"))


_NAMES = {
    "service_account": ("client_email", "private_key_id", "private_key", "token_uri", "project_id"),
    "aws": ("access_key_id", "secret_access_key", "session_token", "region"),
    "aws-default": ("region",),
    "entra": ("tenant_id", "client_id", "client_secret", "authority", "scope"),
}


class _Fields:
    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def text(self, name: str, default: str | None = None, *, shape: str = r"[\x21-\x7e]{1,4096}") -> str:
        value = self._fields.get(name)
        if value in (None, "") and default is not None:
            return default
        if not isinstance(value, str) or not re.fullmatch(shape, value):
            raise CredentialError(f"the credential's {name} is missing or is no such thing: paste it as its maker gave it")
        return value

    def url(self, name: str, default: str) -> str:
        value = self.text(name, default, shape=r"https?://[\x21-\x7e]{1,500}").rstrip("/")
        parts = urlsplit(value)
        if not parts.hostname or parts.username or parts.query or parts.fragment:
            raise CredentialError(f"the credential's {name} is no address without user and query")
        return value


_REGION = r"[a-z0-9-]{2,40}"


def _aws(fields: _Fields) -> AwsKeys:
    return AwsKeys(
        fields.text("access_key_id", shape=r"[A-Za-z0-9]{8,128}"),
        fields.text("secret_access_key"),
        fields.text("session_token", ""),
        fields.text("region", "", shape=_REGION),
    )


def _aws_default(fields: _Fields) -> AwsDefault:
    return AwsDefault(fields.text("region", "", shape=_REGION))


def _google(fields: _Fields) -> GoogleAccount:
    private = fields.text("private_key", shape=r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\x20-\x7e\n\r]{64,12000}")
    return GoogleAccount(
        fields.text("client_email", shape=r"[\x21-\x7e]{3,300}"),
        fields.text("private_key_id", "", shape=r"[\x21-\x7e]{1,200}"),
        private.replace("\r", ""),
        fields.url("token_uri", GOOGLE_TOKENS),
        fields.text("project_id", "", shape=r"[\x21-\x7e]{1,200}"),
    )


def _entra(fields: _Fields) -> EntraApp:
    return EntraApp(
        fields.text("tenant_id", shape=r"[A-Za-z0-9.-]{1,200}"),
        fields.text("client_id", shape=r"[A-Za-z0-9-]{1,100}"),
        fields.text("client_secret"),
        fields.url("authority", ENTRA_AUTHORITY),
        fields.text("scope", ENTRA_SCOPE, shape=r"[\x21-\x7e]{1,300}"),
    )


_READERS: dict[str, Callable[[_Fields], Account]] = {"service_account": _google, "aws": _aws, "aws-default": _aws_default, "entra": _entra}


def _kind_of(fields: dict[str, Any]) -> str:
    if "access_key_id" in fields:
        return "aws"
    return "entra" if "client_id" in fields and "tenant_id" in fields else ""


_AWS_HOST = re.compile(r"[a-z0-9-]+\.(?P<region>[a-z]{2,4}(?:-[a-z]+)+-\d)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")


def region_of(host: str, credential: AwsKeys | AwsDefault) -> str:
    """The region that a request to ``host`` is signed for: the one that the host names, else the credential's; empty where neither says."""
    named = _AWS_HOST.search(host)
    return named["region"] if named is not None else credential.region
