"""What did not come over, and what came over as something else: said once for everything that it is true of."""

from __future__ import annotations

from dataclasses import dataclass, field

SHOWN = 5
"""Names that a note lists; the others are counted."""


@dataclass(slots=True)
class Notes:
    """changed: words -> what came over, but not as it was. left: words -> what did not come over at all."""

    changed: dict[str, list[str]] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)

    def change(self, what: str, words: str) -> None:
        """``what`` came over, differently: ``words`` say how."""
        _add(self.changed, what, words)

    def leave(self, what: str, words: str) -> None:
        """``what`` did not come over: ``words`` say why, and what to do instead."""
        _add(self.left, what, words)

    def lines(self) -> list[str]:
        """For people, in the order of the file."""
        found: list[str] = []
        for title, notes in (("Brought over differently:", self.changed), ("Not brought over:", self.left)):
            if notes:
                found += [title, *(f"  {_named(names)}: {words}" for words, names in notes.items())]
        return found


def _add(notes: dict[str, list[str]], what: str, words: str) -> None:
    names = notes.setdefault(words, [])
    if what not in names:
        names.append(what)


def _named(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
