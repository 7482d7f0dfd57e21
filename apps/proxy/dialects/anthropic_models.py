"""What the generations of Claude take in a request, read from a model's name. Source: Anthropic's model overview and migration guides.

A name that says no generation (another vendor's model behind this format, an alias) is taken for one that has what has been there longest.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAMED = re.compile(r"claude-(?:([a-z]+)-)?(\d{1,2})(?:[-.](\d{1,2})(?!\d))?(?!\d)(?:-([a-z]+))?")
_SHARES = {"minimal": 10, "low": 20, "medium": 50, "high": 80, "xhigh": 95}
LEAST_BUDGET = 1024
"""Tokens: a thinking budget cannot be smaller."""


class Generation(NamedTuple):
    """version: (0, 0) where the name says none. family: opus, sonnet, haiku ...; empty where it says none."""

    version: tuple[int, int]
    family: str

    @property
    def thinks_as_it_sees_fit(self) -> bool:
        """``thinking: adaptive`` and ``output_config.effort``."""
        return self.version >= (4, 6)

    @property
    def takes_budget(self) -> bool:
        """``thinking: enabled`` with ``budget_tokens``."""
        return self.version < (4, 7)

    @property
    def thinks_unasked(self) -> bool:
        return self.version >= (5, 0)

    @property
    def silence(self) -> str:
        """The type of ``thinking`` that turns it off; empty where nothing has to be said, ``never`` where nothing can be."""
        if self.version >= (5, 1):
            return {"sonnet": "between_tools", "haiku": "disabled"}.get(self.family, "never")
        if self.version >= (5, 0):
            return "disabled" if self.family in ("opus", "sonnet", "haiku") else "never"
        return "disabled" if (3, 7) <= self.version < (4, 7) else ""

    @property
    def hides_thoughts(self) -> bool:
        """Thinking is left out of answers unless they are asked to show it."""
        return self.version >= (4, 7)

    @property
    def takes_sampling(self) -> bool:
        """``temperature``, ``top_p`` and ``top_k``."""
        return self.version < (4, 7)

    @property
    def takes_both_samplings(self) -> bool:
        """``temperature`` beside ``top_p``."""
        return self.version < (4, 1)

    @property
    def takes_schema(self) -> bool:
        """``output_config.format`` and tools that are ``strict``."""
        return self.version >= (4, 5) or (self.version == (4, 1) and self.family == "opus")

    @property
    def continues(self) -> bool:
        """It goes on from a last message of its own."""
        return self.version < (4, 6)

    def effort(self, wanted: str) -> str:
        """The level that is nearest to OpenAI's."""
        if wanted == "minimal":
            return "low"
        return "max" if wanted == "xhigh" and self.version < (4, 7) else wanted


def generation(model: str) -> Generation:
    """Of names as Anthropic, Bedrock and Vertex write them: ``claude-3-7-sonnet-20250219``, ``claude-sonnet-4-5@20250929``."""
    found = _NAMED.search(model.lower())
    if found is None:
        return Generation((0, 0), "")
    before, major, minor, after = found.groups()
    return Generation((int(major), int(minor or 0)), before or after or "")


def budget_of(effort: str, max_tokens: int) -> int:
    """Tokens for thinking, a part of the whole; 0 where there is no room for the least budget and an answer."""
    if max_tokens <= LEAST_BUDGET:
        return 0
    return min(max_tokens - 1, max(LEAST_BUDGET, max_tokens * _SHARES[effort] // 100))
