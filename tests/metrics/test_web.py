"""The web process' /metrics and its list of what there is to scrape: who may read it, and what it says when something is away."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone as clock
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.budgets.services import budget_set
from apps.contracts.identifiers import uuid7
from apps.publishing.models import ProxyProcess
from apps.settlement import presence
from controlplane.metrics import installation, views
from controlplane.metrics.counting import MeasuredMiddleware, WebMetrics
from controlplane.metrics.installation import MOST_BUDGETS

ASK = {"accept": "application/openmetrics-text; version=1.0.0"}
HERE = "127.0.0.1:8000"
TOKEN = "tok-0123456789"


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family: Any) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker is asked, no database, and no token is set."""
    monkeypatch.delenv("BULKHEAD_METRICS_TOKEN", raising=False)
    monkeypatch.delenv("BULKHEAD_METRICS_TOKEN_FILE", raising=False)
    monkeypatch.setattr(installation, "celery_depths", lambda: {"alerts": 3, "jobs": 0})


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["/metrics", "/metrics/targets"])
@pytest.mark.parametrize(
    ("host", "headers", "peer", "status"),
    [
        (HERE, {}, "127.0.0.1", 200),
        ("localhost", {}, "127.0.0.1", 200),
        ("[::1]:8000", {}, "::1", 200),
        (HERE, {}, "192.0.2.7", 403),
        (HERE, {}, "", 403),
        ("testserver", {}, "127.0.0.1", 403),  # a page of another name, rebound to this address
        (HERE, {"x-forwarded-for": "127.0.0.1"}, "127.0.0.1", 403),
        (HERE, {"forwarded": "for=127.0.0.1"}, "127.0.0.1", 403),
        (HERE, {"via": "1.1 nginx"}, "127.0.0.1", 403),
    ],
)
def test_without_a_token_only_this_host_reads(
    monkeypatch: pytest.MonkeyPatch, settings: Any, path: str, host: str, headers: dict[str, str], peer: str, status: int
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    monkeypatch.setattr(installation, "families", list)
    monkeypatch.setattr(views, "fleet_status", lambda: {"proxies": []})
    monkeypatch.setattr(views, "shippers_heard", lambda now: [])
    answer = Client().get(path, headers={"host": host, **headers}, REMOTE_ADDR=peer)
    assert answer.status_code == status
    if status == 403:
        assert "BULKHEAD_METRICS_TOKEN" in answer.content.decode() and "bulkhead_" not in answer.content.decode()


@pytest.mark.usefixtures("quiet")
def test_a_token_opens_it_from_anywhere_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    monkeypatch.setattr(installation, "families", list)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    client = Client(REMOTE_ADDR="192.0.2.7")
    for name, value in (("BULKHEAD_METRICS_TOKEN", TOKEN), ("BULKHEAD_METRICS_TOKEN_FILE", str(tmp_path / "token"))):
        monkeypatch.setenv(name, value)
        assert client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        for wrong in ("", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", TOKEN):
            refused = client.get("/metrics", headers={"authorization": wrong} if wrong else {})
            assert refused.status_code == 401 and refused["WWW-Authenticate"] == "Bearer" and TOKEN not in refused.content.decode()
        assert client.get("/metrics", headers={"host": HERE}, REMOTE_ADDR="127.0.0.1").status_code == 401, "the token is asked of all"
        monkeypatch.delenv(name)
    assert client.post("/metrics").status_code == 405


def proxy(name: str, *, seconds: int = 0, version: int = 0, state: str = "ready", url: str = "http://127.0.0.1:9") -> None:
    seen = clock.now() - timedelta(seconds=seconds)
    ProxyProcess.objects.create(
        boot_id=uuid7(), name=name, host="h1", pid=1, public_url="http://x", admin_url=url, state=state, version=version,
        registered_at=seen, last_seen_at=seen,
    )  # fmt: skip


def budget(actor: Actor, organisation: Organisation, name: str, window: str = "day") -> None:
    scope: dict[str, Any] = {"scope": "organisation", "scope_id": organisation.pk}
    budget_set(actor=actor, organisation=organisation, name=name, limit_nano=5_000_000_000, window=window, **scope)


@pytest.mark.django_db
@pytest.mark.usefixtures("quiet")
def test_what_the_control_plane_knows(organisation: Organisation, actor: Actor) -> None:
    proxy("p1", url="http://127.0.0.1:9901")
    proxy("p2", url="http://10.0.0.2:9902", state="draining")
    proxy("p3", seconds=3600)
    presence.shipper_say(directory="/j", pid=7, metrics_url="http://127.0.0.1:9903", state="running", lag_ms=250, records=4)
    budget(actor, organisation, "All of it")
    client = Client(REMOTE_ADDR="127.0.0.1", headers={"host": HERE})
    found = families(client.get("/metrics", headers=ASK).content.decode())
    assert values(found["bulkhead_database_up"]) == {(): 1.0} and values(found["bulkhead_broker_up"]) == {(): 1.0}
    assert values(found["bulkhead_proxies"]) == {("starting",): 0, ("ready",): 1, ("unready",): 0, ("draining",): 1, ("silent",): 1}
    assert values(found["bulkhead_celery_queue_jobs"]) == {("alerts",): 3.0, ("jobs",): 0.0}
    assert list(values(found["bulkhead_settlement_lag_seconds"]).values()) == [0.25]
    assert values(found["bulkhead_budget_remaining_dollars"]) == {(organisation.slug, "All of it", "day"): 5.0}
    assert values(found["bulkhead_budgets_untold"]) == {(): 0.0}
    targets = client.get("/metrics/targets").json()
    assert [(each["targets"], each["labels"]["job"], each["labels"]["__scheme__"]) for each in targets] == [
        ([HERE], "bulkhead-web", "http"),
        (["127.0.0.1:9901"], "bulkhead-proxy", "http"),
        (["10.0.0.2:9902"], "bulkhead-proxy", "http"),
        (["127.0.0.1:9903"], "bulkhead-shipper", "http"),
    ]


@pytest.mark.django_db
@pytest.mark.usefixtures("quiet")
def test_many_budgets_are_some_and_how_many_more(monkeypatch: pytest.MonkeyPatch, organisation: Organisation, actor: Actor) -> None:
    monkeypatch.setattr(installation, "MOST_BUDGETS", 1)
    for name, window in (("One", "day"), ("Two", "week"), ("Three", "month")):
        budget(actor, organisation, name, window)
    found = {family.name: family for family in installation.families()}
    [sample] = found["bulkhead_budget_limit_dollars"].samples
    assert ("budget", "One") in sample.labels and MOST_BUDGETS > 1
    [untold] = found["bulkhead_budgets_untold"].samples
    assert untold.value == 2


@pytest.mark.usefixtures("quiet")
def test_postgres_away_is_said_and_fails_no_scrape(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]

    def away() -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(installation, "fleet_status", away)
    monkeypatch.setattr(views, "fleet_status", away)
    client = Client(REMOTE_ADDR="127.0.0.1", headers={"host": HERE})
    found = families(client.get("/metrics", headers=ASK).content.decode())
    assert (
        values(found["bulkhead_database_up"]) == {(): 0.0} and "bulkhead_proxies" not in found and "bulkhead_web_requests_running" in found
    )
    assert client.get("/metrics/targets").status_code == 503, "Prometheus goes on with the list that it has"


def test_answers_are_counted_by_view() -> None:
    metrics = WebMetrics()
    for status in (200, 200, 500):
        metrics.began()
        metrics.ended(view="routes:list", method="GET", status=status, seconds=0.02)
    metrics.began()
    metrics.ended(view="", method="BREW", status=404, seconds=0.001)
    metrics.began()
    found = {family.name: list(family.samples) for family in metrics.families()}
    told = {tuple(value for _, value in sample.labels): sample.value for sample in found["bulkhead_web_requests"]}  # type: ignore[union-attr]
    assert told == {("routes:list", "GET", "200"): 2, ("routes:list", "GET", "500"): 1, ("none", "other", "404"): 1}
    assert [sum(row.counts.values()) for row in found["bulkhead_web_request_duration_seconds"]] == [1, 3]  # type: ignore[union-attr]
    [running] = found["bulkhead_web_requests_running"]
    assert running.value == 1  # type: ignore[union-attr]


def test_an_answer_that_fails_is_counted_as_one(monkeypatch: pytest.MonkeyPatch, rf: Any) -> None:
    metrics = WebMetrics()
    monkeypatch.setattr("controlplane.metrics.counting.WEB", metrics)

    def broken(request: Any) -> Any:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        MeasuredMiddleware(broken)(rf.get("/"))
    [sample] = next(iter(metrics.families())).samples
    assert sample.labels == (("view", "none"), ("method", "GET"), ("status", "500"))
