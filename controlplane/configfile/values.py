"""How the document's values are written where their type alone does not say, and what every entry with a name shares."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import msgspec


class Unit(Enum):
    """How a value is written where its type alone does not say."""

    DOLLARS = "dollars"
    DURATION = "duration"
    MOMENT = "moment"
    REFERENCE = "reference"
    PERCENT = "percent"
    CLOCK = "clock"
    AMOUNT = "amount"
    AS_WRITTEN = "as written"
    HOOK = "hook"
    RULES = "rules"


Dollars = Annotated[int, Unit.DOLLARS]
Duration = Annotated[int, Unit.DURATION]
Moment = Annotated[datetime, Unit.MOMENT]
Percent = Annotated[int, Unit.PERCENT]
Clock = Annotated[int, Unit.CLOCK]
Amount = Annotated[int, Unit.AMOUNT]
AsWritten = Annotated[str, Unit.AS_WRITTEN]
"""A number or a text, with or without a unit, that the service reads as forms give it."""
Reference = Annotated[str, Unit.REFERENCE]
Rules = Annotated[dict[str, Any], Unit.RULES]
"""Rules of a flag, as ``apps.contracts.flag_documents`` reads them."""

Hook = Annotated[str, Unit.HOOK]
"""A reference to an address, or ``NONE``."""

NONE = "none"
"""Instead of a reference: there is to be none."""
KEPT = "kept"
"""The reference that means: the value stored already, whose source is not known."""


class Entry(msgspec.Struct, kw_only=True):
    """Something with a name of its own in its list."""

    name: str
