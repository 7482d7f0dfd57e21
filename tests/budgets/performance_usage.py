"""Usage as the shipper stores it, for tests of performance budgets: requests of one route and model, so many in each of some minutes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import connection

from apps.accounts.models import Organisation
from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.usage import Attempt, Outcome, Tokens, UsageRecord
from apps.usage import services as usage


def request(
    organisation: Organisation,
    at: datetime,
    *,
    route: str = "chat",
    model: str = "m",
    outcome: Outcome = "ok",
    first_token_us: int = 400_000,
    gap_us: int = 20_000,
    tokens: int = 101,
    cost_nano: int = 2_000_000,
    before: Attempt | None = None,
    estimated: bool = False,
) -> UsageRecord:
    """A stream of ``tokens`` tokens, ``gap_us`` apart after the first. before: an attempt that came first."""
    used = Tokens(input=899, output=tokens)
    refused = outcome == "refused"
    last = Attempt(
        provider="p", endpoint="default", model=model, outcome="error" if outcome == "error" else "ok", tokens=used, cost_nano=cost_nano
    )
    tried = [] if refused else [*([before] if before else []), last]
    return UsageRecord(
        id=uuid7_bytes(int(at.timestamp() * 1000)),
        started_us=int(at.timestamp() * 1_000_000),
        organisation=str(organisation.pk),
        key_id="k-1",
        kind="chat",
        route=route,
        requested_model=route,
        stream=True,
        outcome=outcome,
        status=429 if refused else 200,
        attempts=tried,
        tokens=Tokens() if refused else used,
        cost_nano=0 if refused else cost_nano + (before.cost_nano if before else 0),
        estimated=estimated,
        first_token_us=first_token_us if outcome == "ok" else -1,
        total_us=first_token_us + gap_us * (tokens - 1),
        simulated=organisation.simulated,
    )


def settle(records: Iterable[UsageRecord]) -> None:
    """All of them, in one transaction."""
    rows = list(records)
    with connection.cursor() as cursor:
        usage.partitions_ensure(cursor=cursor, days=sorted({usage.record_day(record) for record in rows}))
        usage.usage_settle(cursor=cursor, records=rows)


def many(organisation: Organisation, count: int, until: datetime, **facts: object) -> list[UsageRecord]:
    """One a second, the latest two minutes before ``until``."""
    return [request(organisation, until - timedelta(seconds=120 + n), **facts) for n in range(count)]  # type: ignore[arg-type]
