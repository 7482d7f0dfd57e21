"""Usage in bulk for measurements: millions of requests of an organisation of their own, stored and summed by the shipper's own code.

    DATABASE_URL=... python -m tests.bench.usage [--org generated] [--rows 10000000] [--days 30] [--seed 1]

The organisation is made where it is missing (``tests.bench.organisation``). It is simulated, and each request is tagged ``generated``: no
total of real traffic has any of them. Five teams with four keys each ask five routes, answered by three providers in two regions with three
models; 1.5% fail, 0.7% are answered by another target after a failed attempt, a few are refused. The last 24 hours are made and stored by
the shipper's own code, spread evenly; the days before are that day again, copied in SQL with its sums. Then spend is counted and upkeep
done, as the worker would. Prints rows a second.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.contracts.usage import Attempt, Tokens, UsageRecord

BATCH = 100_000
TEMPLATES = 20_000
TAG = "generated"
TARGETS = (
    ("east", "eu-1", "eu", "large"),
    ("west", "us-1", "us", "large"),
    ("west", "us-2", "us", "small"),
    ("north", "eu-2", "eu", "tiny"),
)
"""(provider, endpoint, region, model) that answer requests."""
ROUTES = ("chat", "support", "search", "summaries", "code")
CODES = ("upstream_error", "upstream_timeout", "http_429", "http_500")


@dataclass(frozen=True, slots=True)
class Caller:
    """A key, and whom its requests belong to."""

    key_id: str
    team: str
    service: str


def templates(organisation: str, callers: Sequence[Caller], *, seed: int) -> list[UsageRecord]:
    """Requests whose id and time are still to be set."""
    rng = random.Random(seed)
    return [_template(rng, organisation, callers) for _ in range(TEMPLATES)]


def _template(rng: random.Random, organisation: str, callers: Sequence[Caller]) -> UsageRecord:
    key = min(int(rng.paretovariate(0.8)), len(callers)) - 1
    caller = callers[key]
    route = ROUTES[key % len(ROUTES)]
    draw = rng.random()
    refused, failed, moved = draw < 0.004, draw < 0.019, draw < 0.026
    total = int(rng.lognormvariate(13.6, 0.7))
    stream = rng.random() < 0.7
    tokens = Tokens(input=rng.randrange(50, 6_000), output=rng.randrange(5, 900), cache_read=rng.choice((0, 0, 40)))
    attempts: list[Attempt] = []
    if not refused:
        first = key % len(TARGETS)  # most of a key's requests go to one target: as many rows of rollups as a real day has
        chosen = rng.choices((*TARGETS[first:], *TARGETS[:first]), (40, 2, 1, 1))[0]
        if moved:
            attempts.append(_attempt(rng.choice(TARGETS), "error", rng.choice(CODES), total // 4, Tokens()))
        outcome = "error" if failed else "ok"
        attempts.append(_attempt(chosen, outcome, attempts[0].error_code if failed else "", total - 300, Tokens() if failed else tokens))
    code = "budget_exceeded" if refused else attempts[-1].error_code
    used = Tokens() if refused or failed else tokens
    return UsageRecord(
        id=b"",
        started_us=0,
        organisation=organisation,
        key_id=caller.key_id,
        kind="chat",
        route=route,
        requested_model=route,
        stream=stream,
        outcome="refused" if refused else "error" if failed else "ok",
        status=429 if refused else 502 if failed else 200,
        error_code=code,
        error_step="reserve" if refused else "dispatch" if failed else "",
        feature=f"feature-{key % 7}",
        user=f"user-{rng.randrange(500)}",
        tags=[TAG],
        team=caller.team,
        service=caller.service,
        simulated=True,
        config_version=1,
        input_hash="0f" * 16,
        attempts=attempts,
        tokens=used,
        cost_nano=sum(attempt.cost_nano for attempt in attempts),
        first_token_us=total // 5 if stream and not failed and not refused else -1,
        total_us=2_000 if refused else total,
        upstream_us=0 if refused else total - 600,
        bytes_in=used.input * 4 + 300,
        bytes_out=used.output * 30 + 300,
    )


def _attempt(target: tuple[str, str, str, str], outcome: Any, code: str, ended_us: int, tokens: Tokens) -> Attempt:
    provider, endpoint, region, model = target
    return Attempt(
        provider=provider, endpoint=endpoint, model=model, region=region, outcome=outcome, status=200 if outcome == "ok" else 502,
        error_code=code, sent_us=200, first_byte_us=ended_us // 3, ended_us=ended_us, tokens=tokens,
        cost_nano=tokens.input * 150 + tokens.output * 600, price_version="list-2026",
    )  # fmt: skip


def records(made: list[UsageRecord], *, rows: int, start_us: int, end_us: int, seed: int) -> Iterator[UsageRecord]:
    """``rows`` of them in the order of time."""
    from msgspec.structs import replace

    from apps.contracts.identifiers import uuid7_bytes

    rng = random.Random(seed)
    for number in range(rows):
        at = start_us + (end_us - start_us) * number // rows
        yield replace(made[rng.randrange(len(made))], id=uuid7_bytes(at // 1_000), started_us=at)


def store(batch: Sequence[UsageRecord]) -> None:
    """A batch as the shipper stores it."""
    from django.db import connection, transaction

    from apps.usage import services

    with transaction.atomic(), connection.cursor() as cursor:
        services.usage_settle(cursor=cursor, records=batch)


def repeat(organisation: str, *, days_before: int, start: datetime, end: datetime) -> int:
    """The requests of ``[start, end)`` and their sums once more, so many days earlier; returns how many. In SQL, because nothing but times
    and ids differs. Sums of buckets that both have (of hours and days that the range cuts) are added."""
    from django.db import connection, transaction

    from apps.usage import rollups, rows, services, summaries

    copied = ", ".join(name for name in rows.COLUMNS if name not in ("id", "started_at"))
    moved = "started_at + %(shift)s"
    instant = f"lpad(to_hex((extract(epoch FROM {moved}) * 1000)::bigint), 12, '0')"
    shifted = f"({instant} || substr(replace(id::text, '-', ''), 13))::uuid"
    ours = "organisation = %(organisation)s AND simulated"
    least = 10 if days_before == 1 else 60 if days_before <= services.MINUTE_DAYS else 3_600  # what is narrower is kept no longer
    given = {"least": least, "shift": timedelta(days=-days_before), "organisation": organisation, "start": start, "end": end}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO usage_request (id, started_at, {copied}) SELECT {shifted}, {moved}, {copied} FROM usage_request "
            f"WHERE {ours} AND started_at >= %(start)s AND started_at < %(end)s",
            given,
        )
        stored = int(cursor.rowcount)
        for tier in ("1m", "1h") if days_before > 1 else ("10s", "1m", "1h"):
            histograms = [name for name in rollups.HISTOGRAMS if tier != rollups.GAPLESS or name != "h_gap"]
            dimensions = rollups.NARROW if tier == "10s" else rollups.WIDE
            names = ", ".join(("dimensions", *dimensions, *rollups.COUNTERS, *histograms))
            cursor.execute(
                f"INSERT INTO usage_rollup_{tier} AS kept (bucket, {names}) SELECT bucket + %(shift)s, {names} FROM made_{tier} "
                f"ON CONFLICT (bucket, dimensions) DO UPDATE SET {_added(rollups.COUNTERS, histograms)}",
                given,
            )
        names = ", ".join(("organisation", "simulated", "seconds", "dimension", "value", *summaries.SUMMED, *summaries.DOCUMENTS))
        cursor.execute(
            f"INSERT INTO usage_summary AS kept (bucket, {names}) SELECT bucket + %(shift)s, {names} FROM made_summary "
            "WHERE seconds >= %(least)s ON CONFLICT (organisation, simulated, seconds, dimension, bucket, value) "
            f"DO UPDATE SET {_added(summaries.SUMMED, summaries.DOCUMENTS)}",
            given,
        )
    return stored


def _added(sums: Sequence[str], documents: Sequence[str]) -> str:
    return ", ".join(
        [f"{name} = kept.{name} + excluded.{name}" for name in sums]
        + [f"{name} = usage_histogram_merge(kept.{name}, excluded.{name})" for name in documents]
    )


def _remember(organisation: str) -> None:
    """The sums of the day that is to be repeated, before any other is added to them."""
    from django.db import connection

    with connection.cursor() as cursor:
        for name, table in (*((tier, f"usage_rollup_{tier}") for tier in ("10s", "1m", "1h")), ("summary", "usage_summary")):
            cursor.execute(
                f"CREATE TEMPORARY TABLE made_{name} AS SELECT * FROM {table} WHERE organisation = %s AND simulated", [organisation]
            )


def upkeep(*, days: int) -> None:
    """What the worker would have done meanwhile: hours counted for the pages of spend, fine sums past their time away, statistics."""
    from django.db import connection

    from apps.usage import counting, services

    while counting.spend_count(retention_days=days + 2):
        pass
    services.rollups_compact()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")  # autovacuum comes to rows that were only inserted, too: pages are read by the index alone then


def main() -> int:
    import django

    parser = argparse.ArgumentParser(description="Usage in bulk, of a simulated organisation of its own.")
    parser.add_argument("--org", default="generated")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()

    from django.db import connection

    from apps.accounts.scope import Scope
    from apps.usage import services
    from apps.usage.selectors import any_request
    from tests.bench.organisation import organisation_made

    organisation, callers = organisation_made(given.org)
    if any_request(Scope(str(organisation.pk), True)):
        print(f"{given.org} has usage already: name another organisation with --org")
        return 1
    days, began = max(1, given.days), time.monotonic()
    end_us = time.time_ns() // 1_000 - 20_000_000
    start_us = end_us - services.DAY_US
    with connection.cursor() as cursor:
        services.partitions_ensure(
            cursor=cursor, days=range((end_us - days * services.DAY_US) // services.DAY_US, end_us // services.DAY_US + 1)
        )
    made = templates(str(organisation.pk), callers, seed=given.seed)
    stored, batch, rows = 0, [], given.rows // days
    for record in records(made, rows=rows, start_us=start_us, end_us=end_us, seed=given.seed):
        batch.append(record)
        if len(batch) == BATCH or stored + len(batch) == rows:
            store(batch)
            stored, batch = stored + len(batch), []
            print(f"{stored:,} rows, {stored / (time.monotonic() - began):,.0f} a second", flush=True)
    _remember(str(organisation.pk))
    start, end = (datetime.fromtimestamp(at / 1e6, UTC) for at in (start_us, end_us))
    for days_before in range(1, days):
        stored += repeat(str(organisation.pk), days_before=days_before, start=start, end=end)
        print(f"{stored:,} rows, {stored / (time.monotonic() - began):,.0f} a second", flush=True)
    upkeep(days=days)
    print(f"{stored:,} rows of {given.org}, summed and counted, in {(time.monotonic() - began) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
