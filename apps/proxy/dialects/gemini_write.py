"""Chat completions as answers and streams of ``generateContent``. Source: Google's reference of the Gemini API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from apps.proxy.dialects.gemini_errors import code_of, error_body
from apps.proxy.dialects.gemini_fields import MAKER, wrapped
from apps.proxy.dialects.gemini_words import FINISHED, PROMPT_BLOCKED
from apps.proxy.dialects.pivot import plain_text
from apps.proxy.dialects.translation import Chunk, Completion, NotAnAnswer, Payload, Trouble

_FINISHES = {"stop": "STOP", "tool_calls": "STOP", "function_call": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_PIECE = b'{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":%b}]}}]%b'
"""An event that is one more piece of one answer's text: the text, and what all events end with."""
_MODALITIES = {"audio_tokens": "AUDIO", "image_tokens": "IMAGE"}
_TRAFFIC = {"flex": "ON_DEMAND_FLEX", "priority": "ON_DEMAND_PRIORITY"}
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def shows_thoughts(asked: Payload) -> bool:
    """Whether the app asked to see what the model thinks; its signatures are given all the same."""
    config = asked.get("generationConfig") or asked.get("generation_config")
    thinking = (config.get("thinkingConfig") or config.get("thinking_config")) if type(config) is dict else None
    return type(thinking) is dict and (thinking.get("includeThoughts") is True or thinking.get("include_thoughts") is True)


_SHAPELESS = (AttributeError, TypeError, KeyError, ValueError, OverflowError, OSError)
"""What code that reads a chat completion raises where another provider put something else than that: translated at the border here."""


def answer(completion: Completion, asked: Payload) -> Payload:
    """A ``GenerateContentResponse``. Raises NotAnAnswer for what is no chat completion."""
    try:
        return _answer(completion, asked)
    except _SHAPELESS as error:
        raise NotAnAnswer(f"the answer is no chat completion: {error}") from None


def _answer(completion: Completion, asked: Payload) -> Payload:
    shown = shows_thoughts(asked)
    said: Payload = {}
    candidates = []
    for choice in completion.get("choices") or ():
        native = choice.get("native_finish_reason")
        message = choice.get("message") or {}
        if type(native) is str and native.startswith(PROMPT_BLOCKED):
            said["promptFeedback"] = _feedback(native, message.get("refusal"))
            continue
        candidates.append(_candidate(choice, message, shown))
    if candidates or "promptFeedback" not in said:
        said["candidates"] = candidates
    if usage := completion.get("usage"):
        said["usageMetadata"] = _usage(usage, completion.get("service_tier"))
    return said | _about(completion)


def _about(completion: dict[str, Any]) -> Payload:
    said: Payload = {}
    if type(created := completion.get("created")) is int:
        said["createTime"] = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    if model := completion.get("model"):
        said["modelVersion"] = model
    if identity := completion.get("id"):
        said["responseId"] = identity
    return said


def _feedback(native: str, message: Any) -> Payload:
    said = {"blockReason": native[len(PROMPT_BLOCKED) :] or "OTHER"}
    if type(message) is str and message:
        said["blockReasonMessage"] = message
    return said


def _candidate(choice: dict[str, Any], message: dict[str, Any], shown: bool) -> Payload:
    finish = choice.get("finish_reason")
    parts = _thoughts(message, shown)
    text = _text(message.get("content"))
    refusal = message.get("refusal")
    if type(refusal) is str and refusal and finish != "content_filter":
        text += refusal
    signature = _signature_of_text(message.get("thinking_blocks"))
    if text or signature:
        part: Payload = {"text": text}
        if signature:
            part["thoughtSignature"] = signature
        parts.append(part)
    reason, note = _finish(choice)
    for call in message.get("tool_calls") or ():
        made = call_part(call)
        if made is None:
            reason, note = "MALFORMED_FUNCTION_CALL", _malformed(call)
        else:
            parts.append(made)
    said: Payload = {"index": choice.get("index", 0), "content": {"role": "model", "parts": parts}, "finishReason": reason}
    note = note or (refusal if type(refusal) is str and finish == "content_filter" else "")
    if note:
        said["finishMessage"] = note
    if logprobs := _logprobs(choice.get("logprobs")):
        said["logprobsResult"] = logprobs
    return said


