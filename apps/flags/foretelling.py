"""Flips that come from elsewhere than the dialog: what they would do is measured the same way, and kept with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.flags.change_choices import APPLIED
from apps.flags.consequences import Prediction
from apps.flags.detail import fragment_of
from apps.flags.flips import flip_note
from apps.flags.measuring import Flip, Question
from apps.flags.models import ChangeRequest, Flag, FlagFlip
from apps.publishing.selectors import proxy_details

if TYPE_CHECKING:
    from apps.publishing.models import Version


def flip_foretell(flag: Flag, *, on: bool, share: int = 100, simulated_only: bool = False) -> Prediction:
    """What a flip would do, measured as its dialog shows it, of the organisation's own traffic. ``flag.organisation`` is read."""
    organisation = flag.organisation
    scope = Scope(organisation=str(organisation.pk), simulated=organisation.simulated)
    flip = Flip(fragment_of(flag), on, share, simulated_only)
    return Question(organisation=organisation, scope=scope, flip=flip, heard=proxy_details()).answer()


def flip_keep(*, actor: Actor, result: Flag | ChangeRequest, prediction: Prediction, version: Version | None) -> FlagFlip | None:
    """Keep what was foretold of a flip that happened, in its transaction; None where it waits for somebody or no proxy saw a difference."""
    if version is None or (isinstance(result, ChangeRequest) and (result.state != APPLIED or result.flag_id is None or result.gives)):
        return None
    flag_id = result.pk if isinstance(result, Flag) else result.flag_id
    flag = Flag.objects.select_related("organisation").get(pk=flag_id)
    return flip_note(actor=actor, flag=flag, prediction=prediction, version=version, simulated=flag.organisation.simulated)
