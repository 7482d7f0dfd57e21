"""How fast the shipper settles into embedded Postgres: records/s, CPU, bytes, and the lag at a held rate.

``python -m tests.bench.shipper [--records 200000] [--rate 20000] [--seconds 10]``

First a backlog of whole journals is settled at full speed; then a writer process holds ``--rate`` records a second (an open
and a full record each) while a shipper follows, and the lag of every batch is taken. Prints figures; asserts nothing.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from apps.contracts.usage import encode_record
from apps.proxy.journal import Journal
from tests.settlement.records import Traffic

TICKS = os.sysconf("SC_CLK_TCK")


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


def write_backlog(root: Path, records: int) -> int:
    """One closed journal with so many pairs; returns its bytes of payload."""
    boot = Traffic.boot()
    traffic = Traffic(boot, keys=200)
    journal = Journal.create(root, boot_id=boot, name="bench", max_bytes=8 << 30)
    pairs = [tuple(map(encode_record, traffic.pair())) for _ in range(records)]
    size, spent = 0, 0.0
    for at in range(0, records, 5_000):
        started = time.perf_counter()
        for opened, record in pairs[at : at + 5_000]:
            journal.admit()
            journal.append(opened)
            journal.append(record)
            journal.retire()
        spent += time.perf_counter() - started
        journal.upkeep()
    size = sum(len(opened) + len(record) for opened, record in pairs)
    journal.close()
    print(f"journal: {spent / records * 1e6:.2f} us for admit, open, record, retire; {size / records:.0f} bytes a request")
    return size


def hold_rate(root: Path, rate: int, seconds: float) -> None:
    """The writer process: ``rate`` pairs a second, in slices of ten milliseconds."""
    boot = Traffic.boot()
    traffic = Traffic(boot, keys=200)
    journal = Journal.create(root, boot_id=boot, name="bench", max_bytes=4 << 30)
    # The encoding is prepared: only ids and times change, in place, so that the writer leaves a core to the shipper.
    templates = [traffic.pair() for _ in range(1000)]
    import msgspec

    from apps.contracts.identifiers import uuid7_bytes

    started, written = time.monotonic(), 0
    while (now := time.monotonic() - started) < seconds:
        due = int(now * rate)
        while written < due:
            opened, record = templates[written % 1000]
            started_us = time.time_ns() // 1000 - record.total_us
            request = uuid7_bytes(started_us // 1000)
            journal.append(encode_record(msgspec.structs.replace(opened, id=request, started_us=started_us)))
            journal.append(encode_record(msgspec.structs.replace(record, id=request, started_us=started_us)))
            written += 1
        journal.upkeep()
        time.sleep(0.01)
    journal.close()
    print(f"writer: {written} pairs in {time.monotonic() - started:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        hold_rate(options.write, options.rate, options.seconds)
        return

    from controlplane.launcher.postgres import Passwords, Postgres

    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-", dir="/tmp") as name:
        home = Path(name)
        home.chmod(0o711)
        server = Postgres(home / "postgres", passwords=Passwords.random(), log=home / "postgres.log")
        server.start()
        try:
            measure(server.url(), server.process.pid if server.process else 0, home, options)
        finally:
            server.stop()


def measure(url: str, postmaster: int, home: Path, options: argparse.Namespace) -> None:
    os.environ.update(DATABASE_URL=url, BULKHEAD_DATA_DIR=str(home / "data"), BULKHEAD_SECRET_KEY="bench")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from apps.settlement.shipper import Shipper

    gc.freeze()
    gc.set_threshold(200_000, 20, 100)  # as the command does
    call_command("migrate", verbosity=0, interactive=False)
    root = home / "journal"
    size = write_backlog(root, options.records)
    stop = threading.Event()
    stop.set()
    database, cpu, wall = postgres_cpu(postmaster), time.process_time(), time.perf_counter()
    shipper = Shipper(root)
    while shipper.records < options.records:
        shipper.round()
    wall, cpu, database = time.perf_counter() - wall, time.process_time() - cpu, postgres_cpu(postmaster) - database
    n = options.records
    print(
        f"backlog: {n / wall:,.0f} records/s; CPU a record: shipper {cpu / n * 1e6:.1f} us, Postgres {database / n * 1e6:.1f} us "
        f"({n / (cpu + database):,.0f} records/s on one core for both); {size / wall / 1e6:.1f} MB/s of journal"
    )
    shipper.close()

    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.shipper", "--write", str(root), "--rate", str(options.rate), "--seconds", str(options.seconds)]
    )
    shipper = Shipper(root)
    lags: list[int] = []
    while writer.poll() is None:
        _, settled = shipper.round()
        if settled:
            lags.append(shipper._lag_ms)
        else:
            time.sleep(0.02)
    stop.set()
    shipper.run(stop)
    lags.sort()
    print(f"held rate {options.rate}/s: {shipper.records} settled; lag p50 {lags[len(lags) // 2]} ms, max {lags[-1]} ms")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), sum(cost_nano) FROM usage_request")
        rows = cursor.fetchone()
        cursor.execute("SELECT sum(requests), sum(cost_nano) FROM usage_rollup_1m")
        print(f"rows {rows[0]} cost {rows[1]}; rollups {cursor.fetchone()}")
        cursor.execute("SELECT pg_database_size(current_database())")
        print(f"database: {cursor.fetchone()[0] / rows[0]:.0f} bytes a record, indexes and rollups included")
    connection.close()


if __name__ == "__main__":
    main()
