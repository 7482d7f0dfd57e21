"""How fast the shipper settles into embedded Postgres: records/s, CPU of both, bytes, and the lag at a held rate.

``python -m tests.bench.shipper [--mix realistic|hostile|both] [--records 100000] [--rate 5000 20000] [--seconds 10]``

For each mix, a backlog of whole journals is settled at full speed; then a writer process holds each ``--rate`` (an open
and a full record per request) while the shipper follows, and the lag is taken when each batch has committed. The realistic mix
has 20 keys x 5 routes x 3 targets x 3 features, tags and metadata on one request in ten; the hostile one 200 keys x 5 routes x 2
targets, tags and metadata on every request. Each request is charged to two leases. Prints figures; asserts nothing.

CPU is what the kernel charged: to this process for the shipper; to the postmaster and all of its children for Postgres (backend,
WAL writer, checkpointer, autovacuum). The shipper and Postgres run side by side, so a rate is bound by the slower of the two.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from apps.contracts.usage import encode_record
from apps.proxy.journal import Journal
from tests.settlement.records import Traffic

TICKS = os.sysconf("SC_CLK_TCK")
LEASES = (1, 2)
MIXES: dict[str, dict[str, Any]] = {
    "realistic": {"keys": 20, "routes": 5, "targets": 3, "features": 3, "documents": 0.1},
    "hostile": {"keys": 200, "routes": 5, "targets": 2},
}


def postgres_cpu(postmaster: int) -> float:
    """CPU seconds of a postmaster and its living and ended backends."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.parent.name, stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(pid) == postmaster:
            total += sum(map(int, rest[11:15]))
        elif int(rest[1]) == postmaster:
            total += sum(map(int, rest[11:13]))
    return total / TICKS


def write_backlog(root: Path, records: int, mix: str) -> int:
    """One closed journal with so many pairs; returns its bytes of payload."""
    boot = Traffic.boot()
    traffic = Traffic(boot, leases=LEASES, **MIXES[mix])
    journal = Journal.create(root, boot_id=boot, name="bench", max_bytes=8 << 30)
    size, spent = 0, 0.0
    started_us = time.time_ns() // 1000 - records * 50
    for at in range(0, records, 5_000):
        # 20,000 a second, as they would have arrived
        pairs = [tuple(map(encode_record, traffic.pair(started_us=started_us + n * 50))) for n in range(at, min(at + 5_000, records))]
        started = time.perf_counter()
        for opened, record in pairs:
            journal.admit()
            journal.append(opened)
            journal.append(record)
            journal.retire()
        spent += time.perf_counter() - started
        size += sum(len(opened) + len(record) for opened, record in pairs)
        journal.upkeep()
    journal.close()
    print(f"  journal: {spent / records * 1e6:.1f} us for admit, open, record, retire; {size / records:.0f} bytes a request")
    return size


def hold_rate(root: Path, rate: int, seconds: float, mix: str) -> None:
    """The writer process: ``rate`` pairs a second, in slices of ten milliseconds."""
    import msgspec

    from apps.contracts.identifiers import uuid7_bytes

    boot = Traffic.boot()
    traffic = Traffic(boot, leases=LEASES, **MIXES[mix])
    journal = Journal.create(root, boot_id=boot, name="bench", max_bytes=4 << 30)
    # Prepared: only ids and times change, in place, so that the writer takes little from the two that are measured.
    templates = [traffic.pair() for _ in range(5_000)]
    replace = msgspec.structs.replace
    started, written = time.monotonic(), 0
    while (now := time.monotonic() - started) < seconds:
        due = int(now * rate)
        while written < due:
            opened, record = templates[written % len(templates)]
            started_us = time.time_ns() // 1000 - record.total_us
            request = uuid7_bytes(started_us // 1000)
            journal.append(encode_record(replace(opened, id=request, started_us=started_us)))
            journal.append(encode_record(replace(record, id=request, started_us=started_us)))
            written += 1
        journal.upkeep()
        time.sleep(0.01)
    journal.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mix", choices=[*MIXES, "both"], default="both")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rate", type=int, nargs="*", default=[5_000, 20_000])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--profile", type=Path, help="write a cProfile of the backlog's settling here")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        hold_rate(options.write, options.rate[0], options.seconds, options.mix)
        return

    from controlplane.launcher.postgres import Passwords, Postgres

    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: a busy machine makes every figure worse")
    for mix in MIXES if options.mix == "both" else (options.mix,):
        with tempfile.TemporaryDirectory(prefix="bulkhead-bench-", dir="/tmp") as name:
            home = Path(name)
            home.chmod(0o711)
            server = Postgres(home / "postgres", passwords=Passwords.random(), log=home / "postgres.log")
            server.start()
            try:
                print(f"{mix}:")
                _measure(server.url(), server.process.pid if server.process else 0, home, mix, options)
            finally:
                server.stop()


