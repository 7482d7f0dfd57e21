"""JSON schemas as Anthropic holds answers and strict tools to them: bounds that it does not know are said in words.

A schema with a bound it does not know is refused whole. Source: Anthropic's guide to structured outputs, "JSON Schema limitations".
"""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects.wire_json import written

_BOUNDS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "maxItems",
        "uniqueItems",
        "contains",
        "minContains",
        "maxContains",
        "minProperties",
        "maxProperties",
        "propertyNames",
        "patternProperties",
    }
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_BY_NAME = frozenset({"properties", "$defs", "definitions"})
_LISTED = frozenset({"anyOf", "allOf", "oneOf"})


def held(schema: dict[str, Any], worded: dict[str, None]) -> dict[str, Any]:
    """The schema as it can be held; objects have no other properties than theirs. worded: gets the names of what is said in words only."""
    said: dict[str, Any] = {}
    words: dict[str, Any] = {}
    for name, value in schema.items():
        if (
            name in _BOUNDS
            or (name == "minItems" and value not in (0, 1))
            or (name == "format" and not (type(value) is str and value in _FORMATS))
        ):
            words[name] = value
        elif name in _BY_NAME and type(value) is dict:
            said[name] = {key: held(one, worded) if type(one) is dict else one for key, one in value.items()}
        elif name in _LISTED and type(value) is list:
            key = "anyOf" if name == "oneOf" else name
            said[key] = [held(one, worded) if type(one) is dict else one for one in value]
        elif name == "items" and type(value) is dict:
            said[name] = held(value, worded)
        else:
            said[name] = value
    if (said.get("type") == "object" or "properties" in said) and said.get("additionalProperties") is not False:
        if said.get("additionalProperties") is not None:
            worded["additionalProperties"] = None
        said["additionalProperties"] = False
    if words:
        worded.update(dict.fromkeys(words))
        told = written(words).decode()
        said["description"] = f"{said['description']} {told}" if type(said.get("description")) is str else told
    return said
