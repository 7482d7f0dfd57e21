"""``manage.py export_costs --from 2026-10 --format focus``: what was spent by day and team, service, feature, key, model and provider."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone as clock

from apps.accounts.models import MAIN_ORGANISATION
from apps.accounts.selectors import organisation_get
from apps.ui.csvfile import csv_lines
from apps.usage.focus import FORMATS, PeriodError, header_of, period_read, rows_of_charges
from apps.usage.focus_selectors import charges


class Command(BaseCommand):
    """Line by line: redirect it to a file, or pipe it to whatever takes it."""

    help = "Print costs as CSV: FOCUS 1.2, or a plain showback table. Days are UTC; costs are as booked, corrections are rows of their own."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", dest="first", default="", metavar="DAY", help="2026-10-01, or a month: 2026-10; default: this month")
        parser.add_argument("--to", dest="last", default="", metavar="DAY", help="included; default: the month's end, or today")
        parser.add_argument("--format", choices=sorted(FORMATS), default="focus")
        parser.add_argument("--organisation", default=MAIN_ORGANISATION, metavar="SLUG")
        parser.add_argument("--simulated", action="store_true", help="of simulated traffic")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            first, last = period_read(options["first"], options["last"], now=clock.now())
            organisation = organisation_get(slug=options["organisation"])
            if organisation is None:
                raise CommandError(f"there is no organisation {options['organisation']!r}")
            columns = FORMATS[options["format"]]
            found = charges(organisation, simulated=options["simulated"] or organisation.simulated, first=first, last=last)
            for line in csv_lines(header_of(columns), rows_of_charges(columns, found), mark=""):
                self.stdout.write(line, ending="")
        except PeriodError as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            raise CommandError(f"the database: {str(error).splitlines()[0]}") from None
