"""One stream out of two: what a second upstream says goes to the app as the rest of the answer that the first one began.

The app sees one id, one model, one role, one finish and one end; text that it already has is taken away, and a seam that cannot be
proved is refused (``failed``), so that no text is ever doubled, missing or made up at the seam.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from apps.contracts.usage import Tokens
from apps.proxy.dialects.openai_stream import KEEP_RAW, Kept, OpenAIStream
from apps.proxy.dialects.openai_wire import Usage, encode_event, event_data, is_comment, json_object, tokens_of

if TYPE_CHECKING:
    from apps.proxy.rescue import Continuation, Sofar

OVERLAP = 200
"""Characters before the seam among which a repetition may begin, when it is not the whole text."""
PROOF = 16
"""Characters that must be repeated before a repetition is no chance, where it is not the one that was asked for."""
ECHO = 24
"""A text at least so long, at the beginning of a prefilled answer, is the prefill given back."""


class Diverged(Exception):
    """The new text is not the rest of the old one."""


class Seam(Protocol):
    """Where two texts meet: takes the second in pieces, gives what lies beyond the first. Both raise Diverged."""

    def take(self, piece: str) -> str: ...

    def end(self) -> str:
        """The second text is over (or something else follows it): what was held back."""


class Blank:
    """Takes away white space that the first text already ends with; the target was not shown it, and may repeat it or not."""

    def __init__(self, expected: str) -> None:
        self._left = expected

    def take(self, piece: str) -> str:
        if not self._left:
            return piece
        count = 0
        for ours, theirs in zip(self._left, piece, strict=False):
            if ours != theirs:
                self._left = ""
                return piece[count:]
            count += 1
        self._left = self._left[count:]
        return piece[count:]

    def end(self) -> str:
        self._left = ""
        return ""


class Prefilled:
    """A target that goes on from a prefill. Some give the prefill back first: that is taken away whole."""

    def __init__(self, text: str, shown: str, *, echoes: bool = False) -> None:
        self._blank = Blank(text[len(text.rstrip()) :])
        self._echo = shown if echoes or len(shown) >= ECHO else ""
        self._seen = ""

    def take(self, piece: str) -> str:
        if not self._echo:
            return self._blank.take(piece)
        self._seen += piece
        if self._seen.startswith(self._echo):
            beyond = self._seen[len(self._echo) :]
        elif self._echo.startswith(self._seen):
            return ""
        else:
            beyond = self._seen
        self._echo = self._seen = ""
        return self._blank.take(beyond)

    def end(self) -> str:
        if not self._echo:
            return ""
        seen, self._echo, self._seen = self._seen, "", ""
        return self._blank.take(seen)


class Regenerated:
    """The same request again: the new text must say, character for character, what the first one said."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def take(self, piece: str) -> str:
        left = len(self._text) - self._at
        if left <= 0:
            return piece
        same = piece[:left]
        if not self._text.startswith(same, self._at):
            raise Diverged
        self._at += len(same)
        return piece[left:]

    def end(self) -> str:
        if self._at < len(self._text):
            raise Diverged
        return ""


class Asked:
    """A target that was asked to repeat the last words. What it repeats proves the seam: they, or more, or fewer, or all of the text."""

    def __init__(self, text: str, anchor: str) -> None:
        core = text.rstrip()
        self._blank = Blank(text[len(core) :])
        self._anchor = anchor
        first = max(0, len(core) - OVERLAP)
        tails = (core[at:] for at in range(first, len(core) - PROOF + 1) if not core[at].isspace())
        self._repeated = [anchor, core.lstrip(), *tails]
        """What it may begin with, in order of preference: what was asked for, then the longest."""
        self._seen = ""
        self._joined = False

    def take(self, piece: str) -> str:
        if self._joined:
            return self._blank.take(piece)
        self._seen = self._seen + piece if self._seen else piece.lstrip()
        return self._join(final=False)

    def end(self) -> str:
        return "" if self._joined else self._join(final=True)

    def _join(self, *, final: bool) -> str:
        seen = self._seen
        alive = [start for start in self._repeated if seen.startswith(start) or (not final and start.startswith(seen))]
        if not alive:
            raise Diverged
        if not seen.startswith(alive[0]):  # a better one may still come out
            self._repeated = alive
            return ""
        self._joined = True
        self._seen, self._repeated = "", []
        return self._blank.take(seen[len(alive[0]) :])


