"""``manage.py responses``: whose responses are kept, how many and how large; and their deletion before their time."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.responses.selectors import responses_kept
from apps.responses.services import responses_delete


class Command(BaseCommand):
    help = "List what keys keep of their responses (`store`), or delete it: --delete-key ID or --delete-organisation ID, with --reason."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--delete-key", default="", metavar="ID", help="delete all that this key keeps")
        parser.add_argument("--delete-organisation", default="", metavar="ID", help="delete all that keys of this organisation keep")
        parser.add_argument("--reason", default="", help="why, for the audit")

    def handle(self, *args: Any, **options: Any) -> None:
        key, organisation = options["delete_key"], options["delete_organisation"]
        if key or organisation:
            try:
                gone = responses_delete(actor=Actor.command("responses"), reason=options["reason"], key_id=key, organisation=organisation)
            except ServiceError as error:
                raise CommandError(str(error)) from error
            self.stdout.write(f"deleted: {gone}")
            return
        found = responses_kept()
        for kept in found:
            self.stdout.write(
                f"organisation {kept.organisation}  key {kept.key_id}  {kept.responses} responses, {kept.bytes} bytes, "
                f"since {kept.oldest:%Y-%m-%d %H:%M}, the last one until {kept.expires_last:%Y-%m-%d %H:%M} UTC"
            )
        if not found:
            self.stdout.write("Nothing is kept.")
