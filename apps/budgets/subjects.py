"""What budgets and limits are for, as people type it: ``key app``, ``team search``, ``model gpt-4o-mini``, ``the whole organisation``.

An organisation may have thousands of keys and routes, so no form lists them: a few are suggested while somebody types, and what was typed
is looked up when it is sent. Nothing here writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import F, Q, QuerySet, TextField, Value
from django.db.models.functions import Concat

from apps.audit.errors import ServiceError
from apps.budgets import rules
from apps.contracts.snapshot import EACH
from apps.keys.models import VirtualKey
from apps.keys.neighbours import routes_known
from apps.ownership.models import Service, Team
from apps.providers.models import Provider

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

WHOLE = "the whole organisation"
EVERY_USER = "every user by themselves"
MOST = 20
"""Suggestions at a time."""
MOST_EACH = 8
"""Of them, of one kind of object, where several kinds match."""
PATH = Concat(F("team__slug"), Value("/"), F("slug"), output_field=TextField())
"""A service as people type it."""
Found = list[tuple[str, str]]
"""(id, name as it is typed) each, by name."""


def _keys(organisation: Organisation, part: str, most: int) -> Found:
    rows = VirtualKey.objects.filter(organisation=organisation, state="active", name__icontains=part)
    return _of(rows.order_by("name").values_list("pk", "name")[:most])


def _teams(organisation: Organisation, part: str, most: int) -> Found:
    rows = Team.objects.filter(Q(slug__icontains=part) | Q(name__icontains=part), organisation=organisation)
    return _of(rows.order_by("slug").values_list("pk", "slug")[:most])


def _services(organisation: Organisation, part: str, most: int) -> Found:
    rows = Service.objects.filter(team__organisation=organisation).annotate(path=PATH)
    return _of(rows.filter(Q(path__icontains=part) | Q(name__icontains=part)).order_by("path").values_list("pk", "path")[:most])


def _providers(organisation: Organisation, part: str, most: int) -> Found:
    rows = Provider.objects.filter(organisation=organisation, name__icontains=part)
    return _of(rows.order_by("name").values_list("pk", "name")[:most])


def _routes(organisation: Organisation, part: str, most: int) -> Found:
    return [(route.id, route.name) for route in routes_known(organisation) if part.lower() in route.name.lower()][:most]


def _of(rows: QuerySet[VirtualKey, tuple[UUID, str]] | Iterable[tuple[UUID, str]]) -> Found:
    return [(str(pk), name) for pk, name in rows]


_FIND: dict[str, Callable[[Organisation, str, int], Found]] = {
    "team": _teams,
    "service": _services,
    "route": _routes,
    "key": _keys,
    "provider": _providers,
}
"""Scopes whose objects have ids: objects whose name holds a text."""


def subject_text(organisation: Organisation, scope: str, scope_id: str) -> str:
    """As it is typed; empty where there is no such thing (any more)."""
    if scope == "organisation":
        return WHOLE
    if scope == "user" and scope_id == EACH:
        return EVERY_USER
    if scope not in _FIND:
        return f"{scope} {scope_id}"
    name = _name_of(organisation, scope, scope_id)
    return f"{scope} {name}" if name else ""


def _name_of(organisation: Organisation, scope: str, scope_id: str) -> str:
    if scope == "route":
        return next((route.name for route in routes_known(organisation) if route.id == scope_id), "")
    try:
        wanted = UUID(scope_id)
    except ValueError:
        return ""
    if scope == "key":
        rows = VirtualKey.objects.filter(organisation=organisation, pk=wanted).values_list("name", flat=True)
    elif scope == "team":
        rows = Team.objects.filter(organisation=organisation, pk=wanted).values_list("slug", flat=True)
    elif scope == "service":
        services = Service.objects.filter(team__organisation=organisation, pk=wanted)
        rows = services.annotate(path=PATH).values_list("path", flat=True)
    else:
        rows = Provider.objects.filter(organisation=organisation, pk=wanted).values_list("name", flat=True)
    return rows.first() or ""


def subjects_suggested(organisation: Organisation, scopes: Sequence[str], typed: str) -> list[str]:
    """What somebody who typed that may mean, at most ``MOST``: as they would type it whole. A query for each kind of object."""
    text = _plain(typed)
    scope, part = _split(scopes, text)
    found: list[str] = []
    if not scope:
        if "organisation" in scopes and text.lower() in WHOLE:
            found.append(WHOLE)
        if "user" in scopes and text.lower() in EVERY_USER:
            found.append(EVERY_USER)
    kinds = [kind for kind in scopes if kind in _FIND and scope in ("", kind)]
    for kind in kinds:
        found += [f"{kind} {name}" for _, name in _FIND[kind](organisation, part, MOST if len(kinds) == 1 else MOST_EACH)]
    if not scope and part:
        found += [f"{kind} {part}" for kind in scopes if kind in rules.TEXT_SCOPES]
    return found[:MOST]


def subject_read(organisation: Organisation, scopes: Sequence[str], typed: str) -> tuple[str, str]:
    """Scope and id (or name, of what has none) of what somebody typed. Raises ServiceError, which says what to type."""
    text = _plain(typed)
    if text.lower() in (WHOLE, "organisation", f"organisation:{organisation.pk}") and "organisation" in scopes:
        return "organisation", str(organisation.pk)
    if text.lower() in (EVERY_USER, "every user", "each user", f"user {EACH}") and "user" in scopes:
        return "user", EACH
    scope, part = _split(scopes, text)
    if not scope:
        same = [(kind, pk) for kind in scopes if kind in _FIND for pk in _exact(organisation, kind, part)] if part else []
        if len(same) == 1:
            return same[0]
        examples = f"{', '.join(f'“{kind} {part}”' for kind, _ in same)}" if same else _examples(scopes)
        raise ServiceError(f"say what it is, and its name, such as {examples}", "scope_id")
    if scope in rules.TEXT_SCOPES:
        return scope, part
    found = _exact(organisation, scope, part)
    if len(found) == 1:
        return scope, found[0]
    if found:
        raise ServiceError(f"there are several with the name {part[:80]!r}: choose one that is suggested", "scope_id")
    near = [name for _, name in _FIND[scope](organisation, part, 3)] if part else []
    hint = f"did you mean {' or '.join(near)}?" if near else "choose one that is suggested, or create it first"
    raise ServiceError(f"there is no {scope} {part[:80]!r}: {hint}", "scope_id")


def _exact(organisation: Organisation, scope: str, name: str) -> list[str]:
    """Ids of the objects with that name, or that id."""
    if _name_of(organisation, scope, name):
        return [name]
    if scope == "route":
        routes = routes_known(organisation)
        return [route.id for route in routes if route.name == name] or [route.id for route in routes if name in route.names]
    if scope == "key":
        return _ids(VirtualKey.objects.filter(organisation=organisation, state="active", name=name))
    if scope == "provider":
        return _ids(Provider.objects.filter(organisation=organisation, name=name))
    if scope == "team":
        rows = Team.objects.filter(organisation=organisation)
        return _ids(rows.filter(slug=name)) or _ids(rows.filter(name__iexact=name))
    team, _, slug = name.partition("/")
    return _ids(Service.objects.filter(team__organisation=organisation, team__slug=team.strip(), slug=slug.strip()))


def _ids(rows: QuerySet[VirtualKey] | QuerySet[Team] | QuerySet[Service] | QuerySet[Provider]) -> list[str]:
    return [str(pk) for pk in rows.values_list("pk", flat=True)]


def _plain(typed: str) -> str:
    return typed.replace("\x00", "").strip()[:300]


def _split(scopes: Sequence[str], text: str) -> tuple[str, str]:
    """The scope that a text begins with, empty where none, and the rest: ``key app``, and ``key:app`` as links write it."""
    match = re.match(r"([a-z]+)(?:\s*:\s*|\s+|$)", text, re.IGNORECASE)
    if match and match[1].lower() in scopes and match[1].lower() != "organisation":
        return match[1].lower(), text[match.end() :].strip()
    return "", text


def _examples(scopes: Sequence[str]) -> str:
    names = {"team": "search", "service": "search/ranking", "route": "chat", "key": "app", "provider": "openai", "model": "gpt-4o-mini"}
    kinds = [kind for kind in scopes if kind in names]
    return " or ".join(f"“{kind} {names[kind]}”" for kind in dict.fromkeys((kinds[0], "model" if "model" in kinds else kinds[-1])))
