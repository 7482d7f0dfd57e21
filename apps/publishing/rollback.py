"""Rolling back: write an older version's fragments into the rows again, then publish them as a new version.

Keys and credentials are never rolled back, so that no revoked key opens again and no old secret returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import RestrictedError
from django.db.models.deletion import ProtectedError

from apps.accounts.selectors import permission_require, permitted
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.snapshot import NEVER_ROLLED_BACK, SECTIONS, Fragment
from apps.publishing.diff import state_diff
from apps.publishing.errors import PublishError
from apps.publishing.models import TouchedFragment, Version
from apps.publishing.preview import Preview, changes_of, differing
from apps.publishing.registry import Section
from apps.publishing.registry import sections as registered_sections
from apps.publishing.services import Compiler, lock_publishing, publish, section_touch
from apps.publishing.state import ConfigState, head_state, state_at, state_of


@dataclass(frozen=True)
class _Step:
    """One object to restore; fragment None: remove it."""

    section: str
    object_id: str
    fragment: Fragment | None


@transaction.atomic
def rollback(
    *, actor: Actor, to_version: int, reason: str, sections: Mapping[str, Section] | None = None, compiler: Compiler | None = None
) -> Version | None:
    """Bring back the content of ``to_version`` as a new version. None: nothing differs.

    Unpublished changes of restored objects are undone with them. Raises ServiceError for an unknown version or an empty
    reason, PermissionRefused, and PublishError when an object cannot be restored or the result does not compile.
    """
    permission_require(actor=actor, action="config.rollback")
    if not reason.strip():
        raise ServiceError("Say why: a rollback needs a reason.", field="reason")
    lock_publishing()
    head = head_state()
    if not Version.objects.filter(number=to_version).exists():
        raise ServiceError(f"There is no version {to_version}; the newest is {head.number}.", field="to_version")
    target = _without_deleted(state_at(to_version))
    registered = registered_sections() if sections is None else sections
    steps = _steps(head, target, registered)
    _restore_all(steps, registered, actor=actor, reason=reason)
    for step in steps:
        section_touch(section=step.section, ids=[step.object_id])
    version = publish(actor=actor, reason=reason, restores=to_version, sections=sections, compiler=compiler)
    _check_restored(head_state(), target, registered)
    return version


def rollback_preview(version: Version) -> Preview[None]:
    """What ``rollback`` to ``version`` would bring, read from the store: nothing is locked or written, however much differs.

    It holds, because ``rollback`` refuses whatever comes back otherwise than it was. What cannot be restored, or compiled beside
    today's keys, is refused there, whole. Raises PublishError for what cannot be read any more.
    """
    head, target = head_state(), _without_deleted(state_of(version))
    bodies, fragments = dict(head.bodies), dict(head.fragments)
    for name in _restorable(registered_sections()):
        bodies[name], fragments[name] = target.bodies.get(name, {}), target.fragments.get(name, {})
    after = replace(head, bodies=bodies, fragments=fragments, compiled=None)
    found = differing(head, after)
    for name, ids in found.items():
        for object_id in sorted(ids):
            _check_readable(target, name, object_id)
    return Preview(changes_of(state_diff(head.fragments, fragments, found)), head.number, None)


@transaction.atomic
def version_undo(
    *, actor: Actor, number: int, reason: str = "", sections: Mapping[str, Section] | None = None, compiler: Compiler | None = None
) -> Version | None:
    """Take one version back: what it changed becomes what it was before, everything published since stays. None: it already is.

    Whoever may change an object may undo a change of it: each section's ``restore`` asks. Raises ServiceError for an unknown
    version, one with keys or credentials, and objects that were changed again since; PublishError as ``rollback`` does.
    """
    lock_publishing()
    if number < 1 or not Version.objects.filter(number=number).exists():
        raise ServiceError(f"There is no version {number}.", field="number")
    head, then, before = head_state(), state_at(number), state_at(number - 1) if number > 1 else ConfigState()
    registered = registered_sections() if sections is None else sections
    touched = set(TouchedFragment.objects.values_list("section", "object_id"))
    removals: list[_Step] = []
    writes: list[_Step] = []
    for name in SECTIONS:
        now, new, old = (state.bodies.get(name, {}) for state in (head, then, before))
        for object_id in sorted(key for key in new.keys() | old.keys() if new.get(key) != old.get(key)):
            if name in NEVER_ROLLED_BACK:
                raise ServiceError(f"v{number} changed {name}, and those never come back: a revoked key stays revoked.", field="number")
            if now.get(object_id) == old.get(object_id) and (name, object_id) not in touched:
                continue
            if now.get(object_id) != new.get(object_id) or (name, object_id) in touched:
                shown = head.fragments.get(name, {}).get(object_id) or then.fragments.get(name, {}).get(object_id)
                # Who may not look into the history is told no name: the object may be another organisation's.
                known = getattr(shown, "name", "") or object_id if permitted(actor=actor, action="config.view") else "What it changed"
                raise ServiceError(
                    f"{known} was changed again since v{number}: edit it, or roll back to v{number - 1}.",
                    field="number",
                )
            step = _Step(name, object_id, before.fragments.get(name, {}).get(object_id))
            (removals if step.fragment is None else writes).append(step)
    steps = [*reversed(removals), *writes]
    why = reason.strip() or f"undo v{number}"
    _restore_all(steps, registered, actor=actor, reason=why)
    for step in steps:
        section_touch(section=step.section, ids=[step.object_id])
    return publish(actor=actor, reason=why, sections=sections, compiler=compiler)


def _without_deleted(state: ConfigState) -> ConfigState:
    """A state without what belonged to organisations that were deleted since: a rollback brings none of them back."""
    owners = {
        organisation for rows in state.fragments.values() for row in rows.values() if (organisation := getattr(row, "organisation", ""))
    }
    deleted = set(
        AuditEvent.objects.filter(action="organisation.delete", subject_kind="organisation", subject_id__in=owners).values_list(
            "subject_id", flat=True
        )
    )
    if not deleted:
        return state
    gone = {
        (name, key) for name, rows in state.fragments.items() for key, row in rows.items() if getattr(row, "organisation", "") in deleted
    }
    providers = {key for name, key in gone if name == "providers"}
    for name in ("prices", "models"):
        gone |= {(name, key) for key in state.fragments.get(name, {}) if key.partition("/")[0] in providers}

    def kept(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: {key: row for key, row in rows.items() if (name, key) not in gone} for name, rows in sections.items()}

    return replace(state, bodies=kept(state.bodies), fragments=kept(state.fragments), compiled=None)


def _restorable(registered: Mapping[str, Section]) -> list[str]:
    return [name for name in SECTIONS if name in registered and name not in NEVER_ROLLED_BACK]


def _steps(head: ConfigState, target: ConfigState, registered: Mapping[str, Section]) -> list[_Step]:
    """Removals first, dependents before what they depend on; then the rest in the order of compilation."""
    touched: dict[str, set[str]] = {}
    for section, object_id in TouchedFragment.objects.values_list("section", "object_id"):
        touched.setdefault(section, set()).add(object_id)
    removals: list[_Step] = []
    writes: list[_Step] = []
    for name in _restorable(registered):
        now, then = head.bodies.get(name, {}), target.bodies.get(name, {})
        ids = {object_id for object_id in now.keys() | then.keys() if now.get(object_id) != then.get(object_id)} | touched.get(name, set())
        for object_id in sorted(ids):
            _check_readable(target, name, object_id)
            step = _Step(name, object_id, target.fragments.get(name, {}).get(object_id))
            (removals if step.fragment is None else writes).append(step)
    return [*reversed(removals), *writes]


def _check_readable(target: ConfigState, section: str, object_id: str) -> None:
    why = target.broken.get((section, object_id))
    if why is not None:
        raise PublishError(
            f"{section} {object_id} as of v{target.number} cannot be read any more: {why}", section=section, object_id=object_id
        )


def _restore_all(steps: list[_Step], registered: Mapping[str, Section], *, actor: Actor, reason: str) -> None:
    """Restore every step. One may need another first (a name to become free, a reference to go away), in either direction:
    what fails is tried again after the others, until a whole round brings nothing."""
    waiting = steps
    while waiting:
        failed: list[tuple[_Step, Exception]] = []
        for step in waiting:
            restore = registered[step.section].restore
            if restore is None:
                raise PublishError(f"section {step.section} cannot be rolled back", section=step.section)
            try:
                with transaction.atomic():
                    restore(actor=actor, object_id=step.object_id, fragment=step.fragment, reason=reason)
            except (ServiceError, ProtectedError, RestrictedError, DatabaseError) as error:
                failed.append((step, error))
        if len(failed) == len(waiting):
            step, cause = failed[0]
            name = getattr(step.fragment, "name", "") or step.object_id
            raise PublishError(
                f"Nothing was rolled back. {step.section} {name} cannot be restored: {cause}",
                section=step.section,
                object_id=step.object_id,
            ) from cause
        waiting = [step for step, _ in failed]


def _check_restored(now: ConfigState, target: ConfigState, registered: Mapping[str, Section]) -> None:
    for name in _restorable(registered):
        has, wanted = now.bodies.get(name, {}), target.bodies.get(name, {})
        for object_id in sorted(has.keys() | wanted.keys()):
            if has.get(object_id) != wanted.get(object_id):
                raise PublishError(
                    f"Nothing was rolled back. {name} {object_id} does not come back as it was in v{target.number}.",
                    section=name,
                    object_id=object_id,
                )
