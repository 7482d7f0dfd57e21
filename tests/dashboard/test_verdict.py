"""The verdict: every rule trips on what it names, on nothing else, and what is not known is never called well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.budgets.choices import BUDGET_STATES
from apps.contracts.reports import Place
from apps.dashboard.verdict import Shipper, Verdict, verdict
from apps.providers.live import LiveTarget
from apps.publishing.choices import PROXY_STATES
from apps.ui.status import Status
from apps.usage.glance import Glance, Watched, glance
from apps.usage.measures import Latency, Totals
from tests.dashboard.generate import usage_generate

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
WELL = Totals(requests=100, ok=100, attempts=100)
FAST = Latency(100_000, 200_000, 300_000, 100)
RUNNING = Shipper(NOW, "running", "", 200)


@dataclass(frozen=True)
class Proxy:
    name: str = "proxy-1"
    status: Status = PROXY_STATES["ready"]
    reason: str = ""
    current: bool = True
    version: int = 7
    lag_ms: int | None = 200
    last_seen_at: datetime = NOW


@dataclass(frozen=True)
class Bar:
    name: str = "team-day"
    status: Status = BUDGET_STATES["within"]
    spent_share: float = 10.0
    ends_at: datetime | None = NOW
    user: str = ""
    spent: int = 0
    overrun: int = 0
    limit: int = 0


def watched(dimension: str = "route", value: str = "chat", **more: Any) -> Watched:
    return replace(Watched(dimension, value, WELL, WELL, WELL, FAST, FAST, None, NOW), **more)


def judged(*by: Watched, whole: Watched | None = None, proxies: Any = (Proxy(),), bars: Any = (), shipper: Shipper = RUNNING) -> Verdict:
    looked = Glance(WELL, 0, whole or watched("", ""), list(by))
    return verdict(glance=looked, proxies=proxies, version=7, bars=bars, shipper=shipper, now=NOW)


def test_nothing_wrong_is_well_and_says_what_was_measured() -> None:
    found = judged(watched(), watched("provider", "east"), bars=[Bar()])
    assert (found.status.tone, list(found.findings)) == ("good", [])
    assert list(found.facts) == ["100 requests in 5 min", "none failed", "p95 200\u202fms", "1/1 proxies ready", "records settle at once"]


BAD = Totals(requests=100, ok=80, error=20, attempts=100, attempt_errors=20)


@pytest.mark.parametrize(
    ("one", "tone", "words"),
    [
        (watched(latest=BAD), "bad", "chat fails 20.0"),
        (watched(latest=replace(BAD, error=2, unknown=1)), "warn", "chat fails 3.00"),
        (watched(latest=BAD, past=BAD), "warn", "chat fails"),  # as the hour before: no news, but no good news either
        (watched("provider", "east", latest=replace(WELL, attempt_errors=30)), "warn", "other targets answer"),
        (watched(latest=Totals(requests=2, error=2, attempts=2), recent=BAD), "bad", "chat fails"),
        (watched(recent_time=replace(FAST, p95=900_000.0)), "warn", "chat is slow"),
    ],
)
def test_a_route_or_provider_out_of_the_ordinary_is_named(one: Watched, tone: str, words: str) -> None:
    found = judged(one)
    assert found.status.tone == tone and words in found.headline
    assert found.findings[0].name == one.value


@pytest.mark.parametrize(
    "one",
    [
        watched(latest=WELL, recent=BAD),  # it is over
        watched(latest=Totals(), recent=Totals(requests=3, error=2)),  # too few to say
        watched(recent_time=Latency(1, 9e9, 9e9, 3)),
        watched("route", "chat", latest=replace(WELL, attempt_errors=90)),  # a route's attempts are its providers' affair
        watched(latest=replace(BAD, error=2, ok=98)),
    ],
)
def test_too_little_or_past_is_not_called_wrong(one: Watched) -> None:
    assert judged(one).status.tone == "good"


def test_since_when_is_the_end_of_the_last_good_minute() -> None:
    since = NOW - timedelta(minutes=9)
    assert judged(watched(latest=BAD, fine_until=since)).findings[0].since == since
    assert judged(watched(latest=BAD, first=since)).findings[0].since == since


@pytest.mark.parametrize(
    ("proxies", "tone", "words"),
    [
        ((), "unknown", "No proxy has registered"),
        ((Proxy(), Proxy(status=PROXY_STATES["unready"], reason="journal 80% full")), "bad", "1 of 2 proxies is not ready"),
        ((Proxy(), Proxy(status=PROXY_STATES["silent"])), "unknown", "1 of 2 proxies is silent"),
        ((Proxy(status=PROXY_STATES["silent"]),), "bad", "1 of 1 proxies is silent"),
        ((Proxy(), Proxy(current=False, version=6)), "warn", "older config than v7"),
        ((Proxy(lag_ms=30_000),), "warn", "late"),
        ((Proxy(lag_ms=90_000),), "bad", "late"),
    ],
)
def test_proxies_that_are_away_behind_or_late(proxies: Any, tone: str, words: str) -> None:
    found = judged(proxies=proxies)
    assert found.status.tone == tone and words in found.headline


def test_the_shipper_is_heard_or_it_is_said_that_it_is_not() -> None:
    assert "fallen silent" in judged(shipper=Shipper(NOW - timedelta(minutes=1), "running")).headline
    waiting = judged(shipper=Shipper(NOW, "waiting for Postgres", "no route"))
    assert waiting.status.tone == "bad" and waiting.findings[0].detail == "no route"
    nobody = judged(shipper=Shipper(), proxies=(Proxy(lag_ms=None),))
    assert nobody.status.tone == "unknown" and "No shipper has reported" in nobody.headline


def test_targets_that_get_no_requests_are_named_by_provider() -> None:
    def live(provider: str, model: str, state: str) -> LiveTarget:
        return LiveTarget(Place("o", provider, "main", model), state, 1, 2, NOW, None, 0)

    looked = Glance(WELL, 0, watched("", ""), [])
    targets = [live("east", "m", "open"), live("west", "a", "half_open"), live("west", "b", "open"), live("north", "m", "forced_closed")]
    found = verdict(glance=looked, proxies=(Proxy(),), version=7, bars=(), shipper=RUNNING, now=NOW, targets=targets)
    assert (found.status.tone, found.headline) == ("warn", "The breaker of m at east is open")
    assert [(finding.subject, finding.name, finding.since) for finding in found.findings] == [
        ("provider", "east", NOW),
        ("provider", "west", NOW),
    ]
    assert found.findings[1].title == "2 breakers of west are open" and "on 1 of 2 proxies" in found.findings[0].detail
    (held,) = verdict(
        glance=looked, proxies=(Proxy(),), version=7, bars=(), shipper=RUNNING, now=NOW, targets=[live("east", "m", "forced_open")]
    ).findings
    assert held.title == "The breaker of m at east is forced open"


def test_budgets_at_the_wall_and_nothing_to_judge_by() -> None:
    assert judged(bars=[Bar(status=BUDGET_STATES["exhausted"])]).status.tone == "bad"
    assert judged(bars=[Bar(status=BUDGET_STATES["near"], spent_share=93.0)]).status.tone == "warn"
    (over,) = judged(bars=[Bar(status=BUDGET_STATES["over"], spent=3 * 10**9, limit=2 * 10**9)]).findings
    assert (over.tone, over.detail) == ("warn", "$3 of $2 are spent. It refuses nothing.")
    assert "for the user ann" in judged(bars=[Bar(status=BUDGET_STATES["exhausted"], user="ann")]).findings[0].title
    quiet = watched("", "", recent=Totals(), past=Totals())
    assert judged(whole=quiet).status.tone == "unknown"
    assert "No request in the last 5 minutes" in judged(whole=replace(quiet, past=WELL)).headline


def test_the_worst_comes_first_and_the_rest_is_counted() -> None:
    many = [watched(value=f"route-{n}", latest=replace(BAD, error=3)) for n in range(8)]
    found = judged(*many, watched("provider", "east", latest=BAD))
    assert found.findings[0].name == "east" and len(found.findings) == 6 and found.more == 3


def test_a_glance_counts_what_is_there(organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=600, over=timedelta(minutes=60), end=datetime.now(UTC))
    found = glance(Scope(str(organisation.pk), True))
    assert 40 <= found.whole.recent.requests <= 62 and found.whole.past.requests > 400
    assert {(one.dimension, one.value) for one in found.by} >= {("route", "demo-chat"), ("provider", "sim-east")}
    assert sum(one.recent.requests for one in found.by if one.dimension == "route") == found.whole.recent.requests
    assert found.whole.recent_time.p95 is not None and found.spent_today > 0
    assert glance(Scope(str(organisation.pk), False)).whole.recent.requests == 0
