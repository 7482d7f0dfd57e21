"""What was expected of each flip, kept beside it, and what came of it: the table that says how good previews are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from django.db import transaction

from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.flags.afterwards import Line, Outcome, compared
from apps.flags.consequences import Prediction
from apps.flags.measuring import FOLLOWED, OF_REQUESTS, SETTLING, SPREADING, outcome_of
from apps.flags.models import Flag, FlagFlip

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.publishing.models import Version

KEPT_RAW = timedelta(hours=47)
"""Rollups of ten seconds are kept so long: what was not measured by then never is."""


@transaction.atomic
def flip_note(*, actor: Actor, flag: Flag, prediction: Prediction, version: Version | None, simulated: bool) -> FlagFlip:
    """Keep what was shown to whoever flipped, in the transaction of the flip. Watches of earlier flips that reach the same routes end here:
    what comes from now on is not theirs alone."""
    now, routes = datetime.now(UTC), set(prediction.routes)
    running = FlagFlip.objects.filter(organisation_id=flag.organisation_id, followed_until=None, at__gte=now - FOLLOWED - SPREADING)
    over = [one.pk for one in running if one.flag_id == flag.pk or routes & set(prediction_of(one).routes)]
    FlagFlip.objects.filter(pk__in=over).update(followed_until=now)
    return FlagFlip.objects.create(
        organisation_id=flag.organisation_id,
        flag=flag,
        flag_name=flag.name,
        subject_kind=flag.subject_kind,
        subject_id=flag.subject_id,
        turn_on=flag.on,
        share=flag.share,
        simulated_only=flag.simulated_only,
        simulated=simulated,
        reason=flag.reason,
        by=actor.name[:500],
        at=now,
        version=version.number if version else None,
        predicted=msgspec.to_builtins(prediction),
    )


def prediction_of(flip: FlagFlip) -> Prediction:
    """What was shown before it."""
    return msgspec.convert(flip.predicted, Prediction)


def ends_at(flip: FlagFlip) -> datetime:
    """When it is watched no more."""
    end = flip.at + SPREADING + FOLLOWED
    return end if flip.followed_until is None else min(end, flip.followed_until)


def outcome_now(flip: FlagFlip, *, now: datetime) -> Outcome | None:
    """What came of it by now: as it was kept, else measured, one query; None while there is too little to say."""
    if flip.measured is not None:
        return msgspec.convert(flip.measured, Outcome)
    routes = prediction_of(flip).routes
    if not routes:
        return None
    name = OF_REQUESTS.get(flip.subject_kind)
    scope = Scope(organisation=str(flip.organisation_id), simulated=flip.simulated)
    end = min(ends_at(flip), now - SETTLING)
    return outcome_of(scope, routes, flip.at + SPREADING, end, whose=(name, flip.subject_id) if name else None)


def lines_of(flip: FlagFlip, outcome: Outcome | None) -> list[Line]:
    """Measured beside predicted; nothing where nothing was predicted or measured."""
    return [] if outcome is None else compared(prediction_of(flip), outcome)


def flip_measure(flip: FlagFlip, *, now: datetime) -> FlagFlip:
    """Keep what came of it once its watch is over; before that, and where nothing was measured, nothing changes."""
    if flip.measured is None and now >= ends_at(flip) + SETTLING:
        outcome = outcome_now(flip, now=now)
        if outcome is not None:
            flip.measured = msgspec.to_builtins(outcome)
            FlagFlip.objects.filter(pk=flip.pk, measured__isnull=True).update(measured=flip.measured)
    return flip


def flips_measure(*, now: datetime | None = None) -> int:
    """Keep what came of every flip whose watch is over; returns how many. Safe to run twice and at once."""
    now = now or datetime.now(UTC)
    waiting = FlagFlip.objects.filter(measured__isnull=True, at__lt=now - SETTLING, at__gte=now - KEPT_RAW)
    return sum(flip_measure(flip, now=now).measured is not None for flip in waiting)


def flips_of(organisation: Organisation, *, flag: Flag | None = None, limit: int = 50) -> list[FlagFlip]:
    """The newest flips with their figures: one query."""
    rows = FlagFlip.objects.filter(organisation=organisation)
    return list((rows if flag is None else rows.filter(flag=flag))[:limit])


def compared_all(flips: Iterable[FlagFlip]) -> list[tuple[FlagFlip, list[Line]]]:
    """Each flip that was measured, with its lines."""
    return [(flip, lines_of(flip, msgspec.convert(flip.measured, Outcome))) for flip in flips if flip.measured is not None]
