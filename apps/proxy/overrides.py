"""Overrides of this host: flags switched on the spot, without the control plane, laid over the published ones until they end.

Each is one file in a directory that all proxies of the host share, written before it is in force: a restart, or a proxy that starts
later, finds it. Invariants: an override acts from the swap that brings it to its end, and never after it, whatever is published meanwhile;
where it stands by itself it is a flag of its own; where it switches a flag, that flag's rules, share and subject stay as published.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec

from apps.contracts.overrides import KEPT_MS, MAX_IN_FORCE, MAX_MS, MAX_TOLD, Override, OverrideAsk
from apps.contracts.snapshot import FlagFragment, Fragment

if TYPE_CHECKING:
    from apps.proxy.holder import Holder

log = logging.getLogger("bulkhead.overrides")

SUBJECTS: dict[str, tuple[str, ...]] = {
    "fallback": ("route",),
    "kill": ("provider", "model", "route", "key", "feature"),
    "degrade": ("organisation", "region", "route", "team"),
}
"""What each kind can be about, by itself."""
SECTIONS = {"provider": "providers", "route": "routes", "key": "keys"}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Override).decode


class OverrideRefused(ValueError):
    """The message says what to do."""


class Overrides:
    """now_ms: the database's time as last measured. Changes are in force when a call returns."""

    def __init__(self, folder: Path, holder: Holder, now_ms: Callable[[], int]) -> None:
        self._folder = folder
        self._holder = holder
        self._now_ms = now_ms
        self._known: dict[str, Override] = {}
        holder.overlay = self.overlay

    def load(self) -> None:
        """What earlier processes, or others of this host, have been asked. A file that cannot be read is left alone and said."""
        found: dict[str, Override] = {}
        now = self._now_ms()
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else ():
            try:
                override = _decode(path.read_bytes())
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
                log.error("the override in %s is not used: %s", path, error)
                continue
            if max(override.until_ms, override.ended_ms or 0) + KEPT_MS < now:
                path.unlink(missing_ok=True)
            else:
                found[override.id] = override
        self._known = found
        self._swap()

    def add(self, ask: OverrideAsk) -> Override:
        """Raises OverrideRefused; OSError where it cannot be kept (then it is not in force)."""
        override = self._resolved(ask)
        if ask.id in self._known:
            return self._known[ask.id]  # asked twice
        if len(self.in_force()) >= MAX_IN_FORCE:
            raise OverrideRefused(f"{MAX_IN_FORCE} overrides are in force already: end some first")
        self._keep(override)
        log.warning("override by %s until %d: %s (%s)", override.by, override.until_ms, override.words(), override.reason)
        return override

    def end(self, id: str) -> Override:
        """Take one back. Raises OverrideRefused where it is not in force, OSError where that cannot be kept."""
        override = self._known.get(id)
        if override is None or not override.in_force(self._now_ms()):
            raise OverrideRefused(f"no override {id!r} is in force here")
        ended = msgspec.structs.replace(override, ended_ms=self._now_ms())
        self._keep(ended)
        log.warning("override taken back: %s", override.words())
        return ended

    def in_force(self) -> list[Override]:
        now = self._now_ms()
        return [override for override in self._known.values() if override.in_force(now)]

    def told(self) -> list[dict[str, Any]]:
        """For heartbeats: those in force and the last that have ended. JSON-able."""
        now = self._now_ms()
        listed = sorted(self._known.values(), key=lambda override: (override.in_force(now), override.made_ms), reverse=True)
        return [
            msgspec.to_builtins(
                override if override.ended_ms is not None or override.in_force(now) else _ended(override, override.until_ms)
            )
            for override in listed[:MAX_TOLD]
        ]

    def overlay(self, flags: Mapping[str, Fragment]) -> tuple[Mapping[str, Fragment], int | None]:
        """The flags with those in force laid over them, and when the first of these ends. The newest wins over one flag."""
        now = self._now_ms()
        active = sorted((o for o in self._known.values() if o.in_force(now)), key=lambda override: (override.made_ms, override.id))
        if not active:
            return flags, None
        laid = dict(flags)
        for override in active:
            published = laid.get(override.flag_id)
            if not override.flag:
                laid[f"override-{override.id}"] = _flag(override)
            elif isinstance(published, FlagFragment):
                laid[override.flag_id] = msgspec.structs.replace(
                    published, on=override.on, reason=override.reason, until_ms=override.until_ms if override.on else None
                )
        return laid, min(override.until_ms for override in active)

    def _keep(self, override: Override) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{override.id}.json"
        beside = path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(_encode(override))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        self._known[override.id] = override
        self._swap()

    def _swap(self) -> None:
        if self._holder.current.version:
            self._holder.refresh()

    def _resolved(self, ask: OverrideAsk) -> Override:
        now = self._now_ms()
        try:
            UUID(ask.id)
        except ValueError:
            raise OverrideRefused(f"{ask.id!r} is no id of an override") from None
        if not ask.reason.strip() or len(ask.reason) > 300:
            raise OverrideRefused("say why, in at most 300 characters: it is kept in the audit")
        if not now < ask.until_ms <= now + MAX_MS:
            raise OverrideRefused("an override ends within a day: say for how long")
        values: dict[str, Any] = {
            "id": ask.id, "by": ask.by[:200], "reason": ask.reason, "made_ms": now, "until_ms": ask.until_ms, "on": ask.on,
        }  # fmt: skip
        fragments = self._holder.fragments
        if ask.flag:
            flag = cast(FlagFragment, _only("flag", ask.flag, ask.organisation, fragments["flags"]))
            if flag.kind == "release":
                raise OverrideRefused(f"{flag.name!r} is a release: proxies do nothing by it")
            return Override(
                **values, organisation=flag.organisation, kind=flag.kind, subject=flag.subject, subject_id=flag.subject_id,
                subject_name=flag.name, level=flag.level, flag=flag.name, flag_id=flag.id,
            )  # fmt: skip
        if ask.kind not in SUBJECTS or ask.subject not in SUBJECTS[ask.kind]:
            known = "; ".join(f"{kind} of {', '.join(subjects)}" for kind, subjects in SUBJECTS.items())
            raise OverrideRefused(f"name a flag, or one of: {known}")
        if not ask.on:
            raise OverrideRefused("only a flag can be switched off: name it")
        if ask.kind == "degrade" and ask.level == "full":
            raise OverrideRefused("say how far it degrades: limited, cached or minimal")
        section = SECTIONS.get(ask.subject)
        if section is not None:
            found = _only(ask.subject, ask.name, ask.organisation, fragments[section])
            organisation, subject_id = _organisation_of(found) or self._organisation(ask), found.id
        else:
            organisation = self._organisation(ask)
            subject_id = organisation if ask.subject == "organisation" else ask.name
        if not subject_id:
            raise OverrideRefused(f"name the {ask.subject}")
        return Override(
            **values, organisation=organisation, kind=ask.kind, subject=ask.subject, subject_id=subject_id,
            subject_name=ask.name or "everything", level=ask.level if ask.kind == "degrade" else "full",
        )  # fmt: skip

    def _organisation(self, ask: OverrideAsk) -> str:
        """The one asked for, or the only one there is."""
        fragments = self._holder.fragments
        known = {_organisation_of(route) for route in fragments["routes"].values()}
        if ask.organisation in known or (not ask.organisation and len(known) == 1):
            return ask.organisation or next(iter(known))
        raise OverrideRefused(f"say of which organisation: one of {', '.join(sorted(known)) or 'none: no config is in force'}")


def _only(what: str, name: str, organisation: str, fragments: Mapping[str, Fragment]) -> Fragment:
    found = [
        fragment
        for fragment in fragments.values()
        if name and name in (getattr(fragment, "name", ""), fragment.id) and organisation in ("", _organisation_of(fragment))
    ]
    if len(found) != 1:
        others = ", ".join(sorted({_organisation_of(fragment) for fragment in found}))
        why = f"is one in each of the organisations {others}: name one of them" if found else "is not in the config of this proxy"
        raise OverrideRefused(f"the {what} {name[:80]!r} {why}")
    return found[0]


def _organisation_of(fragment: Fragment) -> str:
    return str(getattr(fragment, "organisation", ""))


def _ended(override: Override, at_ms: int) -> Override:
    return msgspec.structs.replace(override, ended_ms=at_ms)


def _flag(override: Override) -> FlagFragment:
    """An override that stands by itself, as the flag that it is for this host."""
    return FlagFragment(
        id=f"override-{override.id}",
        name=f"override:{override.words()}"[:80],
        organisation=override.organisation,
        kind=override.kind,
        subject=override.subject,
        subject_id=override.subject_id,
        on=True,
        reason=override.reason,
        until_ms=override.until_ms,
        level=override.level,
    )
