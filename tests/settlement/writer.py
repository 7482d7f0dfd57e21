"""A proxy's journal side as a process of its own, to be killed: ``python -m tests.settlement.writer ROOT LOG SEED [BUDGET...]``.

As a proxy does, it makes its journal first; then, as soon as Postgres answers, it takes one large lease of each BUDGET from
``DATABASE_URL``, and every request is charged to all of them.
LOG gets a line after each append has returned (one write call each: the kernel keeps it when this process dies):
``open <id> <reserved>`` or ``full <id> <cost> <tokens>``.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

import psycopg

from apps.contracts.usage import OpenRecord, UsageRecord, encode_record
from apps.proxy.journal import MIN_SEGMENT_BYTES, Journal
from tests.settlement.records import Traffic

SLICE_NANO = 10**13
"""More than any run of the test spends."""
MAX_SEGMENTS = 2_048
"""128 MiB: more than is written while nobody settles, so that this writer never waits for a shipper."""


def leases(boot: str, budgets: list[str]) -> tuple[int, ...]:
    """A grant that was cut off may have happened: asked again, the lease only grows."""
    wants = json.dumps([{"budget": budget, "need": SLICE_NANO, "want": SLICE_NANO} for budget in budgets])
    while True:
        try:
            with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
                rows = connection.execute("SELECT lease, granted FROM proxy_api.lease_grant(%s, %s)", [boot, wants]).fetchall()
            break
        except psycopg.OperationalError:  # killed, or starting again
            time.sleep(0.05)
    assert len(rows) == len(budgets) and all(granted >= SLICE_NANO for _, granted in rows)
    return tuple(lease for lease, _ in rows)


def main(root: Path, log: Path, seed: int, budgets: list[str]) -> None:
    boot = Traffic.boot()
    journal = Journal.create(
        root, boot_id=boot, name=f"writer-{seed}", max_bytes=MAX_SEGMENTS * MIN_SEGMENT_BYTES, segment_bytes=MIN_SEGMENT_BYTES
    )
    charged = leases(boot, budgets) if budgets else ()
    traffic, chance = Traffic(boot, seed=seed, leases=charged), random.Random(seed)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    running: list[tuple[OpenRecord, UsageRecord]] = []
    while True:
        for _ in range(chance.randrange(1, 20)):
            if not journal.admit():
                break
            pair = traffic.pair()
            journal.append(encode_record(pair[0]))
            os.write(fd, f"open {pair[0].id.hex()} {pair[0].reserved_nano}\n".encode())
            running.append(pair)
        chance.shuffle(running)
        while len(running) > chance.randrange(1, 30):
            _, record = running.pop()
            journal.append(encode_record(record))
            os.write(fd, f"full {record.id.hex()} {record.cost_nano} {record.tokens.input}\n".encode())
            journal.retire()
        journal.upkeep()
        time.sleep(0.02)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
