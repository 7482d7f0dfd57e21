"""Publishing: marks, versions, and proxies' ends. Rolling back is ``apps.publishing.rollback``.

Invariants, all kept by one transaction under one advisory lock: version numbers have no gap; the fragments stored under
a number are exactly those that differ from the number before; every stored version has been compiled whole by the proxies'
own compiler; a mark disappears only with the version that contains its change.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from django.db import connection, transaction
from django.utils import timezone

from apps.audit.actors import Actor
from apps.audit.registry import event_record
from apps.audit.rules import clean_text
from apps.audit.services import audit_record
from apps.contracts.flag_conflicts import flag_conflicts
from apps.contracts.snapshot import SECTIONS, Fragment, SnapshotError, decode_fragment, encode_fragment
from apps.publishing.diff import count_changes, state_diff
from apps.publishing.errors import PublishError
from apps.publishing.models import FragmentRow, ProxyProcess, TouchedFragment, Version
from apps.publishing.registry import Section, SectionError
from apps.publishing.registry import sections as registered_sections
from apps.publishing.state import ConfigState, apply_changes, head_state, remember

CHANNEL = "bulkhead_config"
PUBLISH_LOCK = 4_611_686_018_427_387_002
"""The advisory lock of publishing; the audit chain's is one below."""

STORED_DIFF_OBJECTS = 500
"""A version's stored diff details this many objects; ``selectors.version_diff`` makes the whole one from the store."""

Changes = dict[str, dict[str, bytes | None]]


class Compiler(Protocol):
    """``apps.proxy.compiler.compile_config``; tests inject others."""

    def __call__(
        self,
        fragments: Mapping[str, Mapping[str, Fragment]],
        *,
        version: int,
        previous: Any = None,
        changed: Mapping[str, frozenset[str]] | None = None,
    ) -> Any:
        """What proxies would run. Raises CompileError(section, id, field, message)."""


def section_touch(*, section: str, ids: Iterable[object]) -> None:
    """Mark objects as changed, in the change's own transaction. Raises ValueError for an unknown section."""
    if section not in SECTIONS:
        raise ValueError(f"unknown section {section!r}: one of {', '.join(SECTIONS)}")
    TouchedFragment.objects.bulk_create([TouchedFragment(section=section, object_id=str(object_id)) for object_id in ids], batch_size=2000)


@transaction.atomic
def publish(
    *,
    actor: Actor,
    reason: str = "",
    full: bool = False,
    restores: int | None = None,
    sections: Mapping[str, Section] | None = None,
    compiler: Compiler | None = None,
) -> Version | None:
    """Publish everything that is marked as changed. None: nothing differs from the running config.

    The permission to publish is the caller's to ask: services that publish a change have asked for the change.
    full: rebuild every object and compile from scratch, which also repairs a store that drifted from the rows.
    restores: the version whose content a rollback brings back. sections, compiler: the registered ones, unless given.
    Raises PublishError (section, object, reason) when the whole config does not compile; nothing is left behind.
    """
    lock_publishing()
    marks = list(TouchedFragment.objects.values_list("id", "section", "object_id"))
    if not marks and not full:
        return None
    state = head_state()
    registered = registered_sections() if sections is None else sections
    changes = _rebuild(state, registered) if full else _build_marked(state, registered, marks)
    TouchedFragment.objects.filter(id__in=[mark[0] for mark in marks]).delete()
    if not changes:
        return None
    number, lineage = state.number + 1, uuid.uuid4()
    manifest = {**state.manifest, **dict.fromkeys(changes, number)}
    new = apply_changes(state, changes, number=number, lineage=lineage, manifest=manifest)
    new = _compiled(new, compiler, from_scratch=full)
    if not full:
        _refuse_conflicts(new, changes)
    return _store(actor=actor, reason=reason, restores=restores, old=state, new=new, changes=changes)


