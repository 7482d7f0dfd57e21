"""Asks our own processes over loopback HTTP whether they answer."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlsplit

ANSWER_BYTES = 1 << 20


async def get(url: str, *, timeout: float = 2.0) -> tuple[int, bytes]:
    """GET ``url``: status and body. ``(0, b"")`` when nobody answers properly in ``timeout`` seconds."""
    parts = urlsplit(url)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=ANSWER_BYTES)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            writer.write(f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read(ANSWER_BYTES)
            while piece := await reader.read(ANSWER_BYTES):
                answer += piece
    except (OSError, TimeoutError):
        return 0, b""
    finally:
        if writer is not None:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]), body) if len(words) > 1 and words[1].isdigit() else (0, b"")


async def get_json(url: str, *, timeout: float = 2.0) -> tuple[int, dict[str, Any]]:
    """As ``get``; the body as an object, empty where it is not one."""
    status, body = await get(url, timeout=timeout)
    try:
        value = json.loads(body)
    except ValueError:
        return status, {}
    return status, value if isinstance(value, dict) else {}


WAITING = ["no config yet"]
"""The one reason not to be ready that is nobody's fault: nothing has been published yet."""


def serves(status: int, answer: dict[str, Any]) -> bool:
    """Whether a proxy's ``/readyz`` says that it takes requests, or would if anything had ever been published."""
    return status == 200 or (status == 503 and answer.get("reasons") == WAITING)


async def until_answered(url: str, *, timeout: float, every: float = 0.03) -> bool:
    """Whether ``url`` answered anything at all within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if (await get(url))[0]:
            return True
        await asyncio.sleep(every)
    return False
