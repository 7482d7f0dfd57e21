"""What settlement knows of journals, for upkeep elsewhere."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone as clock

from apps.budgets import forgetting
from apps.settlement.choices import LIVE
from apps.settlement.models import SettlementJournal


def settled_until() -> dict[UUID, datetime]:
    """By running proxy, the moment up to which everything in its journal is in Postgres: when the last batch was stored, less how long the
    oldest of its records had waited. One query."""
    rows = SettlementJournal.objects.filter(state=LIVE).values_list("boot_id", "updated_at", "lag_ms")
    return {boot: at - timedelta(milliseconds=max(0, lag_ms)) for boot, at, lag_ms in rows}


def windows_forget() -> int:
    """Users' windows that ended long ago and that no journal can name any more."""
    return forgetting.windows_forget(settled_until=settled_until(), now=clock.now())
