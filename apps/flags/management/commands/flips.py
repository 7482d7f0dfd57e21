"""``manage.py flips``: what previews predicted of the last flips, beside what was measured in the minutes after each."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.models import MAIN_ORGANISATION
from apps.accounts.selectors import organisation_get
from apps.flags.afterwards import WITHIN, Line
from apps.flags.flips import compared_all, flips_measure, flips_of
from apps.ui.format import NOTHING, dollars, duration

HEAD = ("when (UTC)", "flip", "of what it reaches", "predicted", "measured", "off by")


class Command(BaseCommand):
    help = "Print what was predicted of flips beside what was measured, and how many predictions were within 15%."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organisation", default=MAIN_ORGANISATION, help="slug of the flags' organisation (default: main)")
        parser.add_argument("--limit", type=int, default=20, help="how many flips, the newest first (default: 20)")

    def handle(self, *args: Any, **options: Any) -> None:
        organisation = organisation_get(slug=options["organisation"])
        if organisation is None:
            raise CommandError(f"there is no organisation {options['organisation']!r}: name another one with --organisation")
        if not 1 <= options["limit"] <= 1000:
            raise CommandError("--limit says how many flips: a number from 1 to 1000")
        flips_measure()
        found = compared_all(flips_of(organisation, limit=options["limit"]))
        if not found:
            self.stdout.write("No flip was measured yet: figures come within a few minutes after one, where requests reach it.")
            return
        rows = [HEAD]
        judged: list[Line] = []
        for flip, lines in found:
            for line in lines:
                off = NOTHING if line.off is None else f"{line.off * 100:+.1f}%"
                flipped = f"{flip.flag_name} {'on' if flip.turn_on else 'off'}"
                rows.append(
                    (f"{flip.at:%Y-%m-%d %H:%M:%S}", flipped, line.name, said(line, line.predicted), said(line, line.measured), off)
                )
            judged += [line for line in lines if line.right is not None]
        widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
        for row in rows:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        right = sum(bool(line.right) for line in judged)
        self.stdout.write(f"{right} of {len(judged)} figures of {len(found)} flips were within {WITHIN:.0%}.")


def said(line: Line, value: float | None) -> str:
    """A figure in its unit."""
    if value is None:
        return NOTHING
    if line.unit == "rate":
        return f"{value:.1f}/min"
    return duration(value) if line.unit == "time" else f"{dollars(round(value))}{'/h' if line.unit == 'dollars' else ''}"
