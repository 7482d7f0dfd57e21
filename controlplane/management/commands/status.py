"""``manage.py status``, as Django lists and calls it; the work is ``controlplane.launcher.cli``'s."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from controlplane.launcher import cli


class Command(BaseCommand):
    help = cli.DESCRIPTIONS["status"]
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        cli.add_arguments(parser, "status")

    def handle(self, *args: Any, **options: Any) -> None:
        if code := cli.run("status", argparse.Namespace(**options)):
            sys.exit(code)
