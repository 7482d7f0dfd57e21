"""For what: feature, tags, metadata and user, from headers and body; the key's own where the app says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import Runtime

STEP = "attribute"
MAX_FEATURE, MAX_TAG, MAX_TAGS, MAX_USER = 64, 64, 16, 256
MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512


def attribute(exchange: Exchange, runtime: Runtime) -> Refusal | None:
    key = exchange.key
    assert key is not None
    headers, payload = exchange.request.headers, exchange.payload
    feature, tags = key.feature, key.tags
    if not exchange.request.plain:
        raw = headers.get(b"x-bulkhead-feature")
        if raw is not None:
            feature = raw.decode("utf-8", "replace").strip()
            if len(feature) > MAX_FEATURE:
                message = f"The header x-bulkhead-feature is longer than {MAX_FEATURE} characters."
                return Refusal("invalid_field", STEP, message, "x-bulkhead-feature")
        raw = headers.get(b"x-bulkhead-tags")
        if raw is not None:
            given = [tag.strip() for tag in raw.decode("utf-8", "replace").split(",") if tag.strip()]
            if len(given) > MAX_TAGS or any(len(tag) > MAX_TAG for tag in given):
                message = f"The header x-bulkhead-tags takes up to {MAX_TAGS} tags of {MAX_TAG} characters."
                return Refusal("invalid_field", STEP, message, "x-bulkhead-tags")
            tags = list(dict.fromkeys([*tags, *given]))
    user = payload.get("user")
    if type(user) is not str:
        user = ""
    metadata: dict[str, str] = {}
    given_metadata = payload.get("metadata")
    if type(given_metadata) is dict:
        for name, value in given_metadata.items():
            if len(metadata) == MAX_METADATA:
                break
            if type(value) is str:
                metadata[name[:MAX_METADATA_KEY]] = value[:MAX_METADATA_VALUE]
    exchange.attribution = (feature, tags, user[:MAX_USER], metadata)
    return None
