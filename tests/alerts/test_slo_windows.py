"""What SLOs say beside a brute force over the raw requests, before and after records that come late."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.accounts.models import Organisation
from apps.alerts.burn import LEAST_BAD
from apps.alerts.models import AlertRule, Slo
from apps.alerts.series import Sample
from apps.alerts.sources import slos
from apps.alerts.sources.look import Look
from apps.contracts.usage import Outcome
from tests.alerts.minutes import NOON
from tests.budgets.performance_usage import request, settle

pytestmark = pytest.mark.django_db
BURNS = (("14.4", 60, 5, "critical"), ("6", 360, 30, "critical"), ("3", 1_440, 120, "warning"), ("1", 4_320, 360, "warning"))
"""Factor, minutes of the long and of the short window, severity: as the SRE workbook has them."""
EDGES = sorted({minutes for _, long, short, _ in BURNS for minutes in (long, short)} | {7 * 1_440})
THRESHOLD_MS = 1_000


@dataclass(frozen=True)
class Raw:
    """Some requests of one minute. ago: whole minutes between the end of their minute and the moment that is judged."""

    ago: int
    second: float
    outcome: Outcome
    slow: bool
    count: int
    late: bool


agos = st.one_of(
    st.sampled_from([edge + beside for edge in EDGES for beside in (-1, 0, 1)]), st.integers(-2, 4), st.integers(0, EDGES[-1] + 5)
)
raws = st.builds(
    Raw,
    ago=agos,
    second=st.sampled_from([0.0, 0.001, 30.0, 59.999]),
    outcome=st.sampled_from(["ok", "ok", "ok", "error", "unknown", "refused", "cancelled"]),
    slow=st.booleans(),
    count=st.integers(1, 25),
    late=st.booleans(),
)
indicators = st.sampled_from(["availability", "ttft", "latency"])


@given(st.lists(raws, min_size=3, max_size=25), indicators, st.sampled_from([50_000, 90_000, 99_000, 99_900]), st.sampled_from([1, 12, 60]),
       st.integers(0, 1_439))  # fmt: skip
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_slo_says_what_the_raw_requests_say_also_after_late_ones(
    course: list[Raw], indicator: str, objective: int, least: int, minute_of_day: int
) -> None:
    organisation = Organisation(pk=uuid4(), slug="o", name="O")
    slo = Slo(
        organisation=organisation, name="chat", title="Chat", indicator=indicator, objective=objective, by="route", subject="chat",
        window_days=7, min_requests=least, threshold_ms=None if indicator == "availability" else THRESHOLD_MS,
    )  # fmt: skip
    rule = AlertRule(organisation=organisation, name="slo-chat", title="Chat", series="slo_burn", scope={"by": "route"}, slo=slo)
    at = NOON + timedelta(minutes=minute_of_day)
    known: list[Raw] = []
    for late in (False, True):
        came = [raw for raw in course if raw.late is late]
        _settle(organisation, came, at)
        known += came
        [sample] = slos.read(Look(organisation, at, {rule.pk: frozenset({"chat"})}), [rule])[rule.pk].values()
        _compare(sample, known, indicator, objective, least)


def _settle(organisation: Organisation, course: list[Raw], at: datetime) -> None:
    records = []
    for raw in course:
        begun = at - timedelta(minutes=raw.ago + 1) + timedelta(seconds=raw.second)
        us = 5_000_000 if raw.slow else 200_000
        records += [request(organisation, begun, outcome=raw.outcome, first_token_us=us, gap_us=0, tokens=2) for _ in range(raw.count)]
    settle(records)


def _compare(sample: Sample, known: list[Raw], indicator: str, objective: int, least: int) -> None:
    rates = {}
    for factor, long, short, severity in BURNS:
        (total, bad), (total_short, bad_short) = _counted(known, indicator, long), _counted(known, indicator, short)
        allowed = Fraction(100_000 - objective, 100_000)
        if total >= least and total_short >= max(1, least // 12):
            both = Fraction(bad, total) / allowed, Fraction(bad_short, total_short) / allowed
            rates[factor] = (both, severity, min(both) >= Fraction(factor) and bad >= LEAST_BAD)
        pair = next(pair for pair in sample.evidence["pairs"] if Fraction(str(pair["factor"])) == Fraction(factor))
        assert pair["burning"] is (factor in rates and rates[factor][2]), (factor, known)
        if factor in rates:
            assert (pair["long"], pair["short"]) == pytest.approx([float(rate) for rate in rates[factor][0]])
        else:
            assert (pair["long"], pair["short"]) == (None, None)
    severities = {severity for _, severity, burning in rates.values() if burning}
    wanted = "critical" if "critical" in severities else "warning" if severities else "" if rates else None
    assert sample.level == wanted
    whole, wrong = _counted(known, indicator, EDGES[-1])
    if whole:
        used = 100 * Fraction(wrong, whole) / Fraction(100_000 - objective, 100_000)
        assert sample.evidence[slos.BUDGET_USED] == pytest.approx(float(used), abs=0.01)


def _counted(known: list[Raw], indicator: str, minutes: int) -> tuple[int, int]:
    """(counted, of them not good) in the minutes before the moment, by looking at every request."""
    inside = [raw for raw in known if 0 <= raw.ago < minutes]
    if indicator == "availability":
        spoken_of = [raw for raw in inside if raw.outcome in ("ok", "error", "unknown")]
        return sum(raw.count for raw in spoken_of), sum(raw.count for raw in spoken_of if raw.outcome != "ok")
    timed = ("ok",) if indicator == "ttft" else ("ok", "error")  # what failed had no first token, and took its time all the same
    measured = [raw for raw in inside if raw.outcome in timed]
    return sum(raw.count for raw in measured), sum(raw.count for raw in measured if raw.slow)
