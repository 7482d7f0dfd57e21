"""The list of versions as its URL asks for it, and who runs which of them now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db.models import QuerySet

from apps.contracts.snapshot import NEVER_ROLLED_BACK, SECTIONS
from apps.publishing.choices import proxy_reason, proxy_state
from apps.publishing.diff import Diff
from apps.publishing.models import Version
from apps.publishing.preview import ObjectChange, changes_of
from apps.publishing.selectors import FleetStatus, fleet_status, version_diff, versions
from apps.ui.status import Status
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build

CHANGE_KINDS = ("added", "changed", "removed")


@dataclass(frozen=True, slots=True)
class ProxyRun:
    """One proxy process and the version it runs. ``since``: when it first said so."""

    name: str
    host: str
    pid: int
    status: Status
    version: int
    current: bool
    since: datetime | None
    last_seen_at: datetime
    reason: str


@dataclass(frozen=True)
class Propagation:
    """How far the newest version has come. ``status`` is unknown without a proxy to ask."""

    head: int
    applied: int
    total: int
    proxies: tuple[ProxyRun, ...]

    @property
    def status(self) -> Status:
        """In words: everybody has it, some do not yet, nobody is there."""
        if not self.total:
            return Status("nobody", "No proxy to ask", "unknown")
        if self.applied == self.total:
            return Status("everywhere", "Everywhere", "good")
        return Status("spreading", f"{self.applied} of {self.total} have it", "warn", "progress")

    @property
    def counts(self) -> Counter[int]:
        """Version -> proxies that run it."""
        return Counter(proxy.version for proxy in self.proxies)


def propagation(fleet: FleetStatus | None = None) -> Propagation:
    """Every proxy that is not gone with what it runs: two small queries, none for a ``fleet`` that was read already."""
    fleet = fleet or fleet_status()
    rows = tuple(
        ProxyRun(
            name=proxy["name"],
            host=proxy["host"],
            pid=proxy["pid"],
            status=proxy_state("silent" if proxy["silent"] else proxy["state"]),
            version=proxy["version"],
            current=proxy["applied"],
            since=proxy["acked_at"],
            last_seen_at=proxy["last_seen_at"],
            reason=proxy_reason(proxy["detail"]),
        )
        for proxy in fleet["proxies"]
    )
    return Propagation(fleet["head"], fleet["applied"], fleet["total"], rows)


def counts_text(counts: Mapping[str, Mapping[str, int]]) -> str:
    """A version's counts in a line: ``2 routes changed, 1 key added``."""
    parts = [
        f"{number} {section if number != 1 else section.removesuffix('s')} {kind}"
        for section, tally in counts.items()
        for kind in CHANGE_KINDS
        if (number := tally.get(kind, 0))
    ]
    return ", ".join(parts) or "nothing"


COLUMNS: tuple[Column[Version], ...] = (
    Column("Version", "number", value=lambda row: f"v{row.number}"),
    Column("Published (UTC)", value=lambda row: row.created_at.isoformat(timespec="seconds")),
    Column("By", "by", order=("actor_name",), value=lambda row: row.actor_name),
    Column("What changed", value=lambda row: counts_text(row.counts)),
    Column("Reason", value=lambda row: row.reason),
    Column("Brings back", extra=True, value=lambda row: f"v{row.restores}" if row.restores else ""),
    Column("Runs on"),
)


class History:
    """One view of the list of versions: filters ``q`` (number or reason), ``by`` and ``section``, sort and page from the URL."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self.query = query
        self.q = query.get("q", "").replace("\x00", "").strip()[:200]
        self.by = query.get("by", "").replace("\x00", "")[:500]
        section = query.get("section", "")
        self.section = section if section in SECTIONS else ""

    @property
    def rows(self) -> QuerySet[Version]:
        rows = versions()
        if self.q:
            number = self.q.removeprefix("v")
            plain = number.isascii() and number.isdigit() and len(number) < 19
            rows = rows.filter(number=int(number)) if plain else rows.filter(reason__icontains=self.q)
        if self.by:
            rows = rows.filter(actor_name=self.by)
        return rows.filter(counts__has_key=self.section) if self.section else rows

    @property
    def chips(self) -> list[Chip]:
        applied = (("Search", self.q, "q"), ("By", self.by, "by"), ("Section", self.section, "section"))
        return [Chip(*chip) for chip in applied if chip[1]]

    @cached_property
    def authors(self) -> list[str]:
        """Everybody who published, by name; what is applied is always among them."""
        names = set(Version.objects.order_by().values_list("actor_name", flat=True).distinct()[:500]) | ({self.by} if self.by else set())
        return sorted(names, key=str.casefold)

    @property
    def sections(self) -> list[str]:
        return list(SECTIONS)

    @cached_property
    def listing(self) -> Listing[Version]:
        nothing = Empty(
            "nothing-yet", "Nothing has been published yet", "The first version appears with the first change that proxies learn."
        )
        return listing_build(
            self.query, label="versions", columns=COLUMNS, rows=self.rows, default_sort="-number", nothing_yet=nothing, chips=self.chips
        )


@dataclass(frozen=True, slots=True)
class Differences:
    """What a page shows of a diff: the objects of one page of ``listing``. ``total``: objects that differ."""

    listing: Listing[tuple[str, str]]
    changes: tuple[ObjectChange, ...]
    total: int

    @property
    def left_out(self) -> int:
        """Those that only CSV has, because a version stores so many objects of its diff at most."""
        return self.total - self.listing.total


def differences(version: Version, base: int | None = None, query: Mapping[str, str] | None = None) -> Differences:
    """What a version changed, from what is stored with it; against another base, from both states (0: the empty config).

    query: the URL's, for ``page``: a diff may be of thousands of objects, and a page is of fifty.
    """
    diff = version.diff if base is None else version_diff(number=version.number, base=base)
    nothing = Empty("nothing-yet", "Nothing differs", "Proxies run the same with either.")
    objects = [(section, object_id) for section, entries in diff.items() for object_id in entries]
    listing = listing_build(query or {}, label="objects", columns=(), rows=objects, default_sort="", nothing_yet=nothing)
    shown: Diff = {}
    for section, object_id in listing.rows:
        shown.setdefault(section, {})[object_id] = diff[section][object_id]
    total = len(objects) if base is not None else sum(sum(tally.values()) for tally in version.counts.values())
    return Differences(listing, changes_of(shown), total)


def diff_rows(version: Version, base: int | None = None) -> Sequence[Sequence[Any]]:
    """The whole diff for CSV: one row per field, one for an object without any."""
    rows: list[Sequence[Any]] = []
    for item in changes_of(version_diff(number=version.number, base=base)):
        about = (item.section, item.object_id, item.name, item.kind)
        rows += [(*about, change.path, _cell(change.before), _cell(change.after)) for change in item.fields] or [(*about, "", "", "")]
    return rows


DIFF_HEADER = ("Section", "Id", "Name", "Change", "Field", "Before", "After")


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int)) else str(value)


def kept_as_they_are() -> str:
    """What a rollback never touches, in words."""
    *first, last = sorted(NEVER_ROLLED_BACK)
    return f"{', '.join(first)} and {last}"