def lock_publishing() -> None:
    """Take the lock that orders versions, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PUBLISH_LOCK])


@transaction.atomic
def proxy_gone(*, boot_id: object) -> bool:
    """Declare a proxy process ended; only the shipper does, once the journal's lock is released. False: unknown or gone already.

    An unknown one is remembered as gone: the registration of a process that was killed while Postgres was slow may still
    be on its way, and must not count as a living proxy for ever.
    """
    now = timezone.now()
    nobody = {"pid": 0, "state": "gone", "registered_at": now, "last_seen_at": now, "gone_at": now}
    if ProxyProcess.objects.get_or_create(boot_id=str(boot_id), defaults=nobody)[1]:
        return False
    gone = ProxyProcess.objects.filter(boot_id=str(boot_id), gone_at=None).update(gone_at=now, state="gone")
    if not gone:
        return False
    proxy = ProxyProcess.objects.get(boot_id=str(boot_id))
    data = {"host": proxy.host, "pid": proxy.pid, "version": proxy.version, "last_seen_at": proxy.last_seen_at}
    event_record(kind="proxy.gone", subject_kind="proxy", subject_id=proxy.boot_id, subject_name=proxy.name, at=now, data=data)
    return True


def _build_marked(state: ConfigState, registered: Mapping[str, Section], marks: Iterable[tuple[int, str, str]]) -> Changes:
    touched: dict[str, set[str]] = {}
    for _, section, object_id in marks:
        touched.setdefault(section, set()).add(object_id)
    changes: Changes = {}
    for name in SECTIONS:
        if name in touched:
            built = _encoded(name, _section(registered, name).build(set(touched[name])))
            _keep_differing(state, name, touched[name], built, changes)
    return changes


def _rebuild(state: ConfigState, registered: Mapping[str, Section]) -> Changes:
    changes: Changes = {}
    for name in SECTIONS:
        if name in registered:
            built = _encoded(name, registered[name].build(None))
            _keep_differing(state, name, built.keys() | state.bodies.get(name, {}).keys(), built, changes)
    return changes


def _keep_differing(state: ConfigState, section: str, ids: Iterable[str], built: Mapping[str, bytes], changes: Changes) -> None:
    stored = state.bodies.get(section, {})
    for object_id in ids:
        body = built.get(object_id)
        if body != stored.get(object_id):
            changes.setdefault(section, {})[object_id] = body


def _section(registered: Mapping[str, Section], name: str) -> Section:
    try:
        return registered[name]
    except KeyError:
        raise SectionError(f"nothing builds section {name!r}") from None


def _encoded(section: str, fragments: Mapping[str, Fragment]) -> dict[str, bytes]:
    """Bodies as proxies will read them: each is decoded once here, because a Struct does not check its own types."""
    bodies: dict[str, bytes] = {}
    for object_id, fragment in fragments.items():
        if fragment.id != object_id:
            raise SectionError(f"section {section!r}: the fragment built for {object_id!r} carries id {fragment.id!r}")
        body = encode_fragment(fragment)
        try:
            decode_fragment(section, body)
        except SnapshotError as error:
            raise PublishError(f"Nothing was published. {section} {object_id}: {error}", section=section, object_id=object_id) from error
        bodies[object_id] = body
    return bodies


def _compiled(state: ConfigState, compiler: Compiler | None, *, from_scratch: bool) -> ConfigState:
    """``state`` with what the proxies' compiler makes of it. Raises PublishError."""
    # Imported late: publishing is the one app that reaches into the proxy, and only here.
    from apps.proxy.compiler import CompileError, compile_config

    for (section, object_id), why in state.broken.items():
        message = (
            f"Nothing was published. The stored {section} {object_id} cannot be read ({why}); run `manage.py publish --full` to rebuild it."
        )
        raise PublishError(message, section=section, object_id=object_id)
    run: Compiler = compile_config if compiler is None else compiler
    try:
        if from_scratch or state.compiled is None:
            compiled = run(state.fragments, version=state.number)
        else:
            compiled = run(state.fragments, version=state.number, previous=state.compiled, changed=dict(state.stale))
    except CompileError as error:
        name = getattr(state.fragments.get(error.section, {}).get(error.id), "name", "") or error.id
        message = f"Nothing was published. {error.section} {name}: {error.field}: {error.message}"
        raise PublishError(message, section=error.section, object_id=error.id, field=error.field) from error
    return replace(state, compiled=compiled, stale={})


def _refuse_conflicts(state: ConfigState, changes: Changes) -> None:
    """Raises PublishError where a flag would leave a route without a target, or do nothing, and nobody said that they know."""
    now_ms = int(timezone.now().timestamp() * 1000)
    for conflict in flag_conflicts(state.fragments, {section: set(objects) for section, objects in changes.items()}, now_ms):
        raise PublishError(f"Nothing was published: {conflict.message}.", section="flags", object_id=conflict.flag, field="acknowledge")


def _store(
    *,
    actor: Actor,
    reason: str,
    restores: int | None,
    old: ConfigState,
    new: ConfigState,
    changes: Mapping[str, Mapping[str, bytes | None]],
) -> Version:
    number = new.number
    reason = clean_text(reason, 2000)
    counts = count_changes(old.bodies, new.bodies, changes)
    version = Version.objects.create(
        number=number,
        lineage=new.lineage,
        actor_kind=actor.kind,
        actor_id=clean_text(actor.id),
        actor_name=clean_text(actor.name),
        reason=reason,
        restores=restores,
        counts=counts,
        diff=state_diff(old.fragments, new.fragments, changes, limit=STORED_DIFF_OBJECTS),
        manifest=dict(new.manifest),
    )
    rows = [
        FragmentRow(section=section, object_id=object_id, version=number, body=body)
        for section, objects in changes.items()
        for object_id, body in objects.items()
    ]
    FragmentRow.objects.bulk_create(rows, batch_size=2000)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(number)])
    name = f"v{number}"
    audit_record(
        actor=actor,
        action="config.publish" if restores is None else "config.rollback",
        subject_kind="config",
        subject_id=number,
        subject_name=name,
        before={"version": old.number},
        after={"version": number, "counts": counts, "restores": restores},
        reason=reason,
        config_version=number,
    )
    event_record(
        kind="config.published" if restores is None else "config.rolled_back",
        subject_kind="config",
        subject_id=number,
        subject_name=name,
        at=version.created_at,
        data={"version": number, "counts": counts, "restores": restores, "reason": reason, "actor": actor.name},
    )
    remember(new)
    return version
