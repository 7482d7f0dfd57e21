"""What every Celery task does when the database is away: it says so in a line and is over. All of them are run again by themselves."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task
from django.db import InterfaceError, OperationalError

log = logging.getLogger("bulkhead.tasks")

AWAY = ("08", "57P")
"""SQLSTATE classes: the connection failed or was lost, the server is going down or coming up."""


def database_away(error: BaseException) -> bool:
    """Whether the error says that PostgreSQL cannot be spoken to; not one of its answers, such as a deadlock."""
    state = getattr(error.__cause__, "sqlstate", None)
    return isinstance(error, OperationalError | InterfaceError) and (state is None or state.startswith(AWAY))


class AwayTask(Task):
    """A task that finds the database away does nothing, with a warning instead of a traceback."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except (OperationalError, InterfaceError) as error:
            if not database_away(error):
                raise
            log.warning("%s was skipped, the database is away: %s", self.name, str(error).splitlines()[0])
            return None
