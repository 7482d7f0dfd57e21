"""Imported exports and weekly e-mails for the gallery: ones that agree, differ, are missing on a side, and went well or not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone

from apps.accounts.models import Organisation

STATES = ("sent", "unknown", "failed", "waiting")


def costs_seed(organisation: Organisation, names: Sequence[str], *, owner: str) -> None:
    """An export for every name, with lines of many models, of what simulated traffic the organisation has; e-mails in every state."""
    from apps.budgets.models import WeeklyReport
    from apps.budgets.weekly_content import week_before
    from apps.ownership.models import Team
    from apps.usage.models import ProviderExport, ProviderExportLine

    now = timezone.now()
    last = now.date() - timedelta(days=1)
    for at, name in enumerate(names):
        export, made = ProviderExport.objects.get_or_create(
            organisation=organisation,
            simulated=True,
            digest=f"{at:064x}",
            defaults={
                "provider": name[:80], "shape": ("openai-usage-csv", "anthropic-cost-json")[at % 2], "file_name": f"{name[:190]}.csv",
                "size": 10_000, "rows": 10 + at, "first_day": last - timedelta(days=6), "last_day": last, "part": at % 3 == 1,
                "actor": owner,
            },
        )  # fmt: skip
        if made:
            ProviderExportLine.objects.bulk_create(
                ProviderExportLine(
                    export=export,
                    day=last - timedelta(days=number % 7),
                    model=f"{name[:150]}-{number}",
                    tokens_input=None if at % 2 else 1_000 * number,
                    tokens_output=None if at % 2 else 77 * number,
                    cost_nano=12_345_678 * number if at % 2 else None,
                )
                for number in range(14)
            )
    for at, state in enumerate(STATES):
        address = f"{state}@{organisation.slug}.example.test"
        Team.objects.get_or_create(
            organisation=organisation, slug=f"owned-{at}", defaults={"name": names[at % len(names)][:200], "contact_email": address}
        )
        facts = {"subject": "[Bulkhead] a week", "text": "SPEND\n" * 9} if state in ("sent", "unknown") else {}
        WeeklyReport.objects.get_or_create(
            organisation=organisation,
            owner=address,
            week_starts=week_before(now),
            defaults={
                **facts,
                "tries": 10 if state == "failed" else 1,
                "told": "failed: the mail server: ConnectionRefusedError" if state == "failed" else "",
                "sending_at": now - timedelta(hours=2) if facts else None,
                "sent_at": now - timedelta(hours=2) if state == "sent" else None,
            },
        )
