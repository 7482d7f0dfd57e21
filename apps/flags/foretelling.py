"""Flips that come from elsewhere than the dialog (the API, an approval, a schedule): what they would do is measured the same way, and kept
with them."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.flags.change_choices import APPLIED, OPEN_STATES
from apps.flags.consequences import Prediction
from apps.flags.detail import fragment_of
from apps.flags.flips import flip_note
from apps.flags.measuring import Flip, Question
from apps.flags.models import ChangeRequest, Flag, FlagFlip
from apps.publishing.selectors import proxy_details
from controlplane.away import database_away

if TYPE_CHECKING:
    from apps.publishing.models import Version

log = logging.getLogger("bulkhead.flags")


def flip_foretell(flag: Flag, *, on: bool, share: int = 100, simulated_only: bool = False) -> Prediction:
    """What a flip would do, measured as its dialog shows it, of the organisation's own traffic. ``flag.organisation`` is read."""
    organisation = flag.organisation
    scope = Scope(organisation=str(organisation.pk), simulated=organisation.simulated)
    flip = Flip(fragment_of(flag), on, share, simulated_only)
    return Question(organisation=organisation, scope=scope, flip=flip, heard=proxy_details()).answer()


def change_foretell(row: ChangeRequest, *, now: datetime | None = None) -> Prediction | None:
    """The same of what a request asks for, just before it happens; None where it does not happen now: its time is to come, it is over, it
    gives the flag to another team, or the flag is gone. A forecast that fails holds no flip up: it is logged, and there is none.
    ``row.flag`` and ``row.organisation`` are read."""
    if row.flag is None or row.gives or row.state not in OPEN_STATES or (row.at is not None and row.at > (now or clock.now())):
        return None
    row.flag.organisation = row.organisation
    try:
        with transaction.atomic():
            return flip_foretell(row.flag, on=row.turn_on, share=row.share, simulated_only=row.simulated_only)
    except Exception as error:
        if database_away(error):
            raise  # so it is for the flip
        log.exception("flags: what %s would do could not be foretold", row.flag_name)
        return None


def flip_keep(*, actor: Actor, result: Flag | ChangeRequest, prediction: Prediction, version: Version | None) -> FlagFlip | None:
    """Keep what was foretold of a flip that happened, in its transaction; None where it waits for somebody or no proxy saw a difference."""
    if version is None or (isinstance(result, ChangeRequest) and (result.state != APPLIED or result.flag_id is None or result.gives)):
        return None
    flag_id = result.pk if isinstance(result, Flag) else result.flag_id
    flag = Flag.objects.select_related("organisation").get(pk=flag_id)
    return flip_note(actor=actor, flag=flag, prediction=prediction, version=version, simulated=flag.organisation.simulated)
