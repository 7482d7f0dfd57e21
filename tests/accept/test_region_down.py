"""A recorded conversation trace at speed, and half-way one region goes down for good: no request fails."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.simulator.harness import SimulatorServer
from tests.accept.conftest import FULL, MATERIAL, ROOT, Instance, summary_of
from tests.launcher.conftest import clean_environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not FULL, reason="a trace under which a region goes down takes a while: make accept"),
]

PROVIDER = """- name: region-{name}
  simulated: true
  allow_private_addresses: true
  endpoints:
  - name: main
    base_url: {url}
    region: {name}
  prices:
  - model: sim-small
    input: '0.15'
    output: '0.6'
"""


def test_one_region_goes_down_half_way(instance: Instance, tmp_path: Path) -> None:
    trace = MATERIAL / "traces" / "mooncake" / "conversation_trace.jsonl"
    if not trace.is_file():
        pytest.skip(f"LOUD SKIP: the Mooncake trace is not at {trace}")
    with trace.open() as lines:
        limit = sum(1 for _ in lines)  # all of it
    with SimulatorServer("region-a", process=True) as a, SimulatorServer("region-b", process=True) as b:
        for server in (a, b):
            server.control(server={"first_byte_ms": {"kind": "fixed", "value": 20}, "tokens_per_event": 8, "tokens_per_second": 4_000})
        providers = PROVIDER.format(name="a", url=a.base_url) + PROVIDER.format(name="b", url=b.base_url)
        rest = (
            f"providers:\n{providers}routes:\n- name: regions\n  resilience:\n    strategy: region\n    region: a\n  targets:\n"
            "  - provider: region-a\n    model: sim-small\n  - provider: region-b\n    model: sim-small\n"
        )
        key = instance.new_key("regions", rest=rest)
        options = ("--speed", "40", "--limit", str(limit), "--key", key, "--model", "regions", "--mixed", "--json")
        replay = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "replay", str(trace), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**clean_environment(), "BULKHEAD_DATA_DIR": str(instance.data_dir)},
        )
        try:
            deadline = time.monotonic() + 300
            while a.bill()["requests"] < limit // 2:
                assert time.monotonic() < deadline and replay.poll() is None, "the replay did not get half-way"
                time.sleep(0.05)
            a.kill()
            output, _ = replay.communicate(timeout=600)
        finally:
            replay.kill()
        summary = summary_of(output)
        print(summary)
        assert (summary["sent"], summary["ok"], summary["failed"]) == (limit, limit, 0), summary
        assert b.bill()["requests"] >= limit // 3
