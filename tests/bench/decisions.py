"""How long a scale decision takes after the load came: a whole Bulkhead by ``up``, real requests through its proxy, each path by itself.

``python -m tests.bench.decisions [--rounds 3] [--only queue]``

Of the demo's simulated deployment: tokens outstanding at the proxy; the queue, the KV cache and the time to the first token of an engine,
told by its agent; and a request that is held because nobody is there. The clock starts when the load is sent and stops at the recorded
decision. Prints seconds; asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx

PATIENCE = 120.0
QUIET = 6.0
"""Seconds without load before each round: what the last one told is over."""


class Case(NamedTuple):
    """engine: arguments. policy: beside what all have. wanted: before the load. calls: at once."""

    name: str
    engine: dict[str, str]
    policy: dict[str, Any]
    wanted: int = 1
    calls: int = 12


ALONE = {"waiting_each": 0, "kv_target": 0, "up_most": 20, "limit_seconds": 1}
CASES = (
    Case("tokens outstanding at the proxy", {"itl_ms": "200", "output_tokens": "100"}, {**ALONE, "tokens_each": 500}),
    Case("the engine's queue", {"itl_ms": "200", "output_tokens": "100", "max_running": "1"}, {**ALONE, "waiting_each": 2}),
    Case("the engine's KV cache", {"itl_ms": "200", "output_tokens": "100", "kv_tokens": "2000"}, {**ALONE, "kv_target": 0.1}),
    Case("time to the first token", {"ttft_ms": "400", "output_tokens": "2", "max_running": "1"}, {**ALONE, "ttft_target": 0.6}),
    Case("held, nobody there", {"itl_ms": "200", "output_tokens": "100"}, {**ALONE, "tokens_each": 500}, wanted=0, calls=1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    from tests.launcher.conftest import Bulkhead

    home = Path(tempfile.mkdtemp(prefix="bulkhead-bench-", dir="/tmp"))
    home.chmod(0o711)
    instance = Bulkhead(home / "var")
    agent: subprocess.Popen[bytes] | None = None
    try:
        began = instance.up()
        if began.returncode:
            raise SystemExit(began.stdout + began.stderr)
        facts = instance.facts
        os.environ.update(DATABASE_URL=facts["database_url"], BULKHEAD_DATA_DIR=facts["data_dir"], BULKHEAD_SECRET_KEY="bench")
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
        agent = agent_started(facts, home)
        import django

        django.setup()
        for case in (one for one in CASES if options.only in one.name):
            took = [measured(case, facts) for _ in range(options.rounds)]
            print(
                f"{case.name:36}{min(took):6.1f} s at best {statistics.median(took):6.1f} s at p50 {max(took):6.1f} s at worst", flush=True
            )
    finally:
        if agent is not None:
            agent.terminate()
            agent.wait(60)
        instance.down()
        shutil.rmtree(home, ignore_errors=True)


def agent_started(facts: dict[str, Any], home: Path) -> subprocess.Popen[bytes]:
    """This machine's worker, which a quiet demo does without."""
    own = {
        "BULKHEAD_CONTROL_URL": facts["web_url"],
        "BULKHEAD_AGENT_NAME": "local",
        "BULKHEAD_AGENT_DIR": str(home / "agent"),
        "BULKHEAD_AGENT_TOKEN_FILE": f"{facts['data_dir']}/secrets/agent_token",
    }
    with (home / "agent.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "apps.agent"], env={**os.environ, **own}, stdout=log, stderr=log)


def measured(case: Case, facts: dict[str, Any]) -> float:
    """Seconds from the load to the decision."""
    from apps.audit.actors import Actor
    from apps.fleet.models import Deployment, ScaleDecision
    from apps.fleet.services import deployment_scale, deployment_update

    actor = Actor.command("bench")
    deployment = Deployment.objects.get(name="demo-local")
    now = {"scaling_mode": "off", "most": 8, "arguments": case.engine, "scaling": case.policy, "wanted": case.wanted, "reason": "bench"}
    deployment_update(actor=actor, deployment=deployment, **now)
    deployment_scale(actor=actor, deployment=deployment, wanted=case.wanted, reason="bench")

    def settled() -> bool:
        row = Deployment.objects.get(pk=deployment.pk)
        live = list(row.replicas.filter(ended_at=None))
        return len(live) == case.wanted and all(one.state == "ready" and one.revision == row.revision for one in live)

    until(settled, "as many replicas as wanted")
    deployment_update(actor=actor, deployment=deployment, scaling_mode="on", reason="bench")
    time.sleep(QUIET)
    last = ScaleDecision.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    over = threading.Event()
    sent = datetime.now(UTC)
    calls = [threading.Thread(target=call, args=(facts, over), daemon=True) for _ in range(case.calls)]
    for one in calls:
        one.start()
    found = until(
        lambda: ScaleDecision.objects.filter(pk__gt=last, applied=True, after__gt=case.wanted).order_by("pk").first(), "a decision"
    )
    over.set()
    deployment_update(actor=actor, deployment=deployment, scaling_mode="off", reason="bench")
    for one in calls:
        one.join(PATIENCE)
    return float((found.at - sent).total_seconds())


def call(facts: dict[str, Any], over: threading.Event) -> None:
    """One stream, until it ends or nobody needs it any more."""
    body = {"model": "demo-local", "stream": True, "messages": [{"role": "user", "content": "word " * 60}]}
    head = {"authorization": f"Bearer {facts['key']}"}
    try:
        with httpx.stream("POST", f"{facts['proxy_url']}/v1/chat/completions", json=body, headers=head, timeout=PATIENCE) as answer:
            for _ in answer.iter_raw():
                if over.is_set():
                    return
    except httpx.HTTPError as error:
        print(f"  a request failed: {error!r}")


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {PATIENCE:g} s")
        time.sleep(0.05)
    return found


if __name__ == "__main__":
    main()
