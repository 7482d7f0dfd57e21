"""Usage in bulk for measurements: millions of requests of an organisation, stored and summed by the shipper's own code.

    DATABASE_URL=... python -m tests.bench.usage --org SLUG [--rows 10000000] [--days 30] [--seed 1]

Requests are spread evenly over the days before now. Five teams with four keys each ask
five routes, answered by three providers in two regions with three models; 1.5% fail, 0.7% are answered by another target after a failed
attempt, one key in ten is refused now and then. Prints rows a second; a run adds to what is there.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

from apps.contracts.usage import Attempt, Tokens, UsageRecord

BATCH = 100_000
TEMPLATES = 20_000
TARGETS = (
    ("east", "eu-1", "eu", "large"),
    ("west", "us-1", "us", "large"),
    ("west", "us-2", "us", "small"),
    ("north", "eu-2", "eu", "tiny"),
)
ROUTES = ("chat", "support", "search", "summaries", "code")
CODES = ("upstream_error", "upstream_timeout", "http_429", "http_500")


def templates(organisation: str, *, simulated: bool, seed: int) -> list[UsageRecord]:
    """Requests whose id and time are still to be set."""
    rng = random.Random(seed)
    return [_template(rng, organisation, simulated) for _ in range(TEMPLATES)]


def _template(rng: random.Random, organisation: str, simulated: bool) -> UsageRecord:
    key = min(int(rng.paretovariate(0.8)), 20) - 1
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
        key_id=f"00000000-0000-7000-8000-{key:012d}",
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
        team=f"team-{key % 5}",
        service=f"service-{key % 5}",
        simulated=simulated,
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


def main() -> int:
    import django

    parser = argparse.ArgumentParser(description="Usage in bulk.")
    parser.add_argument("--org", required=True)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()

    from django.db import connection, transaction

    from apps.accounts.models import Organisation
    from apps.usage import services

    organisation = Organisation.objects.get(slug=given.org)
    end_us = time.time_ns() // 1_000 - 20_000_000
    start_us = end_us - int(given.days * services.DAY_US)
    with connection.cursor() as cursor:
        services.partitions_ensure(cursor=cursor, days=range(start_us // services.DAY_US, end_us // services.DAY_US + 1))
    made = templates(str(organisation.pk), simulated=organisation.simulated, seed=given.seed)
    stored, began, batch = 0, time.monotonic(), []
    for record in records(made, rows=given.rows, start_us=start_us, end_us=end_us, seed=given.seed):
        batch.append(record)
        if len(batch) < BATCH and stored + len(batch) < given.rows:
            continue
        with transaction.atomic(), connection.cursor() as cursor:
            services.usage_settle(cursor=cursor, records=batch)
        stored, batch = stored + len(batch), []
        print(f"{stored:,} rows, {stored / (time.monotonic() - began):,.0f} a second", flush=True)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
