"""How the control plane's processes log: through structlog's context into the lines of ``apps.contracts.logs``.

Whatever handles a request or a task binds what it knows (``structlog.contextvars.bind_contextvars``); every line written meanwhile,
by anyone's logger, carries it.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from celery.signals import task_postrun, task_prerun

from apps.contracts.logs import JsonLines


def formatter(process: str = "") -> JsonLines:
    """For Django's ``LOGGING``. ``process``: which one it is; from the command line where not given."""
    return JsonLines(process or process_name(sys.argv), structlog.contextvars.get_contextvars)


def process_name(argv: Sequence[str]) -> str:
    """``web``, ``worker``, ``beat``, or the command of ``manage.py``."""
    program = Path(argv[0]) if argv else Path("python")
    module = program.parent.name if program.name == "__main__.py" else program.name
    if module == "uvicorn":
        return "web"
    if module == "celery":
        return next((name for name in ("worker", "beat") if name in argv), "celery")
    return argv[1] if module == "manage.py" and len(argv) > 1 else module


@task_prerun.connect
def _task_begins(task_id: str = "", task: Any = None, **rest: Any) -> None:
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task_id=task_id, task=getattr(task, "name", ""))


@task_postrun.connect
def _task_ends(**rest: Any) -> None:
    structlog.contextvars.clear_contextvars()


SAID_AGAIN_SECONDS = 10.0


class BrokerAwayFilter(logging.Filter):
    """What Celery logs as a fault because the broker is away becomes a warning of one line, and a task's own fault stays one.

    The same of one logger is dropped for ``SAID_AGAIN_SECONDS``: beat would say it of each task that is due, for as long as it takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR or not self._of_the_broker(record):
            return True
        now, about = time.monotonic(), (record.name, record.msg)
        if (before := self._said.get(about)) is not None and now - before < SAID_AGAIN_SECONDS:
            return False
        self._said[about] = now
        record.msg, record.args = "the broker is away, work goes on when it is back: %s", (record.getMessage().strip().split("\n")[0],)
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = record.exc_text = None
        return True

    def _of_the_broker(self, record: logging.LogRecord) -> bool:
        """Beat's lines, the consumer's, and those of messages that cannot be acknowledged, where an exception in them says so."""
        said = str(record.msg).startswith(("Couldn't ack", "Couldn't reject"))
        if not said and not record.name.startswith(("celery.beat", "celery.worker.consumer")):
            return False
        from controlplane.broker import broker_away  # with the Redis client: not before somebody needs it

        told = record.args if isinstance(record.args, tuple) else ()
        return any(broker_away(one) for one in (*told, record.exc_info[1] if record.exc_info else None))


def configured(level: str, form: str) -> Mapping[str, Any]:
    """Django's ``LOGGING``. form: ``json`` or ``text``."""
    logging.captureWarnings(form == "json")  # Python's warnings, else, are lines of their own form
    plain = {"format": "%(asctime)s %(levelname)s %(name)s: %(request_id)s%(message)s"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request": {"()": "apps.ui.requestid.RequestIdFilter"}, "broker": {"()": "controlplane.logs.BrokerAwayFilter"}},
        "formatters": {"lines": {"()": "controlplane.logs.formatter"} if form == "json" else plain},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "lines",
                "filters": ["broker"] if form == "json" else ["broker", "request"],
            },
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "httpx": {"level": "WARNING"},  # one line per provider check is noise
            "django.server": {"level": "WARNING"},
            "uvicorn": {"handlers": ["console"], "level": "WARNING", "propagate": False},  # else it writes lines of its own form
            "uvicorn.error": {"handlers": [], "propagate": True},
        },
    }
