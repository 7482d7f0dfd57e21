"""Queries that read the same every time, compiled once: making the SQL of a large one takes Django longer than Postgres takes to answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import QuerySet


class CompiledQuery:
    """make: the query, by ``values_list``, asked for once in a process: what varies, such as the time, is left to SQL (``Now()``)."""

    def __init__(self, make: Callable[[], QuerySet[Any, Any]]) -> None:
        self._make = make
        self._known: tuple[Any, str, tuple[Any, ...], list[Any]] | None = None

    def rows(self) -> list[list[Any]]:
        """All rows, their values as the queryset itself would give them. Raises what a queryset raises."""
        connection = connections[DEFAULT_DB_ALIAS]
        if self._known is None:
            query = self._make().query
            compiler = query.get_compiler(connection=connection)
            sql, parameters = compiler.as_sql()
            self._known = query, sql, tuple(parameters), [column for column, _, _ in compiler.select]
        query, sql, parameters, columns = self._known
        compiler = query.get_compiler(connection=connection)  # one of its own for every thread; only reading values takes it
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(compiler.apply_converters(cursor.fetchall(), compiler.get_converters(columns)))
