"""``manage.py replay TRACE --speed N``: a recorded arrival trace against the running proxy."""

from __future__ import annotations

import asyncio
import json
import math
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from controlplane.replay.progress import Progress
from controlplane.replay.run import Mode, Plan, Replay
from controlplane.replay.summary import render
from controlplane.replay.traces import Trace, TraceError, read_trace

_NAMED_ROWS = 20


class Command(BaseCommand):
    help = "Replay an arrival trace (Azure CSV or Mooncake JSON lines) against the proxy, with prompts and answers of the recorded sizes."
    requires_system_checks: list[str] = []  # needs neither database nor Redis

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "trace", type=Path, help="CSV with TIMESTAMP, ContextTokens, GeneratedTokens; or JSON lines as Mooncake publishes them"
        )
        parser.add_argument("--speed", type=float, default=1.0, help="2: twice as fast as recorded (default 1)")
        parser.add_argument("--limit", type=int, help="replay only the first so many rows")
        parser.add_argument("--url", help="the proxy (default: proxy_url of DATA_DIR/up.json)")
        parser.add_argument("--key", help="virtual key (default: key of up.json)")
        parser.add_argument("--model", help="model, that is, the route's name (default: model of up.json)")
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--stream", dest="mode", action="store_const", const="stream", help="stream all answers")
        mode.add_argument("--mixed", dest="mode", action="store_const", const="mixed", help="stream every second answer")
        parser.add_argument(
            "--concurrency", type=int, default=1000, help="most requests in flight; more wait, which shows as lag (default 1000)"
        )
        parser.add_argument("--timeout", type=float, default=130.0, help="seconds for a whole answer (default 130)")
        parser.add_argument(
            "--plain",
            action="store_true",
            help="do not ask for exact output lengths: for real providers, which refuse the simulator's field",
        )
        parser.add_argument("--data-dir", type=Path, help="data directory of the instance (default: BULKHEAD_DATA_DIR, or var)")
        parser.add_argument("--json", action="store_true", help="print the summary as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        speed, limit = options["speed"], options["limit"]
        if not (speed > 0 and math.isfinite(speed)):
            raise CommandError(f"--speed {speed}: must be a number above 0")
        if limit is not None and limit < 1:
            raise CommandError(f"--limit {limit}: must be at least 1")
        if options["concurrency"] < 1:
            raise CommandError(f"--concurrency {options['concurrency']}: must be at least 1")
        if not options["timeout"] > 0:
            raise CommandError(f"--timeout {options['timeout']}: must be above 0")
        trace = self._trace(options["trace"], limit)
        url, key, model = self._target(options)
        mode: Mode = options["mode"] or "json"
        plan = Plan(
            url=url,
            key=key,
            model=model,
            speed=speed,
            mode=mode,
            concurrency=options["concurrency"],
            timeout=options["timeout"],
            exact=not options["plain"],
            tag=f"replay-{int(time.time())}",
        )
        if not options["json"]:
            self.stderr.write(f"Replaying {len(trace.rows):,} rows of {options['trace'].name} at speed {speed:g} against {url} as {model}")
        replay = Replay(trace, plan, Progress(self.stderr._out, len(trace.rows)))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(replay.run(stop_on_signal=True))
        except ValueError as error:
            raise CommandError(str(error)) from None
        found["broken"] = [{"line": row.line, "reason": row.reason} for row in trace.bad]
        found["tag"] = plan.tag
        self.stdout.write(json.dumps(found) if options["json"] else render(found))
        if found["failed"]:
            raise SystemExit(1)
        if found["interrupted"]:
            raise SystemExit(130)

    def _trace(self, path: Path, limit: int | None) -> Trace:
        try:
            trace = read_trace(path, limit=limit)
        except TraceError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}") from None
        for row in trace.bad[:_NAMED_ROWS]:
            self.stderr.write(f"{path.name}, line {row.line}: {row.reason}; skipped")
        if len(trace.bad) > _NAMED_ROWS:
            self.stderr.write(f"{path.name}: and {len(trace.bad) - _NAMED_ROWS:,} more broken rows (--json names all)")
        if not trace.rows:
            raise CommandError(f"{path.name} has no row that can be replayed")
        return trace

    def _target(self, options: dict[str, Any]) -> tuple[str, str, str]:
        given = {"proxy_url": options["url"], "key": options["key"], "model": options["model"]}
        missing = [name for name, value in given.items() if not value]
        if missing:
            file = (options["data_dir"] or Path(settings.DATA_DIR)) / "up.json"
            try:
                running = json.loads(file.read_text())
            except FileNotFoundError:
                raise CommandError(
                    f"nothing runs at {file.parent}: start it with 'manage.py up', or give --url, --key and --model"
                ) from None
            except (OSError, ValueError) as error:
                raise CommandError(f"{file} cannot be read: {error}; give --url, --key and --model") from None
            for name in missing:
                value = running.get(name)
                if not isinstance(value, str) or not value:
                    option = "--url" if name == "proxy_url" else f"--{name}"
                    raise CommandError(f"{file} has no {name} (it is there when the demo runs): give {option}")
                given[name] = value
        return given["proxy_url"], given["key"], given["model"]
