"""Kinds of notices about models, the states of a model at its provider, and the words for what is known."""

from __future__ import annotations

from apps.ui.status import Status

NEW_EVENT, VANISHED_EVENT, REPRICED_EVENT, ENDING_EVENT = "model.new", "model.vanished", "model.repriced", "model.ending"
"""Kinds of the facts that looks at providers' lists record: one for each provider and look, naming every model."""

EVENTS: dict[str, tuple[str, Status]] = {
    NEW_EVENT: ("New models", Status("new", "New", "info", "plus")),
    VANISHED_EVENT: ("Models vanished", Status("vanished", "Vanished", "bad", "block")),
    REPRICED_EVENT: ("Models repriced", Status("repriced", "Repriced", "warn", "spend")),
    ENDING_EVENT: ("Models end soon", Status("ending", "Ends soon", "warn", "clock")),
}
"""How pages show each kind."""

MISSED_LOOKS = 2
"""A list may be incomplete once; a model that two looks in a row do not find has vanished."""
SOON_DAYS = 60
"""A model whose service ends within so many days ends soon."""
MOST_NAMED = 50
"""Models that one notice names; of more it says how many there are."""

STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("listed", "Listed", "good", hint="The provider's own list has it."),
        Status("ending", "Ends soon", "warn", "clock", hint="The provider has said when it stops serving it."),
        Status("deprecated", "Deprecated", "warn", hint="The provider advises against using it; it may end."),
        Status("ended", "Ended", "bad", "block", hint="Its last day is over."),
        Status("vanished", "Vanished", "bad", "block", hint="The provider's list had it, and has it no more."),
        Status(
            "unlisted", "Not listed", "neutral", hint="The provider's list does not have it: an alias, a deployment's name, or a mistake."
        ),
        Status("unknown", "Not looked yet", "unknown", hint="The provider's list has not been read."),
    )
}
"""What a model is at its provider."""

YES = Status("yes", "Yes", "good")
NO = Status("no", "No", "neutral", "dash")
UNKNOWN = Status("unknown", "Not known", "unknown", hint="Nobody says. Requests that need it are sent all the same.")

SOURCE_YOU = "you"
SOURCE_LISTING = "provider's list"

LABELS = {
    "tools": "Tools",
    "parallel_tools": "Parallel tool calls",
    "json_schema": "JSON schema",
    "images": "Images",
    "documents": "Documents",
    "audio": "Audio",
    "reasoning": "Reasoning",
    "logprobs": "Log probabilities",
    "seed": "Seed",
    "n": "Several answers (n)",
    "prefill": "Prefill",
    "caching": "Prompt caching",
    "streaming": "Streaming",
}
"""Capabilities as tables say them, in the order in which they are shown."""
