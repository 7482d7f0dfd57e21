"""Whether a promise was kept, month by month (UTC): what was measured against what an SLA says. Pure; shares are whole numbers, rounded
against the promise, so that a month which fell short by one request is not shown as kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

from apps.ui.status import Status, worst

KEPT = Status("kept", "Kept", "good")
SO_FAR = Status("so_far", "Kept so far", "good", hint="The month is not over.")
RISK = Status("risk", "At risk", "warn", hint="As much of the error budget is used as the SLA warns at.")
BROKEN = Status("broken", "Broken", "bad")
SILENT = Status("silent", "No requests", "unknown", hint="Nothing was measured, so nothing was kept or broken.")
WHOLE = 100_000
"""All requests, in the unit of ``Sla.availability``."""


class Promise(Protocol):
    """What of an ``Sla`` is measured."""

    availability: int
    warn_percent: int
    ttft_ms: int | None
    latency_ms: int | None


@dataclass(frozen=True, slots=True)
class MonthMeasured:
    """A calendar month of a team's or a service's requests. first: its first day. ok: answered well; failed: the app got an error or no
    known end; refusals and what apps broke off count as neither. first_token_us: p95, None where no stream was answered. total_us: p95 of
    the time to the whole answer, None where there was none. over: no more comes."""

    first: date
    ok: int
    failed: int
    first_token_us: float | None
    total_us: float | None
    over: bool


@dataclass(frozen=True, slots=True)
class MonthAttained:
    """A month against a promise. availability: attained, in 1/100,000, rounded down; None without requests. budget_percent: of the month's
    error budget used, rounded up; more than 100 is broken."""

    month: MonthMeasured
    availability: int | None
    budget_percent: int | None
    answered: Status
    first_token: Status | None
    latency: Status | None

    @property
    def status(self) -> Status:
        """The worst of what is promised."""
        return worst([self.answered, *(each for each in (self.first_token, self.latency) if each is not None)])

    @property
    def availability_text(self) -> str:
        """``99.912``; empty without requests."""
        return "" if self.availability is None else f"{self.availability / 1000:.3f}"


def attained(promise: Promise, month: MonthMeasured) -> MonthAttained:
    """One month against one promise."""
    held = KEPT if month.over else SO_FAR
    asked = month.ok + month.failed
    availability = budget = None
    answered = SILENT
    if asked:
        availability = month.ok * WHOLE // asked
        budget = -(-month.failed * WHOLE * 100 // ((WHOLE - promise.availability) * asked))
        kept = month.ok * WHOLE >= promise.availability * asked
        risk = not month.over and budget >= promise.warn_percent
        answered = BROKEN if not kept else RISK if risk else held
    first_token = _in_time(promise.ttft_ms, month.first_token_us, held)
    return MonthAttained(month, availability, budget, answered, first_token, _in_time(promise.latency_ms, month.total_us, held))


def _in_time(promised_ms: int | None, measured_us: float | None, held: Status) -> Status | None:
    """A p95 against what is promised of it; None: nothing is."""
    if promised_ms is None:
        return None
    return SILENT if measured_us is None else held if measured_us <= promised_ms * 1_000 else BROKEN


def months_back(today: date, count: int) -> list[date]:
    """First days of this month and of those before it, the latest first."""
    found, year, month = [], today.year, today.month
    for _ in range(count):
        found.append(date(year, month, 1))
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return found
