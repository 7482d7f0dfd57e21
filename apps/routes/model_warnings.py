"""What the catalogue says against a route's targets while a person edits them: models that end, have vanished, or are too small.

Nothing here refuses: a list may be behind, and a person may know better. What proxies refuse, they refuse request by request.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from apps.catalogue.rules import model_state
from apps.catalogue.selectors import Place, places_of
from apps.routes.resilience import TargetSpec

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

_WORDS = {
    "ended": "its last day is over",
    "vanished": "its provider's list has it no more",
    "ending": "it ends soon",
    "deprecated": "its provider calls it deprecated",
    "unlisted": "its provider's list does not have it: is the name right?",
}


def model_warnings(
    organisation: Organisation, specs: Sequence[TargetSpec], *, max_output_tokens: int, today: date | None = None
) -> list[str]:
    """A sentence for each target that the catalogue has something against, each target once. One query."""
    today = today or datetime.now(UTC).date()
    known = places_of(organisation, [(spec.provider, spec.model) for spec in specs])
    found: list[str] = []
    for spec in dict.fromkeys((spec.provider, spec.model) for spec in specs):
        place = known.get(spec, Place())
        state = model_state(place.facts, listed=place.listed, gone=place.gone, today=today)
        said = [_WORDS[state]] if state in _WORDS else []
        if place.facts.ends_on and state in ("ended", "ending"):
            said[0] += f" ({place.facts.ends_on})"
        window, most = place.facts.window, place.facts.max_output
        own = next((one.window for one in specs if (one.provider, one.model) == spec and one.window), 0)
        if own and window and own > window:
            said.append(f"its window here is {own:,} tokens, and the catalogue knows of {window:,}")
        if most and most < max_output_tokens:
            said.append(f"it gives up to {most:,} tokens, less than the route's cap of {max_output_tokens:,}: proxies lower the cap for it")
        elif window and window <= max_output_tokens:
            said.append(f"its window of {window:,} tokens leaves no room beside the route's cap of {max_output_tokens:,}")
        if said:
            found.append(f"{spec[0]}/{spec[1]}: {'; '.join(said)}.")
    return found
