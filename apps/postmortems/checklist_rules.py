"""The steps of a runbook, as its Markdown has them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"\s*(?:`{3,}|~{3,})")
_BOX = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])\s+\[[ xX]\]\s+(\S.*)$")
_NUMBERED = re.compile(r"\s*\d{1,9}[.)]\s+(\S.*)$")
_HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*$")
MOST_STEPS, LONGEST_STEP = 100, 500


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, as Markdown of one line. part: the heading above it."""

    text: str
    part: str = ""


def steps_of(text: str) -> list[Step]:
    """A runbook's steps: its items with boxes; where it has none, its numbered items. A line that goes on belongs to its item."""
    for mark in (_BOX, _NUMBERED):
        found = _steps(text, mark)
        if found:
            return found[:MOST_STEPS]
    return []


def _steps(text: str, mark: re.Pattern[str]) -> list[Step]:
    found: list[Step] = []
    part, fenced, inside = "", False, False
    for line in text.replace("\r\n", "\n").split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        if fenced or _FENCE.match(line):
            continue
        item, heading = mark.match(line), _HEADING.match(line)
        if item:
            found.append(Step(item[1].strip()[:LONGEST_STEP], part))
            inside = True
        elif heading:
            part, inside = heading[1], False
        elif inside and line.startswith("  ") and line.strip() and not re.match(r"\s*(?:[-*+]|\d+[.)])\s", line):
            found[-1] = Step(f"{found[-1].text} {line.strip()}"[:LONGEST_STEP], part)
        elif not line.strip() or not line.startswith(" "):
            inside = False
    return found
