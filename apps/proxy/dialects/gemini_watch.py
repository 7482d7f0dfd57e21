"""Gemini's requests that pass through: what must be known of them on the way."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from apps.contracts.usage import TokenDetails, Tokens
from apps.proxy.dialects.base import Answer, StreamWatch
from apps.proxy.dialects.event_watch import MALFORMED, EventWatch
from apps.proxy.dialects.gemini_answer import NOTHING, UNREADABLE, Said, decode_said, says, usage_put
from apps.proxy.dialects.gemini_errors import trouble_of
from apps.proxy.dialects.gemini_fields import WRAP, compact
from apps.proxy.dialects.gemini_stream import GeminiStream
from apps.proxy.dialects.gemini_words import BROKEN, NOT_YET, SKIP_SIGNATURE, generation
from apps.proxy.dialects.gemini_write import GeminiFrontStream
from apps.proxy.dialects.natives import Resumed, retold
from apps.proxy.dialects.translation import NotAnAnswer, Payload

_SPLICED = '{"error":{"message":"another answer begins in the middle of this one","type":"server_error","code":"upstream_malformed"}}'


def tokens_of(raw: msgspec.Raw) -> Tokens | None:
    """Of ``usageMetadata``; None where nothing is told, or nothing that can be read."""
    if raw is NOTHING or not says(raw):
        return None
    told: dict[str, Any] = {}
    try:
        usage_put(raw, told)
    except NotAnAnswer:
        return None
    usage, batch = told["usage"], told.get("service_tier") == "flex"
    prompt, completion = usage["prompt_tokens_details"], usage["completion_tokens_details"]
    tokens = Tokens(
        input=usage["prompt_tokens"],
        output=usage["completion_tokens"],
        cache_read=prompt["cached_tokens"],
        reasoning=completion["reasoning_tokens"],
    )
    if batch or len(prompt) > 1 or len(completion) > 1:
        tokens.details = TokenDetails(
            audio_input=prompt.get("audio_tokens", 0),
            audio_output=completion.get("audio_tokens", 0),
            image_input=prompt.get("image_tokens", 0),
            image_output=completion.get("image_tokens", 0),
            batch=batch,
        )
    return tokens


def _blocked(said: Said) -> bool:
    return said.prompt_feedback is not None and bool(said.prompt_feedback.block_reason)


def native_answer(body: bytes) -> Answer | None:
    """What a 200's body says of itself; None when it is not a whole answer, or one in which the model failed."""
    try:
        said = decode_said(body)
    except UNREADABLE:
        return None
    reasons = [candidate.finish_reason or "" for candidate in said.candidates or ()]
    if says(said.error) or not (reasons or _blocked(said)) or any(reason in NOT_YET or reason in BROKEN for reason in reasons):
        return None
    return Answer(tokens_of(said.usage_metadata))


class GeminiWatch(EventWatch):
    """Follows one stream. It is whole when every candidate that began has said why it ended; what says so, and whatever follows, is
    held back to the end: nothing else tells that the stream is over."""

    __slots__ = ("_ended", "_identity", "_open", "_used")

    marks = (b'"finishReason"', b'"error"', b'"promptFeedback"')

    def __init__(self) -> None:
        super().__init__()
        self._open: set[int] = set()
        self._ended: set[int] = set()
        self._identity = ""
        self._used = NOTHING
        """What the last event that was measured tells of usage: of a stream that broke, that is what there is."""

    def look(self, data: bytes, event: bytes) -> bool:
        try:
            said = decode_said(data)
        except UNREADABLE:
            self.error = MALFORMED
            return False
        if says(said.error):
            trouble = trouble_of(0, data)
            self.error = compact({"error": {"message": trouble.message, "type": trouble.type, "code": trouble.code}})
            return False
        if said.response_id and self._identity and said.response_id != self._identity:
            self.error = _SPLICED
            return False
        self._identity = self._identity or said.response_id or ""
        for number, candidate in enumerate(said.candidates or ()):
            index = candidate.index if candidate.index is not None else number
            reason = candidate.finish_reason or ""
            if reason in BROKEN:
                message = f"the model ended with {reason}: {candidate.finish_message or 'nothing more is said'}"
                self.error = compact({"error": {"message": message, "type": "server_error", "code": "upstream_malformed"}})
                return False
            self._open.add(index)
            if reason not in NOT_YET:
                self._ended.add(index)
            if reason not in NOT_YET or (candidate.content is not None and candidate.content.parts):
                self.has_output = True
        if _blocked(said):
            self._open.add(0)
            self._ended.add(0)
            self.has_output = True
        if not self.rest and not self._ends():
            return True
        self.tokens = tokens_of(said.usage_metadata) or self.tokens
        self.rest += event + b"\n\n"
        self._measured += self.measure(data)
        return False

    def measure(self, data: bytes) -> int:
        try:
            said = decode_said(data)
        except UNREADABLE:
            return len(data)
        self._used = said.usage_metadata
        size = 0
        for candidate in said.candidates or ():
            for part in (candidate.content.parts if candidate.content is not None else None) or ():
                size += len(part.text.encode("utf-8", "surrogatepass")) if part.text is not None else 0
                for raw in (part.function_call.args if part.function_call is not None else NOTHING, part.inline_data, part.executable_code):
                    size += len(bytes(raw))
        return size

    def close(self) -> bool:
        super().close()
        if not self.error and self._ends():
            self.finished = True
        if self.tokens is None:
            self.output_bytes()
            self.tokens = tokens_of(self._used)
        return self.finished and not self.error

    def _ends(self) -> bool:
        return bool(self._open) and self._open == self._ended

    def _matters(self, chunk: bytes) -> bool:
        return bool(self.rest) or super()._matters(chunk)


