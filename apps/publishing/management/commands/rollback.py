"""``manage.py rollback``: bring back an older version's content as a new version."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.publishing.management.commands.publish import summary
from apps.publishing.rollback import rollback


class Command(BaseCommand):
    help = "Publish the content of an older version again. Keys and credentials stay as they are."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", type=int, help="the version to go back to; `manage.py versions` lists them")
        parser.add_argument("--reason", required=True, help="kept with the new version and in the audit")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            version = rollback(actor=Actor.command("rollback"), to_version=options["version"], reason=options["reason"])
        except ServiceError as error:
            raise CommandError(error.message) from error
        if version is None:
            self.stdout.write(f"Nothing differs from v{options['version']}.")
            return
        self.stdout.write(f"Published v{version.number} with the content of v{options['version']}: {summary(version.counts)}")
