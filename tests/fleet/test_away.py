"""The database goes away in the middle of a run: the run is over, without a traceback for every deployment; a deadlock is one row's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import OperationalError
from django.utils import timezone

from apps.contracts.fleet import secret_digest
from apps.fleet import autoscaling, heartbeats, reconciling
from apps.fleet.heartbeats import Beat
from apps.fleet.models import Deployment
from tests.fleet.conftest import FakeAgent
from tests.fleet.test_autoscaling import SCALING, Kept

AWAY = psycopg.errors.AdminShutdown("terminating connection due to unexpected postmaster exit")
DEADLOCK = psycopg.errors.DeadlockDetected("deadlock detected")


def failing(cause: Exception, seen: list[object]) -> Callable[..., Any]:
    def fail(*args: object, **named: object) -> None:
        seen.append(args[0])
        raise OperationalError(str(cause)) from cause

    return fail


@pytest.mark.parametrize(("cause", "over"), [(AWAY, True), (DEADLOCK, False)])
def test_a_run_ends_where_the_database_is_away(
    deploy: Callable[..., Deployment],
    agent: Callable[..., FakeAgent],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cause: Exception,
    over: bool,
) -> None:
    for name in ("one", "two"):
        deploy(name, most=3, scaling=SCALING, scaling_mode="on")
    agents = [agent("w1"), agent("w2")]
    beats = [Beat(one.id, secret_digest(one.secret), one.heartbeat(), timezone.now()) for one in agents]
    runs: list[tuple[Any, str, Callable[[], object]]] = [
        (reconciling, "deployment_reconcile", reconciling.fleet_reconcile),
        (autoscaling, "_one", lambda: autoscaling.fleet_scale(Kept(), send=lambda event: None)),
        (heartbeats, "_write", lambda: heartbeats.heartbeats_take(beats)),
    ]
    for module, name, run in runs:
        seen: list[object] = []
        caplog.clear()
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(module, name, failing(cause, seen))
            if over:
                with pytest.raises(OperationalError):
                    run()
                assert len(seen) == 1
                assert not caplog.records
            else:
                run()
                assert len(seen) > 1
                assert caplog.records