class GeminiNative:
    """Requests that pass through (``apps.proxy.dialects.natives.Native``)."""

    stream_type = b"text/event-stream"
    headers: tuple[bytes, ...] = ()

    def path(self, model: str, *, stream: bool) -> str:
        return path_of(model, stream=stream)

    def changed(self, asked: Payload, model: str, cap: int | None) -> Payload:
        """The model is told by the path alone. What other providers' models said earlier is told as Gemini can take it."""
        contents = asked.get("contents")
        if type(contents) is list:
            third = generation(model) >= (3, 0)
            told = [_told(content, third) for content in contents]
            if any(after is not before for after, before in zip(told, contents, strict=True)):
                asked = {**asked, "contents": told}
        if cap is None:
            return asked
        name = "generation_config" if "generation_config" in asked else "generationConfig"
        config = asked.get(name)
        return {**asked, name: {**(config if type(config) is dict else {}), "maxOutputTokens": cap}}

    def answer(self, body: bytes) -> Answer | None:
        return native_answer(body)

    def stream(self, asked: Payload | None = None) -> GeminiWatch:
        return GeminiWatch()

    def resume(self, watch: StreamWatch, asked: Payload) -> Resumed | None:
        """Each event stands for itself; only an end that was held back must not be told twice."""
        passed = watch.passed() if isinstance(watch, GeminiWatch) and not watch.rest else None
        return retold(passed, GeminiStream(""), GeminiFrontStream(asked, array=False)) if passed is not None else None


def _told(content: Any, third: bool) -> Any:
    """A model's content without the signatures of others, ``content`` itself where it has none; Gemini 3 wants one on a turn's calls."""
    parts = content.get("parts") if type(content) is dict and content.get("role") == "model" else None
    if type(parts) is not list:
        return content
    made = [_unsigned(part) for part in parts]
    calls = [number for number, part in enumerate(made) if type(part) is dict and ("functionCall" in part or "function_call" in part)]
    if third and calls and not any(_signature(made[number]) for number in calls):
        made[calls[0]] = {**made[calls[0]], "thoughtSignature": SKIP_SIGNATURE}
    same = all(after is before for after, before in zip(made, parts, strict=True))
    return content if same else {**content, "parts": made}


def _unsigned(part: Any) -> Any:
    signature = _signature(part)
    if type(signature) is not str or not signature.startswith(WRAP):
        return part
    return {name: value for name, value in part.items() if name not in ("thoughtSignature", "thought_signature")}


def _signature(part: Any) -> Any:
    return (part.get("thoughtSignature") or part.get("thought_signature")) if type(part) is dict else None


def path_of(model: str, *, stream: bool) -> str:
    """Of a model, or of a tuned one, at the Gemini API."""
    resource = "/" + quote(model) if model.startswith("tunedModels/") else "/models/" + quote(model.removeprefix("models/"), safe="")
    return f"{resource}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"
