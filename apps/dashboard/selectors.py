"""Reads that span apps: the proxies with their journals, the names behind ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from apps.accounts.models import Organisation
from apps.dashboard import choices
from apps.keys.selectors import keys_of
from apps.publishing.models import ProxyProcess, Version
from apps.settlement.choices import LIVE
from apps.settlement.models import SettlementJournal
from apps.ui.status import Status, worst

SILENT_AFTER = timedelta(seconds=10)
"""A proxy that has not been heard of for so long is shown as silent, never as ready."""
LAG_WARNS_MS = 10_000


@dataclass(frozen=True, slots=True)
class ProxyRow:
    """One proxy process that is not gone. ``lag_ms``: how long the oldest record of its last settled batch had waited."""

    name: str
    host: str
    pid: int
    boot_id: UUID
    status: Status
    reason: str
    version: int
    current: bool
    last_seen_at: datetime
    registered_at: datetime
    lag_ms: int | None
    settled: int | None
    public_url: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """The proxies, and how far the newest config has come."""

    version: int
    proxies: list[ProxyRow]

    @property
    def current(self) -> int:
        """Proxies that run the newest config and have been heard of."""
        return sum(proxy.current and proxy.status.value != "silent" for proxy in self.proxies)

    @property
    def status(self) -> Status:
        """The worst of them; unknown without any."""
        return worst(proxy.status for proxy in self.proxies)

    @property
    def tone(self) -> str:
        """Of ``current`` of all: every proxy has it, some do not yet, or there is none to ask."""
        return "unknown" if not self.proxies else "good" if self.current == len(self.proxies) else "warn"

    @property
    def lag_ms(self) -> int | None:
        """The worst shipping lag."""
        return max((proxy.lag_ms for proxy in self.proxies if proxy.lag_ms is not None), default=None)


def fleet(*, now: datetime | None = None) -> Fleet:
    """Every proxy that is not gone: three small queries."""
    now = now or datetime.now(UTC)
    head = Version.objects.order_by("-number").values_list("number", flat=True).first() or 0
    journals = {journal.boot_id: journal for journal in SettlementJournal.objects.filter(state=LIVE)}
    rows = []
    for proxy in ProxyProcess.objects.filter(gone_at=None).order_by("name", "registered_at"):
        silent = now - proxy.last_seen_at > SILENT_AFTER
        journal = journals.get(proxy.boot_id)
        detail: Any = proxy.detail if isinstance(proxy.detail, dict) else {}
        rows.append(
            ProxyRow(
                name=proxy.name,
                host=proxy.host,
                pid=proxy.pid,
                boot_id=proxy.boot_id,
                status=choices.proxy_state("silent" if silent else proxy.state),
                reason=str(detail.get("reason") or ""),
                version=proxy.version,
                current=proxy.version == head,
                last_seen_at=proxy.last_seen_at,
                registered_at=proxy.registered_at,
                lag_ms=journal.lag_ms if journal else None,
                settled=journal.records if journal else None,
                public_url=proxy.public_url,
            )
        )
    return Fleet(version=head, proxies=rows)


def key_names(organisation: Organisation) -> dict[str, str]:
    """Key id -> name, revoked ones included: traffic outlives its key."""
    rows = keys_of(organisation, revoked=True).select_related(None).prefetch_related(None)
    return {str(pk): name for pk, name in rows.values_list("pk", "name")}


def named(ids: Iterable[str], names: dict[str, str]) -> list[tuple[str, str]]:
    """(id, name) pairs in the order of names; an id without a name stays itself."""
    return sorted(((value, names.get(value, value)) for value in ids), key=lambda pair: pair[1].casefold())
