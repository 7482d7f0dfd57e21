"""The whole instance by its real commands: up, status, down, and back after every kind of death."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from controlplane.launcher import death
from controlplane.launcher.welcome import curl_line
from tests.launcher.conftest import Bulkhead, wait_for
from tests.scale import FULL

pytestmark = [pytest.mark.slow, pytest.mark.kill, pytest.mark.timeout(900)]
Make = Callable[..., Bulkhead]


def answered(facts: dict[str, Any]) -> bool:
    """Whether the pasted curl line gets an answer; what else it gets is printed."""
    done = subprocess.run(shlex.split(curl_line(facts)), capture_output=True, text=True, timeout=120)
    if done.returncode == 0 and "choices" in json.loads(done.stdout):
        return True
    print(done.stdout, done.stderr)
    return False


def test_from_nothing_to_a_pasted_curl_line_and_back_to_nothing(make_bulkhead: Make) -> None:
    bulkhead = make_bulkhead()
    up = bulkhead.up()
    assert up.returncode == 0, up.stdout + up.stderr
    facts = bulkhead.facts
    assert (bulkhead.data_dir / "up.json").stat().st_mode & 0o777 == 0o600
    assert facts["login"]["email"] in up.stdout
    assert facts["key"] in up.stdout
    line = curl_line(facts)
    assert line in up.stdout
    answer = json.loads(subprocess.run(shlex.split(line), capture_output=True, check=True, timeout=120).stdout)
    assert answer["choices"][0]["message"]["content"]
    wait_for(lambda: bulkhead.status()["ok"], what="everything is well")
    status = bulkhead.status()
    assert {one["name"] for one in status["processes"]} >= {"launcher", "postgres", "redis", "web", "proxy-1", "shipper", "worker", "beat"}
    assert all(one["boot_id"] for one in facts["proxies"])

    second = bulkhead.up()
    assert second.returncode == 1
    assert "already runs" in second.stderr

    neighbour = make_bulkhead() if FULL else None  # the suite's other instances run beside this one anyway
    assert neighbour is None or neighbour.up("--no-demo").returncode == 0
    assert bulkhead.down().returncode == 0
    assert bulkhead.processes() == []
    assert not death.alive(facts["pids"]["launcher"])
    assert not (bulkhead.data_dir / "up.json").exists()
    assert not (bulkhead.data_dir / "up.lock").exists()
    assert bulkhead.manage("status").returncode == 3
    if neighbour is not None:
        wait_for(lambda: neighbour.status()["ok"], what="the neighbour is well")
        assert neighbour.down().returncode == 0


def test_whatever_is_killed_comes_back_alone_together_or_with_the_launcher(make_bulkhead: Make, capsys: pytest.CaptureFixture[str]) -> None:
    bulkhead = make_bulkhead(migrated=True)
    up = bulkhead.up("--proxies", "2")
    assert up.returncode == 0, up.stdout + up.stderr
    launcher, key, login = bulkhead.facts["pids"]["launcher"], bulkhead.facts["key"], bulkhead.facts["login"]
    for names in (("proxy-1", "shipper"), ("postgres",), ("redis", "web", "worker", "beat", "sim-east")):
        before = bulkhead.facts["pids"]
        for name in names:
            os.kill(before[name], signal.SIGKILL)
        for name in names:
            wait_for(lambda name=name, pid=before[name]: bulkhead.facts["pids"].get(name) not in (None, pid), what=f"{name} with a new pid")
    wait_for(lambda: bulkhead.status()["ok"], seconds=180, what="everything answering again")
    facts = bulkhead.facts
    assert facts["pids"]["launcher"] == launcher
    assert death.alive(launcher)
    assert facts["proxies"][0]["pid"] == facts["pids"]["proxy-1"]
    # A slice of the budget that was lost with Postgres is asked for again as soon as the proxies have found it.
    wait_for(lambda: answered(facts), what="an answer through the proxies")

    # Everything at once, as a crash of the machine would.
    for pid in [launcher, *bulkhead.processes()]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    began = time.monotonic()
    up = bulkhead.up()
    with capsys.disabled():
        print(f"\nsecond start: {time.monotonic() - began:.1f} s")
    assert up.returncode == 0, up.stdout + up.stderr
    assert bulkhead.facts["key"] == key
    assert bulkhead.facts["login"] == login
    wait_for(lambda: bulkhead.status()["ok"], what="everything is well after the crash")

    # The launcher alone: the kernel takes everything with it.
    os.kill(bulkhead.facts["pids"]["launcher"], signal.SIGKILL)
    wait_for(lambda: bulkhead.processes() == [], what="no process left")
    if FULL:
        up = bulkhead.up()
        assert up.returncode == 0, up.stdout + up.stderr
        assert bulkhead.facts["key"] == key


def test_a_taken_port_stops_the_start_with_a_remedy(make_bulkhead: Make) -> None:
    import socket

    bulkhead = make_bulkhead()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", bulkhead.proxy_port))
        taken.listen()
        up = bulkhead.up()
    assert up.returncode == 1
    assert "--proxy-port" in up.stderr
    assert bulkhead.processes() == []
