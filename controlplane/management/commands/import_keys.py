"""``manage.py import-keys FILE``: keys by the thousand from CSV or JSON, all or none, with a report on every row."""

from __future__ import annotations

import csv
import io
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, transaction

from apps.accounts.models import MAIN_ORGANISATION
from apps.accounts.selectors import organisation_get
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.keys.bulk import Report, keys_import
from apps.keys.handovers import handover_fetch
from apps.keys.import_reading import read
from apps.publishing.errors import PublishError
from apps.publishing.services import publish
from controlplane.configfile.references import write_secret_file

ACTOR = Actor.command("import-keys")


class Command(BaseCommand):
    """Exit code 0: imported, or nothing to do. 1: refused, nothing changed; every row with a problem is listed."""

    help = "Import keys from CSV or JSON (see docs/keys.md). Secrets of new keys are written to the file that --secrets names."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="report on every row, change nothing")
        parser.add_argument("--secrets", type=Path, default=None, metavar="FILE", help="a new file for the secrets of new keys (mode 0600)")
        parser.add_argument("--organisation", default=MAIN_ORGANISATION, metavar="SLUG")
        parser.add_argument("--reason", default="", metavar="TEXT")

    def handle(self, *args: Any, **options: Any) -> None:
        secrets: Path | None = options["secrets"]
        if secrets is not None and os.path.lexists(secrets):
            raise CommandError(f"{secrets} exists: name a new file, so that no secret is overwritten", returncode=1)
        try:
            with transaction.atomic():
                report = self.run(options, secrets)
        except OSError as error:
            raise CommandError(f"{error.filename or options['file']}: {error.strerror}\nNothing was changed.", returncode=1) from None
        except (ServiceError, PublishError) as error:
            raise CommandError(f"{error}\nNothing was changed.", returncode=1) from None
        except DatabaseError as error:
            raise CommandError(f"the database: {str(error).splitlines()[0]}\nNothing was changed.", returncode=1) from None
        self.stdout.write(("dry run: " if options["dry_run"] else "") + report.summary)

    def run(self, options: dict[str, Any], secrets: Path | None) -> Report:
        organisation = organisation_get(slug=options["organisation"])
        if organisation is None:
            raise ServiceError(f"there is no organisation {options['organisation']!r}")
        rows = read(options["file"].read_bytes())
        report = keys_import(actor=ACTOR, organisation=organisation, rows=rows, dry_run=options["dry_run"], reason=options["reason"])
        for reported in report.rows:
            if options["dry_run"] or reported.state == "refused":
                self.stdout.write(f"{options['file']}:{reported.row.line}: {reported.row.name}: {reported.state}: {reported.words}")
        if report.refused:
            raise ServiceError(f"{report.summary}: correct the rows that are refused")
        if report.handover is not None:
            if secrets is None:
                raise ServiceError("keys without a sha256 get new secrets: name a new file for them with --secrets")
            found = handover_fetch(actor=ACTOR, handover=report.handover)
            out = io.StringIO()
            writer = csv.writer(out)
            writer.writerow(("name", "public_id", "secret"))
            writer.writerows((secret.name, secret.public_id, secret.token) for secret in found)
            write_secret_file(secrets, out.getvalue().rstrip("\r\n"))
        if not options["dry_run"]:
            try:
                publish(actor=ACTOR, reason=options["reason"] or f"import {options['file'].name}")
            except BaseException:
                if secrets is not None and report.handover is not None:
                    secrets.unlink(missing_ok=True)
                raise
        return report
