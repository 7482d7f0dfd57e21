"""A postmortem as one Markdown file: what people wrote as they wrote it, with its facts, figures, timeline and actions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from apps.postmortems.postmortem_choices import Section
from apps.postmortems.postmortem_figures import Figure


@dataclass(frozen=True, slots=True)
class Document:
    """Everything that the file says. facts: (name, value); figures: the impact table; timeline: (when, what, who); actions: (reference,
    title, outcome, owner, due, state)."""

    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    texts: dict[str, str]
    figures: Sequence[Figure] = ()
    timeline: Sequence[tuple[str, str, str]] = ()
    actions: Sequence[tuple[str, ...]] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def written(document: Document) -> str:
    """The file. What people wrote stands in it character by character, between headings of its sections."""
    parts = [f"# {_line(document.title)}", _table(("Fact", "Value"), document.facts)]
    if document.figures:
        rows = [(figure.name, figure.value, figure.note) for figure in document.figures]
        parts += ["## Impact", _table(("What", "Value", "Note"), rows)]
    for section in document.sections:
        text = document.texts.get(section.key, "")
        parts += [f"## {_line(section.title)}", text if text.strip() else "*Nothing is written here.*"]
    if document.actions:
        parts += ["## Action items", _table(("Action", "What", "Done when", "Owner", "Due", "State"), document.actions)]
    if document.timeline:
        parts += ["## Timeline", _table(("When (UTC)", "What", "Who"), document.timeline)]
    if document.notes:
        parts += ["## Evidence", "\n".join(f"- {_line(note)}" for note in document.notes)]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|") or "–"


def _line(text: str) -> str:
    return " ".join(text.split())
