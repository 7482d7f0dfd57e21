"""A recorded hour of production traffic through a whole instance: its totals are the replay's, to the token and nano-dollar."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.accept.conftest import FULL, MATERIAL, Instance
from tests.launcher.conftest import wait_for

pytestmark = [pytest.mark.slow]


def test_totals_equal_the_replays_summary(instance: Callable[..., Instance]) -> None:
    trace = MATERIAL / "traces" / "azure" / "AzureLLMInferenceTrace_conv.csv"
    if not trace.is_file():
        pytest.skip(f"LOUD SKIP: the Azure trace is not at {trace}")
    limit = 5000 if FULL else 400
    one = instance("--proxies", "2")
    out = one.command("replay", str(trace), "--speed", "20", "--limit", str(limit), "--data-dir", str(one.data_dir), "--json", timeout=900)
    summary = json.loads(out[out.index("{") :])
    assert (summary["sent"], summary["ok"], summary["failed"]) == (limit, limit, 0), summary
    rows = wait_for(
        lambda: (
            (found := one.query("SELECT count(*), sum(tokens_input), sum(tokens_output), sum(cost_nano) FROM usage_request"))[0][0] == limit
            and found
        ),
        what="every record is settled",
    )
    print(rows, summary)
    _, tokens_in, tokens_out, cost = rows[0]
    assert (int(tokens_in), int(tokens_out), int(cost)) == (summary["input_tokens"], summary["output_tokens"], summary["cost_nano"])
    rolled = one.query("SELECT sum(tokens_input), sum(tokens_output), sum(cost_nano) FROM usage_rollup_1m")
    assert tuple(map(int, rolled[0])) == (int(tokens_in), int(tokens_out), int(cost))
    assert one.query("SELECT DISTINCT spent_nano FROM budgets_budgetwindow") == [(int(cost),)]
