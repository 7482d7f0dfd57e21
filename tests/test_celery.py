"""What runs by itself: every entry of the timetable is a task that exists, on a queue that the worker listens to."""

from __future__ import annotations

import shlex
from pathlib import Path

import psycopg
import pytest
from django.db import OperationalError

from controlplane.celery import QUEUES, SCHEDULE, app
from controlplane.task import AwayTask

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", SCHEDULE)
def test_a_scheduled_task_exists_and_has_a_queue(name: str) -> None:
    app.loader.import_default_modules()
    task = SCHEDULE[name]["task"]
    assert task in app.tasks
    assert app.amqp.router.route({}, task)["queue"].name in QUEUES
    assert app.conf.beat_schedule[name]["options"]["expires"] > 0


def test_the_worker_listens_to_every_queue() -> None:
    line = next(line for line in (ROOT / "Procfile").read_text().splitlines() if line.startswith("worker:"))
    words = shlex.split(line)
    assert sorted(words[words.index("--queues") + 1].split(",")) == sorted(QUEUES)


@pytest.mark.parametrize(
    ("cause", "skipped"),
    [
        (psycopg.OperationalError("connection refused"), True),
        (psycopg.errors.AdminShutdown("terminating connection"), True),
        (psycopg.errors.CannotConnectNow("starting up"), True),
        (psycopg.errors.DeadlockDetected("a deadlock"), False),
    ],
)
def test_a_task_that_finds_the_database_away_is_skipped_and_says_so(
    caplog: pytest.LogCaptureFixture, cause: Exception, skipped: bool
) -> None:
    def run() -> None:
        raise OperationalError(str(cause)) from cause

    task = app.task(run, name=f"tests.away.{type(cause).__name__}", shared=False)
    assert isinstance(task, AwayTask)
    if skipped:
        assert task() is None
        assert f"{task.name} was skipped, the database is away: {cause}" in caplog.text
    else:
        with pytest.raises(OperationalError):
            task()
