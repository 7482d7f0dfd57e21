"""The published config as it is at a version: stored bodies, decoded fragments, and what the compiler made of them.

The last state is kept per process, keyed by version number and lineage, so that a publish of one change reads, decodes and
compiles one change. A state is never changed in place; a lineage is random per version, so that a state of a transaction
that was rolled back, or of a database that was restored, is never taken for the published one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection

from apps.contracts.snapshot import SECTIONS, Fragment, SnapshotError, decode_fragment
from apps.publishing.models import FragmentRow, Version

Bodies = Mapping[str, Mapping[str, bytes]]
Decoded = Mapping[str, Mapping[str, Fragment]]
Ids = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class ConfigState:
    """The whole config at one version (0: empty).

    broken: (section, id) -> why a stored body does not decode; such an object is missing in ``fragments``.
    compiled: what the compiler returned for an earlier or this state, None where unknown; stale: ids that changed since then.
    """

    number: int = 0
    lineage: UUID | None = None
    manifest: Mapping[str, int] = field(default_factory=dict)
    bodies: Bodies = field(default_factory=lambda: {name: {} for name in SECTIONS})
    fragments: Decoded = field(default_factory=lambda: {name: {} for name in SECTIONS})
    broken: Mapping[tuple[str, str], str] = field(default_factory=dict)
    compiled: Any = None
    stale: Ids = field(default_factory=dict)


_cached = ConfigState()


def remember(state: ConfigState) -> None:
    """Keep ``state`` as this process's last one."""
    global _cached
    _cached = state


def names_held(ids: Iterable[str]) -> dict[str, str]:
    """Id -> name of those objects that the last state knows; asks nobody."""
    rows = _cached.fragments.values()
    return {key: name for key in ids for fragments in rows if key in fragments and (name := getattr(fragments[key], "name", ""))}


def head_state() -> ConfigState:
    """The config at the newest version that this transaction sees."""
    head = Version.objects.order_by("-number").values_list("number", "lineage", "manifest").first()
    if head is None:
        return ConfigState()
    number, lineage, manifest = head
    known = _cached
    if (known.number, known.lineage) == (number, lineage):
        return known
    ancestor = 0 < known.number < number and Version.objects.filter(number=known.number, lineage=known.lineage).exists()
    state = _advance(known if ancestor else ConfigState(), number, lineage, manifest)
    remember(state)
    return state


def state_known(number: int, lineage: UUID | None) -> ConfigState | None:
    """The config at a head that was read already, where this process has it; asks nobody."""
    return _cached if number and (_cached.number, _cached.lineage) == (number, lineage) else None


def state_at(number: int) -> ConfigState:
    """The config as it was at version ``number``, from the store. Raises Version.DoesNotExist."""
    return state_of(Version.objects.get(number=number))


def state_of(version: Version) -> ConfigState:
    """The config as it was at ``version``, from the store."""
    return _advance(ConfigState(), version.number, version.lineage, version.manifest)


def _advance(base: ConfigState, number: int, lineage: UUID, manifest: Mapping[str, int]) -> ConfigState:
    changes: dict[str, dict[str, bytes | None]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT ON (section, object_id) section, object_id, body FROM {FragmentRow._meta.db_table}"
            " WHERE version > %s AND version <= %s ORDER BY section, object_id, version DESC",
            [base.number, number],
        )
        for section, object_id, body in cursor.fetchall():
            changes.setdefault(section, {})[object_id] = None if body is None else bytes(body)
    return apply_changes(base, changes, number=number, lineage=lineage, manifest=manifest)


def apply_changes(
    base: ConfigState, changes: Mapping[str, Mapping[str, bytes | None]], *, number: int, lineage: UUID, manifest: Mapping[str, int]
) -> ConfigState:
    """The state after ``changes`` (section -> id -> body, None: gone). Sections without a change are shared with ``base``."""
    bodies, fragments, broken = dict(base.bodies), dict(base.fragments), dict(base.broken)
    for section, objects in changes.items():
        section_bodies, section_fragments = dict(bodies.get(section, {})), dict(fragments.get(section, {}))
        for object_id, body in objects.items():
            broken.pop((section, object_id), None)
            section_fragments.pop(object_id, None)
            if body is None:
                section_bodies.pop(object_id, None)
                continue
            section_bodies[object_id] = body
            try:
                section_fragments[object_id] = decode_fragment(section, body)
            except SnapshotError as error:
                broken[section, object_id] = str(error)
        bodies[section], fragments[section] = section_bodies, section_fragments
    return ConfigState(
        number=number,
        lineage=lineage,
        manifest=dict(manifest),
        bodies=bodies,
        fragments=fragments,
        broken=broken,
        compiled=base.compiled,
        stale=_union(base.stale, {section: objects.keys() for section, objects in changes.items()}),
    )


def _union(first: Mapping[str, Iterable[str]], second: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    return {section: frozenset(first.get(section, ())) | frozenset(second.get(section, ())) for section in first.keys() | second.keys()}
