"""A generated day: real records, marked, the same again from the same seed, never beside real ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.keys.models import VirtualKey
from apps.usage.models import UsageRequest
from apps.usage.selectors import traffic_by
from controlplane.demo import history
from controlplane.demo.seed import seed

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
OWNER = {"organisation": "o", "key": "k", "team": "t", "service": "s"}


@pytest.fixture
def key(db: None, tmp_path: Path) -> VirtualKey:
    addresses = [{"name": "sim-east", "url": "http://127.0.0.1:9001"}, {"name": "sim-west", "url": "http://127.0.0.1:9002"}]
    seed(actor=Actor.system("test"), simulators=addresses, data_dir=tmp_path)  # type: ignore[arg-type]
    return VirtualKey.objects.get(organisation__slug="demo")


def test_the_same_moment_gives_the_same_day() -> None:
    first, again = list(history.day(**OWNER, now=NOW)), list(history.day(**OWNER, now=NOW))
    assert first == again and len(first) == history.REQUESTS
    assert len({record.id for record in first}) == len(first)
    assert all(NOW - timedelta(hours=24) <= datetime.fromtimestamp(r.started_us / 1e6, UTC) <= NOW for r in first)


def test_every_record_says_that_it_was_generated_and_adds_up() -> None:
    seen = set()
    for record in history.day(**OWNER, now=NOW):
        assert record.simulated and record.tags == [history.TAG] and "bulkhead.generated" in record.metadata
        assert record.cost_nano == sum(attempt.cost_nano for attempt in record.attempts)
        assert record.total_us >= record.upstream_us >= 0
        assert not any(attempt.charges for attempt in record.attempts)
        assert (record.outcome == "refused") is (not record.attempts)
        seen.add((record.outcome, record.stream, len(record.attempts)))
    assert {outcome for outcome, _, _ in seen} == {"ok", "error", "cancelled", "refused"}
    assert {count for _, _, count in seen} == {0, 1, 2}


def test_it_is_stored_once_and_only_where_nothing_is(key: VirtualKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "REQUESTS", 300)
    organisation = key.organisation
    assert history.history_generate(organisation=organisation, key=key) == 300
    assert history.history_generate(organisation=organisation, key=key) == 0
    rows = list(UsageRequest.objects.all())
    assert len(rows) == 300 and {row.organisation for row in rows} == {str(organisation.pk)}
    now = datetime.now(UTC)
    [whole] = traffic_by(Scope(str(organisation.pk), True), now - timedelta(hours=25), now, ())[""]
    assert (whole.totals.requests, whole.totals.cost_nano) == (300, sum(row.cost_nano for row in rows))
    assert traffic_by(Scope(str(organisation.pk), False), now - timedelta(hours=25), now, ())[""] == []
    assert not Organisation.objects.filter(slug="main").exists()