def _measure(url: str, postmaster: int, home: Path, mix: str, options: argparse.Namespace) -> None:
    os.environ.update(DATABASE_URL=url, BULKHEAD_DATA_DIR=str(home / "data"), BULKHEAD_SECRET_KEY="bench")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from apps.settlement.shipper import Shipper
    from controlplane import env

    logging.getLogger("bulkhead").setLevel(logging.ERROR)
    connection.close()
    settings.DATABASES["default"] = connection.settings_dict = {**connection.settings_dict, **env.django_database(url)}
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)  # as the command does
    call_command("migrate", verbosity=0, interactive=False)

    root = home / "journal"
    size, n = write_backlog(root, options.records, mix), options.records
    shipper = Shipper(root)
    wal = _one("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
    profile = None
    if options.profile:
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
    database, cpu, wall = postgres_cpu(postmaster), time.process_time(), time.perf_counter()
    while shipper.records < n:
        shipper.round()
    wall, cpu, database = time.perf_counter() - wall, time.process_time() - cpu, postgres_cpu(postmaster) - database
    if profile:
        profile.disable()
        profile.dump_stats(options.profile)
    wal = _one("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')") - wal
    print(
        f"  backlog: {n / wall:,.0f} records/s; CPU a record: shipper {cpu / n * 1e6:.1f} us + Postgres {database / n * 1e6:.1f} us "
        f"= {n / (cpu + database):,.0f} records/s where both share one core; {size / wall / 1e6:.1f} MB/s of journal, "
        f"{wal / n:.0f} bytes of WAL a record"
    )
    while any(shipper.round(force=True)):
        pass
    shipper.close()
    for rate in options.rate:
        _hold(root, rate, mix, postmaster, options)
        shutil.rmtree(root)
    rows, cost = _row("SELECT count(*), sum(cost_nano)::bigint FROM usage_request")
    for tier in ("10s", "1m", "1h"):
        summed = _row(f"SELECT sum(requests)::bigint, sum(cost_nano)::bigint FROM usage_rollup_{tier}")
        if summed != (rows, cost):
            print(f"  WRONG: usage_rollup_{tier} says {summed}, the requests {(rows, cost)}")
    print(f"  database: {_one('SELECT pg_database_size(current_database())') / rows:.0f} bytes a record, indexes and rollups included")
    connection.close()


def _hold(root: Path, rate: int, mix: str, postmaster: int, options: argparse.Namespace) -> None:
    from apps.settlement.shipper import Shipper

    root.mkdir(exist_ok=True)  # the one before was removed whole, and the writer makes it only once it has started
    arguments = ["--write", str(root), "--rate", str(rate), "--seconds", str(options.seconds), "--mix", mix]
    shipper = Shipper(root)
    lags: list[int] = []
    database, cpu, started = postgres_cpu(postmaster), time.process_time(), time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "tests.bench.shipper", *arguments]) as writer:
        while writer.poll() is None:
            read, settled = shipper.round()
            if settled and shipper.lag_ms:
                lags.append(shipper.lag_ms)
            if not read:
                time.sleep(0.02)
    behind = time.perf_counter()
    while any(shipper.round(force=True)):
        pass
    ended = time.perf_counter()
    shipper.close()
    n, cpu, database = shipper.records, time.process_time() - cpu, postgres_cpu(postmaster) - database
    lags.sort()
    middle, late = lags[len(lags) // 2], lags[len(lags) * 99 // 100]
    print(
        f"  held {rate:,}/s for {options.seconds:.0f} s: {n:,} records; lag p50 {middle} ms, p99 {late} ms, "
        f"max {lags[-1]} ms; {ended - behind:.2f} s to the end; CPU a record: shipper {cpu / n * 1e6:.1f} us + Postgres "
        f"{database / n * 1e6:.1f} us ({cpu / (ended - started):.0%} and {database / (ended - started):.0%} of a core)"
    )


def _row(sql: str) -> tuple[Any, ...]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql)
        row: tuple[Any, ...] = cursor.fetchone()
    return row


def _one(sql: str) -> int:
    return int(_row(sql)[0])


if __name__ == "__main__":
    main()
