"""Columns that are NULL where a record has nothing: read as the empty value, so that no reader has to ask."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models


class DocumentField(models.JSONField):
    """``jsonb``, NULL where empty; NULL is read as what ``default`` makes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "null": True})

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("null", None)
        return name, path, args, kwargs

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if value is None:
            return self.get_default()
        return super().from_db_value(value, expression, connection)


class ChargesField(ArrayField):
    """``bigint[]``: lease id and reserved nano-dollars, in turn; NULL is read as no charge."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "base_field": models.BigIntegerField(), "null": True, "default": list})

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        for given in ("base_field", "null", "default"):
            kwargs.pop(given, None)
        return name, "apps.usage.fields.ChargesField", args, kwargs

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return [] if value is None else value
