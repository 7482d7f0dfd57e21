"""The command palette's sources: what Ctrl/Cmd-K finds among pages, actions and objects.

Pages and actions come from ``apps.ui.navigation``. Each app adds its objects in its ``AppConfig.ready()``::

    register_source("Routes", routes_for_palette)       # fn(user, query, limit) -> Sequence[Hit]

A source returns at most ``limit`` hits of what *that user* may see, best first, and makes one query at most. It is not
asked for an empty query. One that fails is said to have failed and takes nothing else with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from apps.ui.navigation import Job, May, actions_for, rail_for

log = logging.getLogger(__name__)

PER_SOURCE = 6
LONGEST_QUERY = 200


@dataclass(frozen=True, slots=True)
class Hit:
    """One line of the palette. ``url``: a path of this site, opened, or with ``post`` sent to by POST. ``icon``: a name of ``ICONS``."""

    title: str
    subtitle: str
    url: str
    icon: str
    post: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What one source gave. ``failed``: it could not be asked."""

    name: str
    hits: tuple[Hit, ...]
    failed: bool = False


Source = Callable[[Any, str, int], Sequence[Hit]]

_sources: dict[str, Source] = {}


def register_source(name: str, source: Source) -> None:
    """Adds a group of objects; ``name`` is its heading. A second source of one name is refused with ValueError."""
    if _sources.get(name, source) is not source:
        raise ValueError(f"the palette has a source named {name!r} already: choose another name")
    _sources[name] = source


def matches(query: str, *texts: str) -> bool:
    """Whether every word of the query begins a word of the texts, or stands inside one from three letters on; case aside."""
    words = " ".join(texts).casefold().replace("-", " ").replace("_", " ").split()
    return all(
        any(word.startswith(wanted) or (len(wanted) >= 3 and wanted in word) for word in words)
        for wanted in query.casefold().replace("-", " ").replace("_", " ").split()
    )


def palette_find(user: Any, query: str, *, may: May, limit: int = PER_SOURCE) -> list[Found]:
    """Everything that answers ``query``: pages, actions, then the apps' objects; groups without a hit are left out."""
    query = query.replace("\x00", "").strip()[:LONGEST_QUERY]
    found = [Found("Pages", tuple(_pages(query, rail_for(may)))), Found("Actions", tuple(_actions(query, may)))]
    if query:
        found += [_ask(name, source, user, query, limit) for name, source in _sources.items()]
    return [group for group in found if group.hits or group.failed]


def _ask(name: str, source: Source, user: Any, query: str, limit: int) -> Found:
    try:
        return Found(name, tuple(source(user, query, limit))[:limit])
    except Exception:  # a broken source must not cost the person the others
        log.exception("the palette's source %r failed", name)
        return Found(name, (), failed=True)


def _pages(query: str, jobs: Sequence[Job]) -> list[Hit]:
    return [
        Hit(place.label, job.label or "Page", place.url, place.icon)
        for job in jobs
        for place in job.places
        if matches(query, place.label, job.label, place.words)
    ]


def _actions(query: str, may: May) -> list[Hit]:
    return [
        Hit(action.label, "", action.url, action.icon, post=action.post)
        for action in actions_for(may)
        if matches(query, action.label, action.words)
    ]
