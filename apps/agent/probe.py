"""Whether an engine serves: not that it answers 200, but that it generates. Asked over HTTP like any client would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

import httpx

from apps.agent.engines.protocol import Launch
from apps.contracts.fleet import ReplicaSpec

MAX_ANSWER = 4 * 1024 * 1024


class Health(Enum):
    """``SILENT``: nothing listens. ``LOADING``: it listens and says that it is not ready. ``WELL``: it says so. ``STRANGE``: what it says
    is not HTTP."""

    SILENT = "silent"
    LOADING = "loading"
    WELL = "well"
    STRANGE = "strange"


class Failed(NamedTuple):
    """A generation that did not succeed. strange: what answered does not speak the protocol. refused: it refused the token."""

    sentence: str
    strange: bool = False
    refused: bool = False


class Probe:
    """Asks one engine. ``url``: without ``/v1``."""

    def __init__(self, client: httpx.AsyncClient, url: str, spec: ReplicaSpec, launch: Launch) -> None:
        self._client = client
        self._url = url
        self._spec = spec
        self._launch = launch
        self._headers = {"authorization": f"Bearer {spec.bearer}"} if spec.bearer else {}

    async def health(self, timeout: float) -> Health:
        try:
            answer = await self._client.get(self._url + self._launch.health, headers=self._headers, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return Health.SILENT
        except httpx.RemoteProtocolError as error:
            # It hung up without a word as one that is starting may do, or it said something that is not HTTP.
            return Health.SILENT if "without sending" in str(error) else Health.STRANGE
        except httpx.HTTPError:
            return Health.LOADING
        return Health.WELL if answer.status_code == 200 else Health.LOADING

    async def metrics(self, timeout: float) -> str | None:
        """The text of its metrics; None where it gives none now."""
        if not self._launch.vocabulary:
            return None
        try:
            answer = await self._client.get(self._url + self._launch.metrics, headers=self._headers, timeout=timeout)
        except httpx.HTTPError:
            return None
        return answer.text if answer.status_code == 200 and len(answer.content) <= MAX_ANSWER else None

    async def version(self, timeout: float) -> str | None:
        """What it calls its version; None where it does not say."""
        if not self._launch.version:
            return None
        try:
            found = (await self._client.get(self._url + self._launch.version, headers=self._headers, timeout=timeout)).json()
        except (httpx.HTTPError, ValueError):
            return None
        version = found.get("version") if isinstance(found, dict) else None
        return version[:200] if isinstance(version, str) else None

    async def open(self, timeout: float) -> bool:
        """Whether it serves whoever asks: a call without the token that it shall demand is answered with 200. What vLLM does outside of
        ``/v1`` demands none whatever it is told: there, the list of models is asked instead."""
        if not self._headers:
            return False
        path, body = _call(self._spec.tasks[0], self._launch.model, "a", 1)
        try:
            if not path.startswith("/v1/"):
                return (await self._client.get(self._url + "/v1/models", timeout=timeout)).status_code == 200
            return (await self._client.post(self._url + path, json=body, timeout=timeout)).status_code == 200
        except httpx.HTTPError:
            return False

    async def generate(self, timeout: float, *, prompt_tokens: int = 1, output_tokens: int = 1) -> Failed | None:
        """One small call of the first task that the replica serves; None: it succeeded."""
        task = self._spec.tasks[0]
        text = "a " * max(1, prompt_tokens)
        path, body = _call(task, self._launch.model, text.strip(), output_tokens)
        try:
            answer = await self._client.post(self._url + path, json=body, headers=self._headers, timeout=timeout)
        except httpx.TimeoutException:
            return Failed(f"A generation of {output_tokens} tokens did not end within {timeout:g} s.")
        except httpx.RemoteProtocolError as error:
            return Failed(f"What answers there does not speak HTTP: {error}", True)
        except httpx.HTTPError as error:
            return Failed(f"It cannot be called: {error or type(error).__name__}")
        if answer.status_code in (401, 403) and self._headers:
            return Failed(
                f"POST {path} was answered {answer.status_code} to the token that it was started with: {_said(answer)}", refused=True
            )
        if answer.status_code != 200:
            return Failed(f"POST {path} was answered {answer.status_code}: {_said(answer)}")
        try:
            found = answer.json()
        except ValueError:
            return Failed(f"POST {path} was answered 200 with what is not JSON: {_said(answer)}", True)
        if not _holds(task, found):
            return Failed(f"POST {path} was answered 200 without a generation: {_said(answer)}", True)
        return None


def _call(task: str, model: str, text: str, output_tokens: int) -> tuple[str, Mapping[str, Any]]:
    match task:
        case "completions":
            return "/v1/completions", {"model": model, "prompt": text, "max_tokens": output_tokens, "temperature": 0}
        case "embeddings":
            return "/v1/embeddings", {"model": model, "input": text}
        case "rerank":
            return "/v1/rerank", {"model": model, "query": text, "documents": [text]}
        case "classify":
            return "/classify", {"model": model, "input": [text]}
    messages = [{"role": "user", "content": text}]
    return "/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": output_tokens, "temperature": 0}


def _holds(task: str, found: Any) -> bool:
    """Whether an answer holds what was asked for."""
    if not isinstance(found, dict):
        return False
    items = found.get({"embeddings": "data", "rerank": "results", "classify": "data"}.get(task, "choices"))
    if not isinstance(items, list) or not items or not isinstance(items[0], dict):
        return False
    if task == "embeddings":
        return bool(items[0].get("embedding"))
    if task == "chat":
        return isinstance(items[0].get("message"), dict)
    return True


def _said(answer: httpx.Response) -> str:
    text = answer.text[:2_000]
    try:
        error = json.loads(text).get("error")
        text = str(error.get("message") or error) if isinstance(error, dict) else str(error or text)
    except (ValueError, AttributeError):
        pass
    text = "".join(c if c.isprintable() else "·" for c in text)
    return text[:300] or "nothing"
