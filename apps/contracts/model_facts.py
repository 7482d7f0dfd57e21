"""What a model can do and how much it takes, from several sources. Pure; both sides agree on it here.

A fact is known or it is not, and nobody makes up the difference: a capability is in ``can``, in ``cannot`` or in neither, a number of 0
is not known. Sources are laid over one another (``facts_over``): each fact is the uppermost source's that knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

CAPABILITIES = (
    "tools",
    "json_schema",
    "images",
    "parallel_tools",
    "documents",
    "audio",
    "reasoning",
    "logprobs",
    "seed",
    "n",
    "prefill",
    "caching",
    "streaming",
)
"""What a request may need of a model."""

LISTED_WHOLE = frozenset(CAPABILITIES[:3])
"""A target that names its capabilities has those of these three that it names, and not the others. Of what was added later, it has what it
names, and else what the model's facts say: a list that was written before must not take away what nobody had heard of."""

CAPABILITY_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "tools": "function calling (tools)",
        "json_schema": "a JSON schema for its answer (response_format)",
        "images": "images",
        "parallel_tools": "several tool calls at once (parallel_tool_calls)",
        "documents": "documents (file parts)",
        "audio": "audio",
        "reasoning": "reasoning (reasoning_effort)",
        "logprobs": "log probabilities (logprobs)",
        "seed": "a seed (seed)",
        "n": "several answers (n above 1)",
        "prefill": "an answer that the app began (a last assistant message)",
        "caching": "prompt caching",
        "streaming": "streams (stream)",
    }
)
"""Each in words, with the field that asks for it."""

CAPABILITY_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "tools": "tools",
        "json_schema": "response_format",
        "images": "messages",
        "parallel_tools": "parallel_tool_calls",
        "documents": "messages",
        "audio": "messages",
        "reasoning": "reasoning_effort",
        "logprobs": "logprobs",
        "seed": "seed",
        "n": "n",
        "prefill": "messages",
        "streaming": "stream",
    }
)
"""The field of a chat completion that a refusal names. Caching is asked for by no field: nothing is refused for want of it."""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """window, max_output: tokens, 0 where not known. can, cannot: of ``CAPABILITIES``, sorted, none in both; the rest is not known.
    deprecated: None where not known. ends_on: the day from which on the provider serves it no more, ``YYYY-MM-DD``; empty: not known."""

    window: int = 0
    max_output: int = 0
    can: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()
    deprecated: bool | None = None
    ends_on: str = ""

    def says(self, capability: str) -> bool | None:
        """Whether it can; None where that is not known."""
        return True if capability in self.can else False if capability in self.cannot else None


NOTHING = ModelFacts()
"""Of a model that nobody knows."""


def facts_of(abilities: Mapping[str, bool | None], **others: object) -> ModelFacts:
    """Facts from capability -> yes, no or None. Raises ValueError for an unknown capability."""
    unknown = sorted(abilities.keys() - set(CAPABILITIES))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no capability: use some of {', '.join(CAPABILITIES)}")
    return ModelFacts(
        can=tuple(sorted(name for name, able in abilities.items() if able)),
        cannot=tuple(sorted(name for name, able in abilities.items() if able is False)),
        **others,  # type: ignore[arg-type]
    )


def named(facts: ModelFacts) -> list[str]:
    """The facts that are known: fields by their names, capabilities by theirs."""
    fields = [name for name in ("window", "max_output", "ends_on") if getattr(facts, name)]
    return [*fields, *(("deprecated",) if facts.deprecated is not None else ()), *facts.can, *facts.cannot]


def facts_over(above: ModelFacts, below: ModelFacts) -> ModelFacts:
    """What is known where ``above`` wins: each fact that it knows is its, every other one is ``below``'s."""
    if above == NOTHING:
        return below
    can, cannot = set(above.can), set(above.cannot)
    return ModelFacts(
        window=above.window or below.window,
        max_output=above.max_output or below.max_output,
        can=tuple(sorted(can | (set(below.can) - cannot))),
        cannot=tuple(sorted(cannot | (set(below.cannot) - can))),
        deprecated=below.deprecated if above.deprecated is None else above.deprecated,
        ends_on=above.ends_on or below.ends_on,
    )


def target_facts(own: tuple[str, ...] | None, facts: ModelFacts) -> tuple[frozenset[str], frozenset[str]]:
    """(what a target can, what it cannot do): what its route says of it (``own``, None: nothing) over its model's facts."""
    if own is None:
        return frozenset(facts.can), frozenset(facts.cannot)
    named = frozenset(own)
    return named | (frozenset(facts.can) - LISTED_WHOLE), (LISTED_WHOLE | frozenset(facts.cannot)) - named
