"""Pure decisions about models: what may be said of one, what it is at its provider, what a look at a list brings. No ORM."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, NamedTuple

import msgspec

from apps.audit.errors import ServiceError
from apps.catalogue import choices
from apps.contracts.model_facts import CAPABILITIES, ModelFacts, facts_of

MOST_TOKENS = 1_000_000_000


def check_facts(facts: ModelFacts) -> ModelFacts:
    """What a person says of a model. Raises ServiceError."""
    for name in ("window", "max_output"):
        value = getattr(facts, name)
        if not 0 <= value <= MOST_TOKENS:
            raise ServiceError(f"{value}: use 0 (not known) to {MOST_TOKENS} tokens", name)
    if facts.window and facts.max_output > facts.window:
        raise ServiceError(f"{facts.max_output} tokens of output are more than the whole window of {facts.window}", "max_output")
    for field in ("can", "cannot"):
        for name in getattr(facts, field):
            if name not in CAPABILITIES:
                raise ServiceError(f"{name!r} is no capability: use some of {', '.join(CAPABILITIES)}", field)
    both = sorted(set(facts.can) & set(facts.cannot))
    if both:
        raise ServiceError(f"{both[0]!r} is said to be both: leave it out of one of them", "cannot")
    if facts.ends_on:
        try:
            date.fromisoformat(facts.ends_on)
        except ValueError:
            raise ServiceError(f"{facts.ends_on!r} is not a day: write it as 2027-01-31", "ends_on") from None
    return facts_of(
        {**dict.fromkeys(facts.can, True), **dict.fromkeys(facts.cannot, False)},
        window=facts.window,
        max_output=facts.max_output,
        deprecated=facts.deprecated,
        ends_on=facts.ends_on,
    )


def stored(facts: ModelFacts) -> dict[str, Any]:
    """As it is kept, and as it is read again: only what is known."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(facts))
    return found


def model_state(facts: ModelFacts, *, listed: bool | None, gone: bool, today: date) -> str:
    """The key in ``choices.STATES``. listed: whether the provider's list has it, None: nobody has read it. The worst counts."""
    ends = _day(facts.ends_on)
    if ends is not None and ends <= today:
        return "ended"
    if gone:
        return "vanished"
    if ends is not None and ends <= today + timedelta(days=choices.SOON_DAYS):
        return "ending"
    if facts.deprecated:
        return "deprecated"
    return "unknown" if listed is None else "listed" if listed else "unlisted"


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None


class Was(NamedTuple):
    """A model as the looks before left it."""

    price: Mapping[str, int]
    missed: int
    gone: bool
    told_ending: str


class Found(NamedTuple):
    """A model as a list has it now. price: nano-dollars per million tokens by kind, empty where the list has none."""

    facts: ModelFacts
    price: Mapping[str, int]


class Look(NamedTuple):
    """What is different since. missed: model -> looks in a row that did not find it. repriced: model -> (before, after).
    ending: model -> its last day."""

    new: list[str]
    vanished: list[str]
    missed: dict[str, int]
    repriced: dict[str, tuple[Mapping[str, int], Mapping[str, int]]]
    ending: dict[str, str]


def look(before: Mapping[str, Was], now: Mapping[str, Found], *, first: bool, partial: bool, today: date) -> Look:
    """What a look at a provider's list tells.

    Invariants: the first look tells of nothing that is merely there; a model vanishes once, when it is missed by ``MISSED_LOOKS`` complete
    looks in a row, and is new again if it comes back; the same list again tells nothing.
    """
    found = Look([], [], {}, {}, {})
    for name in sorted(now):
        was, model = before.get(name), now[name]
        if (was is None or was.gone) and not first:
            found.new.append(name)
        if was is not None and not was.gone and was.price and model.price and dict(was.price) != dict(model.price):
            found.repriced[name] = (was.price, model.price)
        ends = _day(model.facts.ends_on)
        soon = ends is not None and ends <= today + timedelta(days=choices.SOON_DAYS)
        if soon and (was is None or was.told_ending != model.facts.ends_on):
            found.ending[name] = model.facts.ends_on
    for name in sorted(before.keys() - now.keys()):
        was = before[name]
        if was.gone or partial:
            continue
        found.missed[name] = was.missed + 1
        if was.missed + 1 >= choices.MISSED_LOOKS:
            found.vanished.append(name)
    return found
