"""What becomes of requests whose proxy died before their record: settled at their reservation, never under-billed."""

from __future__ import annotations

from collections.abc import Sequence

from apps.contracts.usage import Attempt, OpenRecord, UsageRecord


def unknown_record(opens: Sequence[OpenRecord], *, proxy: str) -> UsageRecord:
    """One record for all opens of one request: an attempt each, at its upper bound, marked estimated.

    ``opens``: at least one, in the order they were written; the first says who asked, the last where it stood.
    """
    first, last = opens[0], opens[-1]
    attempts = [
        Attempt(
            provider=o.provider,
            endpoint=o.endpoint,
            model=o.model,
            region=o.region,
            simulated=o.simulated,
            outcome="unknown",
            cost_nano=o.reserved_nano,
            price_version=o.price_version,
            estimated=True,
            charges=o.charges,
        )
        for o in opens
    ]
    return UsageRecord(
        id=first.id,
        started_us=first.started_us,
        organisation=first.organisation,
        key_id=first.key_id,
        kind=first.kind,
        route=last.route,
        requested_model=first.requested_model,
        stream=first.stream,
        outcome="unknown",
        status=0,
        environment=first.environment,
        feature=first.feature,
        tags=first.tags,
        user=first.user,
        team=first.team,
        service=first.service,
        simulated=any(o.simulated for o in opens),
        config_version=first.config_version,
        attempts=attempts,
        cost_nano=sum(a.cost_nano for a in attempts),
        estimated=True,
        proxy=proxy,
    )
