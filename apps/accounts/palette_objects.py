"""Objects in the command palette that are found by their names: several kinds of them in one query, each where the person may see it.

Whoever types what a thing is called (``limit``, ``sla payments``) finds it too: words that name a kind are not looked for among names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import CharField, Expression, F, Model, Q, QuerySet, TextField, Value
from django.db.models.functions import Cast
from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.ui.palette import Hit, Source

MOST_WORDS = 8


@dataclass(frozen=True, slots=True)
class Objects:
    """One kind of rows. called: what a hit says it is, such as ``limit``. action: what it takes to see them. page: their address, and
    argument: the column that it takes. names: columns that are searched, the first is shown unless ``title`` says otherwise.
    organisation: leads from a row to its organisation. only: which rows."""

    called: str
    model: type[Model]
    action: str
    page: str
    icon: str
    names: tuple[str, ...]
    argument: str = "pk"
    organisation: str = "organisation"
    title: Expression | F | None = None
    only: Q = field(default_factory=Q)


def objects_source(*kinds: Objects) -> Source:
    """A source over all these kinds, the shortest titles first: one query."""

    def found(user: Any, query: str, limit: int) -> list[Hit]:
        parts = [_rows(kind, number, user, query)[: limit * 20] for number, kind in enumerate(kinds)]
        rows = list(parts[0].union(*parts[1:], all=True) if len(parts) > 1 else parts[0])
        best = sorted(rows, key=lambda row: (len(row[1]), row[1]))[:limit]
        return [_hit(kinds[number], len(kinds) > 1, *rest) for number, *rest in best]

    return found


def _hit(kind: Objects, told: bool, title: str, argument: str, where: str, slug: str) -> Hit:
    return Hit(title, f"{kind.called}, {where}" if told else where, f"{reverse(kind.page, args=[argument])}?org={slug}", kind.icon)


def _rows(kind: Objects, number: int, user: Any, query: str) -> QuerySet[Any, tuple[Any, ...]]:
    roles = [role.value for role in roles_for(kind.action)]
    seen = {f"{kind.organisation}__memberships__user": user, f"{kind.organisation}__memberships__role__in": roles}
    own = kind.called.casefold().split()
    wanted = [word for word in query.split()[:MOST_WORDS] if not _means(word, own)]
    named = Q()
    for word in wanted:
        named &= _any(kind.names, word)
    told = {
        "of_kind": Value(number),
        "of_title": Cast(kind.title or F(kind.names[0]), TextField()),
        "of_page": Cast(kind.argument, CharField()),
        "of_place": F(f"{kind.organisation}__name"),
        "of_slug": F(f"{kind.organisation}__slug"),
    }
    return kind.model._default_manager.filter(named, kind.only, **seen).order_by().annotate(**told).values_list(*told)


def _means(word: str, own: Sequence[str]) -> bool:
    """Whether a word of the query is a word of what the kind is called, in the singular or plural."""
    text = word.casefold()
    return len(text) >= 3 and any(text in (one, f"{one}s") for one in own)


def _any(names: Sequence[str], word: str) -> Q:
    found = Q()
    for name in names:
        found |= Q(**{f"{name}__icontains": word})
    return found
