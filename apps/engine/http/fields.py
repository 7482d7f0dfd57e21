"""Request bodies: what is asked for, and what this engine would not do is refused by its name, never dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from apps.engine.errors import Refused, Unsupported

Body = dict[str, Any]
_decode = msgspec.json.Decoder().decode
IGNORED = frozenset(
    {
        "user",
        "metadata",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "parallel_tool_calls",
    }
)
"""Say who asks, or where it is kept: an answer is the same without them."""
MAX_STOPS = 16
MAX_CHOICES = 16


def body_read(raw: bytes) -> Body:
    """The JSON object of a request. Raises Refused."""
    try:
        found = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("The request's body is not JSON.") from None
    if not isinstance(found, dict):
        raise Refused("The request's body must be a JSON object.")
    return found


def known(body: Body, read: frozenset[str], neutral: Mapping[str, tuple[object, ...]]) -> None:
    """Refuse every field that is not read, ignored, null, or at a value that asks for nothing (``neutral``)."""
    for name, value in body.items():
        if name in read or name in IGNORED or value is None:
            continue
        if name not in neutral:
            raise Refused(f"This engine does not know the field {name!r}.", param=name, code="unknown_parameter")
        if not any(value == harmless and type(value) in (type(harmless), int, float) for harmless in neutral[name]):
            raise Unsupported(name, f"This engine does not do {name!r}. Leave it out, or send the request to one that does.")


def model_of(body: Body, served: str) -> None:
    """Raises Refused where another model is asked for than the one that is served."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refused("The field 'model' must name a model.", param="model")
    if model != served:
        raise Refused(f"This engine serves {served!r}, not {model[:200]!r}.", param="model", code="model_not_found", status=404)


def flag(body: Body, name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Refused(f"The field {name!r} must be true or false.", param=name)
    return value


def whole(body: Body, name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Refused(f"The field {name!r} must be a whole number from {low:,} to {high:,}.", param=name)
    return value


def number(body: Body, name: str, low: float, high: float, default: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise Refused(f"The field {name!r} must be a number from {low:g} to {high:g}.", param=name)
    return float(value)


def stops_of(body: Body) -> tuple[str, ...]:
    found = body.get("stop")
    if found is None:
        return ()
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or len(texts) > MAX_STOPS or not all(isinstance(text, str) and text for text in texts):
        raise Refused(f"The field 'stop' must be a text, or up to {MAX_STOPS} texts, none empty.", param="stop")
    return tuple(texts)


def texts_of(body: Body, name: str, most: int) -> list[str]:
    """A text, or a list of them."""
    found = body.get(name)
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refused(f"The field {name!r} must be a text, or a list of texts that is not empty.", param=name)
    if len(texts) > most:
        raise Refused(f"The field {name!r} holds {len(texts):,} texts; {most:,} are the most.", param=name)
    return texts


def tokens_or_texts(body: Body, name: str, most: int) -> list[str | list[int]]:
    """As OpenAI takes prompts and inputs: a text, texts, a list of tokens, or lists of tokens."""
    found = body.get(name)
    if isinstance(found, list) and found:
        if all(isinstance(one, int) and not isinstance(one, bool) for one in found):
            return [found]
        if all(isinstance(one, list) for one in found):
            if not all(one and all(isinstance(token, int) and not isinstance(token, bool) for token in one) for one in found):
                raise Refused(f"The field {name!r} holds a list that is not of tokens, or is empty.", param=name)
            if len(found) > most:
                raise Refused(f"The field {name!r} holds {len(found):,} lists; {most:,} are the most.", param=name)
            return list(found)
    return list(texts_of(body, name, most))
