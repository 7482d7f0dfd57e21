"""What lies in ``deploy`` for Prometheus and Grafana asks for nothing that no process tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from apps.contracts.exposition import Family, Sample, rendered
from apps.contracts.snapshot import BreakerPolicy
from apps.contracts.usage import UsageRecord
from apps.proxy.metrics import Metrics
from apps.proxy.scrape import Scrape
from apps.settlement.metrics import ShipperMetrics
from controlplane.metrics import installation
from controlplane.metrics.counting import WebMetrics
from tests.proxy.test_metrics import Standing
from tests.proxy.test_metrics import record as proxy_record
from tests.settlement.records import Traffic
from tests.settlement.test_metrics import settled
from tests.settlement.test_metrics import told as shipper_told

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "bulkhead.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "bulkhead.json"
OWN = {"up", "job", "le"}
WORDS = {
    "by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset",
    "sum", "max", "min", "avg", "count", "topk", "rate", "increase", "histogram_quantile",
}  # fmt: skip


def bare(families: list[Family]) -> str:
    _, body = rendered(families)
    return body.decode()


@pytest.fixture
def scraped(monkeypatch: pytest.MonkeyPatch, db: None) -> dict[str, set[str]]:
    """Metric -> its labels, of every process: as told when everything that can happen has happened."""
    monkeypatch.setattr(installation, "celery_depths", lambda: {"alerts": 3})
    engine: Any = Standing()
    metrics: Metrics = engine.metrics
    metrics.count(proxy_record(error_code="upstream_error", outcome="error", status=502, flags=["variant:b"]))
    metrics.unrecorded("missing_key")
    metrics.credential_refused("o/east/main/m", 401)
    engine.states.of("o/east/main/m", BreakerPolicy())
    engine.states.breakers.force("o/east/main/m", "open", 0.0)
    engine.states.bulkheads.of("route r-1", 1, 5)
    engine.limits.view = lambda: [{"id": "l", "share": 1, "used": 0, "refused": 0}]
    traffic = Traffic(Traffic.boot())
    first: UsageRecord = traffic.pair()[1]
    first.attempts = [*first.attempts, *first.attempts]
    first.attempts[0].outcome = first.outcome = "error"
    first.error_code = "upstream_error"
    shipper = ShipperMetrics(str)
    shipper.count(settled(first, *(traffic.pair()[1] for _ in range(5))))
    web = WebMetrics()
    web.began()
    web.ended(view="a:b", method="GET", status=200, seconds=0.1)
    monkeypatch.setattr(installation, "_settlement", lambda now: _lag())
    monkeypatch.setattr(installation, "_budgets", lambda: _budget())
    found: dict[str, set[str]] = {"up": {"job", "instance", "process"}}
    for text in (
        bare(Scrape(engine, None, None).families(ready=True)),
        bare(shipper_told(shipper, traces={"exported": 1, "dropped": 0, "queued": 0})),
        bare([*web.families(), *installation.families()]),
    ):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update({"job", "instance", "process", *sample.labels})
    return found


def _lag() -> list[Family]:
    return [Family("bulkhead_settlement_lag_seconds", "gauge", "Lag.", [Sample((("host", "h"),), 1)], "seconds")]


def _budget() -> list[Family]:
    labels = (("organisation", "o"), ("budget", "b"), ("window", "day"))
    names = ("limit", "spent", "leased", "remaining")
    return [Family(f"bulkhead_budget_{name}_dollars", "gauge", "Budget.", [Sample(labels, 1)], "dollars") for name in names]


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule.get("record") or rule["alert"], rule["expr"]
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.sub(r"label_values\((.*), (\w+)\)", r"sum by (\2) (\1)", variable["query"]["query"])


def asked(expression: str) -> tuple[set[str], set[str]]:
    """(metrics, labels) that an expression names."""
    labels = {name for group in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", expression) for name in re.split(r"\s*,\s*", group) if name}
    labels |= set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    plain = re.sub(r"\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\}|\b(?:by|without)\s*\([^)]*\)", " ", expression)
    return set(re.findall(r"[a-zA-Z_][\w:]*", plain)) - WORDS, labels


def test_every_expression_asks_for_what_is_told(scraped: dict[str, set[str]]) -> None:
    recorded = {name: asked(expression)[1] for name, expression in expressions() if ":" in name}
    known = {**scraped, **recorded}
    wrong, used = [], set()
    for title, expression in expressions():
        assert expression.count("(") == expression.count(")") and expression.count("{") == expression.count("}"), title
        metrics, labels = asked(expression)
        assert metrics, title
        used |= metrics
        wrong += [f"{title}: no process tells {name}" for name in metrics - known.keys()]
        there = set().union(*(known.get(name, set()) for name in metrics))
        wrong += [f"{title}: nothing has the label {label}" for label in labels - there]
    assert wrong == [], "\n".join(wrong)
    assert len(used) > 45


def test_the_documents_are_whole() -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert prometheus["rule_files"] == [RULES.name]
    assert prometheus["scrape_configs"][0]["http_sd_configs"][0]["url"].endswith("/metrics/targets")
    rules = yaml.safe_load(RULES.read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 10
    assert all(rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"] for rule in alerts)
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        squares = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not squares & taken and all(x < 24 for x, _ in squares), f"{panel['title']} lies over another panel"
        taken |= squares
