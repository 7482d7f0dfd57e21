"""Log lines of every process: one JSON object a line, the same fields everywhere, credentials taken out. Pure.

Fields: ``timestamp`` (UTC), ``level``, ``logger``, ``event`` (the message), ``process``; ``request_id``, ``trace_id``, ``task_id`` and the
others of ``FIELDS`` where they are known; ``exception`` with its traceback. What a record carries beside those is left out: a log line has
room for what happened, never for what an app or a provider said.

The names are structlog's, whose context the control plane binds (``controlplane.logs``); proxies do without it, because importing it costs
each of them ten megabytes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from apps.contracts.env import Reader, SettingError
from apps.contracts.redaction import credentials_removed

FIELDS = frozenset(
    {"request_id", "trace_id", "task", "task_id", "organisation", "route", "provider", "key_id", "boot_id", "config_version", "status"}
)
"""What a line may carry beside its message: ids and names, no content."""
MAX_MESSAGE, MAX_EXCEPTION = 4_096, 16_384
"""Characters kept."""
FORMS = ("json", "text")
TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"

_encode = msgspec.json.Encoder(enc_hook=str).encode


def _nothing() -> Mapping[str, Any]:
    return {}


class JsonLines(logging.Formatter):
    """``process``: what writes. ``context``: what is known of the work at hand, asked for each line."""

    def __init__(self, process: str, context: Callable[[], Mapping[str, Any]] = _nothing) -> None:
        super().__init__()
        self._process = process
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _kept(record.getMessage(), MAX_MESSAGE),
            "process": self._process,
        }
        for source in (self._context(), record.__dict__):
            for name in FIELDS & source.keys():
                if source[name] not in (None, ""):
                    line[name] = source[name]
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = _kept(self.formatException(record.exc_info), MAX_EXCEPTION)
        return _encode(line).decode()


def _kept(text: str, most: int) -> str:
    """Without credentials, and no longer than ``most``: the end of it where it is, as that of a traceback says what happened."""
    text = credentials_removed(text)
    return text if len(text) <= most else f"{text[: most // 4]} [...] {text[-most // 2 :]}"


def form_read(read: Reader) -> str:
    """``BULKHEAD_LOG_FORMAT``: ``json`` unless it says ``text``. Raises SettingError."""
    form = read.text("BULKHEAD_LOG_FORMAT", "json")
    if form not in FORMS:
        raise SettingError(f"BULKHEAD_LOG_FORMAT={form!r} must be one of {', '.join(FORMS)}")
    return form


def logs_configure(process: str, *, stream: TextIO | None = None) -> None:
    """What this process logs goes to ``stream`` (standard error), as ``BULKHEAD_LOG_FORMAT`` and ``_LEVEL`` say. Raises SettingError."""
    read = Reader()
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(process) if form_read(read) == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=read.text("BULKHEAD_LOG_LEVEL", "INFO"), handlers=[handler])


def line_for_people(line: bytes) -> bytes:
    """One of these lines as a terminal shows it: how bad, of what, what happened. Any other line as it is."""
    if not line.startswith(b'{"timestamp":'):
        return line
    try:
        found = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return line
    level = "" if found.get("level") == "info" else f"{str(found.get('level', '')).upper()} "
    error = str(found.get("exception", "")).strip().rpartition("\n")[2]
    return f"{level}{found.get('logger', '')}: {found.get('event', '')}{f' ({error})' if error else ''}".encode()
