"""Google's ``Schema`` (a part of OpenAPI 3.0) as JSON Schema, which every other format speaks.

The way back is never needed: ``parametersJsonSchema`` and ``responseJsonSchema`` take JSON Schema as it is.
"""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects.translation import Unsupported

MAX_DEPTH = 64
_SAME = frozenset({"title", "description", "format", "pattern", "default", "minimum", "maximum"})
_COUNTS = {
    "minItems": "minItems",
    "maxItems": "maxItems",
    "minLength": "minLength",
    "maxLength": "maxLength",
    "minProperties": "minProperties",
    "maxProperties": "maxProperties",
}
_ALIASES = {
    "any_of": "anyOf",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "property_ordering": "propertyOrdering",
    "additional_properties": "additionalProperties",
    "defs": "$defs",
    "ref": "$ref",
}
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


def json_schema(schema: Any, field: str, depth: int = 0) -> dict[str, Any]:
    """Raises Unsupported with the field of what is no schema. ``propertyOrdering`` orders the properties."""
    if type(schema) is not dict:
        raise Unsupported(field, f"{field} must be a schema object")
    if depth > MAX_DEPTH:
        raise Unsupported(field, f"{field} is nested deeper than {MAX_DEPTH} levels")
    given = {_ALIASES.get(key, key): value for key, value in schema.items()}
    made: dict[str, Any] = {}
    for key, value in given.items():
        path = f"{field}.{key}"
        if value is None or key in ("nullable", "propertyOrdering"):
            continue
        if key == "type":
            made["type"] = _type(value, path)
            if made["type"] is None:
                del made["type"]
        elif key in _SAME:
            made[key] = value
        elif key in _COUNTS:
            made[key] = _count(value, path)
        elif key == "enum" or key == "required":
            if type(value) is not list:
                raise Unsupported(path, f"{path} must be a list")
            made[key] = value
        elif key == "example":
            made["examples"] = [value]
        elif key in ("properties", "$defs"):
            made[key] = _properties(value, given.get("propertyOrdering") if key == "properties" else None, path, depth)
        elif key == "items":
            made[key] = json_schema(value, path, depth + 1)
        elif key == "anyOf":
            if type(value) is not list:
                raise Unsupported(path, f"{path} must be a list of schemas")
            made[key] = [json_schema(one, f"{path}[{number}]", depth + 1) for number, one in enumerate(value)]
        elif key == "additionalProperties":
            made[key] = value if type(value) is bool else json_schema(value, path, depth + 1)
        elif key == "$ref":
            made[key] = value
        else:
            raise Unsupported(path, f"{path} is no field of a schema; JSON Schema goes into the field named ...JsonSchema")
    if given.get("nullable") is True:
        _admit_null(made)
    return made


def _type(value: Any, path: str) -> str | None:
    name = value.lower() if type(value) is str else ""
    if name == "type_unspecified":
        return None
    if name not in _TYPES:
        raise Unsupported(path, f"{path} must be one of {', '.join(sorted(_TYPES))}")
    return name


def _count(value: Any, path: str) -> int:
    """These are 64-bit integers, which JSON of Google's carries as text too."""
    if type(value) is int:
        return value
    if type(value) is str and value.isascii() and value.isdigit():
        return int(value)
    raise Unsupported(path, f"{path} must be a whole number")


def _properties(value: Any, ordering: Any, path: str, depth: int) -> dict[str, Any]:
    if type(value) is not dict:
        raise Unsupported(path, f"{path} must be an object of schemas")
    names = list(value)
    if type(ordering) is list:
        ahead = [name for name in ordering if type(name) is str and name in value]
        names = [*dict.fromkeys(ahead), *(name for name in names if name not in ahead)]
    return {name: json_schema(value[name], f"{path}.{name}", depth + 1) for name in names}


def _admit_null(schema: dict[str, Any]) -> None:
    if "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if "anyOf" in schema and {"type": "null"} not in schema["anyOf"]:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]


def closed(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes it: no object may have more than its properties, and all of these are required."""
    if type(schema) is list:
        return all(closed(one) for one in schema)
    if type(schema) is not dict:
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if schema.get("additionalProperties") is not False or type(properties) is not dict or type(required) is not list:
            return False
        if not set(properties) <= {name for name in required if type(name) is str}:
            return False
        if not all(closed(one) for one in properties.values()):
            return False
    definitions = schema.get("$defs")
    if type(definitions) is dict and not all(closed(one) for one in definitions.values()):
        return False
    return all(closed(schema[key]) for key in ("items", "anyOf", "oneOf", "allOf", "prefixItems") if key in schema)
