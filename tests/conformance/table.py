"""What became of every recorded exchange, by format and direction; the table of docs/dialects.md is made of it.

    python -m tests.conformance.table            # runs all formats' recordings and writes the table into docs/dialects.md
    python -m tests.conformance.table --print    # prints it

A format's recordings are run by a module named in ``FORMATS``, which has ``recordings_check()``: it calls ``report`` for each
recording and raises AssertionError where one says something else than it should. Tests call the same function.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

Verdict = Literal["passed", "skipped"]
FORMATS = {
    "anthropic": "tests.dialects.anthropic_recordings",
    "gemini": "tests.dialects.gemini_recordings",
    "vertex": "tests.dialects.vertex_recordings",
    "bedrock": "tests.dialects.bedrock_recordings",
    "cohere": "tests.dialects.cohere_recordings",
    "ollama": "tests.dialects.ollama_recordings",
    "responses": "tests.dialects.responses_recordings",
    "completions": "tests.dialects.completions_recordings",
}
"""Who runs the recordings of a format. One that has no module has no row."""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "dialects.md"
BEGIN, END = "<!-- recordings: made by python -m tests.conformance.table -->", "<!-- end of recordings -->"
HEAD = "| format | direction | used | passed | skipped, and why |\n|---|---|---:|---:|---|"


class Reported(NamedTuple):
    """name: of the recording, or of the case. reason: why it was skipped."""

    format: str
    direction: str
    name: str
    outcome: Verdict
    reason: str


_reported: dict[tuple[str, str, str], Reported] = {}


def report(format: str, direction: str, name: str, outcome: Verdict, reason: str = "") -> None:
    """Says once more what was said before of the same recording and direction: the last word counts."""
    assert outcome == "passed" or reason, f"{name} was skipped without a reason"
    _reported[format, direction, name] = Reported(format, direction, name, outcome, reason)


def reported(format: str = "") -> list[Reported]:
    """In the order in which they were first said."""
    return [one for one in _reported.values() if not format or one.format == format]


def rows(entries: list[Reported]) -> list[str]:
    """One line of the table for each format and direction; reasons by how often they held."""
    found: dict[tuple[str, str], list[Reported]] = {}
    for one in entries:
        found.setdefault((one.format, one.direction), []).append(one)
    lines: list[str] = []
    for (format, direction), ones in sorted(found.items()):
        passed = sum(one.outcome == "passed" for one in ones)
        reasons = Counter(re.sub(r"\s*[|;\n]\s*", ", ", one.reason) for one in ones if one.outcome == "skipped")
        told = "; ".join(f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
        lines.append(f"| {format} | {direction} | {len(ones)} | {passed} | {told or 'none'} |")
    return lines


def table(entries: list[Reported]) -> str:
    return "\n".join([HEAD, *rows(entries)])


def formats_check() -> list[str]:
    """Runs every format that has a module, and forgets what was reported before; gives the names of those that have none."""
    _reported.clear()
    missing: list[str] = []
    for format, module in FORMATS.items():
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            missing.append(format)
            continue
        found.recordings_check()
    return missing


def written(page: str, made: str) -> str:
    """The page with this table in its place. Raises ValueError where the page has no place for it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.table", description="What became of every recorded exchange.")
    parser.add_argument("--print", action="store_true", help="print the table and leave the page alone")
    wanted = parser.parse_args(arguments)
    missing = formats_check()
    made = table(reported())
    if wanted.print:
        sys.stdout.write(made + "\n")
    else:
        PAGE.write_text(written(PAGE.read_text(), made))
        sys.stdout.write(f"{PAGE.name}: {len(reported())} uses of recordings\n")
    if missing:
        sys.stderr.write(f"without a module that runs recordings: {', '.join(missing)}\n")
    return 0


if __name__ == "__main__":
    from tests.conformance.table import main as run  # the module that recordings report to, which this one is not while it is run

    raise SystemExit(run(sys.argv[1:]))
