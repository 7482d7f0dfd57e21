"""The current Runtime: read once per request, swapped whole by one assignment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from apps.contracts.snapshot import SECTIONS, Change, Delta, Fragment, decode_fragment
from apps.proxy.compiler import Unseal, compile_config
from apps.proxy.flagging import Tally
from apps.proxy.runtime import EMPTY, Runtime


class Holder:
    """Applies deltas to the fragments it knows and swaps the compiled result in."""

    def __init__(self, unseal: Unseal | None, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.current: Runtime = EMPTY
        self._now_ms = now_ms
        self._fragments: dict[str, dict[str, Fragment]] = {name: {} for name in SECTIONS}
        self._unseal = unseal
        self.attach: Callable[[Runtime], None] = _nothing
        """Called with every new Runtime before it is in force: gives it what the process has learned."""
        self.overlay: Callable[[Mapping[str, Fragment]], tuple[Mapping[str, Fragment], int | None]] = _as_published
        """What of this host lies over the published flags (``apps.proxy.overrides``), and when the first of it ends."""
        self.tallies: dict[str, Tally] = {}
        """By flag's id: how often it was asked, whatever versions came and went since this process started."""
        self._bodies: dict[str, dict[str, bytes]] = {name: {} for name in SECTIONS}

    def apply(self, delta: Delta) -> None:
        """Raises SnapshotError or CompileError and changes nothing when the delta cannot be served.

        A delta with base 0 is the whole config; another one must start at or below the current version. Sections that this
        proxy does not know are left out: they belong to a newer control plane.
        """
        if delta.base > self.current.version:
            raise ValueError(f"the delta starts at v{delta.base}, this proxy has v{self.current.version}")
        whole = delta.base == 0
        fragments: dict[str, dict[str, Fragment]] = {name: {} if whole else dict(self._fragments[name]) for name in SECTIONS}
        bodies: dict[str, dict[str, bytes]] = {name: {} if whole else dict(self._bodies[name]) for name in SECTIONS}
        changed: dict[str, set[str]] = {name: set() for name in SECTIONS}
        for change in delta.changes:
            if change.section not in SECTIONS:
                continue
            if change.body is None:
                fragments[change.section].pop(change.id, None)
                bodies[change.section].pop(change.id, None)
            else:
                fragments[change.section][change.id] = decode_fragment(change.section, change.body)
                bodies[change.section][change.id] = change.body
            changed[change.section].add(change.id)
        previous = None if whole else self.current
        runtime = self._compiled(fragments, delta.version, previous, None if whole else changed)
        self.attach(runtime)
        self._bodies = bodies
        self._fragments = fragments
        self.current = runtime

    def refresh(self) -> None:
        """Compile the same version again, because a flag has run out or an override came or went."""
        runtime = self._compiled(self._fragments, self.current.version, None, None)
        self.attach(runtime)
        self.current = runtime

    @property
    def fragments(self) -> Mapping[str, Mapping[str, Fragment]]:
        """As published."""
        return self._fragments

    def _compiled(
        self, fragments: dict[str, dict[str, Fragment]], version: int, previous: Runtime | None, changed: dict[str, set[str]] | None
    ) -> Runtime:
        flags, until = self.overlay(fragments["flags"])
        runtime = compile_config(
            {**fragments, "flags": flags},
            version=version,
            unseal=self._unseal,
            previous=previous,
            changed=changed,
            now_ms=self._now_ms(),
        )
        for table in runtime.tables.values():
            for route in table.values():
                if route.flagging is not None:
                    for flag in (*route.flagging.flags, *route.flagging.regional):
                        flag.tally = self.tallies.setdefault(flag.id, flag.tally)
        if until is not None and (runtime.good_until_ms is None or until < runtime.good_until_ms):
            runtime.good_until_ms = until
        return runtime

    def whole(self) -> Delta:
        """Everything, as one delta from nothing: what is kept on disk as last-known-good."""
        changes = [Change(section, id, body) for section, table in self._bodies.items() for id, body in table.items()]
        return Delta(0, self.current.version, changes)


def _nothing(runtime: Runtime) -> None:
    pass


def _as_published(flags: Mapping[str, Fragment]) -> tuple[Mapping[str, Fragment], int | None]:
    return flags, None
