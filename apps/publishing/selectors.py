"""Reading versions and the fleet of proxies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, TypedDict
from uuid import UUID

from django.db.models import Count, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone

from apps.audit.errors import ServiceError
from apps.contracts.snapshot import Fragment, SnapshotError, decode_fragment
from apps.publishing.compiled_query import CompiledQuery
from apps.publishing.diff import Diff, state_diff
from apps.publishing.models import FragmentRow, ProxyProcess, TouchedFragment, Version
from apps.publishing.state import ConfigState, head_state, state_at, state_known

SILENT_AFTER = timedelta(seconds=10)
"""A proxy that has not been heard for this long is shown as silent: it may run, but nobody knows."""


class ProxyStatus(TypedDict):
    """One proxy process that is not known to be gone. applied: it runs the head. silent: not heard for ``SILENT_AFTER``."""

    boot_id: str
    name: str
    host: str
    pid: int
    public_url: str
    admin_url: str
    state: str
    detail: dict[str, object]
    version: int
    applied: bool
    silent: bool
    acked_at: datetime | None
    registered_at: datetime
    last_seen_at: datetime


class FleetStatus(TypedDict):
    """``label``: what the top bar shows, ``v182 · 4/4``."""

    head: int
    applied: int
    total: int
    label: str
    proxies: list[ProxyStatus]


def head_number() -> int:
    """The newest version's number; 0 before the first."""
    return Version.objects.order_by("-number").values_list("number", flat=True).first() or 0


def head_mark() -> tuple[int, UUID | None]:
    """The newest version's number and lineage: another pair as soon as anything was published, or the database was restored."""
    return Version.objects.order_by("-number").values_list("number", "lineage").first() or (0, None)


def versions() -> QuerySet[Version]:
    """All versions, newest first, without their diffs."""
    return Version.objects.defer("diff").order_by("-number")


def version_diff(*, number: int, base: int | None = None) -> Diff:
    """Everything that differs at ``number`` from ``base`` (default: the version before; 0: the empty config).

    Raises ServiceError for a version that does not exist.
    """
    old, new = _state(number - 1 if base is None else base), _state(number)
    changed = {
        name: {
            object_id
            for object_id in old.bodies.get(name, {}).keys() | new.bodies.get(name, {}).keys()
            if old.bodies.get(name, {}).get(object_id) != new.bodies.get(name, {}).get(object_id)
        }
        for name in new.bodies
    }
    return state_diff(old.fragments, new.fragments, changed)


def section_at(section: str, number: int) -> dict[str, Fragment]:
    """One section's fragments as they are at a version, by id, read from the store alone: for who needs no more of the config.
    What cannot be read is left out."""
    latest = FragmentRow.objects.filter(section=section, version__lte=number).order_by("object_id", "-version").distinct("object_id")
    found: dict[str, Fragment] = {}
    for object_id, body in latest.values_list("object_id", "body"):
        if body is not None:
            with suppress(SnapshotError):
                found[object_id] = decode_fragment(section, bytes(body))
    return found


def unpublished_count() -> int:
    """How many objects are marked as changed since the last publish."""
    return TouchedFragment.objects.values("section", "object_id").distinct().count()


_page_facts: dict[str, Callable[[], Any]] = {}


def register_page_fact(name: str, expression: Callable[[], Any]) -> None:
    """Names something that every page shows and that one expression of SQL can tell, such as what is overridden: it comes with the query
    of the fleet, so that no page needs a query more. expression: makes it, once in a process, referring to no column outside itself and
    leaving the time to SQL (``Now()``)."""
    _page_facts[name] = expression


def page_facts_of(request: HttpRequest) -> dict[str, Any]:
    """What was registered by ``register_page_fact``, by name, as the page's query of the fleet told it."""
    fleet_status_of(request)
    facts: dict[str, Any] = getattr(request, "_page_facts", {})
    return facts


def newest_lineage() -> Subquery:
    """The newest version's lineage, for ``register_page_fact``."""
    return Subquery(Version.objects.order_by("-number").values("lineage")[:1])


def head_state_of(request: HttpRequest) -> ConfigState:
    """``head_state()`` for a page: no query where this process has that version, because the page's query of the fleet told which it is."""
    number, lineage = fleet_status_of(request)["head"], page_facts_of(request).get("lineage")
    return state_known(number, lineage) or head_state()


def fleet_status() -> FleetStatus:
    """Which proxies there are and which of them run the newest version: one query, one more where there is no proxy."""
    return _fleet_read({})[0]


_PROXY = (
    "boot_id", "name", "host", "pid", "public_url", "admin_url", "state", "detail", "version", "acked_at", "registered_at", "last_seen_at",
)  # fmt: skip
"""What is read of a proxy, as ``ProxyStatus`` names it."""


