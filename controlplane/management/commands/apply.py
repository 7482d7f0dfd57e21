"""``manage.py apply -f bulkhead.yaml``: make the config what the document says, in one transaction, and publish it."""

from __future__ import annotations

import getpass
import os
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.publishing.selectors import FleetStatus, fleet_status
from controlplane.configfile.apply import Outcome, apply_file
from controlplane.configfile.problems import DocumentError

WAIT_SECONDS = 5.0
POLL_SECONDS = 0.05


class Command(BaseCommand):
    """Exit code 0: applied, or nothing to do. 1: refused, nothing changed; every problem with file, line and field."""

    help = "Apply a YAML document (see docs/config.md): providers, credentials, routes, keys, budgets, flags, teams."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("-f", "--file", required=True, help="the document, such as bulkhead.yaml")
        parser.add_argument("--dry-run", action="store_true", help="show the diff and check everything, change nothing")
        parser.add_argument("--organisation", default="", metavar="SLUG", help="default: the document's own, else main")
        parser.add_argument(
            "--as", dest="document", default="", metavar="NAME", help="what pages call this document (default: the file's name)"
        )
        parser.add_argument("--reason", default="", metavar="TEXT", help="kept in the audit and with the version")
        parser.add_argument("--no-wait", action="store_true", help="do not wait until the proxies have the version")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            outcome = apply_file(
                actor=Actor.command("apply"),
                path=Path(options["file"]),
                organisation=options["organisation"],
                dry_run=options["dry_run"],
                reason=options["reason"],
                document=options["document"],
                by=operator_name(),
            )
        except DocumentError as error:
            count = len(error.problems)
            raise CommandError(f"{error}\n{count} problem{'s' if count > 1 else ''}; nothing was changed.", returncode=1) from None
        except ServiceError as error:
            raise CommandError(f"{error.message}\nNothing was changed.", returncode=1) from None
        except DatabaseError as error:
            raise CommandError(f"the database: {str(error).splitlines()[0]}\nNothing was changed.", returncode=1) from None
        self.show(outcome, dry_run=options["dry_run"])
        if outcome.version is not None and not options["dry_run"] and not options["no_wait"]:
            self.wait(outcome.version.number)

    def show(self, outcome: Outcome, *, dry_run: bool) -> None:
        if not outcome.lines and outcome.version is None:
            self.stdout.write("nothing changes")
            return
        for line in outcome.lines:
            self.stdout.write(line)
        if dry_run:
            self.stdout.write("dry run: nothing was changed")
            return
        for path in outcome.written:
            self.stdout.write(f"wrote {path}")
        for name, token in outcome.shown:
            self.stdout.write(f"key {name}: {token}   (shown this once: keep it now)")
        if outcome.version is None:
            self.stdout.write("applied; the proxies' config is the same as before")
        else:
            self.stdout.write(f"published v{outcome.version.number}")

    def wait(self, number: int) -> None:
        """Until every proxy that is heard of runs the version, at most WAIT_SECONDS."""
        status = fleet_status()
        if not status["proxies"]:
            return
        deadline = time.monotonic() + WAIT_SECONDS
        while not _applied(status, number) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            status = fleet_status()
        self.stdout.write(status["label"])
        if not _applied(status, number):
            behind = ", ".join(
                f"{proxy['name']} (v{proxy['version']}, {proxy['state']})" for proxy in status["proxies"] if not proxy["applied"]
            )
            self.stdout.write(f"not there yet: {behind}; they take it as soon as they can, see `manage.py status`")


def operator_name() -> str:
    """Who runs the command, as this host knows them; empty where it does not, as in a container without accounts."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return ""


def _applied(status: FleetStatus, number: int) -> bool:
    return all(proxy["version"] >= number or proxy["silent"] for proxy in status["proxies"])
