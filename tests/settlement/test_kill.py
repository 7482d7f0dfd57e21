"""Kill everything, in turn and at random moments: no record is lost, none is counted twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from apps.contracts.journal import NEW_PREFIX

pytestmark = [pytest.mark.slow, pytest.mark.kill, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 200.0


MIGRATE = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from apps.accounts.models import Organisation
from apps.budgets.models import Budget
made = Organisation.objects.create(name="Acme", slug="acme")
for window in ("day", "month"):
    print(Budget.objects.create(organisation=made, name=window, scope="organisation", window=window, limit_nano=10**16).pk)
"""


class Stage:
    """A Postgres, a shipper and writers, all real processes."""

    def __init__(self, directory: Path, server: Any) -> None:
        self.server = server
        self.journals = directory / "journal"
        self.logs = directory / "logs"
        self.logs.mkdir()
        self.environ = {
            **os.environ,
            "DATABASE_URL": server.url(),
            "BULKHEAD_DATA_DIR": str(directory),
            "BULKHEAD_SECRET_KEY": "tests-only",
            "DJANGO_SETTINGS_MODULE": "controlplane.settings.dev",
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.status = directory / "run" / "shipper.json"
        self.shipper_log = (directory / "shipper.log").open("wb")
        self.seeds = 0
        self.budgets: list[str] = []

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=self.environ, **options)
        self.processes.append(process)
        return process

    def migrate(self) -> None:
        """The schema, and two budgets of one organisation, whose leases the writers take."""
        process = self.start("-c", MIGRATE, stdout=subprocess.PIPE)
        said, _ = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0
        self.budgets = said.decode().split()

    def shipper(self) -> subprocess.Popen[bytes]:
        return self.start("manage.py", "shipper", stderr=self.shipper_log)

    def writer(self) -> subprocess.Popen[bytes]:
        self.seeds += 1
        return self.start(
            "-m", "tests.settlement.writer", str(self.journals), str(self.logs / f"{self.seeds}"), str(self.seeds), *self.budgets
        )

    def until_writing(self, seed: int) -> None:
        """Wait until that writer, counted from 1, has appended anything: killed earlier, it would show nothing."""
        log = self.logs / f"{seed}"
        self.wait(lambda: log.exists() and log.stat().st_size > 0, f"writer {seed} does not write")

    def logged(self) -> int:
        return sum(path.stat().st_size for path in self.logs.iterdir())

    def until_logged(self, more: int) -> None:
        """Wait until the writers have appended on: killing by progress, not by the clock."""
        goal = self.logged() + more
        self.wait(lambda: self.logged() >= goal, "the writers do not write")

    def settled(self) -> int:
        return int(self.query("SELECT coalesce(sum(records), 0) FROM settlement_journal")[0][0])

    def until_settled(self, more: int) -> None:
        """Wait until the shipper has settled on: a kill finds it at work, not on its way there."""
        goal = self.settled() + more
        self.wait(lambda: self.settled() >= goal, "the shipper does not settle")

    def boots(self) -> list[str]:
        """The journals; not what a writer left that died while it made its own, which holds no record and which nobody reads."""
        return [path.name for path in self.journals.iterdir() if path.is_dir() and not path.name.startswith(NEW_PREFIX)]

    def wait(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{otherwise}\n{self.state()}"
            time.sleep(0.02)

    def state(self) -> str:
        """Everything that could say why nothing moves."""
        for process in self.processes:
            if process.poll() is None and "shipper" in process.args:
                process.send_signal(signal.SIGUSR1)  # it writes its threads' stacks to its log
        time.sleep(1)
        parts: dict[str, Any] = {
            "journals": [
                f"{path.relative_to(self.journals)} {path.stat().st_size}" for path in sorted(self.journals.rglob("*")) if path.is_file()
            ],
            "processes": [f"{process.pid} {process.poll()} {process.args[1:4]}" for process in self.processes],
            "status": self.status.read_text() if self.status.exists() else "none",
            "shipper's log": Path(self.shipper_log.name).read_text(errors="replace").splitlines()[-80:],
        }
        try:
            parts["settlement_journal"] = self.query('SELECT boot_id::text, state, segment, "offset", records FROM settlement_journal')
            parts["sessions"] = self.query(
                "SELECT pid, application_name, state, wait_event_type, wait_event, pg_blocking_pids(pid)::text, left(query, 80) "
                "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        except psycopg.Error as error:
            parts["Postgres"] = str(error)
        return json.dumps(parts, indent=1, default=str)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url()) as connection:
            return connection.execute(sql).fetchall()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.shipper_log.close()


@pytest.fixture
def stage(tmp_path: Path, postgres_server: Callable[..., Any]) -> Any:
    found = Stage(tmp_path, postgres_server(migrated=True))
    yield found
    found.end()


def test_nothing_is_lost_or_counted_twice_whoever_is_killed(stage: Stage) -> None:
    stage.migrate()
    chance = random.Random(20)
    (stage.journals / f"{NEW_PREFIX}{uuid4()}").mkdir(parents=True)  # of a writer that was killed while it made its journal
    shipper, writers = stage.shipper(), [stage.writer(), stage.writer()]
    stage.until_writing(1)
    stage.until_writing(2)
    for victim in ("writer", "shipper", "postgres", "shipper"):
        stage.until_logged(chance.randrange(1_000, 20_000))
        if victim == "writer":
            writers[0].kill()
            writers[0].wait()
            writers = [writers[1], stage.writer()]
        elif victim == "shipper":
            stage.until_settled(chance.randrange(1, 3_000))
            shipper.kill()
            shipper.wait()
            stage.until_logged(chance.randrange(1_000, 20_000))
            shipper = stage.shipper()
        else:
            stage.until_settled(chance.randrange(1, 3_000))
            stage.server.kill()
            stage.until_logged(chance.randrange(1_000, 20_000))
            stage.server.start()
    stage.until_writing(3)
    stage.until_logged(chance.randrange(1_000, 20_000))
    # One is stopped, not dead: its journal must not be buried.
    writers[0].send_signal(signal.SIGSTOP)
    writers[1].kill()
    stage.wait(lambda: len(stage.boots()) == 1, "dead journals are not drained")
    writers[0].kill()
    stage.wait(lambda: not stage.boots(), "the stopped writer's journal is not drained after its death")

    shipper.terminate()
    assert shipper.wait(DEADLINE_SECONDS) == 0
    rows = {row[0].hex: row[1:] for row in stage.query("SELECT id, outcome, cost_nano, tokens_input FROM usage_request")}
    assert len(rows) == stage.query("SELECT count(*) FROM usage_request")[0][0]
    opened, full = logs(stage)
    assert len(full) > 200
    assert {request: rows.get(request) for request in full} == full
    unclosed = {request: reserved for request, reserved in opened.items() if request not in full}
    assert unclosed, "nothing was in flight at any kill: the test shows too little"
    late = [request for request in unclosed if rows[request][0] != "unknown"]
    assert len(late) <= stage.seeds  # stored, but its writer died before it could log so
    assert {request: rows[request][1] for request in unclosed if request not in late} == {
        request: reserved for request, reserved in unclosed.items() if request not in late
    }
    assert len(rows.keys() - opened.keys()) <= stage.seeds
    # Two walls, real leases: what every window says was spent is what the requests cost, and nothing is held any more.
    (cost,) = stage.query("SELECT sum(cost_nano) FROM usage_request")[0]
    windows = stage.query(
        "SELECT budget_id::text, sum(spent_nano), sum(leased_nano), sum(overrun_nano) FROM budgets_budgetwindow GROUP BY budget_id"
    )
    assert sorted(windows) == sorted((budget, cost, 0, 0) for budget in stage.budgets)
    assert stage.query("SELECT count(*) FROM budgets_lease WHERE state = 'open'") == [(0,)]
    assert stage.query("SELECT count(*) FROM usage_rollup_pending") == [(0,)]
    for table in ("10s", "1m", "1h"):
        sums = stage.query(f"SELECT sum(requests), sum(cost_nano), sum(tokens_input), sum(unknown) FROM usage_rollup_{table}")
        assert sums == stage.query(
            "SELECT count(*), sum(cost_nano), sum(tokens_input), count(*) FILTER (WHERE outcome = 'unknown') FROM usage_request"
        )
    assert stage.query("SELECT state, sum(records) FROM settlement_journal GROUP BY state") == [("drained", len(rows))]
    assert stage.query("SELECT count(*) FROM settlement_reject") == [(0,)]
    assert stage.query("SELECT count(*) FROM settlement_open") == [(0,)]


def logs(stage: Stage) -> tuple[dict[str, int], dict[str, tuple[str, int, int]]]:
    opened: dict[str, int] = {}
    full: dict[str, tuple[str, int, int]] = {}
    for path in stage.logs.iterdir():
        for line in path.read_text().splitlines():
            kind, request, *numbers = line.split()
            if kind == "open":
                opened[request] = int(numbers[0])
            else:
                full[request] = ("ok", int(numbers[0]), int(numbers[1]))
    return opened, full


def test_a_second_shipper_waits_or_says_who_runs(stage: Stage) -> None:
    first = stage.start("manage.py", "shipper", stderr=stage.shipper_log)
    lock = stage.journals / "shipper.lock"
    stage.wait(lambda: lock.exists() and lock.read_text() == str(first.pid), "the first shipper does not start")
    second = stage.start("manage.py", "shipper", "--no-wait", stderr=subprocess.PIPE)
    _, said = second.communicate(timeout=DEADLINE_SECONDS)
    assert second.returncode == 1
    assert f"another shipper (pid {first.pid})" in said.decode()
    first.terminate()
    assert first.wait(DEADLINE_SECONDS) == 0
