"""Whole instances under load and under fire. Small by default; ``make accept`` (BULKHEAD_ACCEPT=1) runs them at full size.

One instance serves every test that leaves it whole, the kills included: coming back from them is what it is for. Each of its
tests uses keys of its own. A test that takes Postgres away for long has an instance and a server of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.launcher.conftest import ROOT, Bulkhead, clean_environment, wait_for
from tests.prepared import begin_with, make_short_dir
from tests.scale import FULL as FULL

MATERIAL = Path(__file__).resolve().parents[3] / "shared" / "material"
SERVICE = "demo/demo-app"


class Instance(Bulkhead):
    """environ: of its launcher and commands, beside what a clean shell has."""

    def __init__(self, data_dir: Path, environ: dict[str, str] | None = None) -> None:
        super().__init__(data_dir)
        self.environ = environ or {}

    def manage(self, *arguments: str, timeout: float = 110) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**clean_environment(), **self.environ, "BULKHEAD_DATA_DIR": str(self.data_dir)},
            cwd=ROOT,
        )

    def command(self, *arguments: str, timeout: float = 110) -> str:
        """A management command against this instance; its output. Fails with it when the command fails."""
        done = self.manage(*arguments, timeout=timeout)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def apply(self, document: str) -> str:
        path = self.data_dir / "document.yaml"
        path.write_text(document)
        return self.command("apply", "-f", str(path))

    def new_key(self, name: str, *, dollars: str = "", rest: str = "") -> str:
        """A virtual key of the demo's service, under a hard budget a day where ``dollars`` are given; its token."""
        budget = f"- name: {name}\n  scope: key\n  key: {name}\n  window: day\n  limit: '{dollars}'\n" if dollars else ""
        out = self.apply(
            f"organisation: demo\nkeys:\n- name: {name}\n  service: {SERVICE}\n  secret: file:{name}.key\n"
            + (f"budgets:\n{budget}" if budget else "")
            + rest
        )
        proxies = len(self.facts["proxies"])
        assert f"{proxies}/{proxies}" in out, out
        return (self.data_dir / f"{name}.key").read_text().strip()

    def pid(self, name: str) -> int:
        """The process that runs under this name now; waits where it is just being started again."""
        found: int = wait_for(lambda: self.facts.get("pids", {}).get(name), what=f"{name} runs")
        return found

    def readiness(self) -> dict[str, dict[str, Any]]:
        """What each proxy's ``/readyz`` says, by the proxy's name; empty where nobody answers."""
        found: dict[str, dict[str, Any]] = {}
        for proxy in self.facts["proxies"]:
            try:
                found[proxy["name"]] = httpx.get(f"{proxy['admin_url']}/readyz", timeout=2, trust_env=False).json()
            except httpx.HTTPError:
                found[proxy["name"]] = {}
        return found

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.facts["database_url"], autocommit=True)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(statement, values).fetchall()  # type: ignore[arg-type]

    def simulate(self, *, first_byte_ms: float, output_tokens: int = 16, tokens_per_event: int = 4) -> None:
        """How the simulated providers answer; ``output_tokens`` unless a request allows fewer. Their bills begin anew."""
        server = {
            "first_byte_ms": {"kind": "fixed", "value": first_byte_ms},
            "output_tokens": {"kind": "fixed", "value": output_tokens},
            "tokens_per_event": tokens_per_event,
        }
        for simulator in self.facts["simulators"]:
            httpx.post(f"{simulator['url']}/sim/reset").raise_for_status()
            httpx.put(f"{simulator['url']}/sim/control", json={"server": server}).raise_for_status()

    def billed(self) -> dict[str, int]:
        """What the simulated providers have served since ``simulate``: requests, tokens, cost in nano-dollars; none of it still running."""
        sums = {"requests": 0, "cost_nano": 0, "input_tokens": 0, "output_tokens": 0}
        for simulator in self.facts["simulators"]:
            url = f"{simulator['url']}/sim/bill?seen=no"
            wait_for(lambda url=url: httpx.get(url).json()["running"] == 0, what="the simulator is idle")
            bill = httpx.get(url).json()
            for name in sums:
                sums[name] += bill[name]
        return sums

    def bill_lines(self) -> dict[str, int]:
        """What the simulated providers have served since ``simulate``, line by line: the id that they gave a request -> nano-dollars."""
        costs: dict[str, int] = {}
        for simulator in self.facts["simulators"]:
            wait_for(lambda url=simulator["url"]: httpx.get(f"{url}/sim/bill?seen=no").json()["running"] == 0, what="the simulator is idle")
            bill = httpx.get(f"{simulator['url']}/sim/bill", timeout=60).json()
            assert not bill["seen_dropped"], "more requests than the simulator keeps lines of"
            costs |= {line["id"]: line["cost_nano"] for line in bill["seen"]}
        return costs


@pytest.fixture(scope="package")
def make_instance(request: pytest.FixtureRequest) -> Iterator[Callable[..., Instance]]:
    """``make_instance("--proxies", "2")``: a running one; ``DATABASE_URL=``: on a server that is not its own."""
    made: list[Instance] = []

    def start(*arguments: str, **environ: str) -> Instance:
        one = Instance(make_short_dir("accept") / "var", environ)
        made.append(one)
        if not FULL and "DATABASE_URL" not in environ:
            begin_with(one.data_dir, *request.getfixturevalue("migrated_model"))
        done = one.up(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return one

    yield start
    for one in made:
        one.down()
        shutil.rmtree(one.data_dir.parent, ignore_errors=True)


@pytest.fixture(scope="package")
def instance(make_instance: Callable[..., Instance]) -> Instance:
    """Four proxies and the demo, for all these tests."""
    return make_instance("--proxies", "4")


def summary_of(output: str) -> dict[str, Any]:
    """The JSON object that a command printed last."""
    found: dict[str, Any] = json.loads(output[output.index("{") :])
    return found
