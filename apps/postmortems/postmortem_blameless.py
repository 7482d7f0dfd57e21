"""Hints at words that put blame on people. Pure; never more than a hint: people decide what they write.

Source: the usual guides to blameless postmortems (Google SRE book, chapter 15; J. Allspaw, *Blameless PostMortems*): counterfactuals
("should have") tell of another world, and *human error* ends the asking where it should begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_COUNTERFACTUAL = re.compile(
    r"\b(?:should(?:n't| not)? have|could have|would have|ought to have|must have known|failed to|neglected to|forgot to|"
    r"if only|had (?:he|she|they|we|i) (?:only )?\w+)\b",
    re.IGNORECASE,
)
_BLAME = re.compile(
    r"\b(?:human error|operator error|user error|careless(?:ly|ness)?|negligen(?:t|ce|tly)|sloppy|stupid(?:ly|ity)?|incompetent|lazy|"
    r"reckless(?:ly)?|(?:his|her|their) (?:fault|mistake)|to blame|blames?d?|guilty|culprit|screwed up|messed up)\b",
    re.IGNORECASE,
)
_FAULTY = r"(?:broke|forgot|failed|missed|ignored|caused|neglected|overlooked|botched|deleted|misconfigured|messed|crashed)"
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_QUOTE = re.compile(r"^\s*>.*$", re.MULTILINE)
MOST_HINTS = 20
_COUNTERFACTUAL_ADVICE = (
    "This tells of what did not happen. What did people see at that moment, and why did it make sense to do what they did?"
)
_BLAME_ADVICE = "This ends the question instead of answering it. What in the system made it possible, and let it through?"
_NAME_ADVICE = "This names a person together with a fault. Name the role or the system; who it was is in the timeline."


@dataclass(frozen=True, slots=True)
class Hint:
    """One place. at: offset in characters. words: as they were written."""

    at: int
    words: str
    advice: str


def hints(text: str, people: Iterable[str] = ()) -> list[Hint]:
    """Words that blame, in the order of the text; code and quotes are left out. people: names by which those of the organisation are
    known."""
    plain = _QUOTE.sub(_blank, _CODE.sub(_blank, text))
    found = [Hint(hit.start(), hit[0], _COUNTERFACTUAL_ADVICE) for hit in _COUNTERFACTUAL.finditer(plain)]
    found += [Hint(hit.start(), hit[0], _BLAME_ADVICE) for hit in _BLAME.finditer(plain)]
    names = sorted({name for name in people if len(name) >= 3}, key=len, reverse=True)[:500]
    if names:
        named = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b[^.!?\n]{{0,40}}?\b{_FAULTY}\b", re.IGNORECASE)
        found += [Hint(hit.start(), hit[0], _NAME_ADVICE) for hit in named.finditer(plain)]
    return sorted(found, key=lambda hint: hint.at)[:MOST_HINTS]


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])
