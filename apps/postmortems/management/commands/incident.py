"""``manage.py incident``: declare, list, note, update and move incidents from the shell of the control plane's host."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.models import MAIN_ORGANISATION, Organisation
from apps.accounts.selectors import organisation_get
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_models import Incident
from apps.postmortems.incident_people import incident_acknowledge
from apps.postmortems.incident_selectors import incident_get, open_incidents
from apps.postmortems.incident_services import incident_declare, incident_move
from apps.postmortems.timeline_services import incident_say, note_add

ACTOR = Actor.command("incident")
STATES = [state for state in choices.STATES if state != choices.MERGED]


class Command(BaseCommand):
    help = "Declare, list, note, update and move incidents."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organisation", default=MAIN_ORGANISATION, help="slug of the organisation (default: main)")
        acts = parser.add_subparsers(dest="act", required=True)
        declare = acts.add_parser("declare", help="open an incident")
        declare.add_argument("title", help="what is wrong")
        declare.add_argument("--severity", default=choices.SEV3, help="sev1 to sev4 (default: sev3)")
        declare.add_argument("--route", action="append", default=[], help="a route that is hit; may be given again")
        acts.add_parser("list", help="the open ones")
        for name, told in (("note", "write into the timeline"), ("update", "tell everybody how it stands")):
            act = acts.add_parser(name, help=told)
            act.add_argument("incident", help="INC-12, 12, or its id")
            act.add_argument("text", help="what there is to say; - reads it from the standard input")
        take = acts.add_parser("take", help="look after it")
        take.add_argument("incident", help="INC-12, 12, or its id")
        move = acts.add_parser("move", help="move it to another state")
        move.add_argument("incident", help="INC-12, 12, or its id")
        move.add_argument("state", choices=STATES)
        move.add_argument("--text", default="", help="a status update that goes with it")

    def handle(self, *args: Any, **options: Any) -> None:
        organisation = organisation_get(slug=options["organisation"])
        if organisation is None:
            raise CommandError(f"there is no organisation {options['organisation']!r}: name another one with --organisation")
        try:
            self._act(organisation, options)
        except ServiceError as error:
            raise CommandError(error.message) from error

    def _act(self, organisation: Organisation, options: dict[str, Any]) -> None:
        act = options["act"]
        if act == "list":
            rows = list(open_incidents(organisation))
            for row in rows:
                self.stdout.write(line(row))
            if not rows:
                self.stdout.write("No incident is open.")
            return
        if act == "declare":
            row = incident_declare(
                actor=ACTOR, organisation=organisation, title=options["title"], severity=options["severity"], source=choices.COMMAND,
                routes=options["route"],
            )  # fmt: skip
            self.stdout.write(line(row))
            return
        found = incident_get(organisation, options["incident"])
        if found is None:
            raise CommandError(f"there is no incident {options['incident']!r}: `incident list` shows the open ones")
        if act == "move":
            incident_move(actor=ACTOR, incident=found, to=options["state"], text=options["text"])
        elif act == "take":
            incident_acknowledge(actor=ACTOR, incident=found)
        else:
            text = sys.stdin.read() if options["text"] == "-" else options["text"]
            write = note_add if act == "note" else incident_say
            write(actor=ACTOR, incident=found, text=text)
        found.refresh_from_db()
        self.stdout.write(line(found))


def line(row: Incident) -> str:
    """One incident as the shell shows it."""
    return f"{row.reference}  {row.severity.upper()}  {choices.STATES[row.state].label.lower():9}  {row.title}"
