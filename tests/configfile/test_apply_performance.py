"""Performance budgets in a document: applied, exported, applied again, changed, removed; refused with the words that the form has."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Organisation
from apps.audit.models import AuditEvent
from apps.budgets.models import PerformanceBudget

DOCUMENT = """
organisation: main
providers:
  - name: near
    allow_private_addresses: true
    endpoints:
      - {base_url: "http://127.0.0.1:8000/v1"}
routes:
  - {name: chat, targets: [{provider: near, model: m}]}
performance_budgets:
  - {name: fast, route: chat, metric: ttft_p95, bound: 1.5s, window: hour, owner: ada@example.test}
  - {name: even, model: m, metric: inter_token_p95, bound: 12.5ms, warn: 90%, min_samples: 500, owner: ada@example.test}
  - {name: right, route: chat, metric: error_rate, bound: 0.5%, owner: ada@example.test}
  - {name: cheap, model: m, metric: cost_per_request, bound: 0.02, window: 28d, owner: ada@example.test}
  - {name: gpus, model: m, metric: gpu_hours, bound: 120, owner: ada@example.test}
"""


def apply(folder: Path, text: str) -> str:
    path, out = folder / "bulkhead.yaml", StringIO()
    path.write_text(text, encoding="utf-8")
    call_command("apply", "-f", str(path), stdout=out)
    return out.getvalue()


def export() -> str:
    out = StringIO()
    call_command("export", stdout=out)
    return out.getvalue()


def test_applied_exported_and_applied_again(organisation: Organisation, tmp_path: Path) -> None:
    said = apply(tmp_path, DOCUMENT)
    assert "+ performance budget fast" in said
    rows = {row.name: row for row in PerformanceBudget.objects.all()}
    assert {name: row.bound for name, row in rows.items()} == {
        "fast": 1_500_000, "even": 12_500, "right": 5_000, "cheap": 20_000_000, "gpus": 120_000,
    }  # fmt: skip
    assert (rows["even"].warn_percent, rows["even"].min_samples, rows["even"].scope_id) == (90, 500, "m")
    before = AuditEvent.objects.filter(subject_kind="performance_budget").count()
    assert apply(tmp_path, export()) == "nothing changes\n"
    assert AuditEvent.objects.filter(subject_kind="performance_budget").count() == before == 5


def test_a_changed_bound_keeps_the_budget_and_absent_removes_it(organisation: Organisation, tmp_path: Path) -> None:
    apply(tmp_path, DOCUMENT)
    fast = PerformanceBudget.objects.get(name="fast")
    said = apply(tmp_path, DOCUMENT.replace("bound: 1.5s", "bound: 900ms").replace("bound: 120,", "bound: 120, absent: true,"))
    assert "bound: 1500ms -> 900ms" in said and "- performance budget gpus" in said
    fast.refresh_from_db()
    assert fast.bound == 900_000 and PerformanceBudget.objects.get(name="gpus").deleted_at is not None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("bound: 1.5s", "bound: -1s", "write a duration above zero and at most 1h with its unit"),
        ("bound: 1.5s", "bound: .nan", "write a duration above zero and at most 1h with its unit"),
        ("bound: 1.5s", "bound: 99999999999999999999s", "write a duration above zero and at most 1h with its unit"),
        ("bound: 1.5s", "bound: 2", "write a duration above zero and at most 1h with its unit"),
        ("bound: 0.5%", "bound: 120%", "write a percentage above 0 and below 100"),
        ("bound: 0.02", "bound: -0.02", "write dollars in plain digits"),
        ("bound: 0.02", "bound: EUR 5", "amounts are in US dollars"),
        ("warn: 90%", "warn: .nan", "write a whole percentage of the bound from 1 to 100"),
        ("min_samples: 500", "min_samples: 3", "write a whole number of measurements from 20 to 1000000"),
        ("metric: ttft_p95", "metric: latency", "choose one of ttft_p95"),
        ("window: hour", "window: month", "choose one of hour"),
        ("route: chat, metric: ttft_p95", "route: nowhere, metric: ttft_p95", "there is no route 'nowhere'"),
        ("route: chat, metric: ttft_p95", "metric: ttft_p95", "name the route or the model"),
        ("route: chat, metric: ttft_p95", "route: chat, model: m, metric: ttft_p95", "name one of route and model"),
        ("route: chat, metric: error_rate, bound: 0.5%", "route: chat, metric: ttft_p95, bound: 2s", "of the same route already"),
        ("name: even", "name: fast", "'fast' is listed twice"),
        ("window: hour, owner: ada@example.test", "window: hour, owner: ada", "is not an e-mail address"),
        ("window: hour, owner: ada@example.test", "window: hour", "owner is missing"),
    ],
)
def test_wrong_input(organisation: Organisation, tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in DOCUMENT
    with pytest.raises(CommandError) as refused:
        apply(tmp_path, DOCUMENT.replace(old, new, 1))
    assert says in str(refused.value).replace("owner: is missing", "owner is missing")
    assert not PerformanceBudget.objects.exists()
