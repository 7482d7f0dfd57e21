"""The sections of the config and who builds them. ``controlplane/sections.py`` lists the builders by dotted path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from django.utils.module_loading import import_string

from apps.audit.actors import Actor
from apps.contracts.snapshot import NEVER_ROLLED_BACK, SECTIONS, Fragment


class Build(Protocol):
    def __call__(self, ids: set[str] | None) -> Mapping[str, Fragment]:
        """Fragments of the rows with these ids, None: of all rows. An id that is left out is gone.

        Deterministic: the same rows give equal fragments, or every full publish would make a version.
        """


class Restore(Protocol):
    def __call__(self, *, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
        """Make the row what ``fragment`` says (None: remove it), audited, in the caller's transaction; touch its section.

        Raises ServiceError when it cannot be done.
        """


@dataclass(frozen=True)
class Section:
    """How one section is built from rows, and how a rollback writes a fragment back into rows.

    restore: None only for the sections in ``NEVER_ROLLED_BACK``.
    """

    build: Build | Callable[[set[str] | None], Mapping[str, Fragment]]
    restore: Restore | Callable[..., None] | None = None


class SectionError(Exception):
    """``controlplane/sections.py`` is wrong: a path that does not lead to a Section, or a section without its ``restore``."""


@cache
def sections() -> Mapping[str, Section]:
    """Every section by name, in the order in which they are compiled. Raises SectionError."""
    from controlplane.sections import SECTIONS as PATHS

    loaded: dict[str, Section] = {}
    for name in SECTIONS:
        path = PATHS.get(name)
        if path is None:
            raise SectionError(f"controlplane/sections.py names no builder for section {name!r}")
        try:
            section = import_string(path)
        except ImportError as error:
            raise SectionError(f"section {name!r}: {path} cannot be imported: {error}") from error
        if not isinstance(section, Section):
            raise SectionError(f"section {name!r}: {path} is not a Section")
        if section.restore is None and name not in NEVER_ROLLED_BACK:
            raise SectionError(f"section {name!r}: {path} has no restore, so it could never be rolled back")
        loaded[name] = section
    return loaded
