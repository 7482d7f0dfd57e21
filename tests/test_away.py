"""The database goes away in the middle of a run over many things: the run is over, not failed by each of them."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import psycopg
import pytest
from django.db import InterfaceError, OperationalError

from apps.accounts.models import Organisation
from apps.alerts import evaluation
from apps.alerts.models import AlertEvaluation
from controlplane.away import database_away

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {"proxy", "simulator", "agent", "engine", "contracts"}
"""Rooms that do not speak to the database."""
ALLOWED = {
    "apps/accounts/api/errors.py:_database": "answers a caller",
    "apps/fleet/agents/server.py:__call__": "answers an agent, and asks before",
    "apps/alerts/deliveries.py:delivery_send": "around a conversation with a receiver, who may have got the message",
    "apps/ui/palette.py:_ask": "answers a person, who sees which source failed",
}


def swallowers(path: Path) -> list[str]:
    """Functions with a handler of every exception that logs a traceback, goes on, and does not ask whether the database is away."""
    found = []
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.ExceptHandler) or not isinstance(node.type, ast.Name) or node.type.id != "Exception":
                continue
            text = "\n".join(ast.unparse(line) for line in node.body)
            goes_on = not isinstance(node.body[-1], ast.Raise)
            if goes_on and (".exception(" in text or "exc_info" in text) and "database_away" not in text:
                found.append(f"{path.relative_to(ROOT)}:{function.name}")
    return found


def test_whoever_goes_on_after_any_fault_asks_whether_the_database_is_away() -> None:
    found = set()
    for top in ("apps", "controlplane"):
        for path in (ROOT / top).rglob("*.py"):
            if path.relative_to(ROOT).parts[1] not in ELSEWHERE:
                found |= set(swallowers(path))
    assert found == set(ALLOWED), "raise where database_away(error)"


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (OperationalError("the connection was refused"), True),
        (InterfaceError("connection already closed"), True),
        (ValueError("not of the database"), False),
    ],
)
def test_what_has_no_code_is_away_where_it_is_of_the_connection(error: Exception, away: bool) -> None:
    assert database_away(error) is away


@pytest.mark.django_db
def test_alerts_are_judged_by_the_next_run_where_the_database_went_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        Organisation.objects.create(name=name, slug=name)
    cause = psycopg.errors.AdminShutdown("terminating connection due to unexpected postmaster exit")
    seen: list[Organisation] = []

    def ends(organisation: Organisation) -> int:
        seen.append(organisation)
        raise OperationalError(str(cause)) from cause

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(evaluation, "defaults_ensure", ends)
        with pytest.raises(OperationalError):
            evaluation.evaluate()
    assert len(seen) == 1 and not caplog.records
    assert evaluation.evaluate().failed == 0
    assert AlertEvaluation.objects.filter(organisation__in=Organisation.objects.all(), error="").count() == Organisation.objects.count()
