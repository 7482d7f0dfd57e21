"""Whether a promise was kept: never rounded in its favour, never green without a request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ownership.attainment import BROKEN, KEPT, RISK, SILENT, SO_FAR, MonthMeasured, attained, months_back


@dataclass(frozen=True)
class Promised:
    availability: int = 99_900
    warn_percent: int = 50
    ttft_ms: int | None = None
    latency_ms: int | None = None


def month(ok: int, failed: int, *, p95: float | None = None, total: float | None = None, over: bool = True) -> MonthMeasured:
    return MonthMeasured(date(2031, 3, 1), ok, failed, p95, total, over)


@pytest.mark.parametrize(
    ("measured", "status", "text", "used"),
    [
        (month(0, 0), SILENT, "", None),
        (month(1_000, 0), KEPT, "100.000", 0),
        (month(999, 1), KEPT, "99.900", 100),
        (month(998, 2), BROKEN, "99.800", 200),
        (month(99_899, 101), BROKEN, "99.899", 101),
        (month(1_999, 1), KEPT, "99.950", 50),
        (month(1_999, 1, over=False), RISK, "99.950", 50),
        (month(9_999, 1, over=False), SO_FAR, "99.990", 10),
        (month(0, 5), BROKEN, "0.000", 100_000),
    ],
)
def test_availability(measured: MonthMeasured, status: object, text: str, used: int | None) -> None:
    found = attained(Promised(), measured)
    assert (found.status, found.availability_text, found.budget_percent) == (status, text, used)


@pytest.mark.parametrize(("p95", "status"), [(None, SILENT), (800_000.0, KEPT), (800_001.0, BROKEN)])
def test_first_token(p95: float | None, status: object) -> None:
    found = attained(Promised(ttft_ms=800), month(1_000, 0, p95=p95))
    assert found.first_token == status and found.status == status
    assert attained(Promised(), month(1_000, 0, p95=p95)).first_token is None


def test_the_whole_answer_is_a_promise_of_its_own() -> None:
    both = Promised(ttft_ms=800, latency_ms=4_000)
    for total, status in ((None, SILENT), (4_000_000.0, KEPT), (4_000_001.0, BROKEN)):
        found = attained(both, month(1_000, 0, p95=700_000.0, total=total))
        assert (found.first_token, found.latency, found.status) == (KEPT, status, status), "the worst of what is promised"
    assert attained(Promised(ttft_ms=800), month(1_000, 0, p95=1.0, total=9e9)).latency is None


@given(ok=st.integers(0, 10**7), failed=st.integers(0, 10**4), availability=st.integers(1, 99_999))
def test_kept_means_kept_to_the_request(ok: int, failed: int, availability: int) -> None:
    found = attained(Promised(availability), month(ok, failed))
    if not ok + failed:
        assert found.status is SILENT and found.availability is None
        return
    kept = ok * 100_000 >= availability * (ok + failed)
    assert (found.status is KEPT) == kept and found.availability is not None and found.budget_percent is not None
    assert found.availability * (ok + failed) <= ok * 100_000, "rounded down"
    assert (found.availability >= availability) == kept and (found.budget_percent <= 100) == kept


def test_months_back() -> None:
    assert months_back(date(2031, 2, 28), 3) == [date(2031, 2, 1), date(2031, 1, 1), date(2030, 12, 1)]
