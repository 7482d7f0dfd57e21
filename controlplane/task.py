"""What every Celery task does when the database is away: it says so in a line and is over. All of them are run again by themselves."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task
from django.db import InterfaceError, OperationalError

from controlplane.away import database_away

log = logging.getLogger("bulkhead.tasks")


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
