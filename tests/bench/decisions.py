"""How long a scale decision takes after the load came: a whole Bulkhead by ``up``, real requests through its proxy, each path by itself.

``python -m tests.bench.decisions [--rounds 3] [--only queue]``

Of the demo's simulated deployment: tokens outstanding at the proxy; the queue, the KV cache and the time to the first token of an engine,
told by its agent; and a request that is held because nobody is there. The clock starts when the load is sent and stops at the recorded
decision. Prints seconds; asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import random
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
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

if TYPE_CHECKING:
    from apps.audit.actors import Actor
    from apps.fleet.models import Deployment

PATIENCE = 120.0
QUIET, PHASE = 7.0, 5.0
"""Seconds without load before each round, and how many more of them chance decides: heartbeats and looks are met at any point of their
rhythm."""


class Case(NamedTuple):
    """engine: arguments. policy: beside what all have. standing: replicas before the load; 0: the autoscaler has taken the last one. calls:
    at once."""

    name: str
    engine: dict[str, str]
    policy: dict[str, Any]
    standing: int = 1
    calls: int = 12


ALONE = {"waiting_each": 0, "kv_target": 0, "up_most": 20, "limit_seconds": 1, "look_back": 6}
"""look_back: shorter than ``QUIET``, so that no round sees the load of the one before. For load that rises it changes nothing: what the
last seconds say counts then."""
CASES = (
    Case("tokens outstanding at the proxy", {"itl_ms": "200", "output_tokens": "100"}, {**ALONE, "tokens_each": 500}),
    Case("the engine's queue", {"itl_ms": "200", "output_tokens": "100", "max_running": "1"}, {**ALONE, "waiting_each": 2}),
    Case("the engine's KV cache", {"itl_ms": "200", "output_tokens": "100", "kv_tokens": "2000"}, {**ALONE, "kv_target": 0.1}),
    Case("time to the first token", {"ttft_ms": "400", "output_tokens": "2", "max_running": "1"}, {**ALONE, "ttft_target": 0.6}),
    Case(
        "held, nobody there",
        {"itl_ms": "20", "output_tokens": "10"},
        {**ALONE, "tokens_each": 500, "idle_after": 2, "down_after": 2},
        standing=0,
        calls=1,
    ),
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
        patient_route()
        for case in (one for one in CASES if options.only in one.name):
            try:
                took = [measured(case, facts) for _ in range(options.rounds)]
            except Late as late:
                raise SystemExit(f"{case.name}: {late}\n{told(facts, home)}") from None
            seconds = sorted(each for each, _ in took)
            print(
                f"{case.name:32}{seconds[0]:6.2f} s at best {statistics.median(seconds):6.2f} s at p50 {seconds[-1]:6.2f} s at worst"
                f"   ({took[-1][1]})",
                flush=True,
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


def measured(case: Case, facts: dict[str, Any]) -> tuple[float, str]:
    """Seconds from the load to the decision, and its reason."""
    from apps.fleet.models import ScaleDecision
    from apps.fleet.services import deployment_update

    deployment = begun(case)
    last = ScaleDecision.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    over = threading.Event()
    sent = datetime.now(UTC)
    calls = [threading.Thread(target=call, args=(facts, over), daemon=True) for _ in range(case.calls)]
    for one in calls:
        one.start()
    found = until(
        lambda: ScaleDecision.objects.filter(pk__gt=last, applied=True, after__gt=case.standing).order_by("pk").first(), "a decision"
    )
    if case.standing:
        over.set()
        deployment_update(actor=actor(), deployment=deployment, scaling_mode="off", reason="bench")
    for one in calls:
        one.join(PATIENCE)
    return float((found.at - sent).total_seconds()), found.reason


def begun(case: Case) -> Deployment:
    """The deployment as the case has it, scaled automatically, with as many replicas ready as shall stand: new ones, for an engine tells
    its time to the first token over a minute. Raises Late where the load of before still decides."""
    from apps.fleet.models import Deployment, ScaleDecision
    from apps.fleet.services import deployment_restart, deployment_update

    deployment = Deployment.objects.get(name="demo-local")
    now = {"scaling_mode": "off", "most": 8, "arguments": case.engine, "scaling": case.policy, "wanted": 1, "reason": "bench"}
    deployment_update(actor=actor(), deployment=deployment, **now)
    deployment_restart(actor=actor(), deployment=deployment, reason="bench")

    def stand(count: int) -> bool:
        row = Deployment.objects.get(pk=deployment.pk)
        live = list(row.replicas.filter(ended_at=None))
        return len(live) == row.wanted == count and all(one.state == "ready" and one.revision == row.revision for one in live)

    until(lambda: stand(1), "one replica that is ready")
    before = ScaleDecision.objects.count()
    time.sleep(QUIET)
    deployment_update(actor=actor(), deployment=deployment, scaling_mode="on", reason="bench")
    until(lambda: stand(case.standing), "as many replicas as shall stand")
    time.sleep(QUIET + random.uniform(0, PHASE))
    if ScaleDecision.objects.count() != before + (case.standing == 0):
        raise Late("a quiet time: something was decided in it")
    return deployment


def actor() -> Actor:
    from apps.audit.actors import Actor

    return Actor.command("bench")


def patient_route() -> None:
    """Requests of the demo's route are held for as long as a replica needs to start."""
    from apps.publishing.services import publish
    from apps.routes.models import Route
    from apps.routes.services import route_update

    route_update(actor=actor(), route=Route.objects.get(name="demo-local"), resilience={"queue_ms": 60_000}, reason="bench")
    publish(actor=actor(), reason="bench")


def call(facts: dict[str, Any], over: threading.Event) -> None:
    """One stream, until it ends or nobody needs it any more."""
    body = {"model": "demo-local", "stream": True, "messages": [{"role": "user", "content": "word " * 60}]}
    head = {"authorization": f"Bearer {facts['key']}"}
    try:
        with httpx.stream("POST", f"{facts['proxy_url']}/v1/chat/completions", json=body, headers=head, timeout=PATIENCE) as answer:
            if answer.status_code != 200:
                print(f"  a request got {answer.status_code}: {answer.read()[:300]!r}", flush=True)
            for _ in answer.iter_raw():
                if over.is_set():
                    return
    except httpx.HTTPError as error:
        print(f"  a request failed: {error!r}", flush=True)


class Late(Exception):
    """What was waited for did not come."""


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first answer that is not empty. Raises Late."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Late(f"{what}: not within {PATIENCE:g} s")
        time.sleep(0.05)
    return found


def told(facts: dict[str, Any], home: Path) -> str:
    """How the fleet stands and the ends of the logs, for whoever looks for why something did not come."""
    from apps.fleet.models import Deployment, Replica, ScaleDecision, Worker

    rows: list[Any] = [
        *Worker.objects.values("name", "mode", "last_seen_at", "memory_total", "memory_claimed", "reports"),
        *Deployment.objects.values("name", "enabled", "least", "most", "wanted", "revision", "scaling_mode", "scaling", "unplaced"),
        *Replica.objects.filter(ended_at=None).values(
            "id", "deployment__name", "ordinal", "revision", "state", "want", "leaves", "reason", "message", "failure", "placed_at"
        ),
        *ScaleDecision.objects.order_by("-pk").values("at", "before", "after", "applied", "reason")[:5],
    ]
    logs = [home / "agent.log", *sorted(Path(facts["data_dir"], "logs").glob("*.log"))]
    ends = [f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-25:]) for log in logs if log.exists()]
    return "\n".join([f"now {datetime.now(UTC)}", *(str(row) for row in rows), *ends])


if __name__ == "__main__":
    main()
