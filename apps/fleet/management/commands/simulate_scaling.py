"""``manage.py simulate-scaling TRACE``: what a way to scale would have cost on real traffic, beside a fixed fleet and the oracle."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.fleet.scaling import Policy, PolicyError
from apps.fleet.simulation import Outcome, Run, Speed, by_policy, cheapest_fixed, cheapest_oracle, fixed
from apps.fleet.traces import TraceError, trace_read


class Command(BaseCommand):
    """A simulation, and says so. Needs no database."""

    help = (
        "SIMULATION: replay a trace (Azure's CSV or Mooncake's JSON lines) against simulated replicas, and print GPU-hours, cost, late "
        "first tokens and waits for the scaling policy, for a fixed fleet, and for an oracle that knows the trace beforehand."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("trace", type=Path, metavar="TRACE")
        parser.add_argument(
            "--rate", type=int, default=1, metavar="N", help="each request arrives so many times, within a second; default 1"
        )
        parser.add_argument("--valley", type=float, default=1, metavar="SHARE", help="left of the requests at both ends; default 1: all")
        engine = parser.add_argument_group("one simulated replica")
        engine.add_argument("--prefill", type=float, default=8_000, metavar="TOKENS", help="read a second; default 8000")
        engine.add_argument("--itl", type=float, default=30, metavar="MS", help="between two tokens of an answer; default 30")
        engine.add_argument("--slots", type=int, default=32, help="answers written at once; default 32")
        engine.add_argument("--kv", type=int, default=200_000, metavar="TOKENS", help="that fit at once; default 200000")
        engine.add_argument("--cold", type=float, default=60, metavar="SECONDS", help="from start to ready; default 60")
        engine.add_argument("--gpus", type=int, default=1, help="that it occupies; default 1")
        engine.add_argument("--price", type=float, default=2.5, metavar="DOLLARS", help="of a GPU-hour; default 2.50")
        policy = parser.add_argument_group("the policy")
        policy.add_argument("--min", type=int, default=1, dest="minimum")
        policy.add_argument("--max", type=int, default=16, dest="maximum")
        policy.add_argument("--tokens", type=float, default=0, help="in flight a replica; default 0: this signal is left out")
        policy.add_argument("--waiting", type=float, default=4, help="in line a replica; default 4")
        policy.add_argument("--kv-target", type=float, default=0.8)
        policy.add_argument("--look-back", type=float, default=20, metavar="SECONDS")
        policy.add_argument("--rise", type=float, default=4, metavar="SECONDS", help="the mean that counts where it is more; default 4")
        policy.add_argument("--up-after", type=float, default=0, metavar="SECONDS")
        policy.add_argument("--down-after", type=float, default=300, metavar="SECONDS")
        policy.add_argument("--every", type=float, default=1, metavar="SECONDS", help="between two decisions; default 1")
        goal = parser.add_argument_group("the goal")
        goal.add_argument("--ttft", type=float, default=2.0, metavar="SECONDS", help="a later first token is a violation; default 2")
        goal.add_argument("--allowed", type=float, default=1.0, metavar="PERCENT", help="of requests, that fixed and oracle may be late")
        parser.add_argument("--steps", action="store_true", help="print each order of the policy, too")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["every"] <= 0 or options["ttft"] <= 0 or options["price"] < 0:
            raise CommandError("--every and --ttft must be above 0, --price 0 or more")
        try:
            policy = Policy(
                minimum=options["minimum"],
                maximum=options["maximum"],
                waiting_each=options["waiting"],
                tokens_each=options["tokens"],
                kv_target=options["kv_target"],
                ttft_target=options["ttft"],
                look_back=options["look_back"],
                rise=options["rise"],
                up_after=options["up_after"],
                down_after=options["down_after"],
            )
            speed = Speed(
                prefill=options["prefill"],
                itl=options["itl"] / 1000,
                slots=options["slots"],
                kv=options["kv"],
                cold=options["cold"],
                gpus=options["gpus"],
            )
            trace = trace_read(options["trace"], rate=options["rate"], valley=options["valley"])
        except (PolicyError, TraceError, ValueError) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{options['trace']} cannot be read: {error.strerror}") from None
        goal = {"every": options["every"], "target": options["ttft"]}
        allowed = options["allowed"] / 100
        scaled = Run(trace, speed, by_policy(policy), **goal).run("policy")
        rows = [
            scaled,
            cheapest_fixed(trace, speed, most=policy.maximum, allowed=allowed, **goal),
            Run(trace, speed, fixed(policy.maximum), **goal).run(f"fixed, {policy.maximum} (the maximum)"),
            cheapest_oracle(trace, speed, minimum=policy.minimum, allowed=allowed, **goal),
        ]
        seconds = trace[-1].at
        self.stdout.write(
            f"SIMULATION, nothing here was measured on a GPU: {len(trace):,} requests in {seconds / 60:.0f} minutes, "
            f"{sum(one.read for one in trace):,} tokens read, {sum(one.write for one in trace):,} written."
        )
        self.stdout.write(
            f"A replica reads {speed.prefill:,.0f} tokens/s, writes a token each {speed.itl * 1000:g} ms, {speed.slots} answers and "
            f"{speed.kv:,} tokens at once, is ready after {speed.cold:g} s; a GPU-hour costs ${options['price']:.2f}."
        )
        late = f"TTFT > {options['ttft']:g} s"
        head = f"{'':26}{'GPU-hours':>10}{'cost':>10}{late:>12}{'wait p95':>10}{'TTFT p95':>10}{'replicas':>16}{'steps':>7}"
        self.stdout.write(head)
        for row in rows:
            self.stdout.write(_line(row, options["price"]))
        if options["steps"]:
            for at, count in scaled.timeline:
                self.stdout.write(f"{at:8.0f} s  {count} replicas")


def _line(row: Outcome, price: float) -> str:
    return (
        f"{row.name:26}{row.gpu_hours:10.2f}{f'${row.gpu_hours * price:.2f}':>10}{row.violations:12.2%}{row.wait_p95:8.2f} s"
        f"{row.ttft_p95:8.2f} s{f'{row.mean:.2f}, peak {row.peak}':>16}{row.steps:7}"
    )
