"""Log lines: JSON, the same fields everywhere, no credentials, nothing beside what is named."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import structlog

from apps.contracts.env import Reader, SettingError
from apps.contracts.logs import MAX_MESSAGE, JsonLines, form_read, line_for_people
from controlplane.logs import formatter, process_name


def line(
    text: str, *arguments: Any, error: BaseException | None = None, form: logging.Formatter | None = None, **extra: Any
) -> dict[str, Any]:
    record = logging.LogRecord("bulkhead.proxy", logging.WARNING, "f", 1, text, arguments, (type(error), error, None) if error else None)
    record.__dict__.update(extra)
    written = (form or JsonLines("proxy")).format(record)
    assert "\n" not in written
    return dict(json.loads(written))


def test_a_line_has_its_fields_and_no_others() -> None:
    found = line("took %d ms", 5, request_id="r-1", status=503, body="what the app said", route="")
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "level": "warning",
        "logger": "bulkhead.proxy",
        "event": "took 5 ms",
        "process": "proxy",
        "request_id": "r-1",
        "status": 503,
    }


def test_credentials_and_length_are_cut() -> None:
    found = line("refused Bearer abcdefghijklmnopqrst", error=ValueError("password=hunter2hunter2"))
    assert found["event"] == "refused [credential]" and "hunter2" not in found["exception"] and "ValueError" in found["exception"]
    assert len(line("x" * 100_000)["event"]) <= MAX_MESSAGE


def test_what_structlog_knows_of_the_work_at_hand_is_in_the_line() -> None:
    with structlog.contextvars.bound_contextvars(request_id="w-1", trace_id="t-1", secret="s"):
        found = line("hello", form=formatter("web"))
    assert (found["request_id"], found["trace_id"], found["process"]) == ("w-1", "t-1", "web") and "secret" not in found
    assert "request_id" not in line("hello", form=formatter("web"))


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/v/site-packages/uvicorn/__main__.py", "controlplane.asgi:application"], "web"),
        (["/v/site-packages/celery/__main__.py", "--quiet", "-A", "controlplane", "worker"], "worker"),
        (["/v/bin/celery", "-A", "controlplane", "beat"], "beat"),
        (["manage.py", "shipper"], "shipper"),
        ([], "python"),
    ],
)
def test_a_process_knows_its_name(argv: list[str], name: str) -> None:
    assert process_name(argv) == name


def test_an_unknown_form_is_refused() -> None:
    assert form_read(Reader({})) == "json"
    with pytest.raises(SettingError, match="BULKHEAD_LOG_FORMAT='xml'"):
        form_read(Reader({"BULKHEAD_LOG_FORMAT": "xml"}))


def test_a_terminal_shows_a_line_as_people_read_it() -> None:
    def written(level: int, error: BaseException | None = None) -> bytes:
        failed = (type(error), error, None) if error else None
        return JsonLines("proxy").format(logging.LogRecord("bulkhead.proxy", level, "f", 1, "v%d in force", (3,), failed)).encode()

    assert line_for_people(written(logging.INFO)) == b"bulkhead.proxy: v3 in force"
    assert line_for_people(written(logging.ERROR, ValueError("no"))) == b"ERROR bulkhead.proxy: v3 in force (ValueError: no)"
    for other in (b"plain text", b'{"timestamp": 1', b'{"timestamp":', b""):
        assert line_for_people(other) == other
