"""Static files are answered before Django: whole, compressed, unchanged or in part; everything else goes on to it."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest
from whitenoise import WhiteNoise

from controlplane.static_first import StaticFirst

TEXT = b"body { color: red; }\n" * 40_000


def asked(files: Any, path: str, *, method: str = "GET", kind: str = "http", headers: dict[str, str] | None = None) -> tuple[Any, ...]:
    """(status, headers, body) of one request; (scope,) where it went on to the application."""
    sent: list[dict[str, Any]] = []
    passed: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": kind, "path": path, "method": method}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]  # type: ignore[assignment]
    asyncio.run(StaticFirst(application, files)(scope, None, send))  # type: ignore[arg-type]
    if passed:
        assert not sent
        return (passed[0],)
    start, *bodies = sent
    assert [body["more_body"] for body in bodies] == [True] * (len(bodies) - 1) + [False]
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], found, b"".join(body["body"] for body in bodies)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "page.css").write_bytes(TEXT)
    (tmp_path / "page.css.gz").write_bytes(gzip.compress(TEXT))
    known: dict[str, Any] = WhiteNoise(None, root=str(tmp_path), prefix="/static/", max_age=60).files
    return known


def test_a_file_is_sent_whole_or_compressed(files: dict[str, Any]) -> None:
    status, headers, body = asked(files, "/static/page.css")
    assert (status, body) == (200, TEXT) and headers["content-type"].startswith("text/css") and "max-age=60" in headers["cache-control"]
    assert headers["x-content-type-options"] == "nosniff" and int(headers["content-length"]) == len(TEXT)
    status, headers, body = asked(files, "/static/page.css", headers={"accept-encoding": "br, gzip"})
    assert headers["content-encoding"] == "gzip" and gzip.decompress(body) == TEXT
    assert asked(files, "/static/page.css", method="HEAD")[2] == b""


def test_what_did_not_change_is_not_sent_again_and_a_part_is_a_part(files: dict[str, Any]) -> None:
    _, headers, _ = asked(files, "/static/page.css")
    status, _, body = asked(files, "/static/page.css", headers={"if-none-match": headers["etag"]})
    assert (status, body) == (304, b"")
    status, headers, body = asked(files, "/static/page.css", headers={"range": "bytes=0-9"})
    assert (status, body) == (206, TEXT[:10])


@pytest.mark.parametrize(
    ("path", "method", "kind"),
    [
        ("/static/other.css", "GET", "http"), ("/static/page.css", "POST", "http"), ("/", "GET", "http"),
        ("/static/../page.css", "GET", "http"), ("/static/page.css", "GET", "websocket"),
    ],
)  # fmt: skip
def test_everything_else_goes_on(files: dict[str, Any], path: str, method: str, kind: str) -> None:
    (scope,) = asked(files, path, method=method, kind=kind)
    assert scope["path"] == path
