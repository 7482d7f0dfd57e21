"""Features told apart in the rollups: so many of an organisation and day, because apps make their names up.

A feature is a dimension of the rollups by the minute and by the hour; an app that sent a new one with each request would make a row of each
request. The first ``MOST_FEATURES`` names of a day (UTC) are kept; what comes under further ones is counted under ``OTHER_FEATURE``, to the
token and nano-dollar. Requests keep the name that they came with, and spend by feature is counted from them (``apps.usage.counting``).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from django.db import connection

from apps.usage.rollups import Cells, cells_merge

MOST_FEATURES = 500
OTHER_FEATURE = "~other"
"""What all further features of a day are called."""
KEPT_DAYS = 40
"""How long names are remembered; a record that comes later still counts under the first ones of its day."""
MOST_REMEMBERED = 4_000
"""Days of organisations whose names this process remembers."""

_FEATURE, _ORGANISATION, _BUCKETS_A_DAY = 10, 1, 8_640
_EPOCH = date(1970, 1, 1)
_Day = tuple[str, int]
_known: dict[_Day, set[str]] = {}
"""(organisation, days since the epoch) -> names that are told apart. What a transaction that failed has added to it is a name more."""


def features_bound(cells: Cells, *, cursor: Any) -> Cells:
    """The cells with at most ``MOST_FEATURES`` names a day; the same object where nothing had to change. No query but for new names."""
    new: dict[_Day, set[str]] = {}
    for key in cells:
        if key[_FEATURE]:
            day = (key[_ORGANISATION], key[0] // _BUCKETS_A_DAY)
            if key[_FEATURE] not in _known.get(day, ()):
                new.setdefault(day, set()).add(key[_FEATURE])
    over = {day: refused for day, names in sorted(new.items()) if (refused := _admit(day, names, cursor=cursor))}
    if not over:
        return cells
    bounded: Cells = {}
    cells_merge(bounded, ((_renamed(key, over), cell) for key, cell in cells.items()))
    return bounded


def _renamed(key: tuple[Any, ...], over: dict[_Day, set[str]]) -> tuple[Any, ...]:
    refused = over.get((key[_ORGANISATION], key[0] // _BUCKETS_A_DAY), ())
    return (*key[:_FEATURE], OTHER_FEATURE, *key[_FEATURE + 1 :]) if key[_FEATURE] in refused else key


def _admit(day: _Day, names: Iterable[str], *, cursor: Any) -> set[str]:
    """Keep the names that there is room for, in their own order; returns those that there is none for."""
    organisation, at = day
    place = [organisation, _EPOCH + timedelta(days=at)]
    cursor.execute("SELECT feature FROM usage_feature WHERE organisation = %s AND day = %s", place)
    told = {feature for (feature,) in cursor.fetchall()}
    fresh = sorted(set(names) - told)
    admitted = fresh[: max(0, MOST_FEATURES - len(told))]
    if admitted:
        cursor.execute(
            "INSERT INTO usage_feature (organisation, day, feature) SELECT %s, %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
            [*place, admitted],
        )
    if len(_known) >= MOST_REMEMBERED:
        _known.clear()
    _known[day] = told.union(admitted)
    return set(fresh[len(admitted) :])


def features_forget(*, before: date) -> int:
    """Forget the names of days that are long past; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM usage_feature WHERE day < %s", [before])
        return int(cursor.rowcount)
