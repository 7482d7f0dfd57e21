"""``manage.py journal_write_off BOOT_ID --reason ...``: give up a journal whose disk is lost."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.contracts.money import dollars_text
from apps.settlement.services import journal_write_off


class Command(BaseCommand):
    help = (
        "Give up a dead proxy's journal whose disk is lost: all that its budget leases still hold counts as spent, so that no budget is "
        "exceeded. Cannot be undone; audited."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("boot_id", help="boot id of the proxy process, as on the page of proxies")
        parser.add_argument("--reason", required=True, help="why, for the audit")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            spent = journal_write_off(actor=Actor.command("journal_write_off"), boot_id=options["boot_id"], reason=options["reason"])
        except ServiceError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"written off: ${dollars_text(spent)} of its leases count as spent")
