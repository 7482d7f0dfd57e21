"""``manage.py versions``: the newest versions, and which proxies run them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.publishing.management.commands.publish import summary
from apps.publishing.selectors import fleet_status, versions


class Command(BaseCommand):
    help = "List the newest versions of the config."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=20, help="how many (default 20)")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = list(versions()[: max(1, options["limit"])])
        if not rows:
            self.stdout.write("No version has been published yet.")
            return
        self.stdout.write(f"Proxies: {fleet_status()['label']}")
        for version in rows:
            origin = f" (content of v{version.restores})" if version.restores is not None else ""
            at = version.created_at.strftime("%Y-%m-%d %H:%M:%S")
            self.stdout.write(
                f"v{version.number}{origin}  {at}  {version.actor_name}  {summary(version.counts)}  {version.reason}".rstrip()
            )
