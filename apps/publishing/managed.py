"""What a document manages, marked where it is shown and guarded where it is edited: one mechanism for every page and the API.

``apply`` says which things its document lists (``managed_set``). A change goes through a ``Guard``, which reads from the change's own
audit events what it touched, and asks the documents' writer how those entries would read now: so it holds for whatever a service does,
and nothing has to be said per page. What would read otherwise is refused with the entry to write instead, unless somebody who may says
"all the same". Flips, forced breakers and revocations are never held up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.module_loading import import_string

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.audit.services import audit_record
from apps.publishing.managed_models import ManagedThing
from apps.publishing.preview import FieldChange

T = TypeVar("T")
OVERRIDE = "config.override"
"""The permission to edit by hand what a document manages."""
AT_ONCE = frozenset({"flag.flip", "key.revoke"})
"""What on-call does in an emergency, by the audit's words: never held up, and told what the next apply makes of it. Switched routes and
forced breakers are in no document, so that nothing there would read otherwise."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """An entry as its document has it, beside how it would be written now. said, now: YAML to copy; gone: there is no such thing now.

    fields: what differs, ``before`` as the document says it.
    """

    said: str
    now: str
    fields: tuple[FieldChange, ...] = ()
    gone: bool = False

    @property
    def differs(self) -> bool:
        return self.gone or bool(self.fields)


class Documents(Protocol):
    """Who writes documents; ``controlplane/sections.py`` names it."""

    def compare(self, thing: ManagedThing) -> Comparison:
        """A managed thing as its document has it and as it is in this transaction."""

    def holder_of(self, organisation: Organisation, event: AuditEvent) -> tuple[str, str]:
        """(kind, id) of the thing whose entry holds what an audit event is about: of a cell its region, of an SLA its team."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a document that was applied. said: as ``ManagedThing`` keeps it."""

    kind: str
    object_id: str
    section: str
    name: str
    said: Any
    line: int = 0


@dataclass(frozen=True, slots=True)
class Touched:
    """A managed thing that a change makes read otherwise than its document. at_once: by what is never held up."""

    thing: ManagedThing
    comparison: Comparison
    at_once: bool = False

    @property
    def kind(self) -> str:
        """What a difference is, for ``ui/diff.html``."""
        return "removed" if self.comparison.gone else "changed"

    @property
    def section(self) -> str:
        return self.thing.kind.replace("_", " ")

    @property
    def name(self) -> str:
        return self.thing.name

    @property
    def object_id(self) -> str:
        return self.thing.object_id

    @property
    def fields(self) -> tuple[FieldChange, ...]:
        return self.comparison.fields

    @property
    def next_apply(self) -> str:
        """What the next apply makes of it, as a sentence."""
        document = self.thing.document
        if self.comparison.gone:
            return f"{document} still lists {self.thing.name}: take it out there, or the next apply makes it again."
        said = ", ".join(f"{one.path}: {one.before}" for one in self.fields[:3])
        return f"{document} says {said}: the next apply puts that back, unless it is changed there."


class ManagedByDocument(ServiceError):
    """A change by hand of what a document manages; ``touched`` has the entries to write there instead."""

    def __init__(self, touched: Sequence[Touched]) -> None:
        first = touched[0].thing
        more = f" and {len(touched) - 1} more" if len(touched) > 1 else ""
        super().__init__(
            f"{first.document} manages the {first.kind.replace('_', ' ')} {first.name}{more}: write the change there and apply it, or"
            " edit it anyway; the next apply takes that back."
        )
        self.touched = list(touched)


@cache
def documents() -> Documents:
    """Who writes documents."""
    from controlplane.sections import DOCUMENTS

    found: Documents = import_string(DOCUMENTS)
    return found


# --- what a document says it manages ----------------------------------------------------------------------------------


@transaction.atomic
def managed_set(
    *, actor: Actor, organisation: Organisation, document: str, listed: Iterable[Listed], by: str, version: int | None, reason: str = ""
) -> tuple[int, int]:
    """From now on this document manages exactly what it lists; what another one managed is this one's. Returns how many things are new
    to it, and how many it manages no more. A document that lists the same again is noted with its time, and not audited again."""
    now = timezone.now()
    before = {(row.kind, row.object_id): row for row in ManagedThing.objects.filter(organisation=organisation, document=document)}
    rows = {
        (one.kind, one.object_id): ManagedThing(
            organisation=organisation, kind=one.kind, object_id=one.object_id, section=one.section, name=one.name, document=document,
            line=one.line, said=one.said, applied_at=now, applied_by=by[:300], version=version,
        )
        for one in listed
    }  # fmt: skip
    released = [row.pk for key, row in before.items() if key not in rows]
    ManagedThing.objects.filter(pk__in=released).delete()
    ManagedThing.objects.bulk_create(
        rows.values(),
        update_conflicts=True,
        unique_fields=["organisation", "kind", "object_id"],
        update_fields=[
            "section", "name", "document", "line", "said", "applied_at", "applied_by", "version", "edited_at", "edited_by",
        ],
        batch_size=1_000,
    )  # fmt: skip
    fresh = len(rows.keys() - before.keys())
    if fresh or released:
        audit_record(
            actor=actor, action="document.apply", subject_kind="document", subject_id=document, subject_name=document,
            before={"things": len(before)}, after={"things": len(rows), "by": by}, reason=reason,
        )  # fmt: skip
    return fresh, len(released)


