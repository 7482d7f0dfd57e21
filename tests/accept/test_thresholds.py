"""Recorded production traffic under two teams' budgets: the one that nears its limit moves to cheaper targets by itself, the other does
not, and all totals are the providers' own bill. Pictures of the budget's page at each threshold go to ``test-artefacts/thresholds``
(or ``BULKHEAD_SHOTS``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.contracts.money import NANO
from tests.accept import ledger
from tests.accept.conftest import FULL, MATERIAL, Instance, summary_of
from tests.browser import LONG_MS
from tests.browser.looks import FLAGS, browser_found
from tests.launcher.conftest import ROOT, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.timeout(1_200),
    pytest.mark.skipif(not FULL, reason="it replays minutes of a trace and takes pictures: make accept (BULKHEAD_ACCEPT=1)"),
]

ROWS, SPEED = 2_000, 10
ROUTE, DEAR, CHEAP = "traced", "traced-dear", "traced-cheap"
PRICES = {DEAR: (1, 4), CHEAP: ("0.5", 2)}  # dollars per million tokens in and out
TIGHT, WIDE = "traced-tight", "traced-wide"
LIMITS = {TIGHT: 3, WIDE: 20}  # dollars; the rows cost about $4.30 at the dear target
PICTURES = Path(os.environ.get("BULKHEAD_SHOTS") or ROOT / "test-artefacts") / "thresholds"


def document(one: Instance) -> str:
    """Two targets, the dear one first; two teams with a key each, and a budget that moves to the cheaper one from half its limit on."""
    urls = {DEAR: one.facts["simulators"][0]["url"], CHEAP: one.facts["simulators"][1]["url"]}
    providers = [
        {
            "name": name,
            "simulated": True,
            "allow_private_addresses": True,
            "endpoints": [{"base_url": f"{url}/v1"}],
            "prices": [{"model": name, "input": str(PRICES[name][0]), "output": str(PRICES[name][1])}],
        }
        for name, url in urls.items()
    ]
    return json.dumps(
        {
            "organisation": "demo",
            "teams": [{"name": name, "services": [{"name": "app"}]} for name in LIMITS],
            "providers": providers,
            "routes": [
                {
                    "name": ROUTE,
                    "targets": [{"provider": DEAR, "model": DEAR, "expensive": True}, {"provider": CHEAP, "model": CHEAP}],
                    "resilience": {"limited_max_output": 4096},
                }
            ],
            "keys": [{"name": name, "service": f"{name}/app", "secret": f"file:{name}.key"} for name in LIMITS],
            "budgets": [
                {
                    "name": name,
                    "scope": "team",
                    "team": name,
                    "window": "day",
                    "limit": str(limit),
                    "kind": "throttle",
                    "actions": "50: cheaper, 80: limited",
                }
                for name, limit in LIMITS.items()
            ],
        }
    )


def price_simulators(one: Instance) -> None:
    prices = {model: {"input": int(float(tin) * NANO), "output": int(float(out) * NANO)} for model, (tin, out) in PRICES.items()}
    for simulator in one.facts["simulators"]:
        httpx.put(f"{simulator['url']}/sim/control", json={"prices": prices}).raise_for_status()


def spent(one: Instance, name: str) -> int:
    """Nano-dollars that the team's budget counts."""
    statement = (
        "SELECT coalesce(sum(w.spent_nano), 0) FROM budgets_budgetwindow w JOIN budgets_budget b ON b.id = w.budget_id WHERE b.name = %s"
    )
    return int(one.query(statement, name)[0][0])


def photograph(one: Instance, replayed: Callable[[], bool]) -> list[str]:
    """The tight budget's page before anything, at each threshold, and at the end; the names of the pictures."""
    found = browser_found()
    if found is None:
        pytest.skip("NO BROWSER: install Chromium (apt-get install chromium) for pictures of the thresholds")
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(parents=True, exist_ok=True)
    budget = one.query("SELECT id::text FROM budgets_budget WHERE name = %s AND deleted_at IS NULL", TIGHT)[0][0]
    taken: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS), timeout=LONG_MS)
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        tab.set_default_timeout(LONG_MS)
        tab.goto(f"{one.facts['web_url']}/")
        tab.get_by_label("Email").fill(one.facts["login"]["email"])
        tab.get_by_label("Password").fill(one.facts["login"]["password"])
        tab.get_by_role("button", name="Sign in").click()
        tab.wait_for_url(f"{one.facts['web_url']}/")

        def take(name: str) -> None:
            tab.goto(f"{one.facts['web_url']}/budgets/{budget}/?org=demo")
            assert tab.get_by_role("heading", level=1).inner_text() == TIGHT
            tab.screenshot(path=str(PICTURES / f"{name}.png"))
            taken.append(name)

        take("0-begin")
        for percent, does in ((50, "cheaper"), (80, "limited")):
            reached = LIMITS[TIGHT] * NANO * percent // 100
            wait_for(lambda reached=reached: spent(one, TIGHT) >= reached or replayed(), seconds=600, what=f"{percent} percent")
            take(f"{percent}-{does}")
        wait_for(replayed, seconds=900, what="the end of the replays")
        take("9-end")
        browser.close()
    return taken


