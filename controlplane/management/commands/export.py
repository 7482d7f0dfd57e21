"""``manage.py export``: an organisation's config as one YAML document, without any secret."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from apps.accounts.models import MAIN_ORGANISATION
from apps.accounts.selectors import organisation_get
from controlplane.configfile.plain import yaml_text
from controlplane.configfile.writing import document_of


class Command(BaseCommand):
    """Applying what this prints changes nothing."""

    help = "Print an organisation's config as YAML, for `manage.py apply`. References are written back; secrets never."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organisation", default=MAIN_ORGANISATION, metavar="SLUG")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            organisation = organisation_get(slug=options["organisation"])
            if organisation is None:
                raise CommandError(f"there is no organisation {options['organisation']!r}")
            self.stdout.write(yaml_text(document_of(organisation)), ending="")
        except DatabaseError as error:
            raise CommandError(f"the database: {str(error).splitlines()[0]}") from None
