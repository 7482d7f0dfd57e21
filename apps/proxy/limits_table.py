"""Which limits a request falls under, decided once per key, route and model for each config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from apps.contracts.limits import MAX_AMOUNT, MEASURES
from apps.contracts.snapshot import Fragment, LimitFragment
from apps.proxy.resilience import CompileError

if TYPE_CHECKING:
    from apps.proxy.limits import Window
    from apps.proxy.runtime import CompiledKey, CompiledRoute

MAX_SETS = 100_000
"""Combinations remembered; beyond, they are worked out again."""


class LimitTable:
    """``sets``: (key id, route id, model) -> the windows that apply, filled as requests come. models: (organisation, model) -> its limits;
    empty where no model is limited."""

    __slots__ = ("_by_scope", "fragments", "models", "sets", "version")

    def __init__(self, fragments: Mapping[str, Fragment], version: int) -> None:
        """Raises CompileError."""
        self.version = version
        self.fragments = list(cast(Mapping[str, LimitFragment], fragments).values())
        self.sets: dict[tuple[str, str, str], tuple[Window, ...]] = {}
        self._by_scope: dict[tuple[str, str, str], list[LimitFragment]] = {}
        for fragment in self.fragments:
            if fragment.kind not in MEASURES:
                raise CompileError("limits", fragment.id, "kind", f"{fragment.kind!r} is unknown: one of {', '.join(MEASURES)}")
            if not 1 <= fragment.amount <= MAX_AMOUNT:
                raise CompileError("limits", fragment.id, "amount", f"must be 1 to {MAX_AMOUNT}")
            self._by_scope.setdefault((fragment.organisation, fragment.scope, fragment.scope_id), []).append(fragment)
        self.models: dict[tuple[str, str], list[LimitFragment]] = {
            (organisation, model): found for (organisation, scope, model), found in self._by_scope.items() if scope == "model"
        }

    def applying(self, key: CompiledKey, route: CompiledRoute, model: str) -> list[LimitFragment]:
        """The narrowest scope first."""
        organisation = key.organisation
        found: list[LimitFragment] = []
        for scope, object_id in (
            ("key", key.id),
            ("route", route.id),
            ("model", model),
            ("team", key.team),
            ("organisation", organisation),
        ):
            if object_id:
                found += self._by_scope.get((organisation, scope, object_id), ())
        return found

    def remember(self, at: tuple[str, str, str], windows: tuple[Window, ...]) -> None:
        if len(self.sets) >= MAX_SETS:
            self.sets.clear()
        self.sets[at] = windows


def limit_table(fragments: Mapping[str, Fragment], version: int) -> LimitTable | None:
    """None where nothing is limited."""
    return LimitTable(fragments, version) if fragments else None
