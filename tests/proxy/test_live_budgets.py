"""Budgets in a real proxy process whose database is away: each request falls under its own, hard ones are closed, soft ones choose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from apps.contracts.snapshot import EACH, BudgetAction, BudgetFragment, Fragment
from apps.simulator.harness import SimulatorServer
from tests.proxy.lab import ORG, Lab, both, keys, prices, providers, route
from tests.proxy.standalone import StandaloneProxy

ROUTES = [route("open", both("open")), route("walled", both("walled")), route("model-walled", both("costly"))]


def budget(name: str, scope: str, scope_id: str, *, hard: bool, **more: Any) -> BudgetFragment:
    facts: dict[str, Any] = {"organisation": ORG, "window": "day", "limit_nano": 10**9, **more}
    return BudgetFragment(id=f"b-{name}", name=name, scope=cast(Any, scope), scope_id=scope_id, hard=hard, **facts)


BUDGETS: list[Fragment] = [
    budget("all", "organisation", ORG, hard=False, actions=(BudgetAction(at_percent=80, do="minimal"),)),
    budget("each", "user", EACH, hard=False),
    budget("closed", "feature", "closed", hard=False, open_when_away=False),
    budget("tagged", "tag", "batch", hard=True),
    budget("route", "route", "r-walled", hard=True),
    budget("model", "model", "costly", hard=True),
    budget("one", "user", "u-hard", hard=True),
]


@pytest.fixture(scope="module")
def walled(east: SimulatorServer, west: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    config = [*providers(east.base_url, west.base_url), *keys(), *prices(ROUTES), *ROUTES, *BUDGETS]
    with StandaloneProxy(config, tmp_path_factory.mktemp("budgets")) as proxy, httpx.Client(base_url=proxy.url, timeout=60) as client:
        yield Lab(proxy, east, west, client)
        said = proxy.log.read_text()
        assert "failed inside the proxy" not in said and "never retrieved" not in said, said[-4000:]


@pytest.mark.parametrize("stream", [False, True])
def test_requests_under_soft_budgets_pass_uncounted(walled: Lab, stream: bool) -> None:
    got = walled.ask("open", stream=stream, user="somebody", headers={"x-bulkhead-tags": "other"})
    assert got.status == 200 and got.whole
    assert "x-bulkhead-flags" not in got.headers, "a threshold of which nobody told anything does not act"


@pytest.mark.parametrize(
    ("model", "named", "headers", "body"),
    [
        ("open", "tagged", {"x-bulkhead-tags": "other, batch"}, {}),
        ("open", "closed", {"x-bulkhead-feature": "closed"}, {}),
        ("open", "one", {}, {"user": "u-hard"}),
        ("walled", "route", {}, {}),
        ("model-walled", "model", {}, {}),
    ],
)
def test_hard_budgets_are_closed_for_what_falls_under_them(
    walled: Lab, model: str, named: str, headers: dict[str, str], body: dict[str, Any]
) -> None:
    got = walled.ask(model, headers=headers, **body)
    assert got.status == 503
    error = json.loads(got.body)["error"]
    assert error["code"] == "budget_unavailable"
    assert f"the budget {named!r} applies to this request" in error["message"]


def test_a_dry_run_names_the_budgets_that_a_request_falls_under(walled: Lab) -> None:
    got = walled.ask("walled", user="u-1", headers={"x-bulkhead-explain": "dry-run", "x-bulkhead-tags": "batch"})
    told = {(row["name"], row["hard"]) for row in json.loads(got.body)["budgets"]}
    assert told == {("all", False), ("each", False), ("tagged", True), ("route", True)}
