"""A recorded hour of production traffic through a whole instance: its totals are the replay's, to the token and nano-dollar."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.accept import ledger
from tests.accept.conftest import FULL, MATERIAL, Instance, summary_of
from tests.launcher.conftest import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DASHBOARD = """
import json, datetime as dt
from apps.accounts.models import Organisation
from apps.usage import selectors
scope = selectors.Scope(str(Organisation.objects.get(slug="demo").pk), True)
now = dt.datetime.now(dt.UTC)
start, end = now - dt.timedelta(hours=5), now + dt.timedelta(minutes=5)
series = selectors.traffic_series(scope, start, end, now=now)
pick = lambda t: [t.requests, t.ok, t.error, t.unknown, t.tokens_input, t.tokens_output, t.cost_nano]
by_key = selectors.traffic_by(scope, start, end, ["key_id"], now=now)["key_id"]
print(json.dumps({"all": pick(series.totals), "keys": {group.value: pick(group.totals) for group in by_key}}))
"""


def dashboard(one: Instance) -> dict[str, Any]:
    """What the Overview would show: totals of the range, and by key: requests, ok, error, unknown, tokens in and out, nano-dollars."""
    found: dict[str, Any] = json.loads(one.command("shell", "--no-imports", "-c", DASHBOARD).splitlines()[-1])
    return found


def test_totals_equal_the_replays_summary(instance: Instance) -> None:
    trace = MATERIAL / "traces" / "azure" / "AzureLLMInferenceTrace_conv.csv"
    if not trace.is_file():
        pytest.skip(f"LOUD SKIP: the Azure trace is not at {trace}")
    one, limit = instance, 5000 if FULL else 400
    one.simulate(first_byte_ms=2)
    for number in range(3):
        name, before, paid = f"replayed-{number}", dashboard(one), one.billed()
        options = ("--speed", "20", "--limit", str(limit), "--key", one.new_key(name, dollars="50"), "--mixed", "--json")
        done = one.manage("replay", str(trace), *options, timeout=800)
        summary = summary_of(done.stdout)
        print(summary)
        if set(summary["failed_by_code"]) != {"budget_unavailable"}:
            break
        ledger.wait_settled(one)  # a machine so slow that a grant took longer than a request waits for one: with another key, again
    assert (summary["sent"], summary["ok"], summary["failed"]) == (limit, limit, 0), done.stdout + done.stderr
    key_id = one.query("SELECT id::text FROM keys_virtualkey WHERE name = %s", name)[0][0]
    statement = "SELECT count(*), sum(tokens_input), sum(tokens_output), sum(cost_nano) FROM usage_request WHERE key_id = %s"
    rows = wait_for(lambda: (found := one.query(statement, key_id))[0][0] == limit and found, what="every record is settled")
    totals = [limit, limit, 0, 0, *map(int, rows[0][1:])]
    shown = dashboard(one)
    assert shown["keys"][key_id] == totals
    assert [now - then for now, then in zip(shown["all"], before["all"], strict=True)] == totals
    billed = {field: amount - paid[field] for field, amount in one.billed().items()}
    assert totals[4:] == [billed["input_tokens"], billed["output_tokens"], billed["cost_nano"]]
    assert totals[4:] == [summary["input_tokens"], summary["output_tokens"], summary["cost_nano"]]
    ledger.wait_settled(one)
    ledger.check_sums(one)
    spent = "SELECT sum(w.spent_nano) FROM budgets_budgetwindow w JOIN budgets_budget b ON b.id = w.budget_id WHERE b.name = %s"
    assert one.query(spent, name) == [(totals[6],)]
