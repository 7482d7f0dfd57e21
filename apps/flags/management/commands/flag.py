"""``manage.py flag``: switch a fallback or a kill switch on or off, and publish it at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import MAIN_ORGANISATION
from apps.accounts.selectors import organisation_get
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.flags.services import flag_flip
from apps.publishing.errors import PublishError
from apps.publishing.services import publish


class Command(BaseCommand):
    help = "Switch a flag on or off in every proxy. Flags are made in the document: see `manage.py apply`."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the flag's name")
        parser.add_argument("state", choices=("on", "off"))
        parser.add_argument("--reason", required=True, help="shown while the flag is on, and kept in the audit")
        parser.add_argument("--minutes", type=int, help="it turns itself off after so many minutes (default: when somebody does)")
        parser.add_argument("--organisation", default=MAIN_ORGANISATION, help="slug of the flag's organisation (default: main)")

    def handle(self, *args: Any, **options: Any) -> None:
        organisation = organisation_get(slug=options["organisation"])
        if organisation is None:
            raise CommandError(f"there is no organisation {options['organisation']!r}: name another one with --organisation")
        actor, minutes, reason = Actor.command("flag"), options["minutes"], options["reason"]
        if minutes is not None and (options["state"] == "off" or not 1 <= minutes <= 525_600):
            raise CommandError("--minutes says how long a flag stays on: a number from 1 to 525600, with `on`")
        until = timezone.now() + timedelta(minutes=minutes) if minutes else None
        try:
            with transaction.atomic():
                flag = flag_flip(
                    actor=actor, organisation=organisation, name=options["name"], on=options["state"] == "on", reason=reason, until=until
                )
                version = publish(actor=actor, reason=reason)
        except (ServiceError, PublishError) as error:
            raise CommandError(error.message) from error
        ends = f" until {until:%Y-%m-%d %H:%M:%S} UTC" if until else ""
        published = f", from v{version.number} on" if version else "; it was so already"
        self.stdout.write(f"The flag {flag.name} is {options['state']}{ends}{published}.")
