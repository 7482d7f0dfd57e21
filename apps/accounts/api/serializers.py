"""Strict input, and the contract's structs as serializers, so that field names, defaults and choices are written down once."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from rest_framework import serializers

REASON = "Why: goes into the audit and the config version."


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields it does not know: a misspelt one must not be ignored."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = {name for name, field in self.fields.items() if not field.read_only}
            strange = [name for name in data if name not in known]
            if strange:
                names = ", ".join(sorted(known)) or "none"
                read_only = strange[0] in self.fields
                said = "is read only" if read_only else "is no field here"
                raise serializers.ValidationError({strange[0]: [f"{strange[0]!r} {said}; fields: {names}."]})
        return super().to_internal_value(data)


class ReasonSerializer(StrictSerializer):
    """A write that takes a reason beside its fields."""

    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000, write_only=True, help_text=REASON)


class ErrorBody(serializers.Serializer[Any]):
    """What failed."""

    code = serializers.CharField(help_text="Stable; for programs.")
    message = serializers.CharField(help_text="What is wrong and what to do about it; for people.")
    field = serializers.CharField(allow_null=True, help_text="The field it belongs to, dotted: targets[0].model.")
    details = serializers.DictField(help_text="More for programs, by code.")
    request_id = serializers.CharField(help_text="Also in X-Request-Id and in the log.")


class ErrorSerializer(serializers.Serializer[Any]):
    """The one shape of everything that fails."""

    error = ErrorBody()


def struct_serializer(struct: type[msgspec.Struct], *, name: str = "", leave_out: frozenset[str] = frozenset()) -> type[StrictSerializer]:
    """A serializer with a struct's fields, defaults and choices. name: the schema's, the struct's own unless given."""
    return _of_struct(struct, name or struct.__name__, leave_out)


@cache
def _of_struct(struct: type[msgspec.Struct], name: str, leave_out: frozenset[str]) -> type[StrictSerializer]:
    hints, said = get_type_hints(struct), field_texts(struct)
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        if field.name in leave_out:
            continue
        arguments: dict[str, Any] = {}
        more = {"help_text": said[field.name]} if field.name in said else {}
        if field.default is not msgspec.NODEFAULT:
            arguments = {"required": False, "default": _plain(field.default)}
        elif field.default_factory is not msgspec.NODEFAULT:
            arguments = {"required": False, "default": field.default_factory}
        fields[field.name] = _field(hints[field.name], {**arguments, **more})
    return type(f"{name}Serializer", (StrictSerializer,), {"__doc__": struct.__doc__, **fields})


def field_texts(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What a struct's docstring says of its fields, each by a sentence that begins with its name: ``weight: share among targets.``"""
    text = " ".join((struct.__doc__ or "").replace("``", "").split())
    found: dict[str, str] = {}
    for names, told in re.findall(r"(?:^|(?<=[.;] ))(\w+(?:, \w+)*): (.+?\.)(?= |$)", text):
        known = [name for name in names.split(", ") if name in struct.__struct_fields__]
        found |= dict.fromkeys(known, f"{told[:1].upper()}{told[1:]}")
    return found


def _plain(value: Any) -> Any:
    """A default that is a struct, in the form that input has."""
    return (lambda: msgspec.to_builtins(value)) if isinstance(value, msgspec.Struct) else list(value) if isinstance(value, tuple) else value


def _field(hint: Any, arguments: dict[str, Any]) -> serializers.Field[Any, Any, Any, Any]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = [part for part in get_args(hint) if part is not type(None)]
        return _field(inner[0], {**arguments, "allow_null": True})
    if origin is Literal:
        return serializers.ChoiceField(choices=list(get_args(hint)), **arguments)
    if origin in (list, tuple):
        return serializers.ListField(child=_field(get_args(hint)[0], {}), **arguments)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return struct_serializer(hint)(**arguments)
    if hint is bool:
        return serializers.BooleanField(**arguments)
    if hint is int:
        return serializers.IntegerField(**arguments)
    if hint is str:
        return serializers.CharField(allow_blank=True, trim_whitespace=False, **arguments)
    raise TypeError(f"no field for {hint!r}")
