"""What a change would publish, before it is published: done, built, compiled by the proxies' own compiler, and undone.

A preview runs the same services and the same publish as the real thing, so that what it shows is what would happen and
what it lets pass cannot fail for any other reason than that somebody was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from django.db import transaction
from django.db.models import QuerySet

from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.publishing.diff import Diff, state_diff
from apps.publishing.models import Version
from apps.publishing.services import publish
from apps.publishing.state import ConfigState, head_state, remember, state_at

T = TypeVar("T")
ChangeKind = Literal["added", "changed", "removed"]
_NOTHING: tuple[Any, ...] = (None, "", [], {})
PUBLISHING_ACTIONS = frozenset({"config.publish", "config.rollback"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field. ``path``: dotted, ``targets[0].provider``. ``before``, ``after``: JSON-able values, None where absent."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One object of the config. ``name``: what people call it. ``fields`` is empty for what must not be shown (credentials)."""

    section: str
    object_id: str
    name: str
    kind: ChangeKind
    fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the audit would keep of one service call: shown where proxies see no difference, such as a key's new owner."""

    action: str
    subject_kind: str
    subject_name: str
    fields: tuple[FieldChange, ...] = ()

    @property
    def section(self) -> str:
        """What a list of changes shows before the name: the kind of thing."""
        return self.subject_kind

    @property
    def name(self) -> str:
        """What a list of changes shows."""
        return self.subject_name

    @property
    def object_id(self) -> str:
        """What stands in for a name where there is none."""
        return self.subject_kind

    @property
    def kind(self) -> ChangeKind:
        """By the action's verb."""
        verb = self.action.rpartition(".")[2]
        return "added" if verb == "create" else "removed" if verb in ("delete", "remove") else "changed"


@dataclass(frozen=True, slots=True)
class Preview(Generic[T]):
    """What would happen.

    changes: the objects that proxies would see differently, in the order of compilation; also those that others changed
    and nobody published yet. base_version: the version they are compared with. result: what ``change`` returned; its rows
    do not exist any more. records: every decision that would be audited, publishing itself left out.
    """

    changes: tuple[ObjectChange, ...]
    base_version: int
    result: T
    records: tuple[Recorded, ...] = field(default=())

    @property
    def empty(self) -> bool:
        """Nothing at all would change."""
        return not self.changes and not self.records


class _Undo(Exception):
    """Rolls the transaction back after everything went well."""


def change_preview(*, actor: Actor, change: Callable[[], T]) -> Preview[T]:
    """Runs ``change`` (which calls services) in a transaction, builds and compiles the config it would publish, and rolls
    everything back. ServiceError and PublishError come out as they are: what cannot compile cannot be published.
    """
    before = ConfigState()
    after: ConfigState | None = None
    found: list[Preview[T]] = []
    try:
        with transaction.atomic():
            before, known = head_state(), set(_unsealed().values_list("pk", flat=True))
            result = change()
            publish(actor=actor, reason="preview")
            events = list(_unsealed().exclude(pk__in=known).order_by("pk"))
            after = head_state()
            # Somebody may have published between the first read and the lock: the base is the version before our own first.
            numbers = [event.config_version for event in events if event.action in PUBLISHING_ACTIONS and event.config_version]
            base = min(numbers) - 1 if numbers else after.number
            old = before if before.number == base else state_at(base) if base else ConfigState()
            changes = changes_of(state_diff(old.fragments, after.fragments, differing(old, after)))
            records = tuple(_recorded(event) for event in events if event.action not in PUBLISHING_ACTIONS)
            found.append(Preview(changes, base, result, records))
            raise _Undo
    except _Undo:
        return found[0]
    finally:
        if after is not None and (after.number, after.lineage) != (before.number, before.lineage):
            # The next publish starts from what is really published, not from nothing; what was compiled stays of use.
            stale = {name: frozenset(ids) for name, ids in differing(before, after).items()}
            remember(before if before.compiled is not None else replace(before, compiled=after.compiled, stale=stale))


@transaction.atomic
def change_publish(*, actor: Actor, reason: str, change: Callable[[], T]) -> tuple[T, Version | None]:
    """Runs ``change`` and publishes, in one transaction; None: no proxy sees a difference. Raises what either raises."""
    result = change()
    return result, publish(actor=actor, reason=reason)


def changes_of(diff: Diff) -> tuple[ObjectChange, ...]:
    """A diff (``apps.publishing.diff``) as pages show it; of a new or removed object without the fields that say nothing."""
    return tuple(
        ObjectChange(
            section=section,
            object_id=object_id,
            name=str(entry["name"]),
            kind=entry["change"],
            fields=tuple(
                FieldChange(path, was, now)
                for path, (was, now) in entry["fields"].items()
                if entry["change"] == "changed" or was not in _NOTHING or now not in _NOTHING
            ),
        )
        for section, objects in diff.items()
        for object_id, entry in objects.items()
    )


def differing(old: ConfigState, new: ConfigState) -> dict[str, set[str]]:
    """Section -> ids whose stored bodies differ."""
    found: dict[str, set[str]] = {}
    for name, bodies in new.bodies.items():
        was = old.bodies.get(name, {})
        if bodies is was:
            continue
        ids = {object_id for object_id in was.keys() | bodies.keys() if was.get(object_id) != bodies.get(object_id)}
        if ids:
            found[name] = ids
    return found


def event_fields(event: AuditEvent) -> tuple[FieldChange, ...]:
    """What an audit event changed, field by field."""
    before, after = _mapping(event.before), _mapping(event.after)
    names = [*after, *(name for name in before if name not in after)]
    fields = (FieldChange(name, before.get(name), after.get(name)) for name in names)
    return tuple(item for item in fields if item.before != item.after)


def _unsealed() -> QuerySet[AuditEvent]:
    """Audit events of this transaction: only while it commits do they get their place in the chain."""
    return AuditEvent.objects.filter(seq=None)


def _recorded(event: AuditEvent) -> Recorded:
    return Recorded(event.action, event.subject_kind, event.subject_name, event_fields(event))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
