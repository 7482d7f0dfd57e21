"""What is wrong with a document: where, in which field, and what to do."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """line: from 1; 0 where none is known. field: path in the document, ``routes[0].targets[1].provider``."""

    line: int
    field: str
    message: str

    def text(self, file: str) -> str:
        """``bulkhead.yaml:12: routes[0].name: ...``"""
        where = f"{file}:{self.line}" if self.line else file
        return f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"


class DocumentError(Exception):
    """The document cannot be applied; nothing was changed. Carries every problem found, in the order of lines."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = sorted(set(problems), key=lambda problem: (problem.line, problem.field))
        super().__init__("\n".join(problem.text(file) for problem in self.problems))
