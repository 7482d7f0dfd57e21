"""``manage.py audit_verify``: exit 0 and the head where the chain is whole, exit 1 and the first broken link where it is not."""

from __future__ import annotations

import argparse
import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.chain import chain_verify


def _anchor(text: str) -> tuple[int, str]:
    match = re.fullmatch(r"(\d+):([0-9a-f]{64})", text)
    if match is None:
        raise argparse.ArgumentTypeError("an anchor looks like 812:<64 hex digits>, as an earlier run printed it")
    return int(match[1]), match[2]


class Command(BaseCommand):
    help = "Walk the audit chain and name the first broken link. Keep the printed head elsewhere and pass it as --anchor next time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--anchor", type=_anchor, default=None, metavar="SEQ:HASH", help="a head printed by an earlier run")

    def handle(self, *args: Any, **options: Any) -> None:
        report = chain_verify(anchor=options["anchor"])
        if report.broken:
            raise CommandError(f"The audit chain is broken after {report.links} good links: {report.broken}", returncode=1)
        self.stdout.write(f"The audit chain is whole: {report.links} links, head {report.head}:{report.head_hash}")
