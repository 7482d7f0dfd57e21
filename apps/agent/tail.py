"""The end of an engine's log as it may be shown: short lines, printable, without credentials."""

from __future__ import annotations

import re
from pathlib import Path

from apps.contracts.fleet_facts import MAX_LINE
from apps.contracts.redaction import credentials_removed

READ_BYTES = 64 * 1024
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]")
_DOTS = re.compile(r"[·\ufffd]{2,}|\ufffd")


def tail_of(path: Path, most: int) -> list[str]:
    """Its last lines, oldest first, of the file and of the one that it replaced (``log.1``). Empty where there are none."""
    data = _end_of(path)
    if data.count(b"\n") <= most and len(data) < READ_BYTES:
        data = _end_of(path.with_name(f"{path.name}.1")) + data
    return lines_of(data, most)


def lines_of(data: bytes, most: int) -> list[str]:
    """The last lines of what an engine said. A carriage return begins a line anew, as a progress bar means it; garbage becomes a dot."""
    found: list[str] = []
    for raw in reversed(data.split(b"\n")):
        if len(found) == most:
            break
        text = _COLOURS.sub("", raw[-4 * READ_BYTES :].rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace"))
        text = _DOTS.sub("·", "".join(c if c.isprintable() else "·" for c in text.replace("\t", "    "))).rstrip()
        if text:
            text = credentials_removed(text[: 4 * MAX_LINE])
            found.append(text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 1]}…")
    return found[::-1]


def _end_of(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - READ_BYTES))
            data = file.read(READ_BYTES)
    except OSError:
        return b""
    return data if size <= READ_BYTES else data.partition(b"\n")[2] or data
