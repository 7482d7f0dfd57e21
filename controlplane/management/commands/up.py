"""``manage.py up``, as Django lists and calls it; the work is ``controlplane.launcher.cli``'s."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from controlplane.launcher import cli


class Command(BaseCommand):
    help = cli.DESCRIPTIONS["up"]
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        cli.add_arguments(parser, "up")

    def handle(self, *args: Any, **options: Any) -> None:
        if code := cli.run("up", argparse.Namespace(**options)):
            sys.exit(code)
