"""Recorded exchanges with real providers, read from the material beside the checkout; tests that need them skip, loudly, without it."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3] / "shared" / "material" / "provider-recordings"
needs_recordings = pytest.mark.skipif(not ROOT.is_dir(), reason=f"LOUD SKIP: no provider recordings at {ROOT.name}")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Recording(NamedTuple):
    """One request and its answer. name: file and number. asked: its JSON body, None where it was none. answer: its bytes, decompressed."""

    name: str
    method: str
    host: str
    path: str
    query: str
    asked: Any
    status: int
    content_type: str
    answer: bytes

    @property
    def streamed(self) -> bool:
        return self.content_type.startswith(("text/event-stream", "application/vnd.amazon.eventstream"))


def recordings(*, host: str = "", path: str = "", folder: str = "") -> Iterator[Recording]:
    """Those whose host, path and file contain these texts, by file name.

    A file is read only where its text has ``host`` and ``path`` in it: parsing all of them takes half a minute.
    """
    for file in sorted(ROOT.rglob("*.yaml")):
        name = file.relative_to(ROOT).as_posix()
        if folder not in name:
            continue
        text = file.read_text(errors="replace")
        if host not in text or path not in text:
            continue
        for recording in _read(file, name):
            if host in recording.host and path in recording.path:
                yield recording


@lru_cache(maxsize=1024)
def _read(file: Path, name: str) -> tuple[Recording, ...]:
    found = yaml.load(file.read_bytes(), Loader=_LOADER) or {}
    pairs = enumerate(found.get("interactions", ()))
    return tuple(_recording(f"{name}#{number}", one) for number, one in pairs if "request" in one and "response" in one)


def _recording(name: str, one: dict[str, Any]) -> Recording:
    request, response = one["request"], one["response"]
    url = urlsplit(request["uri"])
    headers = {key.lower(): value[0] if isinstance(value, list) else value for key, value in (response.get("headers") or {}).items()}
    status = response["status"]
    return Recording(
        name=name,
        method=request["method"],
        host=url.netloc,
        path=url.path,
        query=url.query,
        asked=_json(request),
        status=status["code"] if isinstance(status, dict) else status,
        content_type=str(headers.get("content-type", "")),
        answer=_body(response),
    )


def _json(message: dict[str, Any]) -> Any:
    try:
        return json.loads(_body(message) or b"null")
    except ValueError:
        return None


def _body(message: dict[str, Any]) -> bytes:
    """As it was on the wire, decompressed. JSON may have been stored parsed, bytes as base64, text as text."""
    if "parsed_body" in message:
        return json.dumps(message["parsed_body"], ensure_ascii=False).encode()
    body = message.get("body")
    if isinstance(body, dict):
        if "base64_string" in body:
            body = base64.b64decode(body["base64_string"])
        else:
            body = body.get("string", b"")
    if body is None:
        return b""
    data = body if isinstance(body, bytes) else str(body).encode()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
