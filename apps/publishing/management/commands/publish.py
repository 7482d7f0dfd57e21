"""``manage.py publish``: publish what changed, or rebuild everything."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.publishing.services import publish


class Command(BaseCommand):
    help = "Publish every change since the last version to the proxies."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--full", action="store_true", help="rebuild every object, which also repairs a store that drifted from the rows"
        )
        parser.add_argument("--reason", default="", help="kept with the version")

    def handle(self, *args: Any, **options: Any) -> None:
        reason = options["reason"] or ("full rebuild from the command line" if options["full"] else "published from the command line")
        try:
            version = publish(actor=Actor.command("publish"), reason=reason, full=options["full"])
        except ServiceError as error:
            raise CommandError(error.message) from error
        if version is None:
            self.stdout.write("Nothing differs from the running config.")
            return
        self.stdout.write(f"Published v{version.number}: {summary(version.counts)}")


def summary(counts: dict[str, dict[str, int]]) -> str:
    """``routes 1 changed, keys 2 added 1 removed``."""
    parts = [f"{section} " + " ".join(f"{n} {change}" for change, n in tally.items() if n) for section, tally in counts.items()]
    return ", ".join(parts) or "nothing"
