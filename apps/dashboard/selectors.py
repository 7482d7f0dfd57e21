"""Reads that span apps: the proxies with their journals, the names behind ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from apps.accounts.models import Organisation
from apps.audit.models import Event
from apps.audit.registry import EventKind, kinds
from apps.budgets.models import Lease
from apps.dashboard import choices
from apps.dashboard.verdict import Finding, Shipper, Traces
from apps.keys.selectors import keys_of
from apps.publishing.choices import proxy_reason
from apps.publishing.selectors import FleetStatus, fleet_status, fleet_status_of
from apps.routes.models import Route
from apps.settlement.choices import LIVE
from apps.settlement.models import SettlementJournal
from apps.ui.status import Status, worst
from apps.usage.plots import Mark

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
    limits_local: bool = False
    """It shares limits with no other proxy now, because Redis is away or there is none."""


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


def fleet(status: FleetStatus | None = None) -> Fleet:
    """Every proxy that is not gone, with its journal: three small queries, one where ``status`` was read already."""
    status = status or fleet_status()
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
                reason=proxy_reason(proxy["detail"]),
                version=proxy["version"],
                current=proxy["applied"],
                last_seen_at=proxy["last_seen_at"],
                registered_at=proxy["registered_at"],
                lag_ms=journal.lag_ms if journal else None,
                settled=journal.records if journal else None,
                public_url=proxy["public_url"],
                limits_local=(proxy["detail"] or {}).get("limits") == "local",
            )
        )
    return Fleet(version=status["head"], current=status["applied"], total=status["total"], proxies=rows)


def fleet_of(request: HttpRequest) -> Fleet:
    """``fleet()``, asked once per page: the bar and a panel both show it."""
    known = getattr(request, "_fleet", None)
    if known is None:
        known = request._fleet = fleet(fleet_status_of(request))  # type: ignore[attr-defined]
    return known


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


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def key_names(organisation: Organisation, ids: Iterable[str]) -> dict[str, str]:
    """Key id -> name of those that are known, revoked ones included: traffic outlives its key. One query, none without ids."""
    wanted = {value for value in ids if _UUID.fullmatch(value)}  # records may name what never was
    if not wanted:
        return {}
    rows = keys_of(organisation, revoked=True).select_related(None).prefetch_related(None).filter(pk__in=wanted)
    return {str(pk): name for pk, name in rows.values_list("pk", "name")}


def named(ids: Iterable[str], names: dict[str, str]) -> list[tuple[str, str]]:
    """(id, name) pairs in the order of names; an id without a name stays itself."""
    return sorted(((value, names.get(value, value)) for value in ids), key=lambda pair: pair[1].casefold())


MOST_MARKS = 40
MARKED_FLEET = ("config.", "proxy.", "journal.")
"""Kinds of facts about the installation; facts about an organisation's own things name it in their data."""


def marks(organisation: Organisation, start: datetime, end: datetime) -> list[Mark]:
    """What happened in a range that explains a plot, oldest first, the latest where there is too much: one query.

    Publishes, rollbacks and proxies' ends are the installation's; of an organisation's own facts only its own.
    """
    titles = kinds()
    of_fleet = [kind for kind in titles if kind.startswith(MARKED_FLEET)]
    rows = (
        Event.objects.filter(Q(kind__in=of_fleet) | Q(data__organisation=str(organisation.pk)), at__gte=start, at__lt=end)
        .order_by("-at")
        .values_list("at", "kind", "subject_name", "subject_id", "data")[:MOST_MARKS]
    )
    return [_mark(*row, titles.get(row[1])) for row in reversed(rows)]


def _mark(at: datetime, kind: str, name: str, subject: str, data: dict[str, Any], known: EventKind | None) -> Mark:
    title, tone = (known.title, known.tone) if known else (kind, "neutral")
    if kind in ("config.published", "config.rolled_back"):
        by, reason = data.get("actor") or "", data.get("reason") or ""
        text = f"{title}: v{subject}" + (f" by {by}" if by else "") + (f": {reason}" if reason else "")
        return Mark(at, f"v{subject}", text, tone, place("publishing:version", int(subject)))
    return Mark(at, "" if kind.startswith(MARKED_FLEET) else name, f"{title}: {name or subject}", tone)


def place(url_name: str, *arguments: Any) -> str:
    """The address of a page of another app, empty where that page does not exist."""
    try:
        return reverse(url_name, args=arguments)
    except NoReverseMatch:
        return ""


@dataclass(frozen=True, slots=True)
class Advice:
    """For one finding: what can be flipped (label, address), who owns it, and where more is told: a dashboard with what failed."""

    flips: list[tuple[str, str]]
    owners: list[str]
    evidence: str


MOST_FLIPS = 3


def advice(organisation: Organisation, findings: Sequence[Finding]) -> list[Advice]:
    """One for each finding, in order: one query about the routes they touch, none without routes or providers."""
    routes = {finding.name for finding in findings if finding.subject == "route"}
    providers = {finding.name for finding in findings if finding.subject == "provider"}
    rows: list[tuple[Any, ...]] = []
    if routes or providers:
        rows = list(
            Route.objects.filter(organisation=organisation, enabled=True)
            .filter(Q(name__in=routes) | Q(target_rows__provider__name__in=providers))
            .values_list("pk", "name", "owner__name", "owner__contact_email", "target_rows__provider__name")
            .distinct()
            .order_by("name")[:200]
        )
    return [_advice_of(finding, rows) for finding in findings]


def _advice_of(finding: Finding, rows: list[tuple[Any, ...]]) -> Advice:
    at = {"route": 1, "provider": 4}.get(finding.subject)
    touched = [row for row in rows if at is not None and row[at] == finding.name]
    names = dict.fromkeys((row[0], row[1]) for row in touched)
    flips = [(f"Switch {name}", url) for pk, name in names if (url := place("routes:detail", pk))][:MOST_FLIPS]
    owners = list(dict.fromkeys(f"{row[2]}{f' ({row[3]})' if row[3] else ''}" for row in touched if row[2]))
    evidence = ""
    if finding.subject in ("route", "provider"):
        evidence = f"{reverse('dashboard:board', args=[finding.subject])}?{urlencode({'value': finding.name, 'from': 'now-15m'})}"
    elif finding.subject == "proxies":
        evidence = reverse("dashboard:proxies")
    elif finding.subject == "budget":
        evidence = reverse("dashboard:budgets")
    return Advice(flips, owners, evidence)


def shipper_said() -> Shipper:
    """What the shipper of this host says, also while Postgres is away; nothing where none has run here."""
    try:
        found = json.loads((Path(settings.DATA_DIR) / "run" / "shipper.json").read_text())
        at = datetime.fromtimestamp(found["at_ms"] / 1000, UTC)
        told = found.get("traces")
        traces = Traces(str(told["target"]), int(told["exported"]), int(told["dropped"]), str(told["failing"])) if told else None
        return Shipper(at, str(found["state"]), str(found.get("error") or ""), int(found.get("lag_ms") or 0), traces)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return Shipper()
