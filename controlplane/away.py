"""Whether the database is away: then a run over many things is over, instead of failing for each of them."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError

AWAY = ("08", "53", "57P")
"""SQLSTATE classes: the connection failed or was lost, the server has no room for it, it is going down or coming up."""


def database_away(error: BaseException) -> bool:
    """Whether the error says that PostgreSQL cannot be spoken to; not one of its answers, such as a deadlock or a timeout."""
    state = getattr(error.__cause__, "sqlstate", None)
    return isinstance(error, OperationalError | InterfaceError) and (state is None or state.startswith(AWAY))
