"""Redis goes away under Celery's worker and beat: both live on, work goes on when it is back, and nobody calls it a fault."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery.beat import SchedulingError
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as Disconnected

from controlplane.launcher.redis import Redis
from controlplane.logs import BrokerAwayFilter
from tests.accept.ledger import FAULTS
from tests.launcher.conftest import ROOT, clean_environment, wait_for

APP = """
import os, sys, time
from controlplane.celery import app

@app.task(name="tests.nap")
def nap(path, seconds):
    time.sleep(seconds)
    open(path, "a").close()
"""
ROUNDS, NAPS = 3, 24
TAKEN = 8
"""The worker's threads."""


@contextmanager
def running(kind: str, directory: Path, environ: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The Procfile's command of this kind, with the tests' task beside the real ones; the process and its log."""
    line = next(line for line in (ROOT / "Procfile").read_text().splitlines() if line.startswith(f"{kind}:"))
    words = shlex.split(line.partition(":")[2].replace("$BULKHEAD_DATA_DIR", environ["BULKHEAD_DATA_DIR"]))
    words = [sys.executable, *words[words.index("python") + 1 :]]
    words[words.index("-A") + 1] = "napping"
    log = directory / f"{kind}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(words, cwd=ROOT, env=environ, stdout=file, stderr=file)
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()


@pytest.mark.kill
@pytest.mark.timeout(240)
def test_a_worker_and_beat_outlive_redis_and_call_it_no_fault(redis_server: Redis, tmp_path: Path) -> None:
    (tmp_path / "napping.py").write_text(APP)
    (tmp_path / "beat").mkdir()
    environ = clean_environment() | {
        "DJANGO_SETTINGS_MODULE": "controlplane.settings.test",
        "REDIS_URL": redis_server.url,
        "BULKHEAD_DATA_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))),
    }

    def send(name: str) -> list[Path]:
        paths = [tmp_path / f"nap-{name}-{number}" for number in range(NAPS)]
        code = "import napping, sys\nfor path in sys.argv[1:]: napping.nap.apply_async((path, 0.3), queue='jobs')"
        subprocess.run([sys.executable, "-c", code, *map(str, paths)], env=environ, cwd=ROOT, check=True, timeout=60)
        return paths

    with running("worker", tmp_path, environ) as (worker, log), running("beat", tmp_path, environ) as (beat, beats):
        wait_for(lambda: " ready." in log.read_text(), what="the worker is ready")
        for n in range(ROUNDS):
            paths = send(f"before-{n}")
            wait_for(lambda paths=paths: any(path.exists() for path in paths), what="the worker is at it")
            redis_server.kill()
            wait_for(lambda n=n: log.read_text().count("Connection to broker lost") > n, what="the worker notices")
            told = len(beats.read_text())
            wait_for(lambda told=told: len(beats.read_text()) > told, what="something is due")
            redis_server.start()
            after = send(f"after-{n}")
            wait_for(lambda after=after: all(path.exists() for path in after), what="work goes on")
            # What the worker had taken and not begun is nobody's now, until Redis gives it to a worker again after the visibility timeout.
            wait_for(lambda paths=paths: sum(path.exists() for path in paths) >= NAPS - TAKEN, what="what waited in Redis is done")
        assert worker.poll() is None and beat.poll() is None
    text = log.read_text() + beats.read_text()
    assert [line for line in text.splitlines() if FAULTS.search(line)] == []
    lines = [line for line in text.splitlines() if "the broker is away" in line]
    assert len(lines) <= 10 * ROUNDS, "not a line for every task that is due"


def record(logger: str, text: str, *values: Any, error: BaseException | None = None) -> logging.LogRecord:
    return logging.LogRecord(logger, logging.ERROR, "f", 1, text, values, (type(error), error, None) if error else None)


def raised(error: Exception, cause: Exception) -> Exception:
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    "told",
    [
        record("celery.worker.consumer.consumer", "consumer: Cannot connect to %s: %s", "redis://", Disconnected("refused")),
        record("celery.beat", "beat: Connection error: %s", OperationalError("refused")),
        record("celery.beat", "Message Error: %s\n%s", SchedulingError("no"), [], error=raised(SchedulingError("no"), Disconnected("x"))),
        record("celery.worker.request", "Couldn't ack %r, reason:%r", "tag", Disconnected("refused"), error=Disconnected("refused")),
    ],
)
def test_a_broker_that_is_away_is_a_warning_of_one_line_once(told: logging.LogRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = BrokerAwayFilter()
    again = logging.makeLogRecord(told.__dict__)
    assert calm.filter(told) is True
    assert (told.levelname, told.exc_info) == ("WARNING", None)
    assert told.getMessage().startswith("the broker is away, work goes on when it is back: ") and "\n" not in told.getMessage()
    assert calm.filter(again) is False
    monkeypatch.setattr("controlplane.logs.SAID_AGAIN_SECONDS", 0.0)
    assert calm.filter(again) is True


@pytest.mark.parametrize(
    "told",
    [
        record("celery.app.trace", "Task %s raised unexpected: %s", "a", "b", error=ConnectionError("of the task's own")),
        record("celery.beat", "Message Error: %s\n%s", ValueError("a schedule"), [], error=ValueError("a schedule")),
        record("celery.worker.request", "Task handler raised error: %r", ConnectionError("of the task's own")),
        record("celery.worker", "Unrecoverable error: %r", Disconnected("refused"), error=Disconnected("refused")),
        record("bulkhead.alerts", "a receiver: %s", ConnectionError("refused")),
    ],
)
def test_any_other_fault_stays_one(told: logging.LogRecord) -> None:
    assert BrokerAwayFilter().filter(told) is True
    assert told.levelname == "ERROR"
