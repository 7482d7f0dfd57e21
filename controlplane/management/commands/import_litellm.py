"""``manage.py import-litellm config.yaml``: a LiteLLM proxy's models, fallbacks, keys, teams and budgets, brought over at once."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from apps.accounts.models import MAIN_ORGANISATION
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from controlplane.configfile.problems import DocumentError
from controlplane.litellm.bring import Brought, bring


class Command(BaseCommand):
    """Exit code 0: brought over, or nothing to do. 1: refused, nothing changed."""

    help = "Bring a LiteLLM proxy over (see docs/import-litellm.md): its config.yaml, and with --keys its keys, teams and budgets."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("config", type=Path, help="LiteLLM's config.yaml")
        parser.add_argument("--keys", type=Path, default=None, metavar="FILE", help="JSON of LiteLLM's tables of keys, teams and budgets")
        parser.add_argument("--dry-run", action="store_true", help="show everything, check everything, change nothing")
        parser.add_argument("--organisation", default=MAIN_ORGANISATION, metavar="SLUG")
        parser.add_argument("--reason", default="", metavar="TEXT", help="kept in the audit and with the version")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            brought = bring(
                actor=Actor.command("import-litellm"),
                config_file=options["config"],
                keys_file=options["keys"],
                organisation=options["organisation"],
                dry_run=options["dry_run"],
                reason=options["reason"],
            )
        except DocumentError as error:
            count = len(error.problems)
            raise CommandError(f"{error}\n{count} problem{'s' if count > 1 else ''}; nothing was changed.", returncode=1) from None
        except ServiceError as error:
            raise CommandError(f"{error.message}\nNothing was changed.", returncode=1) from None
        except DatabaseError as error:
            raise CommandError(f"the database: {str(error).splitlines()[0]}\nNothing was changed.", returncode=1) from None
        self.show(brought, dry_run=options["dry_run"])

    def show(self, brought: Brought, *, dry_run: bool) -> None:
        outcome = brought.outcome
        for line in [*outcome.lines, *([f"keys: {brought.keys.summary}"] if brought.keys else []), *brought.notes.lines()]:
            self.stdout.write(line)
        if not outcome.lines and outcome.version is None and not (brought.keys and brought.keys.count("new")):
            self.stdout.write("nothing changes")
        elif dry_run:
            self.stdout.write("dry run: nothing was changed")
        elif outcome.version is not None:
            self.stdout.write(f"published v{outcome.version.number}")
