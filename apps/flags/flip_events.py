"""When flags were flipped lately, from the facts that flips leave behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Max
from django.db.models.functions import JSONObject

from apps.audit.models import Event
from apps.flags.choices import FLIP_EVENT

WINDOW = timedelta(hours=1)
"""So far back flips are looked for, and requests measured."""
MOST_FLIPS = 500


def recent_flips(now: datetime) -> ArraySubquery:
    """Every flag that was flipped within the last hour and when, as an expression for a query that is made anyway; see ``flips_read``."""
    rows = Event.objects.filter(kind=FLIP_EVENT, subject_kind="flag", at__gte=now - WINDOW).order_by("-at")
    return ArraySubquery(rows.annotate(flip=JSONObject(flag="subject_id", at="at")).values("flip")[:MOST_FLIPS])


def flips_read(found: Sequence[Mapping[str, str]]) -> list[tuple[str, datetime]]:
    """What ``recent_flips`` gave."""
    return [(one["flag"], datetime.fromisoformat(one["at"])) for one in found]


def flips_since(start: datetime) -> list[tuple[str, datetime]]:
    """(id of the flag, when) of flips since a moment: one query."""
    rows = Event.objects.filter(kind=FLIP_EVENT, subject_kind="flag", at__gte=start).order_by("-at")
    return list(rows.values_list("subject_id", "at")[:MOST_FLIPS])


def flipped_last(flag_id: str) -> datetime | None:
    """When one flag was flipped last, however long ago that is: one query."""
    found: datetime | None = Event.objects.filter(kind=FLIP_EVENT, subject_kind="flag", subject_id=flag_id).aggregate(at=Max("at"))["at"]
    return found
