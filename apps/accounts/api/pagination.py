"""Lists by cursor: a page stays what it is while others write, and the last one costs what the first does."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as FieldError
from django.db import DataError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response

from apps.accounts.api.errors import ApiError


class Pages(CursorPagination):
    """``?limit=`` (at most 200) and ``?cursor=``; the answer holds ``items``, and the addresses of the pages beside it."""

    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200
    ordering = "pk"

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> tuple[str, ...]:
        """As the view says; the cursor needs an order in which no two are equal."""
        return tuple(getattr(view, "ordering", (self.ordering,)))

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> list[Any] | None:
        try:
            return super().paginate_queryset(queryset, request, view)  # type: ignore[no-any-return]
        except (NotFound, FieldError, DataError, ValueError, OverflowError):
            raise ApiError("This cursor is none that was given out here: start again from the first page.", field="cursor") from None

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"items": data, "next": self.get_next_link(), "previous": self.get_previous_link()})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "nullable": True, "format": "uri"}
        return {
            "type": "object",
            "required": ["items", "next", "previous"],
            "properties": {"items": schema, "next": link, "previous": link},
        }
