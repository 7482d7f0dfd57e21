"""A deployment's ``scaling`` document, as people and ``bulkhead.yaml`` write it, and the policy that it stands for. Pure.

::

    {"tokens_each": 20000, "ttft_target": 2, "down_after": 300,
     "floors": [{"minimum": 2, "days": ["mon", "fri"], "from": "08:00", "to": "18:00"}], "zone": "Europe/Zurich"}

What is left out is as ``scaling.Policy`` has it; bounds are the deployment's ``least`` and ``most``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from apps.fleet.scaling import Floor, Policy, PolicyError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_OWN = {"minimum", "maximum", "dry_run", "floors"}
_TYPES: dict[str, Any] = {field.name: field.type for field in fields(Policy) if field.name not in _OWN}
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)")
MAX_FLOORS = 20


def policy_read(document: Mapping[str, Any], *, least: int, most: int, gpus: int = 0, dry_run: bool = False) -> Policy:
    """Raises PolicyError, which names the field. most 0 (nothing may run) is read as 1: what is disabled is not scaled."""
    given = dict(document)
    floors = given.pop("floors", [])
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _TYPES:
            raise PolicyError(f"{name!r} is unknown: use floors, {', '.join(sorted(_TYPES))}")
        if name == "zone":
            if not isinstance(value, str):
                raise PolicyError("zone must be text such as 'Europe/Zurich'")
            values[name] = value
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise PolicyError(f"{name} must be a number")
        elif _TYPES[name] == "int" and value != int(value):
            raise PolicyError(f"{name} must be a whole number")
        else:
            values[name] = int(value) if _TYPES[name] == "int" else float(value)
    if not isinstance(floors, list) or len(floors) > MAX_FLOORS:
        raise PolicyError(f"floors must be a list of at most {MAX_FLOORS}")
    return Policy(minimum=least, maximum=max(1, most), floors=tuple(_floor(one) for one in floors), dry_run=dry_run, **values)


def _floor(given: Any) -> Floor:
    if not isinstance(given, Mapping) or not set(given) <= {"minimum", "days", "from", "to"} or "minimum" not in given:
        raise PolicyError("a floor has minimum, and may have days, from and to")
    minimum, days = given["minimum"], given.get("days", list(DAYS))
    if isinstance(minimum, bool) or not isinstance(minimum, int):
        raise PolicyError("a floor's minimum must be a whole number")
    if not isinstance(days, list) or not days or not set(map(str, days)) <= set(DAYS):
        raise PolicyError(f"a floor's days are of {', '.join(DAYS)}")
    begin, end = _minute(given.get("from", "00:00")), _minute(given.get("to", "24:00"))
    if begin == end:
        raise PolicyError("a floor that ends when it begins holds never: leave out from and to for the whole day")
    return Floor(minimum, frozenset(DAYS.index(day) for day in days), begin, end)


def _minute(text: Any) -> int:
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise PolicyError(f"{text!r} is no time of the day: write it as '08:00'")
    hour, minute, whole, _ = found.groups()
    return 1440 if whole else int(hour) * 60 + int(minute)