def _text(content: Any) -> str:
    if type(content) is list:
        return "".join(part["text"] for part in content if type(part) is dict and type(part.get("text")) is str)
    return _words(content)


def _words(value: Any) -> str:
    if value is None or type(value) is str:
        return value or ""
    raise NotAnAnswer("what should be text is none")


def _thoughts(message: dict[str, Any], shown: bool) -> list[Payload]:
    """Blocks with their signatures; text of thinking that nobody signed as one part. Without what the app did not ask to see."""
    parts: list[Payload] = []
    told = False
    for block in message.get("thinking_blocks") or ():
        words = block.get("thinking") or ""
        signature = block.get("signature") or ""
        ours = signature.startswith(MAKER)
        if ours and not words:
            continue  # it signs the text
        part: Payload = {"text": words if shown else "", "thought": True}
        if ours:
            part["thoughtSignature"] = signature[len(MAKER) :]
        elif signature or block.get("data"):
            part["thoughtSignature"] = wrapped({name: value for name, value in block.items() if name != "thinking"} if shown else block)
        elif not shown:
            continue
        told = told or bool(words)
        parts.append(part)
    reasoning = message.get("reasoning_content")
    if shown and not told and type(reasoning) is str and reasoning:
        parts.insert(0, {"text": reasoning, "thought": True})
    return parts


def _signature_of_text(blocks: Any) -> str:
    for block in blocks or ():
        signature = block.get("signature") or ""
        if signature.startswith(MAKER) and not block.get("thinking"):
            return str(signature[len(MAKER) :])
    return ""


def call_part(call: dict[str, Any]) -> Payload | None:
    """None where the arguments are no object: Gemini's format has no place for what is not."""
    function = call.get("function") or {}
    raw = function.get("arguments") or "{}"
    try:
        arguments = _decode(raw)
    except (msgspec.MsgspecError, TypeError, UnicodeEncodeError, RecursionError):
        return None
    if type(arguments) is not dict or not function.get("name") or type(function["name"]) is not str:
        return None
    made: Payload = {"name": function["name"], "args": arguments}
    if call.get("id") and type(call["id"]) is str:
        made["id"] = call["id"]
    part: Payload = {"functionCall": made}
    if call.get("signature") and type(call["signature"]) is str:
        part["thoughtSignature"] = call["signature"]
    return part


def _malformed(call: dict[str, Any]) -> str:
    function = call.get("function") or {}
    return f"Malformed function call: {function.get('name') or ''} {str(function.get('arguments'))[:1000]}"


def _finish(choice: dict[str, Any]) -> tuple[str, str]:
    """The provider's own word where it is one of Gemini's and says the same."""
    finish, native = choice.get("finish_reason"), choice.get("native_finish_reason")
    if type(native) is str and native in FINISHED and FINISHED[native] == ("stop" if finish == "tool_calls" else finish):
        return native, ""
    return _FINISHES.get(finish or "", "OTHER"), ""


def _usage(usage: dict[str, Any], tier: Any) -> Payload:
    prompt, completion = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    prompt_details, completion_details = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    thoughts = min(completion, completion_details.get("reasoning_tokens") or 0)
    said: Payload = {"promptTokenCount": prompt, "candidatesTokenCount": completion - thoughts, "totalTokenCount": prompt + completion}
    if thoughts:
        said["thoughtsTokenCount"] = thoughts
    if cached := prompt_details.get("cached_tokens"):
        said["cachedContentTokenCount"] = cached
    if counts := _modal(prompt, prompt_details):
        said["promptTokensDetails"] = counts
    if counts := _modal(completion - thoughts, completion_details):
        said["candidatesTokensDetails"] = counts
    if tier in _TRAFFIC:
        said["trafficType"] = _TRAFFIC[tier]
    return said


