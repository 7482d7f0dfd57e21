"""A request as an app would send it, through a real proxy: its dry run, then its answer while it comes, as parts of a page.

Knows no database: the key is opened by a pass (``apps.keys.passes``), and what happened is read from the request's record later.
Nothing here raises for what a proxy does; what an app would get is shown as it came.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from socket import gethostname
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from django.template.loader import render_to_string

from apps.contracts.money import dollars_text

TIMEOUT = httpx.Timeout(300.0, connect=5.0)
"""A route's own deadlines end a request long before; this is for a proxy that is stuck."""
MOST_TURNS, MOST_TEXT = 40, 200_000
"""Turns of one conversation, and characters of all of them."""
MOST_SHOWN = 20_000
"""Characters of an error's body that are shown."""
ANYWHERE = {"0.0.0.0", "::"}
"""Addresses that a proxy may listen at and nobody can call."""
TAG = "playground"
"""What the records of these requests are tagged with."""
HEADERS = (
    "x-bulkhead-request-id", "x-bulkhead-route", "x-bulkhead-target", "x-bulkhead-config", "x-bulkhead-attempts", "x-bulkhead-fallback",
    "x-bulkhead-degradation", "x-bulkhead-flags", "x-bulkhead-simulated", "retry-after",
)  # fmt: skip
"""Of an answer: what an app can read about how it came to be."""

Turn = dict[str, str]
Part = dict[str, str]
"""``id`` of an element of the page, and its new ``html`` or ``text`` to add to it."""


class Ask(NamedTuple):
    """One request. url: of a proxy, without ``/v1``. token: what opens the key for exactly this body. turns: what it carries."""

    url: str
    token: str
    body: bytes
    turns: Sequence[Turn]
    dry: bool = False


def chat_body(*, route: str, turns: Sequence[Turn], system: str, max_tokens: int) -> bytes:
    """The body of a streamed chat completion."""
    messages = [{"role": "system", "content": system}, *turns] if system else list(turns)
    asked = {"model": route, "messages": messages, "max_tokens": max_tokens, "stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(asked, ensure_ascii=False).encode()


def turns_read(text: str) -> list[Turn]:
    """The conversation so far, as the page sent it back. Raises ValueError."""
    found = json.loads(text or "[]")
    if not isinstance(found, list) or len(found) > MOST_TURNS:
        raise ValueError("not a conversation")
    for turn in found:
        if not isinstance(turn, dict) or turn.keys() != {"role", "content"} or turn["role"] not in ("user", "assistant"):
            raise ValueError("not a turn")
        if not isinstance(turn["content"], str):
            raise ValueError("not text")
    if sum(len(turn["content"]) for turn in found) > MOST_TEXT:
        raise ValueError("too long")
    return found


def reached_at(public_url: str, host: str) -> str:
    """Where a proxy can be called: as it says, or on its host (this one: loopback) where it listens at every address."""
    parts = urlsplit(public_url)
    if (parts.hostname or "") not in ANYWHERE:
        return public_url
    return parts._replace(netloc=f"{'127.0.0.1' if host == gethostname() else host}:{parts.port}").geturl()


async def play(ask: Ask) -> AsyncIterator[Part]:
    """The parts of the page as they come to be known: what would happen, and unless only that was asked, the answer."""
    headers = {"authorization": f"Bearer {ask.token}", "content-type": "application/json", "x-bulkhead-tags": TAG}
    try:
        async with httpx.AsyncClient(base_url=ask.url, headers=headers, trust_env=False, timeout=TIMEOUT) as client:
            yield _part("plan", **await _planned(client, ask.body))
            if not ask.dry:
                async for part in _answered(client, ask):
                    yield part
    except httpx.HTTPError as error:
        said = str(error) or type(error).__name__
        yield _part("failure", lost=f"The proxy at {ask.url} could not be reached or left in the middle ({said}).")


async def gathered(parts: AsyncIterator[Part]) -> dict[str, str]:
    """All parts as they stand in the end, by id: for browsers that take no streams. Text that came before a failure is kept."""
    found: dict[str, str] = {}
    text = ""
    async for part in parts:
        text += part.get("text", "")
        if "html" in part:
            found[part["id"]] = part["html"]
    if text and "play-turns" not in found:
        found["play-answer"] = _part("answer", text=text)["html"]
    return found


async def lines(parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
    """Each part as one line of JSON."""
    async for part in parts:
        yield json.dumps(part, ensure_ascii=False).encode() + b"\n"


async def _planned(client: httpx.AsyncClient, body: bytes) -> dict[str, Any]:
    """What a dry run answers, for its part of the page."""
    answer = await client.post("/v1/chat/completions", content=body, headers={"x-bulkhead-explain": "dry-run"})
    try:
        plan = answer.json()
    except ValueError:
        plan = None
    if not isinstance(plan, dict) or answer.status_code != 200 or plan.get("object") != "bulkhead.plan":
        return {"refused": _refused(answer.status_code, answer.headers, answer.content)}
    budgets = [{**budget, "limit": dollars_text(int(budget["limit_nano"]))} for budget in plan.get("budgets", ())]
    return {"plan": plan, "budgets": budgets}


async def _answered(client: httpx.AsyncClient, ask: Ask) -> AsyncIterator[Part]:
    said: list[str] = []
    async with client.stream("POST", "/v1/chat/completions", content=ask.body) as answer:
        request_id = answer.headers.get("x-bulkhead-request-id", "")
        if request_id:
            yield _part("told", request_id=request_id)
        if answer.status_code != 200:
            yield _part("failure", refused=_refused(answer.status_code, answer.headers, await answer.aread()))
            return
        async for line in answer.aiter_lines():
            event = _event(line)
            if event is None:
                continue
            if "error" in event:
                yield _part("failure", refused=_refused(answer.status_code, answer.headers, json.dumps(event).encode(), cut=True))
                return
            text = _text(event)
            if text:
                said.append(text)
                yield {"id": "play-answer", "text": text}
        turns = [*ask.turns, {"role": "assistant", "content": "".join(said)}]
        yield _part("turns", turns=turns, state=json.dumps(turns), headers=_headers(answer.headers))
    for name in ("answer", "message"):
        yield _part(name)


def _event(line: str) -> dict[str, Any] | None:
    """What a line of a stream of events says; None where it is none, or the end."""
    if not line.startswith("data:"):
        return None
    try:
        event = json.loads(line[5:])
    except ValueError:  # ``[DONE]``
        return None
    return event if isinstance(event, dict) else None


def _text(event: dict[str, Any]) -> str:
    choices = event.get("choices")
    delta = choices[0].get("delta") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    text = delta.get("content") if isinstance(delta, dict) else None
    return text if isinstance(text, str) else ""


def _refused(status: int, headers: Mapping[str, str], body: bytes, *, cut: bool = False) -> dict[str, Any]:
    """An error as an app gets it. cut: it came in the middle of an answer."""
    text = body.decode("utf-8", "replace")
    try:
        told = json.loads(text)
        text = json.dumps(told, indent=2, ensure_ascii=False)
        error = told.get("error") if isinstance(told, dict) else None
    except ValueError:
        error = None
    error = error if isinstance(error, dict) else {}
    shown = {"code": str(error.get("code") or ""), "message": str(error.get("message") or ""), "body": text[:MOST_SHOWN]}
    return {"status": status, "cut": cut, "headers": _headers(headers), **shown}


def _headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, headers[name]) for name in HEADERS if headers.get(name)]


def _part(name: str, **context: Any) -> Part:
    return {"id": f"play-{name}", "html": render_to_string(f"dashboard/playground/{name}.html", context)}
