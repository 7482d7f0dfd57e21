"""The smallest format that is not OpenAI's, for tests of what lies between formats. An app asks ``{"model", "ask"}`` and is told
``{"said", "why", "in", "out"}``; a stream has one JSON object a line: ``{"w": word}``, then ``{"why", "in", "out"}``."""

from __future__ import annotations

from typing import Any

import msgspec

from apps.contracts.usage import Tokens
from apps.proxy.dialects.base import Answer
from apps.proxy.dialects.translation import Asked, Chunk, NotAnAnswer, Sent, Trouble, Unsupported

LINES = b"application/x-toy"
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = _decode(data)
    except msgspec.DecodeError:
        raise NotAnAnswer("not JSON") from None
    if not isinstance(found, dict):
        raise NotAnAnswer("no object")
    return found


class ToyFront:
    name = "toy"
    alive = b"\n"

    def read(self, body: dict[str, Any]) -> Asked:
        if "magic" in body:
            raise Unsupported("magic", "only a toy can do magic")
        return self.outline(body)

    def outline(self, body: dict[str, Any]) -> Asked:
        if "ask" not in body:
            raise Unsupported("ask", "say what you ask")
        payload = {name: body[name] for name in ("model", "stream", "temperature") if name in body}
        payload["messages"] = [{"role": "user", "content": body["ask"]}]
        if "most" in body:
            payload["max_tokens"] = body["most"]
        if "top_k" in body:
            payload["top_k"] = body["top_k"]
        if "paper" in body:
            payload["messages"][0]["content"] = [{"type": "file", "file": {"file_url": body["paper"]}}]
        return Asked(payload, ("mood: not told",) if "mood" in body else ())

    def answer(self, completion: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        choice, usage = completion["choices"][0], completion.get("usage") or {}
        said = {"said": choice["message"]["content"], "why": choice["finish_reason"]}
        return {**said, "in": usage.get("prompt_tokens"), "out": usage.get("completion_tokens")}

    def counted(self, tokens: int) -> dict[str, Any]:
        """The tokens of an input, as OpenAI words it."""
        return {"object": "response.input_tokens", "input_tokens": tokens}

    def stream(self, asked: dict[str, Any]) -> ToyFrontStream:
        return ToyFrontStream()

    def error(self, status: int, trouble: Trouble, request_id: str) -> dict[str, Any]:
        return {"no": trouble.message, "kind": trouble.type, "code": trouble.code, "field": trouble.param, "status": status}


class ToyFrontStream:
    def __init__(self) -> None:
        self._end: dict[str, Any] = {"why": None, "in": None, "out": None}

    def feed(self, chunk: Chunk) -> bytes:
        said = b""
        for choice in chunk.get("choices") or ():
            if choice["delta"].get("content"):
                said += _encode({"w": choice["delta"]["content"]}) + b"\n"
            self._end["why"] = choice.get("finish_reason") or self._end["why"]
        if chunk.get("usage"):
            self._end |= {"in": chunk["usage"]["prompt_tokens"], "out": chunk["usage"]["completion_tokens"]}
        return said

    def close(self) -> bytes:
        return _encode(self._end) + b"\n"

    def error(self, trouble: Trouble) -> bytes:
        return _encode({"no": trouble.message, "code": trouble.code}) + b"\n"


class ToyBack:
    name = "toy"
    stream_type = LINES

    def request(self, payload: dict[str, Any], model: str, *, stream: bool) -> Sent:
        if payload.get("tools"):
            raise Unsupported("tools", "it has no hands")
        content = payload["messages"][-1]["content"]
        body: dict[str, Any] = {"ask": content, "most": payload["max_tokens"], "turns": len(payload["messages"])}
        left = ("seed: left out",) if "seed" in payload else ()
        return Sent(f"/say/{model}" + ("?live" if stream else ""), body, left)

    def answer(self, body: bytes, payload: dict[str, Any]) -> dict[str, Any]:
        found = _object(body)
        if "said" not in found:
            raise NotAnAnswer("nothing was said")
        message = {"role": "assistant", "content": found["said"]}
        return {
            "id": "toy-1",
            "object": "chat.completion",
            "created": 0,
            "model": "toy",
            "choices": [{"index": 0, "message": message, "finish_reason": found["why"]}],
            "usage": _usage(found),
        }

    def stream(self, payload: dict[str, Any]) -> ToyBackStream:
        return ToyBackStream()

    def error(self, status: int, body: bytes) -> Trouble:
        try:
            return Trouble(str(_object(body).get("no")), "invalid_request_error" if status < 500 else "api_error", "toy_no")
        except NotAnAnswer:
            return Trouble(body[:60].decode("utf-8", "replace"), "api_error")


class ToyBackStream:
    def __init__(self) -> None:
        self.finished = False
        self._carry = b""
        self._role: dict[str, Any] = {"role": "assistant"}

    def feed(self, data: bytes) -> list[Chunk]:
        *lines, self._carry = (self._carry + data).split(b"\n")
        return [chunk for line in lines if line for chunk in self._chunks(_object(line))]

    def close(self) -> list[Chunk]:
        return []

    def _chunks(self, found: dict[str, Any]) -> list[Chunk]:
        head = {"id": "toy-1", "object": "chat.completion.chunk", "created": 0, "model": "toy"}
        if "no" in found:
            return [{"error": {"message": found["no"], "type": "api_error", "code": 503}}]
        if "w" in found:
            delta, self._role = {**self._role, "content": found["w"]}, {}
            return [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}]
        self.finished = True
        end = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": found["why"]}]}
        return [end, {**head, "choices": [], "usage": _usage(found)}]


def _usage(found: dict[str, Any]) -> dict[str, int]:
    return {"prompt_tokens": found["in"], "completion_tokens": found["out"], "total_tokens": found["in"] + found["out"]}


class ToyNative:
    stream_type = LINES
    headers = (b"toy-feature",)

    def path(self, model: str, *, stream: bool) -> str:
        return f"/say/{model}" + ("?live" if stream else "")

    def changed(self, asked: dict[str, Any], model: str, cap: int | None) -> dict[str, Any]:
        if cap is None and asked["model"] == model:
            return asked
        return {**asked, "model": model, **({"most": cap} if cap is not None else {})}

    def answer(self, body: bytes) -> Answer | None:
        try:
            found = _object(body)
        except NotAnAnswer:
            return None
        return Answer(Tokens(input=found["in"], output=found["out"])) if "said" in found else None

    def stream(self, asked: Any = None) -> ToyWatch:
        return ToyWatch()

    def resume(self, watch: Any, asked: Any) -> None:
        return None


class ToyWatch:
    """Passes everything on as it comes, but for the last line."""

    failed = ""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self.finished = False
        self.error = ""
        self.has_output = False
        self.rest = b""
        self.passed_bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        self.has_output = self.has_output or b'"w"' in chunk
        if b'"no"' in chunk:
            self.error = chunk.decode()
            return b""
        if b'"why"' in chunk:
            found = _object(chunk)
            self.tokens, self.finished, self.rest = Tokens(input=found["in"], output=found["out"]), True, chunk
            return b""
        return chunk

    def passes(self, wire: bytes, start: int) -> bool:
        return False

    def close(self) -> bool:
        return self.finished

    def output_bytes(self) -> int:
        return 0
