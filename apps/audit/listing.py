"""The audit log as its URL asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from django.db.models import Q, QuerySet

from apps.audit.models import AuditEvent
from apps.audit.selectors import audit_events
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build
from apps.ui.timerange import TimeRange, from_query

DEFAULT_FROM = "now-30d"


COLUMNS: tuple[Column[AuditEvent], ...] = (
    Column("No.", "seq", numeric=True, value=lambda row: row.seq),
    Column("When (UTC)", "at", value=lambda row: row.at.isoformat(timespec="milliseconds")),
    Column("Who", "who", order=("actor_name",), value=lambda row: row.actor_name),
    Column("Role then", extra=True, value=lambda row: row.actor_role or row.actor_kind),
    Column("From", extra=True, value=lambda row: row.actor_address),
    Column("What", "action", value=lambda row: row.action),
    Column("Subject", value=lambda row: row.subject_name or row.subject_id),
    Column("Reason", value=lambda row: row.reason),
)


class AuditLog:
    """Filters ``who`` (name, or a part of it), ``action`` (``route.update``, or ``route.`` for all of a subject), ``kind`` and ``id`` (one
    object's own trail), ``address`` (an IP address, or how it begins), ``via`` (a part of a personal token's name), ``q`` (subject's
    name or id, or reason), ``from`` and ``to``; sort and page from the URL. Events get their number as their transaction commits."""

    FILTERS = ("who", "action", "kind", "id", "address", "via", "q", "from", "to")

    def __init__(self, query: Mapping[str, str]) -> None:
        self.query = query
        self.range: TimeRange = from_query(query, default_from=DEFAULT_FROM)
        said = {name: query.get(name, "").replace("\x00", "").strip()[:200] for name in self.FILTERS}
        self.who, self.action, self.q = said["who"], said["action"], said["q"]
        self.kind, self.id, self.address, self.via = said["kind"], said["id"], said["address"], said["via"]

    @property
    def rows(self) -> QuerySet[AuditEvent]:
        rows = audit_events().filter(seq__isnull=False, at__gte=self.range.start, at__lt=self.range.end)
        if self.who:
            rows = rows.filter(actor_name__icontains=self.who)
        if self.action:
            rows = rows.filter(action__startswith=self.action) if self.action.endswith(".") else rows.filter(action=self.action)
        if self.kind:
            rows = rows.filter(subject_kind=self.kind)
        if self.id:
            rows = rows.filter(subject_id=self.id)
        if self.address:
            rows = rows.filter(actor_address__startswith=self.address)
        if self.via:
            rows = rows.filter(actor_via__icontains=self.via)
        if self.q:
            rows = rows.filter(Q(subject_name__icontains=self.q) | Q(subject_id=self.q) | Q(reason__icontains=self.q))
        return rows

    @property
    def chips(self) -> list[Chip]:
        applied = (
            ("Who", self.who, "who"), ("What", self.action, "action"), ("Kind", self.kind, "kind"), ("Id", self.id, "id"),
            ("From", self.address, "address"), ("Token", self.via, "via"), ("Search", self.q, "q"),
        )  # fmt: skip
        return [Chip(*chip) for chip in applied if chip[1]]

    @cached_property
    def actions(self) -> list[tuple[str, list[str]]]:
        """(subject, its actions) seen in the range, by name; what is applied is always among them."""
        seen = audit_events().filter(seq__isnull=False, at__gte=self.range.start, at__lt=self.range.end)
        names = set(seen.order_by().values_list("action", flat=True).distinct()[:500])
        if self.action and not self.action.endswith("."):
            names.add(self.action)
        groups: dict[str, list[str]] = {}
        for name in sorted(names):
            groups.setdefault(name.partition(".")[0], []).append(name)
        return list(groups.items())

    @cached_property
    def listing(self) -> Listing[AuditEvent]:
        nothing = Empty("no-match", "Nothing in this range", "Nobody changed anything in this time; choose a longer one.")
        return listing_build(
            self.query, label="events", columns=COLUMNS, rows=self.rows, default_sort="-seq", nothing_yet=nothing, chips=self.chips
        )


def altered(event: AuditEvent) -> bool:
    """Whether an event's content is not what was hashed when it was written."""
    return event.compute_content_hash() != event.content_hash