class Thought:
    """Reasoning is no part of the answer. It is skipped where it is the same, else told from its beginning, for the answer rests on it."""

    def __init__(self, reasoning: str) -> None:
        self._expected = reasoning
        self._at = 0

    def take(self, piece: str) -> str:
        if not self._expected:
            return piece
        if self._expected.startswith(piece, self._at):
            self._at += len(piece)
            return ""
        same, self._expected = self._expected, ""
        if piece.startswith(same[self._at :]):
            return piece[len(same) - self._at :]
        return same[: self._at] + piece


class Splicer(OpenAIStream):
    """A StreamWatch over the second upstream, and over the seam. ``kept()`` is of both parts: ``Sofar.of`` works when this one breaks too.

    usage_asked: the app wants the usage chunk; it shows ``before`` (the earlier parts) and this part together, while ``tokens`` is
    this part's alone. failed: "diverged" when the seam could not be proved; nothing was given then that would have to be taken back.
    """

    __slots__ = ("_before", "_finish_given", "_produced", "_seam", "_sofar", "_thought", "failed")

    def __init__(
        self, sofar: Sofar, continuation: Continuation, *, usage_asked: bool, before: Tokens | None = None, stop_at_malformed: bool = False
    ) -> None:
        super().__init__(hide_usage=not usage_asked, stop_at_malformed=stop_at_malformed)
        self.failed = ""
        self._sofar = sofar
        self._before = before if before is not None else Tokens()
        self._seam: Seam = _seam(sofar.text, continuation)
        self._thought = None if sofar.text else Thought(sofar.reasoning)
        self._finish_given = False
        self._produced = 0
        self._kept = _kept(sofar)

    def feed(self, chunk: bytes) -> bytes:
        chunk = self._frame(chunk)
        if not chunk or self.finished or self.failed or self.error:
            return b""
        given = self._look(chunk)
        if given:
            self._raw.append(given)
            self._raw_size += len(given)
            if self._raw_size > KEEP_RAW:
                self._compact()
        return given

    def passes(self, wire: bytes, start: int) -> bool:
        return False

    def close(self) -> bool:
        if self.failed:
            return False
        whole = super().close()
        if self.failed:
            self.finished, self.rest = False, b""
            return False
        return whole

    def output_bytes(self) -> int:
        return self._produced + self._unread

    def _look(self, chunk: bytes) -> bytes:
        given: list[bytes] = []
        try:
            for event in chunk.split(b"\n\n"):
                data = event_data(event)
                if data is None:
                    if event.strip() and is_comment(event):
                        given.append(event + b"\n\n")
                    continue
                if data == b"[DONE]":
                    given.extend(self._beyond_seam())
                    self.finished = True
                    self.rest = event.strip() + b"\n\n"
                    break
                if not data:
                    continue
                payload = json_object(data)
                if payload is None:
                    if self._skip(data):
                        break
                    continue
                if payload.get("error"):
                    self.error = data.decode("utf-8", "replace")
                    break
                given.extend(self._event(payload))
        except Diverged:
            self.failed = "diverged"
        return b"".join(given)

    def _event(self, payload: dict[str, Any]) -> list[bytes]:
        usage = payload.get("usage")
        if type(usage) is dict:
            self._count(usage)
        choices = payload.get("choices")
        if not choices:
            return [self._encoded(payload, [])] if type(usage) is dict and not self._hide_usage else []
        out: list[dict[str, Any]] = []
        for choice in choices if type(choices) is list else ():
            if type(choice) is dict and choice.get("index", 0) == 0 and not self._finish_given:
                out.extend(self._choice(choice))
        if not out:
            return [self._encoded(payload, [])] if self._finish_given and type(usage) is dict and not self._hide_usage else []
        silent = {name: value for name, value in payload.items() if name != "usage"}
        return [*(self._encoded(silent, [choice]) for choice in out[:-1]), self._encoded(payload, out[-1:])]

    def _choice(self, choice: dict[str, Any]) -> list[dict[str, Any]]:
        """Nothing, one more piece, the finish, or both."""
        delta = choice.get("delta")
        delta = {name: value for name, value in delta.items() if value not in (None, "", [])} if type(delta) is dict else {}
        if self._sofar.role:
            delta.pop("role", None)
        text = delta.pop("content", "")
        if type(text) is not str:
            raise Diverged  # an answer of another kind
        self._produced += len(text.encode("utf-8", "surrogatepass"))
        text = self._seam.take(text) if text else ""
        self._reason(delta)
        finish = choice.get("finish_reason")
        if finish or any(name not in ("role", "reasoning", "reasoning_content") for name in delta):
            text += self._seam.end()
        if text:
            delta = {"content": text, **delta}
        given = []
        if delta:
            self.has_output = True
            given.append({**choice, "delta": delta, "finish_reason": None})
            for name in ("tool_calls", "function_call"):
                if name in delta:
                    self._produced += len(str(delta[name]).encode("utf-8", "surrogatepass"))
        if finish:
            self.saw_finish = self.has_output = self._finish_given = True
            given.append({**choice, "delta": {}, "finish_reason": finish})
        return given

    def _reason(self, delta: dict[str, Any]) -> None:
        """The reasoning behind an answer that was already begun was told by who began it; only the answer goes on."""
        for name in ("reasoning", "reasoning_content", "reasoning_details"):
            piece = delta.pop(name, None)
            if type(piece) is str:
                self._produced += len(piece.encode("utf-8", "surrogatepass"))
                if self._thought is not None and (piece := self._thought.take(piece)):
                    delta[name] = piece

    def _beyond_seam(self) -> list[bytes]:
        """An end without a finish reason: what the seam still holds."""
        text = "" if self._finish_given else self._seam.end()
        if not text:
            return []
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        return [self._encoded({"id": None, "object": "chat.completion.chunk", "created": None, "model": None}, [choice])]

    def _encoded(self, payload: dict[str, Any], choices: list[dict[str, Any]]) -> bytes:
        sofar = self._sofar
        event = {**payload, "id": sofar.id, "created": sofar.created, "model": sofar.model, "choices": choices}
        return encode_event({name: value for name, value in event.items() if value is not None or name not in ("id", "created", "model")})

    def _count(self, usage: dict[str, Any]) -> None:
        """Notes this part's usage, and makes the app's the sum of all parts."""
        try:
            self.tokens = tokens_of(msgspec.convert(usage, Usage))
        except msgspec.ValidationError:
            return
        before, now = self._before, self.tokens
        usage["prompt_tokens"], usage["completion_tokens"] = before.input + now.input, before.output + now.output
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        for details, name, earlier in (
            ("prompt_tokens_details", "cached_tokens", before.cache_read),
            ("completion_tokens_details", "reasoning_tokens", before.reasoning),
        ):
            part = usage.get(details)
            if type(part) is dict and type(part.get(name)) is int:
                part[name] += earlier


def _seam(text: str, continuation: Continuation) -> Seam:
    if continuation.kind == "prefill":
        return Prefilled(text, continuation.start, echoes=continuation.echoes)
    if continuation.kind == "ask":
        return Asked(text, continuation.start)
    return Regenerated(text)


def _kept(sofar: Sofar) -> Kept:
    kept = Kept()
    kept.id, kept.model, kept.created = sofar.id, sofar.model, sofar.created
    kept.role, kept.pieces = sofar.role, sofar.pieces
    kept.seen.add(0)
    if sofar.text:
        kept.texts[0] = [sofar.text]
    if sofar.reasoning:
        kept.reasoning[0] = [sofar.reasoning]
    kept.text_size = len(sofar.text.encode()) + len(sofar.reasoning.encode())
    return kept
