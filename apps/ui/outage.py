"""Since when this process has not reached the database, for the page that says so. No state outside the process: a page that
needs the database to say that it is away would be of no use."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_since: datetime | None = None


def failed() -> datetime:
    """The database did not answer; returns when that was first seen."""
    global _since
    if _since is None:
        _since = datetime.now(UTC)
    return _since


def answered(**_: Any) -> None:
    """A connection was made (Django's signal ``connection_created``): the outage is over."""
    global _since
    _since = None
