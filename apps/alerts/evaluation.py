"""Evaluating rules: each minute once, by the data's clock, however many workers try and whenever they are killed.

A minute of an organisation is one transaction: judgements, alerts, events, what is handed to telling, and how far evaluation has come. It
is taken under an advisory lock and only after the minute before it; a worker that dies in it leaves nothing, and the next one does it all.
Minutes that were missed are made up for in order, so an episode that came and went meanwhile is found, with its own times.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.alerts import choices
from apps.alerts.applying import minute_apply
from apps.alerts.events import events_hand
from apps.alerts.judging import rules_judge
from apps.alerts.models import Alert, AlertEvaluation, AlertRule
from apps.alerts.seeds import defaults_ensure
from apps.alerts.selectors import forget_before
from apps.alerts.series import Source
from apps.alerts.sources import SOURCES
from apps.alerts.sources.look import Look, Read
from controlplane.away import database_away

log = logging.getLogger("bulkhead.alerts")

MINUTE = timedelta(minutes=1)
SETTLES = timedelta(seconds=10)
"""Records take a few seconds to arrive: a minute is judged so long after its end. What comes later is in the windows of later minutes."""
CATCHES_UP = 60
"""Minutes that are made up for one by one; of a longer absence the last ones."""
BACKWARDS = timedelta(minutes=5)
"""A clock that went back by more than this is believed: the minutes from then on are judged."""
LOCK = 4_611_686_018_427_387_020
"""First half of the advisory locks' key space of evaluations; the organisation is the other."""
FIRED_KEPT, OTHERS_KEPT = timedelta(days=400), timedelta(days=7)
FORGET_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What one run did. minutes: judged, of all organisations together. skipped: nobody will judge them. failed: organisations."""

    minutes: int = 0
    rules: int = 0
    skipped: int = 0
    failed: int = 0


def evaluate(
    now: datetime | None = None, *, organisations: Sequence[Organisation] | None = None, sources: Mapping[Source, Read] = SOURCES
) -> Evaluated:
    """Judge the minutes that are over by ``now`` and not judged yet, of every organisation. Safe to run at any time, twice, side by side.

    now: by the data's clock; an accelerated one for replays. sources: where series are read (a replay may have its own).
    """
    now = now or clock.now()
    minutes = rules = skipped = failed = 0
    for organisation in Organisation.objects.order_by("pk") if organisations is None else organisations:
        try:
            done = _organisation(organisation, now, sources)
        except Exception as error:
            if database_away(error):
                raise
            log.exception("the alerts of organisation %s could not be evaluated", organisation.slug)
            AlertEvaluation.objects.filter(organisation=organisation).update(error=f"{type(error).__name__}: {error}"[:500])
            failed += 1
            continue
        minutes, rules, skipped = minutes + done.minutes, rules + done.rules, skipped + done.skipped
    return Evaluated(minutes, rules, skipped, failed)


def last_minute(now: datetime) -> datetime:
    """The end of the last minute that can be judged."""
    settled = (now - SETTLES).timestamp()
    return datetime.fromtimestamp(settled // 60 * 60, UTC)


def _organisation(organisation: Organisation, now: datetime, sources: Mapping[Source, Read]) -> Evaluated:
    until = last_minute(now)
    judged = AlertEvaluation.objects.filter(organisation=organisation).values_list("judged_until", flat=True).first()
    minutes, skipped = due(judged, until)
    if not minutes:
        return Evaluated()
    defaults_ensure(organisation)
    count = rules = 0
    for at in minutes:
        looked = minute_judge(organisation, at, sources=sources, skipped=skipped if not count else 0)
        if looked is None:
            break  # somebody else is at it
        count, rules = count + 1, rules + looked
    return Evaluated(count, rules, skipped if count else 0)


def due(judged: datetime | None, until: datetime) -> tuple[list[datetime], int]:
    """The minutes (their ends) to judge now, in order, and how many before them nobody will judge."""
    if judged is None or judged - until > BACKWARDS:
        return [until], 0
    missed = int((until - judged) / MINUTE)
    if missed <= 0:
        return [], 0
    taken = min(missed, CATCHES_UP)
    return [until - MINUTE * back for back in range(taken - 1, -1, -1)], missed - taken


def minute_judge(organisation: Organisation, at: datetime, *, sources: Mapping[Source, Read] = SOURCES, skipped: int = 0) -> int | None:
    """Judge the minute of an organisation that ends at ``at``, unless it was; how many rules were looked at. None: somebody else does."""
    began = time.monotonic()
    with transaction.atomic():
        if not _locked(organisation):
            return None
        state = AlertEvaluation.objects.select_for_update().filter(organisation=organisation).first()
        if state is not None and timedelta(0) <= state.judged_until - at <= BACKWARDS:
            return 0
        rules = list(
            AlertRule.objects.filter(organisation=organisation, enabled=True, deleted_at=None).select_related("slo", "owner").order_by("pk")
        )
        open_ones = list(
            Alert.objects.select_for_update(of=("self",), no_key=True)
            .filter(organisation=organisation)
            .exclude(state=choices.RESOLVED)
            .select_related("rule__owner", "organisation")
            .order_by("pk")
        )
        kept: dict[object, frozenset[str]] = {}
        for alert in open_ones:
            kept[alert.rule_id] = kept.get(alert.rule_id, frozenset()) | {alert.subject}
        look = Look(organisation, at, kept)  # type: ignore[arg-type]
        judged, unread = rules_judge(look, rules, sources=sources)
        events_hand(organisation.pk)
        minute_apply(look, rules, open_ones, judged, unread=unread)
        state = state or AlertEvaluation(organisation=organisation)
        state.judged_until, state.finished_at = at, clock.now()
        state.took_ms, state.rules = int((time.monotonic() - began) * 1000), len(rules)
        state.skipped_minutes += skipped
        state.error = "; ".join(f"{source} could not be read: {why}" for source, why in unread.items())[:500]
        state.save()
    return len(rules)


def _locked(organisation: Organisation) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s # hashtextextended(%s, 0))", [LOCK, str(organisation.pk)])
        return bool(cursor.fetchone()[0])


def alerts_forget(*, now: datetime | None = None) -> int:
    """Delete episodes that are over for very long, and those that never fired after a week; how many."""
    now = now or clock.now()
    total = 0
    while True:
        rows = forget_before(now=now, fired=FIRED_KEPT, others=OTHERS_KEPT).values_list("pk", flat=True)[:FORGET_AT_ONCE]
        found = list(rows)
        with transaction.atomic():
            Alert.objects.filter(pk__in=found).delete()
        total += len(found)
        if len(found) < FORGET_AT_ONCE:
            return total
