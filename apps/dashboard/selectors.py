"""Reads that span apps: the proxies with their journals, the names behind ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import FilteredRelation, Q
from django.http import HttpRequest

from apps.accounts.models import Organisation
from apps.budgets.models import Budget, Lease
from apps.dashboard import choices
from apps.keys.selectors import keys_of
from apps.publishing.selectors import fleet_status
from apps.settlement.choices import LIVE
from apps.settlement.models import SettlementJournal
from apps.ui.status import Status, worst

LAG_WARNS_MS = 10_000


@dataclass(frozen=True, slots=True)
class ProxyRow:
    """One proxy process that is not gone. ``lag_ms``: how long the oldest record of its last settled batch had waited."""

    name: str
    host: str
    pid: int
    boot_id: str
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
    current: int
    """Proxies that run the newest config and have been heard of (``fleet_status``)."""
    total: int
    proxies: list[ProxyRow]

    @property
    def status(self) -> Status:
        """The worst of them; unknown without any."""
        return worst(proxy.status for proxy in self.proxies)

    @property
    def tone(self) -> str:
        """Of ``current`` of all: every proxy has it, some do not yet, or there is none to ask."""
        return "unknown" if not self.proxies else "good" if self.current == self.total else "warn"

    @property
    def proxy_url(self) -> str:
        """Where a request could be sent: a proxy that is there, else a word to replace."""
        return next((proxy.public_url for proxy in self.proxies if proxy.public_url), "PROXY_URL")

    @property
    def lag_ms(self) -> int | None:
        """The worst shipping lag."""
        return max((proxy.lag_ms for proxy in self.proxies if proxy.lag_ms is not None), default=None)


def fleet() -> Fleet:
    """Every proxy that is not gone, with its journal: three small queries."""
    status = fleet_status()
    journals = {str(journal.boot_id): journal for journal in SettlementJournal.objects.filter(state=LIVE)}
    rows = []
    for proxy in status["proxies"]:
        journal = journals.get(proxy["boot_id"])
        rows.append(
            ProxyRow(
                name=proxy["name"],
                host=proxy["host"],
                pid=proxy["pid"],
                boot_id=proxy["boot_id"],
                status=choices.proxy_state("silent" if proxy["silent"] else proxy["state"]),
                reason=str((proxy["detail"] or {}).get("reason") or ""),
                version=proxy["version"],
                current=proxy["applied"],
                last_seen_at=proxy["last_seen_at"],
                registered_at=proxy["registered_at"],
                lag_ms=journal.lag_ms if journal else None,
                settled=journal.records if journal else None,
                public_url=proxy["public_url"],
            )
        )
    return Fleet(version=status["head"], current=status["applied"], total=status["total"], proxies=rows)


def fleet_of(request: HttpRequest) -> Fleet:
    """``fleet()``, asked once per page: the bar and a panel both show it."""
    known = getattr(request, "_fleet", None)
    if known is None:
        known = request._fleet = fleet()  # type: ignore[attr-defined]
    return known


@dataclass(frozen=True, slots=True)
class BudgetBar:
    """A budget in its current window; amounts in nano-dollars. Nothing was granted yet where ``ends_at`` is None."""

    name: str
    scope: str
    window: str
    limit: int
    spent: int
    leased: int
    overrun: int
    ends_at: datetime | None

    @property
    def spent_share(self) -> float:
        """Of the limit, 0..100; full where the limit is zero and something was spent."""
        return min(100.0, 100 * self.spent / self.limit) if self.limit else 100.0 if self.spent else 0.0

    @property
    def leased_share(self) -> float:
        """Of the limit, beside what is spent, together at most 100."""
        return min(100.0 - self.spent_share, 100 * self.leased / self.limit) if self.limit else 0.0

    @property
    def status(self) -> Status:
        """Within, nearly used, exhausted or overrun."""
        return choices.budget_state(limit=self.limit, spent=self.spent, leased=self.leased, overrun=self.overrun)


def budget_bars(organisation: Organisation, *, now: datetime) -> list[BudgetBar]:
    """An organisation's budgets with what is spent and held of the current window, the fullest first: one query."""
    rows = (
        Budget.objects.filter(organisation=organisation, deleted_at=None)
        .annotate(current=FilteredRelation("windows", condition=Q(windows__starts_at__lte=now, windows__ends_at__gt=now)))
        .values_list(
            "name",
            "scope",
            "key__name",
            "window",
            "limit_nano",
            "current__spent_nano",
            "current__leased_nano",
            "current__overrun_nano",
            "current__ends_at",
        )
    )
    bars = [
        BudgetBar(
            name=name,
            scope=f"key {key}" if scope == "key" else "whole organisation",
            window=window,
            limit=limit,
            spent=spent or 0,
            leased=leased or 0,
            overrun=overrun or 0,
            ends_at=ends_at,
        )
        for name, scope, key, window, limit, spent, leased, overrun, ends_at in rows
    ]
    return sorted(bars, key=lambda bar: (-bar.spent_share, bar.name))


@dataclass(frozen=True, slots=True)
class BudgetCharge:
    """What one request reserved and cost on one budget, over all its attempts."""

    name: str
    reserved_nano: int
    cost_nano: int


def budget_charges(attempts: Iterable[dict[str, Any]]) -> list[BudgetCharge]:
    """The budgets that attempts were charged to, by lease: one query, none without charges."""
    sums: dict[int, tuple[int, int]] = {}
    for attempt in attempts:
        for charge in attempt["charges"]:
            reserved, cost = sums.get(charge["lease_id"], (0, 0))
            sums[charge["lease_id"]] = (reserved + charge["reserved_nano"], cost + attempt["cost_nano"])
    if not sums:
        return []
    names = dict(Lease.objects.filter(pk__in=sums).values_list("pk", "window__budget__name"))
    return [BudgetCharge(names.get(lease, f"lease {lease}"), *amounts) for lease, amounts in sorted(sums.items())]


def key_names(organisation: Organisation) -> dict[str, str]:
    """Key id -> name, revoked ones included: traffic outlives its key."""
    rows = keys_of(organisation, revoked=True).select_related(None).prefetch_related(None)
    return {str(pk): name for pk, name in rows.values_list("pk", "name")}


def named(ids: Iterable[str], names: dict[str, str]) -> list[tuple[str, str]]:
    """(id, name) pairs in the order of names; an id without a name stays itself."""
    return sorted(((value, names.get(value, value)) for value in ids), key=lambda pair: pair[1].casefold())
