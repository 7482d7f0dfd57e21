"""Turns what proxies report of targets into facts: a breaker opened, it closed again, a provider refused its credential.

Every proxy reports its own breakers; one outage is one fact. A fact is recorded once however often this runs: what is recorded already is
read from the facts themselves, so nothing is kept beside them and a lost run loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from apps.audit.models import Event
from apps.audit.registry import event_record
from apps.contracts import reports
from apps.contracts.reports import Place, events_in, place_of, targets_in
from apps.providers.choices import CLOSED_EVENT, OPENED_EVENT, REFUSED_EVENT
from apps.providers.live import moment
from apps.providers.models import Provider
from apps.publishing.selectors import proxy_details

WATCH_LOCK = 4_611_686_018_427_387_010
REMEMBERED = timedelta(days=7)
"""An outage that began earlier and has not ended is told anew."""
REFUSED_AGAIN = timedelta(minutes=10)
"""A credential that stays refused is told once in this time."""
SKEW = timedelta(milliseconds=500)
"""Two proxies' openings of one outage come this close after the recorded end of the one before only by their clocks."""
_KINDS = {reports.OPENED: OPENED_EVENT, reports.CLOSED: CLOSED_EVENT, reports.REFUSED: REFUSED_EVENT}


class _Happening(NamedTuple):
    at: datetime
    kind: str
    status: int
    credential: str = ""


@transaction.atomic
def targets_watch(*, now: datetime | None = None) -> int:
    """Record what the proxies' heartbeats tell; returns how many facts are new. Two runs at once: the second leaves it to the first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [WATCH_LOCK])
        if not cursor.fetchone()[0]:
            return 0
    now = now or timezone.now()
    open_since: dict[str, datetime] = {}
    happened: dict[str, list[_Happening]] = {}
    for detail in proxy_details():
        for target in targets_in(detail):
            if target.state in ("open", "half_open") and target.since_ms:
                since = moment(target.since_ms)
                open_since[target.key] = min(since, open_since.get(target.key, since))
        for event in events_in(detail):
            if event.kind in _KINDS:
                new = _Happening(moment(event.at_ms), _KINDS[event.kind], event.status, event.credential)
                happened.setdefault(event.key, []).append(new)
    known = _recorded(now)
    unended = {key for key, latest in known.items() if OPENED_EVENT in latest and _state(latest) == OPENED_EVENT}
    keys = open_since.keys() | happened.keys() | unended
    providers = _providers(keys)
    count = 0
    for key in sorted(keys):
        provider, place = providers.get(key), place_of(key)
        if provider is None or place is None:
            continue  # it was deleted since
        for new in _news(happened.get(key, []), known.get(key, {}), open_since.get(key), now):
            _record(provider, place, key, new)
            count += 1
    return count


def _news(happened: list[_Happening], known: Mapping[str, datetime], open_since: datetime | None, now: datetime) -> list[_Happening]:
    """What is to be recorded of one target, in order. known: kind (with a credential's name behind it) -> when it was recorded last."""
    found = []
    state = _state(known)
    last = max((known[kind] for kind in (OPENED_EVENT, CLOSED_EVENT) if kind in known), default=None)
    refused = dict(known)
    for event in sorted(happened):
        if event.kind == REFUSED_EVENT:
            before = refused.get(REFUSED_EVENT + event.credential)
            if before is None or event.at - before >= REFUSED_AGAIN:
                found.append(event)
                refused[REFUSED_EVENT + event.credential] = event.at
        elif last is not None and event.at <= last + (SKEW if event.kind == OPENED_EVENT else timedelta()):
            continue  # it is recorded, or it is another proxy's word for the same
        elif event.kind == OPENED_EVENT and state != OPENED_EVENT:
            found.append(event)
            state, last = OPENED_EVENT, event.at
        elif event.kind == CLOSED_EVENT and state == OPENED_EVENT and open_since is None:
            later = [other for other in happened if other.kind == CLOSED_EVENT and other.at > event.at]
            again = [other for other in happened if other.kind == OPENED_EVENT and other.at > event.at]
            if later and (not again or min(later).at < min(again).at):
                continue  # the last proxy's closing ends it
            found.append(event)
            state, last = CLOSED_EVENT, event.at
    if open_since is not None and state != OPENED_EVENT:
        found.append(_Happening(open_since, OPENED_EVENT, 0))
    elif open_since is None and state == OPENED_EVENT:
        found.append(_Happening(now, CLOSED_EVENT, 0))
    return found


def _state(known: Mapping[str, datetime]) -> str:
    """Which of opening and closing was recorded last; empty: neither."""
    both = [(known[kind], kind) for kind in (OPENED_EVENT, CLOSED_EVENT) if kind in known]
    return max(both)[1] if both else ""


def _recorded(now: datetime) -> dict[str, dict[str, datetime]]:
    """Target's key -> kind, with the credential's name where it is one of several -> when it was recorded last."""
    found: dict[str, dict[str, datetime]] = {}
    rows = Event.objects.filter(at__gte=now - REMEMBERED, subject_kind="provider", kind__in=_KINDS.values())
    for kind, at, place, credential in rows.order_by("at").values_list("kind", "at", "data__place", "data__credential"):
        found.setdefault(str(place), {})[f"{kind}{credential or ''}"] = at
    return found


def _providers(keys: set[str]) -> dict[str, Provider]:
    places = {key: place for key in keys if (place := place_of(key)) is not None and _is_uuid(place.organisation)}
    wanted = {(place.organisation, place.provider) for place in places.values()}
    rows = Provider.objects.filter(organisation__in={each[0] for each in wanted}, name__in={each[1] for each in wanted}) if wanted else ()
    by_name = {(str(row.organisation_id), row.name): row for row in rows}
    return {key: by_name[place[:2]] for key, place in places.items() if place[:2] in by_name}


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _record(provider: Provider, place: Place, key: str, new: _Happening) -> None:
    data: dict[str, Any] = {
        "organisation": place.organisation,
        "target": f"{place.provider}/{place.endpoint}/{place.model}",
        "endpoint": place.endpoint,
        "model": place.model,
        "place": key,
    }
    if new.status:
        data["status"] = new.status
    if new.credential:
        data["credential"] = new.credential
    event_record(kind=new.kind, subject_kind="provider", subject_id=provider.pk, subject_name=provider.name, at=new.at, data=data)