# --- reading the marks ------------------------------------------------------------------------------------------------


def marks_of(organisation: Organisation | UUID, kind: str, object_ids: Iterable[object]) -> dict[str, ManagedThing]:
    """Id -> mark, of those that a document manages: one query, without what the documents said."""
    ids = [str(object_id) for object_id in object_ids]
    rows = ManagedThing.objects.filter(organisation=organisation, kind=kind, object_id__in=ids).defer("said")
    return {row.object_id: row for row in rows}


def managing() -> ArraySubquery:
    """Ids of the organisations in which documents manage anything, for ``register_page_fact``: pages of the others ask no more."""
    rows = ManagedThing.objects.filter(organisation=OuterRef("pk"))
    return ArraySubquery(Organisation.objects.filter(Exists(rows)).order_by("pk").values("pk")[:1000])


# --- the guard --------------------------------------------------------------------------------------------------------


@dataclass
class Guard(Generic[T]):
    """``change``, watched: calling it does the change, and refuses it with ManagedByDocument where it makes a managed thing read
    otherwise than its document and nobody said ``anyway``. In the caller's transaction.

    refuse: False does it all the same, for a preview that is undone. anyway: the actor knows, which takes the permission
    ``config.override`` and a reason, and is audited. again: reads anew what ``change`` works on, so that it can be done a second time
    where the thing read otherwise before already; without it such a change is refused too. Afterwards ``touched`` has what reads
    otherwise.
    """

    change: Callable[[], T]
    actor: Actor
    organisation: Organisation
    anyway: bool = False
    refuse: bool = True
    reason: str = ""
    again: Callable[[], object] | None = None
    touched: list[Touched] = field(default_factory=list)

    def __call__(self) -> T:
        if not ManagedThing.objects.filter(organisation=self.organisation).exists():
            return self.change()
        try:
            with transaction.atomic():
                return self._watched()
        except ManagedByDocument as refused:
            guilty = guilty_of(refused.touched)  # it is taken back: what is read now is what there was before
            if guilty or self.again is None:
                raise ManagedByDocument(guilty or refused.touched) from None
        self.touched = []
        self.again()
        return self.change()

    def _watched(self) -> T:
        known = set(_unsealed().values_list("pk", flat=True))
        result = self.change()
        self.touched = self._touched(list(_unsealed().exclude(pk__in=known)))
        if self.refuse:
            held = [one for one in self.touched if not one.at_once]
            if held and not self.anyway:
                raise ManagedByDocument(held)
            if held:
                self._require()
            self._note(held)
        return result

    def _touched(self, events: Sequence[AuditEvent]) -> list[Touched]:
        held: dict[tuple[str, str], set[str]] = {}
        for event in events:
            held.setdefault(documents().holder_of(self.organisation, event), set()).add(event.action)
        found = []
        for kind in {kind for kind, _ in held}:
            ids = [object_id for of, object_id in held if of == kind]
            rows = ManagedThing.objects.select_related("organisation").filter(organisation=self.organisation)
            found += rows.filter(kind=kind, object_id__in=ids)
        touched = [Touched(thing, documents().compare(thing), held[thing.kind, thing.object_id] <= AT_ONCE) for thing in found]
        return sorted((one for one in touched if one.comparison.differs), key=lambda one: (one.thing.section, one.thing.name))

    def _require(self) -> None:
        permission_require(actor=self.actor, action=OVERRIDE, organisation=self.organisation)
        if not self.reason.strip():
            raise ServiceError("say why: whoever applies the document next reads it in the audit", "reason")

    def _note(self, held: Sequence[Touched]) -> None:
        """The marks say that somebody edited by hand; what was held up and done all the same is audited as that."""
        ids = [one.thing.pk for one in self.touched]
        ManagedThing.objects.filter(pk__in=ids).update(edited_at=timezone.now(), edited_by=self.actor.name[:500])
        for one in held:
            audit_record(
                actor=self.actor,
                action=OVERRIDE,
                subject_kind=one.thing.kind,
                subject_id=one.thing.object_id,
                subject_name=one.thing.name,
                before={"document": one.thing.document, **{change.path: change.before for change in one.fields}},
                after={"gone": True} if one.comparison.gone else {change.path: change.after for change in one.fields},
                reason=self.reason,
            )


def guilty_of(touched: Iterable[Touched]) -> list[Touched]:
    """Those that a change, which is undone by now, made read otherwise; what did so before is not its doing."""
    return [one for one in touched if documents().compare(one.thing).now != one.comparison.now]


def _unsealed() -> QuerySet[AuditEvent]:
    """Audit events of this transaction."""
    return AuditEvent.objects.filter(seq=None)
