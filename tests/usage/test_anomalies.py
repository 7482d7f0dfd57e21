"""Keys that run away are found by their own history, kept once, and go on as one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import Event
from apps.usage.anomalies import anomaly_acknowledge, runaways_keep
from apps.usage.anomaly_rules import LEAST_DAYS, runaway
from apps.usage.choices import ANOMALY_EVENT, RUNAWAY_KEY
from apps.usage.models import SpendAnomaly
from tests.usage.test_spend import attempt, record, settle

NOW = datetime(2026, 3, 20, 15, 20, tzinfo=UTC)
HOUR = NOW.replace(minute=0)
amounts = st.integers(min_value=0, max_value=10**15)


@given(
    same=st.lists(amounts, max_size=14), beside=st.lists(amounts, max_size=28), spent=amounts, more=amounts, mean_day=amounts,
)  # fmt: skip
def test_what_must_always_hold(same: list[int], beside: list[int], spent: int, more: int, mean_day: int) -> None:
    def judged(nano: int) -> bool:
        return runaway(hour=HOUR, spent=nano, requests=1, same=same, beside=beside, mean_day=mean_day) is not None

    if len(same) < LEAST_DAYS or mean_day == 0:
        assert not judged(spent)
        return
    assert not any(judged(nano) for nano in (*same, *beside, 0))  # what it did before is never odd
    assert not judged(spent) or judged(spent + more)


@pytest.fixture
def scope(organisation: Organisation) -> Scope:
    """A key that spends about 100 an hour at 14, 15 and 16 o'clock, since two weeks."""
    scope = Scope(str(organisation.pk), False)
    days = [HOUR - timedelta(days=back) for back in range(1, 15)]
    settle([record(scope, day + timedelta(hours=way), [attempt(100 + day.day)]) for day in days for way in (-1, 0, 1)])
    return scope


def test_an_hour_out_of_proportion_is_kept_with_its_evidence_and_goes_on_as_one(scope: Scope, organisation: Organisation) -> None:
    assert runaways_keep(now=NOW) == 0
    settle([record(scope, NOW - timedelta(minutes=5), [attempt(150)])])
    assert runaways_keep(now=NOW) == 0  # a little more than usual is nothing
    settle([record(scope, NOW - timedelta(minutes=4), [attempt(2_000)])])
    assert (runaways_keep(now=NOW), runaways_keep(now=NOW)) == (1, 0)
    row = SpendAnomaly.objects.get()
    assert (row.kind, row.subject, row.starts_at, row.ends_at) == (RUNAWAY_KEY, "key", HOUR, HOUR + timedelta(hours=1))
    assert row.evidence["spent"] == 2_150 and row.evidence["usual"] < row.evidence["highest"] < row.evidence["allowed"] < 2_150
    assert (row.evidence["days"], row.evidence["hours"], row.evidence["requests"]) == (14, 1, 2)
    [fact] = Event.objects.filter(kind=ANOMALY_EVENT, data__organisation=scope.organisation)
    assert fact.subject_name == "key"

    settle([record(scope, NOW + timedelta(hours=1), [attempt(9_000)])])
    assert runaways_keep(now=NOW + timedelta(hours=1)) == 0
    row.refresh_from_db()
    assert (row.ends_at, row.evidence["spent"], row.evidence["hours"]) == (HOUR + timedelta(hours=2), 9_000, 2)
    settle([record(scope, NOW + timedelta(days=1), [attempt(90_000)])])
    assert runaways_keep(now=NOW + timedelta(days=1)) == 1  # the next day's is another one
    assert Event.objects.filter(kind=ANOMALY_EVENT, data__organisation=scope.organisation).count() == 2


def test_a_new_key_and_other_traffic_are_not_judged(scope: Scope) -> None:
    real = record(scope, NOW - timedelta(minutes=4), [attempt(10**9)])
    real.key_id = "new"
    settle([real])
    simulated = record(Scope(scope.organisation, True), NOW - timedelta(minutes=4), [attempt(10**9)])
    settle([simulated])
    assert runaways_keep(now=NOW) == 0


def test_acknowledging_takes_a_reason_and_what_goes_on_stays_acknowledged(scope: Scope, organisation: Organisation, actor: Actor) -> None:
    settle([record(scope, NOW - timedelta(minutes=4), [attempt(9_000)])])
    assert runaways_keep(now=NOW) == 1
    row = SpendAnomaly.objects.get()
    with pytest.raises(ServiceError, match="say why"):
        anomaly_acknowledge(actor=actor, organisation=organisation, anomaly_id=row.pk, reason=" ")
    other = Organisation.objects.create(name="Other", slug="other-anomalies")
    with pytest.raises(SpendAnomaly.DoesNotExist):
        anomaly_acknowledge(actor=actor, organisation=other, anomaly_id=row.pk, reason="mine")
    anomaly_acknowledge(actor=actor, organisation=organisation, anomaly_id=row.pk, reason="a load test")
    settle([record(scope, NOW + timedelta(hours=1), [attempt(9_000)])])
    assert runaways_keep(now=NOW + timedelta(hours=1)) == 0
    assert [(one.pk, one.reason) for one in SpendAnomaly.objects.all()] == [(row.pk, "a load test")]
