"""``manage.py reconcile FILE --provider openai``: imports a provider's export and prints where it differs from what was recorded."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from apps.accounts.models import MAIN_ORGANISATION
from apps.accounts.selectors import organisation_get
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.contracts.money import dollars_text
from apps.usage.reconciliation_reading import MOST_BYTES
from apps.usage.reconciliation_rules import Compared
from apps.usage.reconciliation_selectors import comparison
from apps.usage.reconciliation_services import provider_export_import


class Command(BaseCommand):
    """Exit 0: everything agrees; 2: it was imported and something differs; 1: it was refused."""

    help = "Import a provider's usage or cost export (OpenAI, Anthropic; CSV or JSON) and print its differences. Exit 2 where it has any."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--provider", required=True, metavar="NAME", help="of whose requests: its name here")
        parser.add_argument("--organisation", default=MAIN_ORGANISATION, metavar="SLUG")
        parser.add_argument("--simulated", action="store_true", help="compare with simulated traffic")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        try:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror or error}") from None
        try:
            organisation = organisation_get(slug=options["organisation"])
            if organisation is None:
                raise CommandError(f"there is no organisation {options['organisation']!r}")
            export = provider_export_import(
                actor=Actor.command("reconcile"),
                organisation=organisation,
                provider=options["provider"],
                simulated=options["simulated"] or organisation.simulated,
                file_name=path.name,
                content=content,
            )
            found = comparison(export)
        except ServiceError as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            raise CommandError(f"the database: {str(error).splitlines()[0]}") from None
        self.stdout.write(
            f"{export.shape_label}, {export.rows} rows, {export.first_day} to {export.last_day}; {len(found.lines)} days and models"
        )
        for line in found.off:
            self.stdout.write(_text(line))
        if found.whole is not None:
            self.stdout.write(_text(found.whole, "in all"))
        if found.off:
            raise CommandError(f"{len(found.off)} of {len(found.lines)} days and models differ", returncode=2)


def _text(line: Compared, word: str = "") -> str:
    parts = [word or f"{line.day} {line.model or 'all models'}: {line.shown.label}"]
    if line.tokens_difference is not None:
        parts.append(f"tokens {line.tokens_ours or 0} here, {line.tokens_theirs or 0} there, {line.tokens_difference:+d}")
    if line.cost_difference is not None:
        ours, theirs = (side.cost_nano or 0 if side else 0 for side in (line.ours, line.theirs))
        parts.append(f"${dollars_text(ours)} here, ${dollars_text(theirs)} there, ${dollars_text(line.cost_difference)}")
    return "; ".join(parts)