def test_a_team_near_its_limit_is_moved_to_the_cheaper_target_and_totals_are_the_bill(instance: Instance) -> None:
    trace = MATERIAL / "traces" / "azure" / "AzureLLMInferenceTrace_conv.csv"
    if not trace.is_file():
        pytest.skip(f"LOUD SKIP: the Azure trace is not at {trace}")
    one = instance
    one.simulate(first_byte_ms=2)
    price_simulators(one)
    one.apply(document(one))
    one.apply("organisation: demo\nbudgets:\n- {name: demo-day, scope: organisation, window: day, limit: 100000}\n")
    options = ("--speed", str(SPEED), "--limit", str(ROWS), "--model", ROUTE, "--mixed", "--json")

    def replay(name: str) -> dict[str, Any]:
        key = (one.data_dir / f"{name}.key").read_text().strip()
        return summary_of(one.manage("replay", str(trace), *options, "--key", key, timeout=900).stdout)

    with ThreadPoolExecutor(2) as pool:
        running = {name: pool.submit(replay, name) for name in LIMITS}
        pictures = photograph(one, lambda: all(future.done() for future in running.values()))
        summaries = {name: future.result() for name, future in running.items()}
    assert pictures == ["0-begin", "50-cheaper", "80-limited", "9-end"]
    ledger.wait_settled(one)
    records = "FROM usage_request WHERE key_id = (SELECT id::text FROM keys_virtualkey WHERE name = %s)"
    for name, summary in summaries.items():
        # Nothing fails but what the demo's own hard budget closes while a busy machine's Postgres does not answer within the wait.
        assert summary["sent"] == summary["ok"] + summary["failed"] == ROWS and summary["failed"] <= ROWS / 100, summary
        assert set(summary["failed_by_code"]) <= {"budget_unavailable"}, summary
        count, tokens_in, tokens_out, cost = one.query(
            f"SELECT count(*), sum(tokens_input), sum(tokens_output), sum(cost_nano) {records}", name
        )[0]
        assert (count, tokens_in, tokens_out) == (ROWS, summary["input_tokens"], summary["output_tokens"])
        assert int(cost) == summary["cost_nano"] == spent(one, name)
    billed = one.billed()
    assert billed["requests"] == sum(summary["ok"] for summary in summaries.values())
    assert billed["cost_nano"] == sum(summary["cost_nano"] for summary in summaries.values())
    # Which target served a request is told by what its record says of thresholds, and by nothing else.
    shares: dict[str, dict[str, int]] = {}
    for name in LIMITS:
        rows = one.query(
            f"SELECT model, coalesce(flags @> '[\"budget:cheaper\"]', false), coalesce(flags @> '[\"budget:limited\"]', false), "
            f"count(*), sum(cost_nano) {records} GROUP BY 1, 2, 3",
            name,
        )
        for model, cheaper, limited, _, _ in rows:
            assert model in ((CHEAP,) if cheaper or limited else (DEAR, "")), rows
        shares[name] = {
            "dear": sum(int(row[4]) for row in rows if row[0] == DEAR),
            "cheaper": sum(int(row[3]) for row in rows if row[1]),
            "limited": sum(int(row[3]) for row in rows if row[2]),
        }
    print(shares, {name: f"${spent(one, name) / NANO:.4f}" for name in LIMITS})
    assert shares[WIDE]["cheaper"] == shares[WIDE]["limited"] == 0, "a team far from its limit is left alone"
    assert shares[TIGHT]["cheaper"] and shares[TIGHT]["limited"]
    limit = LIMITS[TIGHT] * NANO
    assert 0.3 * limit < shares[TIGHT]["dear"] < 0.9 * limit, "from about half the limit on"
    assert spent(one, TIGHT) < spent(one, WIDE)
    ledger.check_sums(one)
    ledger.check_logs(one)
