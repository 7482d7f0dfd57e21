"""The audit chain's pure rules: redaction, canonical JSON, the hash of a link.

A link's content is hashed first, then the link: ``content_hash = SHA-256(canonical JSON of the event)`` and
``hash = SHA-256(canonical JSON of {content_hash, prev_hash, seq})``. Canonical JSON: keys sorted, no spaces, UTF-8.
Numbers are integers: a float would not survive jsonb with the same text, so it is kept as text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

GENESIS_HASH = "0" * 64
"""``prev_hash`` of the first link."""

REDACTED = "[redacted]"

SECRET_WORDS = (
    "password",
    "secret",
    "token",
    "credential_value",
    "api_key",
    "apikey",
    "private_key",
    "authorization",
    "cookie",
    "pepper",
    "sealed",
    "digest",
)
"""A field whose name contains one of these never shows its value."""

PLAIN_FIELDS = frozenset(
    {"max_output_tokens", "max_tokens", "tokens", "from_input_tokens", "input_tokens", "output_tokens", "tokens_input", "tokens_output"}
)
"""Names that contain such a word and hold no secret: counts of tokens."""


def secret_field(name: str) -> bool:
    """Whether values under this field name are never written down."""
    folded = name.lower().replace("-", "_")
    if folded in PLAIN_FIELDS:
        return False
    return any(word in folded for word in SECRET_WORDS)


def redact(value: Any) -> Any:
    """JSON-ready copy of ``value`` with secrets blanked and everything in a form that jsonb gives back unchanged.

    Structs, dataclasses, dates, UUIDs, enums and decimals become plain JSON; floats become text; NUL and lone surrogates,
    which Postgres refuses, become U+FFFD; an empty secret stays visible as empty. Raises TypeError for what JSON cannot hold.
    """
    return _plain(msgspec.to_builtins(value, str_keys=True))


def _plain(value: Any, name: str = "") -> Any:
    if name and value not in (None, "", [], {}, False, True) and secret_field(name):
        return REDACTED
    if isinstance(value, Mapping):
        return {_text(str(key)): _plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    return value


def _text(value: str) -> str:
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode() if not value.isascii() or "\x00" in value else value


def clean_text(value: str, limit: int = 500) -> str:
    """Text that Postgres accepts, cut to ``limit`` characters."""
    return _text(str(value))[:limit]


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def timestamp_text(at: datetime) -> str:
    """UTC with microseconds, always: ``2026-01-31T09:30:00.000000Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def content_hash(content: Mapping[str, Any]) -> str:
    """Hex SHA-256 of an event's content (see ``CONTENT_FIELDS`` in models)."""
    return hashlib.sha256(canonical_json(content)).hexdigest()


def link_hash(*, seq: int, content: str, prev_hash: str) -> str:
    """Hex SHA-256 of a link; the trigger ``audit_seal`` computes the same in SQL."""
    return hashlib.sha256(canonical_json({"content_hash": content, "prev_hash": prev_hash, "seq": seq})).hexdigest()