@lru_cache(maxsize=8)
def _fleet_queries(facts: tuple[tuple[str, Callable[[], Any]], ...]) -> tuple[CompiledQuery, CompiledQuery]:
    """The head, the facts and a proxy in a row each; the same without proxies, for where there is none. Of one set of facts once."""

    def of_proxies() -> QuerySet[Any, Any]:
        newest = Version.objects.order_by("-number").values("number")[:1]
        found = ProxyProcess.objects.filter(gone_at=None).annotate(head=Subquery(newest), **{name: make() for name, make in facts})
        return found.order_by("name", "registered_at").values_list("head", *(name for name, _ in facts), *_PROXY)

    def of_versions() -> QuerySet[Any, Any]:
        found = Version.objects.order_by("-number").annotate(**{name: make() for name, make in facts})
        return found.values_list("number", *(name for name, _ in facts))[:1]

    return CompiledQuery(of_proxies), CompiledQuery(of_versions)


def _fleet_read(facts: dict[str, Callable[[], Any]]) -> tuple[FleetStatus, dict[str, Any]]:
    """The status, and what the facts' expressions are now; nothing of them before the first version, when nothing is in force anywhere."""
    of_proxies, of_versions = _fleet_queries(tuple(facts.items()))
    rows = of_proxies.rows()
    told = rows or of_versions.rows()
    head = (told[0][0] if told else 0) or 0
    found = dict(zip(facts, told[0][1 : 1 + len(facts)], strict=True)) if told else {}
    silent_before = timezone.now() - SILENT_AFTER
    proxies: list[ProxyStatus] = []
    for row in rows:
        proxy: Any = dict(zip(_PROXY, row[1 + len(facts) :], strict=True))
        proxy["boot_id"] = str(proxy["boot_id"])
        proxies.append(ProxyStatus(**proxy, applied=proxy["version"] == head, silent=proxy["last_seen_at"] < silent_before))
    applied = sum(proxy["applied"] and not proxy["silent"] for proxy in proxies)  # what is not heard of is not known to have it
    label = f"v{head} · {applied}/{len(proxies)}"
    return FleetStatus(head=head, applied=applied, total=len(proxies), label=label, proxies=proxies), found


def fleet_status_of(request: HttpRequest) -> FleetStatus:
    """``fleet_status()``, asked once per page: the bar and the page both show it."""
    known: FleetStatus | None = getattr(request, "_fleet_status", None)
    if known is None:
        known, facts = _fleet_read({f"fact_{name}": make for name, make in _page_facts.items()})
        request._fleet_status = known  # type: ignore[attr-defined]
        request._page_facts = {name.removeprefix("fact_"): value for name, value in facts.items()}  # type: ignore[attr-defined]
    return known


def proxy_details() -> list[dict[str, object]]:
    """What each proxy that is not gone said in its last heartbeat: one query. A page has it already (``fleet_status_of``)."""
    return list(ProxyProcess.objects.filter(gone_at=None).order_by("name", "registered_at").values_list("detail", flat=True))


@dataclass(frozen=True, slots=True)
class ProxyReport:
    """What a proxy process said last, and where it runs."""

    boot_id: UUID
    name: str
    host: str
    detail: dict[str, Any]


def proxy_reports(*, since: datetime) -> list[ProxyReport]:
    """The last heartbeat of each proxy that is not gone, or was heard of after ``since``: one query."""
    rows = ProxyProcess.objects.filter(Q(gone_at=None) | Q(last_seen_at__gte=since)).order_by("name", "registered_at")
    return [ProxyReport(*row) for row in rows.values_list("boot_id", "name", "host", "detail")]


@dataclass(frozen=True, slots=True)
class Spread:
    """How many of the proxies that are not gone run a version or a newer one."""

    number: int
    applied: int
    total: int

    @property
    def complete(self) -> bool:
        """Every proxy has it; without a proxy nobody knows."""
        return self.total > 0 and self.applied == self.total


def spread_of(number: int) -> Spread:
    """How far a version has come: one query. A silent proxy is not known to have it."""
    heard = Q(last_seen_at__gte=timezone.now() - SILENT_AFTER)
    counts = ProxyProcess.objects.filter(gone_at=None).aggregate(
        total=Count("pk"), applied=Count("pk", filter=heard & Q(version__gte=number))
    )
    return Spread(number, counts["applied"], counts["total"])


def _state(number: int) -> ConfigState:
    if number == 0:
        return ConfigState()
    try:
        return state_at(number)
    except Version.DoesNotExist:
        raise ServiceError(f"There is no version {number}.", field="number") from None
