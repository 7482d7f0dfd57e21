"""The proxy's CPU per request, everything on, beside a bare uvicorn hello-world in the same run.

usage: python -m tests.bench [--seconds 5] [--connections 32] [--streams 100] [--open-streams 2000] [--requests 1000000]

A whole instance is started (embedded Postgres and Redis, shipper, workers) with one proxy, and a config of its own: a provider with
a credential, a route with a price, three hard budgets (organisation, key, route), two limits (requests a minute, tokens a day). So every
request is authenticated, routed, bounded, admitted twice, reserved three times over, journalled twice and settled in Postgres.
Measured process and yardstick are pinned to the last core, everything else to the first, where the rest of the instance yields to the load
and its upstream. Ratios are the point; absolute figures belong
to the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.endurance import growth, half_load, many_streams, rss_mb
from tests.bench.http_layer import EVENTS, KEY, Ask, cpu_seconds, free_port, measure, start
from tests.launcher.conftest import Bulkhead, clean_environment

CONFIG = """\
organisation: main
credentials:
- name: bench
  secret: env:BENCH_API_KEY
providers:
- name: bench
  allow_private_addresses: true
  endpoints:
  - name: main
    base_url: http://127.0.0.1:{upstream}/v1
    credential: bench
  prices:
  - model: bench
    input: '0.15'
    output: '0.6'
routes:
- name: bench
  targets:
  - provider: bench
    model: bench
keys:
- name: bench
  secret: env:BENCH_KEY
budgets:
- name: bench-day
  scope: organisation
  window: day
  limit: '100000'
- name: bench-key
  scope: key
  key: bench
  window: month
  limit: '100000'
- name: bench-route
  scope: route
  route: bench
  window: day
  limit: '100000'
limits:
- name: bench-minute
  key: bench
  kind: requests_per_minute
  amount: 100000000
- name: bench-tokens
  route: bench
  kind: tokens_per_day
  amount: 1000000000000
"""


def pin(pid: int, core: int) -> None:
    """Every thread of a process, also those it starts later."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {core})


def step_back(root: int, keep: int) -> None:
    """Everything that descends from ``root``, except ``keep``, runs only when nothing else wants its core. Where it has cores of its own,
    what Postgres does for a settlement takes no time from the answers that are measured; here it has none."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    left = [root]
    while left:
        pid = left.pop()
        left += children.get(pid, [])
        if pid != keep:
            try:
                Path(f"/proc/{pid}/autogroup").write_text("19")  # sessions share a core before their processes do: sched(7)
            except OSError:
                pass  # it has ended meanwhile, or this kernel has none
            try:
                for thread in os.listdir(f"/proc/{pid}/task"):
                    os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))
            except OSError:
                continue


@contextlib.contextmanager
def instruments(*pids: int) -> Iterator[None]:
    """These, the caller and the upstream, wait for nothing of the instance: real-time (sched(7), SCHED_RR), where this user may be so.
    A process of the lowest weight still ends its slice of some milliseconds before another one runs, which would be in the answers' times
    as if it were the proxy's."""
    threads = [int(thread) for pid in pids for thread in os.listdir(f"/proc/{pid}/task")]
    try:
        for thread in threads:
            os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        print("the caller and the upstream share their core with the rest of the instance: as root they would come first")
    try:
        yield
    finally:
        for thread in threads:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def settled(shipper: int) -> None:
    """Wait until the shipper has caught up with what was asked at full speed: half load is not half load beside a backlog."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        before = cpu_seconds(shipper)
        time.sleep(1)
        if cpu_seconds(shipper) - before < 0.1:
            return
    print("the shipper has not caught up within two minutes; what follows was measured beside it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--open-streams", type=int, default=2_000)
    parser.add_argument(
        "--requests", type=int, default=1_000_000, help="what a proxy keeps of so many is looked at (a minute); 0: it is not"
    )
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    home = Path(tempfile.mkdtemp(prefix="bulkhead-bench-", dir="/tmp"))
    home.chmod(0o711)
    instance = Bulkhead(home / "var")
    processes: list[subprocess.Popen[Any]] = []
    try:
        upstream_port, bare_port, relay_port = free_port(), free_port(), free_port()
        processes.append(start("upstream", cores[0], upstream_port))
        processes.append(start("bare", cores[-1], bare_port))
        processes.append(start("relay", cores[-1], relay_port, upstream_port))
        done = instance.up("--no-demo")
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        document = home / "bench.yaml"
        document.write_text(CONFIG.format(upstream=upstream_port))
        environ = {**clean_environment(), "BULKHEAD_DATA_DIR": str(instance.data_dir), "BENCH_API_KEY": "sk-bench", "BENCH_KEY": KEY}
        subprocess.run([sys.executable, "manage.py", "apply", "-f", str(document)], check=True, env=environ, stdout=subprocess.DEVNULL)
        proxy = instance.facts["pids"]["proxy-1"]
        pin(proxy, cores[-1])
        step_back(instance.facts["pids"]["launcher"], proxy)
        chat = b"/v1/chat/completions"
        bare = measure("bare uvicorn hello-world", processes[1].pid, bare_port, Ask(b"/json"), options.connections, options.seconds)
        json = measure("proxy, everything on, JSON", proxy, instance.proxy_port, Ask(chat), options.connections, options.seconds)
        stream = measure(
            f"proxy, everything on, {EVENTS} events", proxy, instance.proxy_port, Ask(chat, True), options.streams, options.seconds
        )
        again = measure("bare uvicorn hello-world, again", processes[1].pid, bare_port, Ask(b"/json"), options.connections, options.seconds)
        print(f"JSON / bare hello-world: {json / ((bare + again) / 2):.2f} (hold: at most 1.9)   stream: {stream / EVENTS:.1f} us an event")
        print(f"memory of the proxy: {rss_mb(proxy):.0f} MB (hold: at most 120 MB without open streams)")
        settled(instance.facts["pids"]["shipper"])
        with instruments(os.getpid(), processes[0].pid):
            half_load(instance.proxy_port, relay_port, upstream_port, json.rate, options.connections)
        many_streams(proxy, instance.proxy_port, options.open_streams)
        if options.requests:
            growth(proxy, instance.proxy_port, options.requests, options.connections)
    finally:
        instance.down()
        for process in processes:
            process.terminate()
            process.wait(10)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