def _modal(tokens: int, details: dict[str, Any]) -> list[Payload]:
    counts = [{"modality": theirs, "tokenCount": details[name]} for name, theirs in _MODALITIES.items() if details.get(name)]
    if counts:
        counts.insert(0, {"modality": "TEXT", "tokenCount": max(0, tokens - sum(count["tokenCount"] for count in counts))})
    return counts


def _logprobs(logprobs: Any) -> Payload | None:
    content = logprobs.get("content") if type(logprobs) is dict else None
    if not content:
        return None
    said: Payload = {"chosenCandidates": [_logprob(one) for one in content]}
    if any(one.get("top_logprobs") for one in content):
        said["topCandidates"] = [{"candidates": [_logprob(top) for top in one.get("top_logprobs") or ()]} for one in content]
    return said


def _logprob(one: dict[str, Any]) -> Payload:
    return {"token": one.get("token", ""), "logProbability": one.get("logprob", 0.0)}


class GeminiFrontStream:
    """Writes one app's stream. What ends it is held back until its usage is known: Gemini says both in its last event.

    array: as a JSON array, for an app that did not ask for ``alt=sse``.
    """

    def __init__(self, asked: Payload, *, array: bool) -> None:
        self._array = array
        self._begun = False
        self._shown = shows_thoughts(asked)
        self._about: Payload | None = None
        self._tail = b""
        """What every event ends with, ``_about`` written; empty before there is any."""
        self._calls: dict[int, dict[int, dict[str, Any]]] = {}
        self._last: list[Payload] = []
        self._feedback: Payload | None = None
        self._usage: Payload | None = None
        self._closed = False

    def feed(self, chunk: Chunk) -> bytes:
        """Raises NotAnAnswer for what is no piece of a chat completion."""
        if self._closed:
            return b""
        try:
            return self._fed(chunk)
        except _SHAPELESS as error:
            raise NotAnAnswer(f"an event is no chunk of a chat completion: {error}") from None

    def _fed(self, chunk: Chunk) -> bytes:
        text = plain_text(chunk) if self._tail else None
        if text is not None:  # nearly all of them
            body = _PIECE % (_written(text), self._tail)
            if self._array:
                begun, self._begun = self._begun, True
                return (b",\r\n" if begun else b"[") + body
            return b"data: %b\r\n\r\n" % body
        if chunk.get("error"):
            told = chunk["error"]
            return self.error(Trouble(str(told.get("message", "")), str(told.get("type", "server_error")), told.get("code")))
        if self._about is None:
            self._about = _about(chunk)
            self._tail = b"," + _written(self._about)[1:] if self._about else b"}"
        if usage := chunk.get("usage"):
            self._usage = _usage(usage, chunk.get("service_tier"))
        candidates = [candidate for choice in chunk.get("choices") or () if (candidate := self._choice(choice)) is not None]
        return self._event({"candidates": candidates}) if candidates else b""

    def close(self) -> bytes:
        if self._closed:
            return b""
        for index in list(self._calls):
            if not any(candidate["index"] == index for candidate in self._last):
                self._last.append(self._ended(index, [], "STOP", ""))
        self._closed = True
        said: Payload = {}
        if self._feedback is not None:
            said["promptFeedback"] = self._feedback
        if self._last or self._feedback is None:
            said["candidates"] = self._last
        if self._usage is not None:
            said["usageMetadata"] = self._usage
        written = self._event(said) if self._last or self._feedback is not None or self._usage is not None else b""
        if self._array:
            written += b"]" if self._begun else b"[]"
        return written

    def error(self, trouble: Trouble) -> bytes:
        """Google's SDKs raise on an event that is an error, and know it by its first field."""
        self._closed = True
        body = _written(error_body(code_of(trouble.type), trouble, ""))
        if self._array:
            return (b",\r\n" if self._begun else b"[") + body + b"]"
        return b"data: %b\r\n\r\n" % body

    def _event(self, said: Payload) -> bytes:
        body = _written({**said, **(self._about or {})})
        if self._array:
            begun, self._begun = self._begun, True
            return (b",\r\n" if begun else b"[") + body
        return b"data: %b\r\n\r\n" % body

    def _choice(self, choice: dict[str, Any]) -> Payload | None:
        index = choice.get("index", 0)
        delta = choice.get("delta") or {}
        native = choice.get("native_finish_reason")
        if type(native) is str and native.startswith(PROMPT_BLOCKED):
            self._feedback = _feedback(native, delta.get("refusal"))
            return None
        parts = self._parts(delta)
        for call in delta.get("tool_calls") or ():
            self._call(index, call)
        if choice.get("finish_reason"):
            reason, note = _finish(choice)
            refusal = delta.get("refusal")
            if choice["finish_reason"] == "content_filter" and type(refusal) is str:
                note = refusal
            last = self._ended(index, parts, reason, note)
            if logprobs := _logprobs(choice.get("logprobs")):
                last["logprobsResult"] = logprobs
            self._last.append(last)
            return None
        said: Payload = {"index": index, "content": {"role": "model", "parts": parts}}
        if logprobs := _logprobs(choice.get("logprobs")):
            said["logprobsResult"] = logprobs
        return said if parts or logprobs else None

    def _parts(self, delta: dict[str, Any]) -> list[Payload]:
        parts: list[Payload] = []
        signature = ""
        reasoning = _words(delta.get("reasoning_content"))
        if self._shown and reasoning:
            parts.append({"text": reasoning, "thought": True})
        for block in delta.get("thinking_blocks") or ():
            words, own = _words(block.get("thinking")), _words(block.get("signature"))
            if not own.startswith(MAKER):
                if own or block.get("data"):
                    parts.append({"text": "", "thought": True, "thoughtSignature": wrapped(block)})
            elif not words:
                signature = own[len(MAKER) :]
            elif parts and parts[-1]["text"] == words:
                parts[-1]["thoughtSignature"] = own[len(MAKER) :]
            else:
                parts.append({"text": "", "thought": True, "thoughtSignature": own[len(MAKER) :]})
        text = _text(delta.get("content"))
        if type(delta.get("refusal")) is str and delta["refusal"] and not text:
            text = delta["refusal"]
        if text or signature:
            parts.append({"text": text, "thoughtSignature": signature} if signature else {"text": text})
        return parts

    def _call(self, index: int, piece: dict[str, Any]) -> None:
        """Other formats give a call's arguments in pieces, Gemini takes them whole."""
        calls = self._calls.setdefault(index, {})
        number = piece.get("index", len(calls))
        if type(number) is not int:
            raise NotAnAnswer("a call's index is no number")
        known = calls.get(number)
        function = piece.get("function") or {}
        if known is None:
            calls[number] = {**piece, "function": {"name": function.get("name"), "arguments": function.get("arguments") or ""}}
            return
        known["function"]["arguments"] += function.get("arguments") or ""
        for name in ("id", "signature"):
            if piece.get(name) and not known.get(name):
                known[name] = piece[name]
        if function.get("name") and not known["function"]["name"]:
            known["function"]["name"] = function["name"]

    def _ended(self, index: int, parts: list[Payload], reason: str, note: str) -> Payload:
        for _, call in sorted(self._calls.pop(index, {}).items()):
            made = call_part(call)
            if made is None:
                reason, note = "MALFORMED_FUNCTION_CALL", _malformed(call)
            else:
                parts.append(made)
        said: Payload = {"index": index, "content": {"role": "model", "parts": parts or [{"text": ""}]}, "finishReason": reason}
        if note:
            said["finishMessage"] = note
        return said


def _written(said: Any) -> bytes:
    try:
        return _encode(said)
    except UnicodeEncodeError:  # half of a surrogate pair: only its escape can be written
        return msgspec.json.encode(_halved(said))


def _halved(value: Any) -> Any:
    if type(value) is str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if type(value) is dict:
        return {_halved(key): _halved(one) for key, one in value.items()}
    return [_halved(one) for one in value] if type(value) is list else value
